//! Functions that UKL adds to those of libc. This is the counterpart of `ukl.h` for Rust.
//!
//! A program that uses them can be built and run anywhere. In a program of the ordinary linker, on
//! the build host and at ring 3, each function makes the ordinary system call.
//!
//! ```
//! use std::io::Write as _;
//! use std::os::fd::AsRawFd as _;
//!
//! let (mut ours, theirs) = std::os::unix::net::UnixStream::pair()?;
//! ours.write_all(b"hello")?;
//! let mut buffer = [0; 16];
//! let count = ukl::recv(theirs.as_raw_fd(), &mut buffer, 0)?;
//! assert_eq!(&buffer[..count], b"hello");
//! # Ok::<(), std::io::Error>(())
//! ```

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

/// Permits the linker to take undefined symbols from the kernel. Without this, or the option
/// `--ukl-kernel-symbols`, such a symbol is an error, because it most often means that a library was
/// forgotten.
///
/// ```
/// ukl::kernel_symbols!(vmalloc, vfree);
///
/// unsafe extern "C" {
///     fn vmalloc(size: usize) -> *mut u8;
///     fn vfree(address: *const u8);
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! kernel_symbols {
    ($($name:ident),+ $(,)?) => {
        ::core::arch::global_asm!(
            ".pushsection .ukl_kernel_symbols,\"e\",@progbits",
            $(concat!(".asciz \"", stringify!($name), "\""),)+
            ".popsection",
        );
    };
}

mod completion;
mod shortcuts;

use std::ffi::c_int;
use std::ffi::c_ulong;
use std::io;

pub use completion::run_to_completion;
pub use shortcuts::EpollEvent;
pub use shortcuts::epoll_wait;
pub use shortcuts::pread;
pub use shortcuts::pwrite;
pub use shortcuts::read;
pub use shortcuts::recv;
pub use shortcuts::send;
pub use shortcuts::write;

/// How a thread enters the kernel and returns from it: bits of its personality(2). The image sets
/// the policy that the options of its link chose. Threads and processes inherit it. At ring 3 it has
/// no effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// System calls call the kernel's functions directly (`--ukl-transition=bypass`).
    pub bypass: bool,
    /// The kernel returns from faults and interrupts by a jump instead of the instruction `iret`
    /// (`--ukl-return=jump`).
    pub return_jump: bool,
    /// Bypassed calls use the program's stack. This requires an image that was linked with
    /// `--ukl-stack=shared`.
    pub shared: bool,
    /// The number of bypassed calls after which one takes the full path. 0 means the default, 50.
    pub bypass_limit: u8,
}

const BYPASS: u32 = 0x1000_0000;
const RETURN_JUMP: u32 = 0x2000_0000;
const SHARED: u32 = 0x4000_0000;
const LIMIT_SHIFT: u32 = 8;
const ALL: u32 = BYPASS | RETURN_JUMP | SHARED | 0xff << LIMIT_SHIFT;

unsafe extern "C" {
    fn personality(persona: c_ulong) -> c_int;
}

impl Policy {
    /// The policy of the calling thread.
    pub fn get() -> Policy {
        let bits = now();
        Policy {
            bypass: bits & BYPASS != 0,
            return_jump: bits & RETURN_JUMP != 0,
            shared: bits & SHARED != 0,
            bypass_limit: (bits >> LIMIT_SHIFT) as u8,
        }
    }

    /// Sets the policy of the calling thread.
    pub fn set(self) -> io::Result<()> {
        let bit = |wanted, bits| if wanted { bits } else { 0 };
        let bits = bit(self.bypass, BYPASS)
            | bit(self.return_jump, RETURN_JUMP)
            | bit(self.shared, SHARED)
            | u32::from(self.bypass_limit) << LIMIT_SHIFT;
        // SAFETY: the call reads and writes no memory of this process.
        match unsafe { personality(c_ulong::from(now() & !ALL | bits)) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// All bits of the calling thread's personality.
fn now() -> u32 {
    // SAFETY: the call reads and writes no memory of this process. With this argument, it only
    // returns the personality.
    unsafe { personality(0xffff_ffff) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_what_was_set() {
        let before = Policy::get();
        let policy = Policy {
            bypass: true,
            bypass_limit: 7,
            ..Policy::default()
        };
        policy.set().unwrap();
        assert_eq!(Policy::get(), policy);
        before.set().unwrap();
        assert_eq!(Policy::get(), before);
    }
}
