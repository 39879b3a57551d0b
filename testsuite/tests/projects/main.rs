//! Untouched projects, built with `ukl-cc` as their compiler and run in guests: redis with make,
//! gawk with autoconf, zstd with CMake, lighttpd with meson. The programs do not report their ring, so
//! gdb stops each in one of its main functions and reads the ring from the processor.

mod gawk;
mod lighttpd;
mod redis;
mod zstd;

use std::ffi::OsStr;
use std::process::ExitCode;

use anyhow::Result;
use anyhow::ensure;
use testsuite::debugger;
use testsuite::harness;
use testsuite::tools::Tools;

fn main() -> ExitCode {
    harness::run(
        "projects",
        &[
            ("redis_libc", redis::libc),
            ("redis_jemalloc", redis::jemalloc),
            ("gawk", gawk::builds_and_runs),
            ("zstd", zstd::builds_and_runs),
            ("lighttpd", lighttpd::builds_and_runs),
        ],
    )
}

/// Checks that the program that `words` start is at ring 0 when it reaches one of its functions.
fn at_ring0(tools: &Tools, name: &str, function: &str, words: &[&OsStr]) -> Result<()> {
    let ring = debugger::ring_at(tools, name, function, words)?;
    ensure!(ring == 0, "{name} runs at ring {ring}");
    Ok(())
}
