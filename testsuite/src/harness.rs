//! What the tests that boot have in common: names, a second try after a fault of the emulation,
//! and arguments of mixed types.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::Arguments;
use libtest_mimic::Failed;
use libtest_mimic::Trial;

use crate::emulation;
use crate::project::EmulationsFault;
use crate::tools::Tools;

/// A test.
pub type Test = fn(&Tools) -> Result<()>;

/// Runs the tests that the command line asks for. `suite` goes in front of their names.
pub fn run(suite: &str, tests: &[(&str, Test)]) -> ExitCode {
    let arguments = Arguments::from_args();
    let tools = match Tools::find() {
        Ok(tools) => Arc::new(tools),
        Err(error) => {
            eprintln!("{suite}: error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let trials = tests
        .iter()
        .map(|&(name, test)| {
            let tools = tools.clone();
            Trial::test(format!("{suite}/{name}"), move || {
                for _ in 0..2 {
                    match test(&tools) {
                        Err(error) if error.is::<EmulationsFault>() => continue,
                        result => return result.map_err(failed),
                    }
                }
                test(&tools).map_err(failed)
            })
        })
        .collect();
    emulation::conclude(&libtest_mimic::run(&arguments, trials))
}

fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}

/// Arguments of mixed types.
pub fn words<'a>(list: &'a [&'a dyn AsRef<OsStr>]) -> Vec<&'a OsStr> {
    list.iter().map(|word| (*word).as_ref()).collect()
}

/// An empty directory for this test.
pub fn scratch(tools: &Tools, name: &str) -> Result<PathBuf> {
    let dir = tools.out.join("scratch").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The word for `-v` that shows a directory to the guest as `/data`.
pub fn volume(dir: &Path) -> String {
    format!("{}:/data", dir.display())
}
