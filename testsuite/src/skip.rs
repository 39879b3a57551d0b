//! Tests that cannot run on this machine. The tests of the tools include this file, too.

use std::io::Write as _;

/// Skips a test, with the reason. With `UKL_TEST_NO_SKIPS=1` in the environment, which `make test`
/// sets, this is a failure. Otherwise the test harness counts the test as passed, so this adds a line
/// to the file `skipped` in the run's directory, and `testsuite/run` counts it as skipped.
pub fn skip(why: &str) {
    let allowed = std::env::var_os("UKL_TEST_NO_SKIPS").is_none_or(|value| value != "1");
    assert!(allowed, "left out: {why}");
    eprintln!("skipped: {why}");
    if let Some(run) = std::env::var_os("UKL_TEST_RUN") {
        let list = std::path::Path::new(&run).join("skipped");
        let list = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(list);
        if let Ok(mut list) = list {
            let _ = list.write_all(format!("skipped: {why}\n").as_bytes());
        }
    }
}
