//! Build systems, compiler caches and distributed compilers. Each builds an existing project, with the
//! files in `share/`.

mod autoconf;
mod bazel;
mod cargo;
mod cmake;
mod make;
mod meson;

use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use testsuite::harness;
use testsuite::process;
use testsuite::tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "build_systems",
        &[
            ("make", make::alone),
            ("ccache", make::ccache),
            ("sccache", make::sccache),
            ("distcc_in_front", make::distcc_in_front),
            ("distcc_behind", make::distcc_behind),
            ("autoconf", autoconf::builds_and_runs),
            ("cmake", cmake::builds_and_tests),
            ("meson", meson::builds_and_tests),
            ("meson_cross", meson::cross),
            ("cargo", cargo::test),
            ("cargo_install", cargo::install),
            ("cargo_cc", cargo::with_cc),
            ("bazel", bazel::builds_and_tests),
        ],
    )
}

/// The path of a file in `share/`.
pub fn share(name: &str) -> String {
    let path = tools::workspace().join("share").join(name);
    path.display().to_string()
}

/// Runs a command that has to succeed and returns what it printed.
pub fn check(command: &mut Command) -> Result<String> {
    let output = process::check(command, patient(Duration::from_secs(600)))?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// The number in the last column of a table's line.
pub fn number(table: &str, line: &str) -> Option<u32> {
    let line = table.lines().find_map(|text| text.strip_prefix(line))?;
    line.trim().parse().ok()
}
