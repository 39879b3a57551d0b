//! The addresses of the kernel's functions and variables that a link needs.

pub mod abi;
pub mod archive;
pub mod symbols;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use object::Endianness;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use symbol_rewriter::syscalls::number;

use crate::error::Error;
use crate::error::Result;
use crate::files::Files;
use abi::Abi;

/// A system call whose kernel function takes its arguments in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The address of the function. Jumps that only lead to it have been followed.
    pub function: u64,
    /// The number of its arguments.
    pub arguments: usize,
}

/// The addresses of the kernel that thunks refer to, and the ABI that defines their layout.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The layout of thunks, and other numbers on which the kernel and the thunks agree.
    pub abi: Abi,
    /// `entry_UKL_exit`: leaves a call for which the kernel has work to do.
    pub exit: u64,
    /// `entry_UKL_exit_shared`: the same on a shared stack.
    pub exit_shared: u64,
    /// Per CPU: how many more calls may bypass the full path.
    pub left: u64,
    /// Per CPU: the kernel stack for calls of kernel functions.
    pub stack: u64,
    /// Per CPU: the distance from the program's stack to the kernel's mapping of it.
    pub delta: u64,
    /// Per CPU: the lowest address of the shared part of the stack.
    pub low: u64,
    /// Per CPU: the current task.
    pub current: u64,
    /// The system calls whose functions can be called, by number.
    pub(crate) calls: HashMap<u32, Call>,
}

impl Kernel {
    /// Addresses for thunks that never run at ring 0, where there is no kernel archive.
    pub fn none() -> Kernel {
        // The linker needs an address that a jump can reach.
        let exit = 0xffff_ffff_8100_0000;
        Kernel {
            abi: Abi::V2,
            exit,
            exit_shared: exit,
            left: 0,
            stack: 0,
            delta: 0,
            low: 0,
            current: 0,
            calls: HashMap::new(),
        }
    }

    /// Reads the addresses from a kernel archive.
    pub fn read(archive: &Path, files: &Files) -> Result<Kernel> {
        let abi = Abi::read(archive)?;
        let vmlinux = archive.join("vmlinux");
        let wrong = |what: String| Error::Kernel {
            path: vmlinux.clone(),
            what,
        };
        let data = files.read(&vmlinux)?;
        let file =
            ElfFile64::<Endianness>::parse(&**data).map_err(|error| wrong(error.to_string()))?;
        let list = archive.join("syscalls");
        let list = fs::read_to_string(&list).map_err(|error| Error::Kernel {
            path: list,
            what: format!("cannot be read: {error}"),
        })?;
        let functions: Vec<(u32, usize, &str)> = list.lines().filter_map(parse_call).collect();

        let mut wanted: HashMap<&[u8], Option<u64>> =
            NAMES.iter().map(|name| (name.as_bytes(), None)).collect();
        wanted.extend(functions.iter().map(|(.., name)| (name.as_bytes(), None)));
        for symbol in file.symbols() {
            if let Ok(name) = symbol.name_bytes()
                && let Some(address) = wanted.get_mut(name)
            {
                *address = Some(symbol.address());
            }
        }
        let find = |name: &str| {
            let address = wanted.get(name.as_bytes()).copied().flatten();
            address.ok_or_else(|| wrong(format!("has no {name}")))
        };
        let mut calls = HashMap::new();
        for (number, arguments, name) in functions {
            // The kernel's configuration may not include it.
            if let Ok(function) = find(name) {
                let call = Call {
                    function: behind_jumps(&file, function),
                    arguments,
                };
                calls.insert(number, call);
            }
        }
        // Addresses of per-CPU variables are offsets from GS.
        let cpu = find("ukl_cpu")?;
        Ok(Kernel {
            exit: find("entry_UKL_exit")?,
            exit_shared: find("entry_UKL_exit_shared")?,
            delta: cpu + abi.cpu.delta,
            stack: cpu + abi.cpu.sp,
            low: cpu + abi.cpu.low,
            left: cpu + abi.cpu.left,
            current: find("pcpu_hot")? + abi.cpu.current,
            abi,
            calls,
        })
    }

    /// The function that implements a system call, unless that always needs the full path.
    pub fn call(&self, number: u32) -> Option<Call> {
        if NEED_REGISTERS.contains(&number) {
            return None;
        }
        self.calls.get(&number).copied()
    }
}

/// Follows jumps at the start of a function. Most of the kernel's functions for system calls
/// consist of a jump to another function.
fn behind_jumps(vmlinux: &ElfFile64<'_, Endianness>, function: u64) -> u64 {
    let mut place = function;
    for _ in 0..4 {
        let code = vmlinux
            .segments()
            .find_map(|segment| segment.data_range(place, 5).ok().flatten());
        let Some([0xe9, distance @ ..]) = code else {
            break;
        };
        let Ok(distance) = distance.try_into().map(i32::from_le_bytes) else {
            break;
        };
        place = (place + 5).wrapping_add_signed(distance.into());
    }
    place
}

/// The symbols of the kernel that thunks refer to, apart from the functions of system calls.
const NAMES: [&str; 4] = [
    "entry_UKL_exit",
    "entry_UKL_exit_shared",
    "ukl_cpu",
    "pcpu_hot",
];

/// The system calls that always take the full path: they read or change the registers of their
/// caller, do not return, or change the state that decides whether the next call may bypass.
const NEED_REGISTERS: [u32; 24] = [
    number("rt_sigreturn"),
    number("clone"),
    number("fork"),
    number("vfork"),
    number("execve"),
    number("exit"),
    number("ptrace"),
    number("sigaltstack"),
    number("personality"),
    number("modify_ldt"),
    number("prctl"),
    number("arch_prctl"),
    number("iopl"),
    number("ioperm"),
    number("set_thread_area"),
    number("get_thread_area"),
    number("restart_syscall"),
    number("exit_group"),
    number("seccomp"),
    number("execveat"),
    number("rseq"),
    number("uretprobe"),
    number("uprobe"),
    number("clone3"),
];

/// Parses a line of the archive's list: number, name, number of arguments, kernel function.
fn parse_call(line: &str) -> Option<(u32, usize, &str)> {
    let mut words = line.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let _name = words.next()?;
    let arguments = words.next()?.parse().ok().filter(|&count| count <= 6)?;
    Some((number, arguments, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_calls_is_read_line_by_line() {
        assert_eq!(
            parse_call("1 write 3 __se_sys_write"),
            Some((1, 3, "__se_sys_write"))
        );
        for wrong in ["", "1 write", "x write 3 f", "1 write 7 f", "1 write 3"] {
            assert_eq!(parse_call(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn calls_that_look_at_registers_have_no_function() {
        let call = Call {
            function: 1,
            arguments: 0,
        };
        let kernel = Kernel {
            calls: [(39, call), (56, call)].into(),
            ..Kernel::none()
        };
        assert_eq!(kernel.call(39), Some(call));
        assert_eq!(kernel.call(56), None);
        assert_eq!(kernel.call(1), None);
    }
}
