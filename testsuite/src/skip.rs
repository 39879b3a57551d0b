//! Tests that cannot be made on this machine. The tests of the tools have this file, too.

/// Says that a test is left out, and why. With `UKL_TEST_NO_SKIPS=1` in the environment, as `make
/// test` has it, that is a failure.
pub fn skip(why: &str) {
    let allowed = std::env::var_os("UKL_TEST_NO_SKIPS").is_none_or(|value| value != "1");
    assert!(allowed, "left out: {why}");
    eprintln!("skipped: {why}");
}
