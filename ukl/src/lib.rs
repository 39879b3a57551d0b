//! Calls that a UKL program has beyond those of libc: what `ukl.h` is to C.
//!
//! A program that uses them builds and runs anywhere: linked by the ordinary linker, on the build
//! host and at ring 3, each is the ordinary call.
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

/// How a thread gets into the kernel and back, as bits of its personality(2). The image sets it as
/// its link said; threads and processes hand it on to what they start. At ring 3 it means nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// System calls call the kernel's own functions, without all that Linux does on the way.
    pub bypass: bool,
    /// Faults and interrupts return without an `iret`.
    pub ret: bool,
    /// Bypassing calls use the thread's own stack (images linked with `--ukl-stack=shared`).
    pub shared: bool,
    /// Of so many bypassing calls and one, one does all that Linux does on the way; 0 is the
    /// default, 50.
    pub bypass_limit: u8,
}

const BYPASS: u32 = 0x1000_0000;
const RET: u32 = 0x2000_0000;
const SHARED: u32 = 0x4000_0000;
const LIMIT_SHIFT: u32 = 8;
const ALL: u32 = BYPASS | RET | SHARED | 0xff << LIMIT_SHIFT;

unsafe extern "C" {
    fn personality(persona: c_ulong) -> c_int;
}

impl Policy {
    /// That of the calling thread.
    pub fn get() -> Policy {
        let bits = now();
        Policy {
            bypass: bits & BYPASS != 0,
            ret: bits & RET != 0,
            shared: bits & SHARED != 0,
            bypass_limit: (bits >> LIMIT_SHIFT) as u8,
        }
    }

    /// Makes it that of the calling thread.
    pub fn set(self) -> io::Result<()> {
        let bit = |wanted, bits| if wanted { bits } else { 0 };
        let bits = bit(self.bypass, BYPASS)
            | bit(self.ret, RET)
            | bit(self.shared, SHARED)
            | u32::from(self.bypass_limit) << LIMIT_SHIFT;
        // SAFETY: it takes a number.
        match unsafe { personality(c_ulong::from(now() & !ALL | bits)) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}

/// The whole personality of the calling thread.
fn now() -> u32 {
    // SAFETY: it takes a number; this one asks for the present personality.
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
