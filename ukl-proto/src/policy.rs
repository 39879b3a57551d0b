//! The policy: how a program enters the kernel and returns.
//!
//! The image has one, from the options of the link; options of `ukl-run` take precedence over it.
//! `ukl-init` turns it into bits of personality(2), which a thread passes on over fork, clone and
//! exec. `arch/x86/include/asm/ukl.h` of the kernel defines the bits.

use std::num::NonZeroU8;

/// UKL_POLICY_BYPASS: system calls call their kernel functions without the full path.
pub const BYPASS: u32 = 0x1000_0000;

/// UKL_POLICY_RETURN_JUMP: faults and interrupts return without an IRET.
pub const RETURN_JUMP: u32 = 0x2000_0000;

/// UKL_POLICY_SHARED: kernel functions run on the program's stack.
pub const SHARED: u32 = 0x4000_0000;

/// UKL_POLICY_LIMIT_SHIFT: the position of the 8 bits that hold the bypass limit.
pub const LIMIT_SHIFT: u32 = 8;

/// ADDR_NO_RANDOMIZE of personality(2). Shared stacks need it: the farther a stack is from the end
/// of the lower half, the larger is the address range that its mapping needs in the upper half.
pub const ADDR_NO_RANDOMIZE: u32 = 0x0004_0000;

/// A setting with a fixed set of values.
pub trait Setting: Copy + PartialEq + Sized + 'static {
    /// The key of the setting, which is also the name of the option.
    const KEY: &'static str;

    /// All values, the default first.
    const ALL: &'static [Self];

    /// The names of the possible values, for error messages.
    const EXPECTED: &'static str;

    /// The name of the value.
    fn name(self) -> &'static str;

    /// Its name in version 0 of the protocol, which all tools still accept.
    fn alias(self) -> Option<&'static str>;

    /// What the value means, in one sentence.
    fn about(self) -> &'static str;

    /// The value of this name.
    fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|value| value.name() == name || value.alias() == Some(name))
    }

    /// The name that a reader of this version of the protocol knows.
    fn name_in(self, version: u32) -> &'static str {
        match self.alias() {
            Some(alias) if version == 0 => alias,
            _ => self.name(),
        }
    }
}

/// Declares a [`Setting`]: each value with its name, its alias and its meaning.
macro_rules! setting {
    (
        $(#[$about:meta])*
        pub enum $type:ident($key:literal, $expected:literal) {
            $($value:ident = ($name:literal, $alias:expr, $meaning:literal),)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type {
            $(#[doc = $meaning] $value,)*
        }

        impl Setting for $type {
            const KEY: &'static str = $key;
            const ALL: &'static [Self] = &[$($type::$value,)*];
            const EXPECTED: &'static str = $expected;

            fn name(self) -> &'static str {
                match self {
                    $($type::$value => $name,)*
                }
            }

            fn alias(self) -> Option<&'static str> {
                match self {
                    $($type::$value => $alias,)*
                }
            }

            fn about(self) -> &'static str {
                match self {
                    $($type::$value => $meaning,)*
                }
            }
        }
    };
}

setting! {
    /// How a system call enters the kernel.
    pub enum Transition("transition", "base or bypass") {
        Bypass = ("bypass", None, "Call the kernel function of the system call directly"),
        Base = ("base", None, "Take the full path: kernel stack, full pt_regs, all entry and exit work"),
    }
}

setting! {
    /// How the kernel returns to the program after faults and interrupts.
    pub enum Return("return", "iret or jump") {
        Iret = ("iret", None, "Return by the IRET instruction"),
        Jump = ("jump", Some("ret"), "Restore the registers and jump, without IRET"),
    }
}

setting! {
    /// The stack that a kernel function runs on when a system call bypasses.
    pub enum Stack("stack", "kernel or shared") {
        Kernel = ("kernel", Some("own"), "Run on the thread's kernel stack"),
        Shared = ("shared", None, "Run on the program's stack, which is mapped into the kernel's half too"),
    }
}

/// The name of the setting [`Policy::bypass_limit`].
pub const BYPASS_LIMIT: &str = "bypass-limit";

/// What a bypass limit can be, for error messages.
pub const BYPASS_LIMIT_EXPECTED: &str = "a number from 1 to 255";

/// The settings that were made. A setting that was not made is `None`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How system calls enter the kernel.
    pub transition: Option<Transition>,
    /// After how many bypassed system calls one takes the full path.
    pub bypass_limit: Option<NonZeroU8>,
    /// How faults and interrupts return.
    pub return_by: Option<Return>,
    /// The stack of bypassed system calls.
    pub stack: Option<Stack>,
}

/// A setting that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingError {
    /// There is no setting of this name.
    UnknownName,
    /// The value is invalid. The text describes the valid values.
    BadValue(&'static str),
}

