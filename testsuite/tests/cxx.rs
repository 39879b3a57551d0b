//! A C++ project with tests of its own.

use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::harness;
use testsuite::process;
use testsuite::process::WAIT;
use testsuite::project;
use testsuite::project::Project;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run("cxx", &[("leveldb", leveldb)])
}

/// The number of leveldb's test programs.
const TESTS: usize = 30;

/// Builds the benchmark library, which leveldb's tests are linked with. Debian has it only as a shared
/// library. It is built with the tools, so that its C++ code runs at ring 0, too.
fn benchmark(tools: &Tools) -> Result<PathBuf> {
    Project {
        name: "benchmark",
        package: "benchmark",
        files: &[],
        steps: &[
            &format!(
                "cmake -B out -DCMAKE_TOOLCHAIN_FILE={} -DCMAKE_BUILD_TYPE=Release \
                 -DBENCHMARK_USE_BUNDLED_GTEST=OFF -DBENCHMARK_ENABLE_GTEST_TESTS=OFF \
                 -DBENCHMARK_ENABLE_WERROR=OFF -DGIT_VERSION=1.7.1",
                toolchain()
            ),
            "cmake --build out -j2 --target benchmark basic_test",
        ],
        product: "out/test/basic_test",
    }
    .build(tools)
}

fn toolchain() -> String {
    let file = tools::workspace().join("share/toolchain.cmake");
    file.display().to_string()
}

/// A test that does not wait for compaction in the background. Without UKL it fails, too: in one run of
/// ten on the build host, and in one of three at ring 3 under emulation.
const RACES: &str = "DBTest.HiddenValuesAreRemoved";

/// Runs all of leveldb's own tests. The toolchain file makes ctest run them in guests.
fn leveldb(tools: &Tools) -> Result<()> {
    let configure = format!(
        "cmake -B out -DCMAKE_TOOLCHAIN_FILE={} -DCMAKE_BUILD_TYPE=Release \
         -DUKL_RUN={}/ukl-run -DUKL_RUN_FLAGS=-m;1G;-e;GTEST_FILTER=-{RACES} -DCMAKE_EXE_LINKER_FLAGS=-L{}/out/src",
        toolchain(),
        tools.boots.dir().display(),
        benchmark(tools)?.display()
    );
    let dir = Project {
        name: "leveldb",
        package: "leveldb",
        files: &[],
        steps: &[&configure, "cmake --build out -j2"],
        product: "out/c_test",
    }
    .build(tools)?;
    let mut ctest = Command::new("ctest");
    // ctest measures the time that passes, and not the processor time.
    let limit = patient(Duration::from_secs(400)) * WAIT;
    let limit = limit.as_secs().to_string();
    ctest
        .args(["-j2", "--output-on-failure", "--timeout", &limit])
        .current_dir(dir.join("out"))
        .env("PATH", project::path(tools)?);
    let report = process::check(&mut ctest, patient(Duration::from_secs(1500)))?;
    let report = String::from_utf8_lossy(&report);
    let all = format!("0 tests failed out of {TESTS}");
    ensure!(report.contains(&all), "{report}");
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == TESTS, "{boots} boots");
    Ok(())
}
