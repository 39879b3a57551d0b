//! A C++ project with tests of its own.

use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::harness;
use testsuite::process;
use testsuite::project;
use testsuite::project::Project;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run("cxx", &[("leveldb", leveldb)])
}

/// The tests of leveldb that need no more than googletest, and that its build runs with ctest: in
/// guests, as the toolchain file has it.
const TESTS: [&str; 7] = [
    "c_test",
    "corruption_test",
    "env_posix_test",
    "env_test",
    "fault_injection_test",
    "recovery_test",
    "table_test",
];

fn leveldb(tools: &Tools) -> Result<()> {
    let configure = format!(
        "cmake -B out -DCMAKE_TOOLCHAIN_FILE={}/share/toolchain.cmake -DCMAKE_BUILD_TYPE=Release",
        tools::workspace().display()
    );
    let build = format!("cmake --build out -j2 --target {}", TESTS.join(" "));
    let dir = Project {
        name: "leveldb",
        package: "leveldb",
        files: &[],
        steps: &[&configure, &build],
        product: "out/c_test",
    }
    .build(tools)?;
    let mut ctest = Command::new("ctest");
    ctest
        .args(["-j2", "--output-on-failure", "--timeout", "200", "-R"])
        .arg(format!("^({})$", TESTS.join("|")))
        .current_dir(dir.join("out"))
        .env("PATH", project::path(tools)?);
    let report = process::check(&mut ctest, patient(Duration::from_secs(600)))?;
    let report = String::from_utf8_lossy(&report);
    let all = format!("0 tests failed out of {}", TESTS.len());
    ensure!(report.contains(&all), "{report}");
    // They ran where they should have.
    let listing = process::check(
        Command::new("ctest")
            .args(["-N", "-V"])
            .current_dir(dir.join("out")),
        patient(Duration::from_secs(60)),
    )?;
    let listing = String::from_utf8_lossy(&listing);
    ensure!(listing.contains("/ukl-run \"-v\""), "{listing}");
    Ok(())
}
