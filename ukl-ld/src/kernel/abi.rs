//! The kernel's ABI: the numbers on which the kernel and the code that ukl-ld writes must agree.
//!
//! `arch/x86/include/asm/ukl.h` of the patched kernel defines them. `make kernel` writes the values
//! that the compiler saw into the file `abi` of the kernel archive: a first line `ukl-abi VERSION`,
//! then a line `NAME VALUE` for each number. A `#` starts a comment. Names that ukl-ld does not
//! know are ignored, so that a kernel can add names.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::error::Error;
use crate::error::Result;

/// The version that this ukl-ld knows: UKL_ABI_VERSION.
pub const VERSION: u32 = 2;

/// The name of the file in the kernel archive.
pub const FILE: &str = "abi";

/// The numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abi {
    /// UKL_EF: the `e_flags` of a program that starts at ring 0.
    pub e_flags: u32,
    /// The layout of all thunks.
    pub thunk: ThunkLayout,
    /// The layout of thunks for shared stacks.
    pub shared: SharedLayout,
    /// The word that a thunk passes to `entry_UKL_exit`.
    pub exit: ExitWord,
    /// The per-CPU variables of the kernel that a thunk uses.
    pub cpu: CpuOffsets,
    /// UKL_EXIT_WORK: the thread flags that make a call leave by the full path. They depend on the
    /// kernel's configuration.
    pub exit_work: u32,
    /// The policy bits of personality(2).
    pub policy: PolicyBits,
}

/// The offsets in a thunk that the kernel uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThunkLayout {
    /// UKL_THUNK_SIZE: the size of a thunk, which is also its alignment.
    pub size: usize,
    /// UKL_THUNK_NUMBER: the 32-bit number of the system call.
    pub number: usize,
    /// UKL_THUNK_RESTART: the end of the SYSCALL instruction, to which a restarted call returns.
    pub restart: usize,
    /// UKL_THUNK_SWITCH: the instruction that loads the kernel stack.
    pub switch: usize,
    /// UKL_THUNK_RETURN: the instruction to which the kernel function returns.
    pub ret: usize,
    /// UKL_THUNK_POP: the instruction that loads the program's stack again.
    pub pop: usize,
    /// UKL_THUNK_PRESERVED: the mask of the arguments that the thunk has pushed.
    pub preserved: usize,
}

/// The offsets in a thunk for shared stacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLayout {
    /// UKL_SHARED_SWITCH: the instruction that moves the stack pointer to the kernel's mapping.
    pub switch: usize,
    /// UKL_SHARED_RETURN: the instruction to which the kernel function returns.
    pub ret: usize,
    /// UKL_SHARED_POP: the instruction that moves the stack pointer back to the program's mapping.
    pub pop: usize,
    /// UKL_SHARED_UNDO: where the thunk continues if the kernel has no mapping of the stack. The
    /// code there drops the pushed arguments and jumps to the next thunk.
    pub undo: usize,
}

/// The parts of the exit word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitWord {
    /// UKL_EXIT_NUMBER_MASK: the bits of the system call's number.
    pub number_mask: u32,
    /// UKL_EXIT_PRESERVED_SHIFT: where the mask of the pushed arguments starts.
    pub preserved_shift: u32,
}

/// Offsets in `struct ukl_cpu` and in `struct pcpu_hot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuOffsets {
    /// UKL_CPU_DELTA: the distance from a shared stack to the kernel's mapping of it.
    pub delta: u64,
    /// UKL_CPU_SP: the kernel stack for calls of kernel functions.
    pub sp: u64,
    /// UKL_CPU_LOW: the lowest address of the shared part of the stack.
    pub low: u64,
    /// UKL_CPU_LEFT: how many more calls may bypass the full path.
    pub left: u64,
    /// UKL_CPU_CURRENT: `current_task` in `struct pcpu_hot`.
    pub current: u64,
}

