//! Boots that died of QEMU's emulation and are made again: each is told, counted, and its log kept.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use libtest_mimic::Conclusion;

use crate::kernel_log;

static FAULTS: AtomicUsize = AtomicUsize::new(0);

/// Whether the boot with this log died of the emulation ([`kernel_log::is_emulations_fault`]). If
/// so says it on the error output, and puts the log where the next boot's does not go.
pub fn has_failed(log: &Path) -> bool {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if !kernel_log::is_emulations_fault(&text) {
        return false;
    }
    let count = FAULTS.fetch_add(1, Ordering::Relaxed) + 1;
    let kept = log.with_extension(format!("emulation-{count}.log"));
    let kept = match fs::rename(log, &kept) {
        Ok(()) => kept,
        Err(_) => log.to_owned(),
    };
    let place = kernel_log::place_of_oops(&text).unwrap_or_default();
    eprintln!(
        "testsuite: a guest died of a fault of its emulation at {place}: {}",
        kept.display()
    );
    true
}

/// The end of a run of tests, which says how often that was.
pub fn conclude(conclusion: &Conclusion) -> ExitCode {
    let count = FAULTS.load(Ordering::Relaxed);
    if count > 0 {
        eprintln!(
            "testsuite: {count} boots died of a fault of their emulation (docs/bugs.md); a test \
             passed only if a later one did not"
        );
    }
    conclusion.exit_code()
}
