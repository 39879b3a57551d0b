//! How the program gets into the kernel and back: what the image says, and what ukl-run says
//! instead.
//!
//! It is a part of the thread's personality(2), whose bits the kernel hands on over fork, clone and
//! exec (`arch/x86/include/asm/ukl.h` names them). A program may change it for a thread at any time.

use std::fs;

use crate::error::Result;
use crate::failed;

/// System calls call their kernel functions without all the work of an entry.
const BYPASS: u32 = 0x1000_0000;

/// Faults and interrupts return without an IRET.
const RET: u32 = 0x2000_0000;

/// Threads share their stacks with the kernel.
const SHARED: u32 = 0x4000_0000;

/// Addresses are not random (personality(2)): the farther a stack is from the end of the program's
/// half, the more addresses its shared view takes in the kernel's.
const NO_RANDOMIZE: u32 = 0x0004_0000;

/// Where the kernel is told how much of a stack is shared.
const STACK_SIZE: &str = "/sys/module/ukl_code/parameters/stack_size";

/// Where the limit of calls between two with all work stands.
const LIMIT_SHIFT: u32 = 8;

/// What was said, as far as it was.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    bypass: Option<bool>,
    limit: Option<u8>,
    ret: Option<bool>,
    shared: Option<bool>,
    stack_size: Option<u32>,
}

impl Policy {
    /// Takes a setting. None if there is none of that name, or no such value.
    pub fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match (key, value) {
            ("transition", "base") => self.bypass = Some(false),
            ("transition", "bypass") => self.bypass = Some(true),
            ("return", "iret") => self.ret = Some(false),
            ("return", "jump" | "ret") => self.ret = Some(true),
            ("stack", "kernel" | "own") => self.shared = Some(false),
            ("stack", "shared") => self.shared = Some(true),
            ("stack-size", bytes) => self.stack_size = Some(bytes.parse().ok()?),
            ("bypass-limit", number) => {
                self.limit = Some(number.parse().ok().filter(|&limit| limit > 0)?);
            }
            _ => return None,
        }
        Some(())
    }

    /// This, and what the other says where this says nothing.
    pub fn or(self, other: Policy) -> Policy {
        Policy {
            bypass: self.bypass.or(other.bypass),
            limit: self.limit.or(other.limit),
            ret: self.ret.or(other.ret),
            shared: self.shared.or(other.shared),
            stack_size: self.stack_size.or(other.stack_size),
        }
    }

    /// The bits of the personality.
    pub fn personality(self) -> u32 {
        let bit = |wanted, bits| if wanted == Some(true) { bits } else { 0 };
        bit(self.bypass, BYPASS)
            | bit(self.ret, RET)
            | bit(self.shared, SHARED | NO_RANDOMIZE)
            | u32::from(self.limit.unwrap_or(0)) << LIMIT_SHIFT
    }

    /// Whether threads share their stacks, which only the slots of some images do.
    pub fn shares_stacks(self) -> bool {
        self.shared == Some(true)
    }

    /// Tells the kernel what is not a thread's own matter.
    pub fn tell(self) -> Result<()> {
        let Some(size) = self.stack_size else {
            return Ok(());
        };
        fs::write(STACK_SIZE, size.to_string()).map_err(failed(STACK_SIZE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(settings: &[(&str, &str)]) -> Option<Policy> {
        let mut policy = Policy::default();
        for (key, value) in settings {
            policy.set(key, value)?;
        }
        Some(policy)
    }

    #[test]
    fn settings_become_bits() {
        assert_eq!(Policy::default().personality(), 0);
        let bypass = policy(&[("transition", "bypass"), ("bypass-limit", "7")]).unwrap();
        assert_eq!(bypass.personality(), 0x1000_0700);
        let base = policy(&[("transition", "base")]).unwrap();
        assert_eq!(base.or(bypass).personality(), 0x700);
        assert_eq!(bypass.or(base).personality(), 0x1000_0700);
        let all = policy(&[
            ("return", "ret"),
            ("stack", "shared"),
            ("stack-size", "65536"),
        ]);
        assert_eq!(all.unwrap().personality(), 0x6004_0000);
        let old = policy(&[("return", "ret"), ("stack", "own")]);
        assert_eq!(old, policy(&[("return", "jump"), ("stack", "kernel")]));
        let less = policy(&[("return", "iret"), ("stack", "kernel")]).unwrap();
        assert_eq!(less.or(all.unwrap()).personality(), 0);
    }

    #[test]
    fn wrong_settings_are_refused() {
        for wrong in [
            ("transition", "warp"),
            ("bypass-limit", "0"),
            ("bypass-limit", "256"),
            ("speed", "9"),
            ("return", "sysret"),
            ("stack", "none"),
            ("stack-size", "64K"),
        ] {
            assert_eq!(policy(&[wrong]), None, "{wrong:?}");
        }
    }
}