/// The policy bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyBits {
    /// UKL_POLICY_BYPASS.
    pub bypass: u32,
    /// UKL_POLICY_RETURN_JUMP.
    pub return_jump: u32,
    /// UKL_POLICY_SHARED.
    pub shared: u32,
    /// UKL_POLICY_LIMIT_SHIFT.
    pub limit_shift: u32,
}

impl Abi {
    /// The values of version 2, for thunks that never run at ring 0 and for tests. A test compares
    /// them with the kernel archive.
    pub const V2: Abi = Abi {
        e_flags: 0x554b_4c30,
        thunk: ThunkLayout {
            size: 128,
            number: 1,
            restart: 7,
            switch: 33,
            ret: 48,
            pop: 65,
            preserved: 127,
        },
        shared: SharedLayout {
            switch: 39,
            ret: 53,
            pop: 70,
            undo: 112,
        },
        exit: ExitWord {
            number_mask: 0xff_ffff,
            preserved_shift: 24,
        },
        cpu: CpuOffsets {
            delta: 8,
            sp: 16,
            low: 24,
            left: 32,
            current: 0,
        },
        exit_work: 0,
        policy: PolicyBits {
            bypass: 0x1000_0000,
            return_jump: 0x2000_0000,
            shared: 0x4000_0000,
            limit_shift: 8,
        },
    };

    /// Reads the file of a kernel archive.
    pub fn read(archive: &Path) -> Result<Abi> {
        let path = archive.join(FILE);
        let wrong = |what: String| Error::Kernel {
            path: path.clone(),
            what,
        };
        let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let version = version(&text)
            .ok_or_else(|| wrong("the first line is not `ukl-abi VERSION'".into()))?;
        if version != VERSION {
            return Err(Error::AbiVersion {
                archive: archive.to_owned(),
                version,
                expected: VERSION,
            });
        }
        parse(&text).map_err(wrong)
    }
}

impl fmt::Display for Abi {
    /// Writes the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ukl-abi {VERSION}")?;
        for (name, value) in [
            ("UKL_EF", self.e_flags.into()),
            ("UKL_THUNK_SIZE", self.thunk.size as u64),
            ("UKL_THUNK_NUMBER", self.thunk.number as u64),
            ("UKL_THUNK_RESTART", self.thunk.restart as u64),
            ("UKL_THUNK_SWITCH", self.thunk.switch as u64),
            ("UKL_THUNK_RETURN", self.thunk.ret as u64),
            ("UKL_THUNK_POP", self.thunk.pop as u64),
            ("UKL_THUNK_PRESERVED", self.thunk.preserved as u64),
            ("UKL_SHARED_SWITCH", self.shared.switch as u64),
            ("UKL_SHARED_RETURN", self.shared.ret as u64),
            ("UKL_SHARED_POP", self.shared.pop as u64),
            ("UKL_SHARED_UNDO", self.shared.undo as u64),
            ("UKL_EXIT_NUMBER_MASK", self.exit.number_mask.into()),
            ("UKL_EXIT_PRESERVED_SHIFT", self.exit.preserved_shift.into()),
            ("UKL_CPU_DELTA", self.cpu.delta),
            ("UKL_CPU_SP", self.cpu.sp),
            ("UKL_CPU_LOW", self.cpu.low),
            ("UKL_CPU_LEFT", self.cpu.left),
            ("UKL_CPU_CURRENT", self.cpu.current),
            ("UKL_TASK_FLAGS", 0),
            ("UKL_EXIT_WORK", self.exit_work.into()),
            ("UKL_POLICY_BYPASS", self.policy.bypass.into()),
            ("UKL_POLICY_RETURN_JUMP", self.policy.return_jump.into()),
            ("UKL_POLICY_SHARED", self.policy.shared.into()),
            ("UKL_POLICY_LIMIT_SHIFT", self.policy.limit_shift.into()),
        ] {
            writeln!(f, "{name} {value:#x}")?;
        }
        Ok(())
    }
}

/// The version in the first line.
fn version(text: &str) -> Option<u32> {
    let line = text.lines().next()?;
    line.strip_prefix("ukl-abi ")?.trim().parse().ok()
}

