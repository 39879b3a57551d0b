//! Run to completion.

use std::cell::Cell;
use std::ffi::c_long;
use std::io;

unsafe extern "C" {
    /// If `before` is negative, turns run to completion on, and returns the thread's previous
    /// scheduling. Otherwise restores the scheduling `before`. A negative result is an error.
    /// c/host.c defines the function for the build host and ring 3, and the link of an image
    /// overrides it.
    fn __ukl_shortcut_run_to_completion(before: c_long) -> c_long;
}

thread_local! {
    /// The thread's scheduling before run to completion was turned on, as c/host.c packs it.
    static BEFORE: Cell<Option<c_long>> = const { Cell::new(None) };
}

/// Turns run to completion on or off for the calling thread: the scheduler does not preempt it
/// until it blocks. Threads that never block leave 5 % of each second to the others. At ring 3 this
/// needs CAP_SYS_NICE.
pub fn run_to_completion(on: bool) -> io::Result<()> {
    let before = BEFORE.get();
    if on == before.is_some() {
        return Ok(());
    }
    // SAFETY: the function takes a number.
    match unsafe { __ukl_shortcut_run_to_completion(before.unwrap_or(-1)) } {
        result if result < 0 => Err(io::Error::from_raw_os_error(-result as i32)),
        result => {
            BEFORE.set(on.then_some(result));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scheduling policy of the calling thread (`sched_getscheduler(2)`).
    fn policy() -> i32 {
        unsafe extern "C" {
            fn sched_getscheduler(pid: i32) -> i32;
        }
        // SAFETY: the function takes a number.
        unsafe { sched_getscheduler(0) }
    }

    #[test]
    fn a_thread_gets_its_scheduling_back() {
        const FIFO: i32 = 1;
        const EPERM: i32 = 1;
        let before = policy();
        match run_to_completion(true) {
            Ok(()) => assert_eq!(policy() & 0xff, FIFO),
            // The machine does not allow it.
            Err(error) => assert_eq!(error.raw_os_error(), Some(EPERM)),
        }
        run_to_completion(false).unwrap();
        assert_eq!(policy(), before);
    }
}
