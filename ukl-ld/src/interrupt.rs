//! Signals that interrupt a link: partial output is removed before ukl-ld dies.

use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering;

/// The signal that was received, or 0.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

const SIGNALS: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

extern "C" fn note(signal: libc::c_int) {
    CAUGHT.store(signal, Ordering::Relaxed);
}

/// From now on, these signals are only recorded. They still kill the linkers that ukl-ld starts.
pub fn catch() {
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in SIGNALS {
        // SAFETY: the handler does nothing but store to an atomic.
        unsafe {
            // An ignored signal (nohup) stays ignored.
            if libc::signal(signal, handler as libc::sighandler_t) == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
    }
}

/// The signal that was received, if any.
pub fn caught() -> Option<i32> {
    Some(CAUGHT.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
}

/// Kills this process by the signal, so that the parent process sees which one it was.
pub fn die(signal: i32) -> ! {
    // SAFETY: both calls are always sound.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    std::process::exit(128 + signal)
}