/// Reads the lines after the first.
fn parse(text: &str) -> Result<Abi, String> {
    let mut values = HashMap::new();
    for line in text.lines().skip(1) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(name) = words.next() else { continue };
        let value = words.next().and_then(number);
        let (Some(value), None) = (value, words.next()) else {
            return Err(format!("`{}' is not `NAME VALUE'", line.trim()));
        };
        if values.insert(name, value).is_some() {
            return Err(format!("defines {name} twice"));
        }
    }
    let wide = |name: &str| {
        let value = values.get(name).copied();
        value.ok_or_else(|| format!("does not define {name}"))
    };
    let word = |name: &str| {
        u32::try_from(wide(name)?).map_err(|_| format!("{name} does not fit in 32 bits"))
    };
    let abi = Abi {
        e_flags: word("UKL_EF")?,
        thunk: ThunkLayout {
            size: word("UKL_THUNK_SIZE")? as usize,
            number: word("UKL_THUNK_NUMBER")? as usize,
            restart: word("UKL_THUNK_RESTART")? as usize,
            switch: word("UKL_THUNK_SWITCH")? as usize,
            ret: word("UKL_THUNK_RETURN")? as usize,
            pop: word("UKL_THUNK_POP")? as usize,
            preserved: word("UKL_THUNK_PRESERVED")? as usize,
        },
        shared: SharedLayout {
            switch: word("UKL_SHARED_SWITCH")? as usize,
            ret: word("UKL_SHARED_RETURN")? as usize,
            pop: word("UKL_SHARED_POP")? as usize,
            undo: word("UKL_SHARED_UNDO")? as usize,
        },
        exit: ExitWord {
            number_mask: word("UKL_EXIT_NUMBER_MASK")?,
            preserved_shift: word("UKL_EXIT_PRESERVED_SHIFT")?,
        },
        cpu: CpuOffsets {
            delta: wide("UKL_CPU_DELTA")?,
            sp: wide("UKL_CPU_SP")?,
            low: wide("UKL_CPU_LOW")?,
            left: wide("UKL_CPU_LEFT")?,
            current: wide("UKL_CPU_CURRENT")?,
        },
        exit_work: word("UKL_EXIT_WORK")?,
        policy: PolicyBits {
            bypass: word("UKL_POLICY_BYPASS")?,
            return_jump: word("UKL_POLICY_RETURN_JUMP")?,
            shared: word("UKL_POLICY_SHARED")?,
            limit_shift: word("UKL_POLICY_LIMIT_SHIFT")?,
        },
    };
    // The instruction that tests the flags has no displacement.
    match wide("UKL_TASK_FLAGS")? {
        0 => {}
        other => return Err(format!("UKL_TASK_FLAGS is {other}; thunks need 0")),
    }
    let size = abi.thunk.size;
    if !size.is_power_of_two() || !(64..=4096).contains(&size) {
        return Err(format!(
            "UKL_THUNK_SIZE is {size}; thunks need a power of two from 64 to 4096"
        ));
    }
    let positions = [
        abi.thunk.number,
        abi.thunk.restart,
        abi.thunk.switch,
        abi.thunk.ret,
        abi.thunk.pop,
        abi.thunk.preserved,
        abi.shared.switch,
        abi.shared.ret,
        abi.shared.pop,
        abi.shared.undo,
    ];
    if let Some(position) = positions.iter().find(|position| **position >= size) {
        return Err(format!(
            "has the position {position} in a thunk of {size} bytes"
        ));
    }
    if abi.exit.preserved_shift > 26 {
        return Err("UKL_EXIT_PRESERVED_SHIFT leaves no room for six arguments".into());
    }
    Ok(abi)
}

