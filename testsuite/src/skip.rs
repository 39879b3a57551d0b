//! Tests that cannot be made on this machine. The tests of the tools have this file, too.

use std::io::Write as _;

/// Says that a test is left out, and why. With `UKL_TEST_NO_SKIPS=1` in the environment, as `make
/// test` has it, that is a failure. Otherwise the test passes, so it leaves a line in the file
/// `skipped` of the run's directory, for `testsuite/run` to count it as what it is.
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
