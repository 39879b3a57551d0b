//! Run to completion.

use std::arch::global_asm;
use std::cell::Cell;
use std::ffi::c_int;
use std::ffi::c_long;
use std::io;

// Without a kernel to call, there is the way of an ordinary process.
global_asm!(
    ".pushsection .text.__ukl_shortcut_run_to_completion,\"ax\",@progbits",
    ".weak __ukl_shortcut_run_to_completion",
    ".type __ukl_shortcut_run_to_completion,@function",
    "__ukl_shortcut_run_to_completion:",
    ".cfi_startproc",
    "mov rax, -38", // ENOSYS
    "ret",
    ".cfi_endproc",
    ".size __ukl_shortcut_run_to_completion,.-__ukl_shortcut_run_to_completion",
    ".popsection",
);

unsafe extern "C" {
    fn __ukl_shortcut_run_to_completion(before: c_long) -> c_long;
    fn sched_getscheduler(pid: c_int) -> c_int;
    fn sched_getparam(pid: c_int, param: *mut c_int) -> c_int;
    fn sched_setscheduler(pid: c_int, policy: c_int, param: *const c_int) -> c_int;
    fn getpriority(which: c_int, who: u32) -> c_int;
    fn setpriority(which: c_int, who: u32, priority: c_int) -> c_int;
}

const ENOSYS: c_long = 38;
const FIFO: c_int = 1;
const RESET_ON_FORK: c_int = 0x4000_0000;
const HIGHEST: c_int = 99;

thread_local! {
    /// What this thread was before, if it runs to completion: policy, priority, nice value from 0.
    static BEFORE: Cell<Option<c_long>> = const { Cell::new(None) };
}

/// The calling thread is not preempted until it blocks, or turns this off again. Threads that never
/// block leave the others a twentieth of each second. At ring 3 it takes CAP_SYS_NICE.
pub fn run_to_completion(on: bool) -> io::Result<()> {
    let before = BEFORE.get();
    if on == before.is_some() {
        return Ok(());
    }
    let wanted = before.unwrap_or(-1);
    // SAFETY: it takes a number.
    let result = match unsafe { __ukl_shortcut_run_to_completion(wanted) } {
        result if result == -ENOSYS => as_a_process(wanted)?,
        result if result < 0 => return Err(io::Error::from_raw_os_error(-result as i32)),
        result => result,
    };
    BEFORE.set(on.then_some(result));
    Ok(())
}

fn as_a_process(before: c_long) -> io::Result<c_long> {
    let mut priority = 0;
    // SAFETY: these ask and set what the calling thread is, by numbers that live long enough.
    unsafe {
        let policy = sched_getscheduler(0);
        if policy < 0 || sched_getparam(0, &mut priority) < 0 {
            return Err(io::Error::last_os_error());
        }
        let nice = getpriority(0, 0) + 20;
        let now = c_long::from(policy & 0xff | priority << 8 | nice << 16);
        let set = if before < 0 {
            sched_setscheduler(0, FIFO | RESET_ON_FORK, &HIGHEST)
        } else {
            let priority = (before >> 8 & 0xff) as c_int;
            match sched_setscheduler(0, (before & 0xff) as c_int, &priority) {
                0 => setpriority(0, 0, (before >> 16 & 0xff) as c_int - 20),
                failed => failed,
            }
        };
        match set {
            0 => Ok(now),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_afterwards_what_it_was() {
        // SAFETY: it asks for a number.
        let policy = || unsafe { sched_getscheduler(0) };
        let before = policy();
        match run_to_completion(true) {
            Ok(()) => assert_eq!(policy() & 0xff, FIFO),
            // A machine may keep it from us.
            Err(error) => assert_eq!(error.raw_os_error(), Some(1)),
        }
        run_to_completion(false).unwrap();
        assert_eq!(policy(), before);
    }
}
