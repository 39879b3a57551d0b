//! The kernel's own selftests for programs at ring 0, which the series adds to
//! `tools/testing/selftests/x86/ukl`: built by their Makefile and run in a guest.

use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::guest;
use testsuite::harness;
use testsuite::process;
use testsuite::process::words;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

/// The programs of the folder, and the number of tests in each.
const PROGRAMS: [(&str, usize); 4] = [("exec", 4), ("ptrace", 7), ("ring0", 7), ("signals", 11)];

fn main() -> ExitCode {
    harness::run("selftests", &[("x86_ukl", x86_ukl)])
}

fn x86_ukl(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "selftests")?;
    let tree = dir.join("tree");
    let mut build = Command::new(tools::workspace().join("kernel/selftests"));
    process::check(build.arg(&tree), patient(Duration::from_secs(300)))?;
    let programs = tree.join("tools/testing/selftests/x86/ukl");

    let run = dir.join("run");
    let mut link = Command::new(tools.tool("ukl-cc"));
    link.args(["-O2", "-Wall", "-Werror", "-o"])
        .arg(&run)
        .arg(tools::testsuite().join("selftests/run.c"));
    process::check(&mut link, patient(Duration::from_secs(120)))?;

    let volume = volume(&programs);
    let guest = PROGRAMS.map(|(name, _)| format!("/data/{name}"));
    let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"-v", &volume, &run];
    guest.iter().for_each(|path| all.push(path));
    let output = guest::run(tools, "selftests.log", &words(&all), b"")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.end == Some(End::Exit(0)),
        "{:?}: {text}{}",
        output.end,
        process::tail(&output.stderr, 4000)
    );
    for (name, count) in PROGRAMS {
        // The programs also end with 0 if they skip their tests.
        let passed = format!("# Totals: pass:{count} fail:0 xfail:0 xpass:0 skip:0 error:0");
        let (report, _) = text
            .split_once(&format!("/data/{name}: status 0\n"))
            .unwrap_or_default();
        ensure!(
            report.lines().next_back() == Some(&passed),
            "{name} has not passed all of its {count} tests:\n{text}"
        );
    }
    Ok(())
}