impl Policy {
    /// Makes a setting by its name. The last value for a name takes effect.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        fn read<S: Setting>(value: &str) -> Result<Option<S>, SettingError> {
            match S::from_name(value) {
                Some(value) => Ok(Some(value)),
                None => Err(SettingError::BadValue(S::EXPECTED)),
            }
        }

        match name {
            Transition::KEY => self.transition = read(value)?,
            Return::KEY => self.return_by = read(value)?,
            Stack::KEY => self.stack = read(value)?,
            BYPASS_LIMIT => match value.parse() {
                Ok(limit) => self.bypass_limit = Some(limit),
                Err(_) => return Err(SettingError::BadValue(BYPASS_LIMIT_EXPECTED)),
            },
            _ => return Err(SettingError::UnknownName),
        }
        Ok(())
    }

    /// The settings that were made, by name, for a reader of this version of the protocol.
    pub fn settings(&self, version: u32) -> Vec<(&'static str, String)> {
        fn add<S: Setting>(
            settings: &mut Vec<(&'static str, String)>,
            value: Option<S>,
            version: u32,
        ) {
            settings.extend(value.map(|value| (S::KEY, value.name_in(version).to_owned())));
        }

        let mut settings = Vec::new();
        add(&mut settings, self.transition, version);
        settings.extend(
            self.bypass_limit
                .map(|limit| (BYPASS_LIMIT, limit.to_string())),
        );
        add(&mut settings, self.return_by, version);
        add(&mut settings, self.stack, version);
        settings
    }

    /// These settings, and those of `other` where these have none.
    pub fn or(self, other: Policy) -> Policy {
        Policy {
            transition: self.transition.or(other.transition),
            bypass_limit: self.bypass_limit.or(other.bypass_limit),
            return_by: self.return_by.or(other.return_by),
            stack: self.stack.or(other.stack),
        }
    }

    /// Whether kernel functions run on the program's stack.
    pub fn shares_stacks(self) -> bool {
        self.stack == Some(Stack::Shared)
    }

    /// The bits of personality(2).
    pub fn personality(self) -> u32 {
        let bits = |wanted: bool, bits| if wanted { bits } else { 0 };
        bits(self.transition == Some(Transition::Bypass), BYPASS)
            | bits(self.return_by == Some(Return::Jump), RETURN_JUMP)
            | bits(self.shares_stacks(), SHARED | ADDR_NO_RANDOMIZE)
            | self.bypass_limit.map_or(0, |limit| u32::from(limit.get())) << LIMIT_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(settings: &[(&str, &str)]) -> Result<Policy, SettingError> {
        let mut policy = Policy::default();
        for (name, value) in settings {
            policy.set(name, value)?;
        }
        Ok(policy)
    }

    #[test]
    fn settings_become_bits() {
        assert_eq!(Policy::default().personality(), 0);
        let bypass = policy(&[("transition", "bypass"), ("bypass-limit", "7")]).unwrap();
        assert_eq!(bypass.personality(), 0x1000_0700);
        let base = policy(&[("transition", "base")]).unwrap();
        assert_eq!(base.or(bypass).personality(), 0x700);
        assert_eq!(bypass.or(base).personality(), 0x1000_0700);
        let all = policy(&[("return", "jump"), ("stack", "shared")]).unwrap();
        assert_eq!(all.personality(), 0x6004_0000);
        let less = policy(&[("return", "iret"), ("stack", "kernel")]).unwrap();
        assert_eq!(less.or(all).personality(), 0);
    }

    #[test]
    fn old_names_mean_the_same() {
        for (old, new) in [
            (("return", "ret"), ("return", "jump")),
            (("stack", "own"), ("stack", "kernel")),
        ] {
            assert_eq!(policy(&[old]), policy(&[new]));
            assert_eq!(policy(&[new]).unwrap().settings(0), [(old.0, old.1.into())]);
            assert_eq!(policy(&[old]).unwrap().settings(1), [(new.0, new.1.into())]);
        }
    }

    #[test]
    fn wrong_settings_are_refused() {
        for (name, value, expected) in [
            ("transition", "warp", Transition::EXPECTED),
            ("bypass-limit", "0", BYPASS_LIMIT_EXPECTED),
            ("bypass-limit", "256", BYPASS_LIMIT_EXPECTED),
            ("return", "sysret", Return::EXPECTED),
            ("stack", "none", Stack::EXPECTED),
        ] {
            let error = SettingError::BadValue(expected);
            assert_eq!(policy(&[(name, value)]), Err(error), "{name}={value}");
        }
        let unknown = policy(&[("speed", "9")]);
        assert_eq!(unknown, Err(SettingError::UnknownName));
    }

    #[test]
    fn error_messages_name_every_value() {
        fn check<S: Setting>() {
            let names: Vec<&str> = S::EXPECTED.split(" or ").collect();
            assert_eq!(names.len(), S::ALL.len());
            for value in S::ALL {
                assert!(names.contains(&value.name()), "{}", value.name());
            }
        }
        check::<Transition>();
        check::<Return>();
        check::<Stack>();
    }
}
