//! How the program gets into the kernel and back: what the image says, and what ukl-run says
//! instead.
//!
//! It is a part of the thread's personality(2), whose bits the kernel hands on over fork, clone and
//! exec (`arch/x86/include/asm/ukl.h` names them). A program may change it for a thread at any time.

/// System calls call their kernel functions without all the work of an entry.
const BYPASS: u32 = 0x1000_0000;

/// Where the limit of calls between two with all work stands.
const LIMIT_SHIFT: u32 = 8;

/// What was said, as far as it was.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    bypass: Option<bool>,
    limit: Option<u8>,
}

impl Policy {
    /// Takes a setting. None if there is none of that name, or no such value.
    pub fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match (key, value) {
            ("transition", "base") => self.bypass = Some(false),
            ("transition", "bypass") => self.bypass = Some(true),
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
        }
    }

    /// The bits of the personality.
    pub fn personality(self) -> u32 {
        let bypass = if self.bypass == Some(true) { BYPASS } else { 0 };
        bypass | u32::from(self.limit.unwrap_or(0)) << LIMIT_SHIFT
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
    }

    #[test]
    fn wrong_settings_are_refused() {
        for wrong in [
            ("transition", "warp"),
            ("bypass-limit", "0"),
            ("bypass-limit", "256"),
            ("speed", "9"),
        ] {
            assert_eq!(policy(&[wrong]), None, "{wrong:?}");
        }
    }
}