/// Parses a decimal number, or a hexadecimal number with the prefix `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 2 with comments, both kinds of numbers and an unknown name.
    const TEXT: &str = "ukl-abi 2\n\
        # Programs\n\
        UKL_EF 0x554b4c30\n\
        UKL_THUNK_SIZE 128   # bytes\n\
        UKL_THUNK_NUMBER 1\nUKL_THUNK_RESTART 7\nUKL_THUNK_SWITCH 33\nUKL_THUNK_RETURN 48\n\
        UKL_THUNK_POP 65\nUKL_THUNK_PRESERVED 127\n\
        UKL_SHARED_SWITCH 39\nUKL_SHARED_RETURN 53\nUKL_SHARED_POP 70\nUKL_SHARED_UNDO 112\n\
        UKL_EXIT_NUMBER_MASK 0xffffff\nUKL_EXIT_PRESERVED_SHIFT 24\n\
        UKL_CPU_DELTA 8\nUKL_CPU_SP 16\nUKL_CPU_LOW 24\nUKL_CPU_LEFT 32\nUKL_CPU_CURRENT 0\n\
        UKL_TASK_FLAGS 0\nUKL_EXIT_WORK 0\n\
        UKL_POLICY_BYPASS 0x10000000\nUKL_POLICY_RETURN_JUMP 0x20000000\n\
        UKL_POLICY_SHARED 0x40000000\nUKL_POLICY_LIMIT_SHIFT 8\n\
        UKL_SOMETHING_NEW 5\n";

    fn read(text: &str) -> Result<Abi> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), text).unwrap();
        Abi::read(dir.path())
    }

    fn refused(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn a_file_of_version_2_is_read() {
        assert_eq!(read(TEXT).unwrap(), Abi::V2);
        assert_eq!(read(&Abi::V2.to_string()).unwrap(), Abi::V2);
    }

    #[test]
    fn another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let newer = TEXT.replace("ukl-abi 2", "ukl-abi 3");
        fs::write(dir.path().join(FILE), newer).unwrap();
        assert_eq!(
            Abi::read(dir.path()).unwrap_err().to_string(),
            format!(
                "kernel archive {} has ABI version 3; this ukl-ld needs 2: run `make kernel' in \
                 UKL's source tree",
                dir.path().display()
            )
        );
    }

    #[test]
    fn every_name_is_needed() {
        for line in TEXT.lines().skip(1) {
            let name = line.split(' ').next().unwrap();
            if name == "#" || name == "UKL_SOMETHING_NEW" {
                continue;
            }
            let error = refused(&TEXT.replace(line, ""));
            assert!(
                error.contains(&format!("does not define {name}")),
                "{error}"
            );
            assert!(error.contains("make kernel"), "{error}");
        }
    }

    #[test]
    fn malformed_files_are_refused() {
        for (text, what) in [
            (String::new(), "the first line is not"),
            ("ukl-abi x\n".into(), "the first line is not"),
            (
                TEXT.replace("SWITCH 33", "SWITCH many"),
                "is not `NAME VALUE'",
            ),
            (
                TEXT.replace("SWITCH 33", "SWITCH 33 34"),
                "is not `NAME VALUE'",
            ),
            (TEXT.replace("SWITCH 33", "SWITCH"), "is not `NAME VALUE'"),
            (format!("{TEXT}UKL_EF 1\n"), "defines UKL_EF twice"),
            (TEXT.replace("UKL_EF 0x", "UKL_EF 0x5"), "does not fit"),
            (
                TEXT.replace("FLAGS 0", "FLAGS 8"),
                "UKL_TASK_FLAGS is 8; thunks need 0",
            ),
            (
                TEXT.replace("SIZE 128", "SIZE 100"),
                "UKL_THUNK_SIZE is 100",
            ),
            (
                TEXT.replace("SIZE 128", "SIZE 64"),
                "in a thunk of 64 bytes",
            ),
            (
                TEXT.replace("SHIFT 24", "SHIFT 27"),
                "no room for six arguments",
            ),
        ] {
            let error = refused(&text);
            assert!(error.contains(what), "{what}: {error}");
        }
    }

    #[test]
    fn an_archive_without_the_file_says_how_to_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = Abi::read(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("abi") && error.contains("make kernel"),
            "{error}"
        );
    }
}
