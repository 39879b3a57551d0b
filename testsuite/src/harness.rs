//! The common part of the tests that boot: names, turns, the scan of the kernels' logs, and the
//! repetition after a fault of the emulation.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::Arguments;
use libtest_mimic::Failed;
use libtest_mimic::Trial;

use crate::emulation;
use crate::tools::Tools;
use crate::turns;

/// A test.
pub type Test = fn(&Tools) -> Result<()>;

/// Runs the tests that the command line selects. Their names begin with `suite`.
pub fn run(suite: &str, tests: &[(&str, Test)]) -> ExitCode {
    let tests = tests.iter().map(|&(name, test)| (name.to_owned(), test));
    run_all(suite, tests)
}

/// The same for tests that are created at run time, and for closures.
pub fn run_all<T>(suite: &str, tests: impl IntoIterator<Item = (String, T)>) -> ExitCode
where
    T: Fn(&Tools) -> Result<()> + Send + 'static,
{
    let arguments = Arguments::from_args();
    let tools = match Tools::find() {
        Ok(tools) => Arc::new(tools),
        Err(error) => {
            eprintln!("{suite}: error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            let tools = tools.clone();
            let name = format!("{suite}/{name}");
            Trial::test(name.clone(), move || {
                let _turn = turns::take(&tools.run);
                judged(&tools, &name, &test).map_err(|error| Failed::from(format!("{error:#}")))
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a test and scans the logs of its boots. If one of them died of a fault of the emulation, the
/// result of the test means nothing, and the test is repeated.
fn judged(tools: &Tools, name: &str, test: impl Fn(&Tools) -> Result<()>) -> Result<()> {
    loop {
        let tools = tools.for_test(name)?;
        let result = test(&tools);
        if let Some(log) = tools.boots.emulation_fault()? {
            emulation::count(&tools.run, name, &log)?;
            continue;
        }
        // A complaint of the kernel explains more than the failure that follows from it.
        let result = match (result, tools.boots.scan()) {
            (Ok(()), scan) => scan,
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(complaint)) => Err(complaint.context(format!("{error:#}"))),
        };
        if result.is_err() {
            tools.boots.keep(&tools.run.join("failed"));
        }
        return result;
    }
}
