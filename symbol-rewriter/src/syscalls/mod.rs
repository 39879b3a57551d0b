//! Properties of system calls that matter for their sites.

mod table;

use table::TABLE;

pub(crate) const MUNMAP: u32 = number("munmap");
pub(crate) const RT_SIGRETURN: u32 = number("rt_sigreturn");
const CLONE: u32 = number("clone");
const CLONE3: u32 = number("clone3");

/// The end of a thread.
pub(crate) const EXIT: u32 = number("exit");

/// The calls that do not return.
pub(crate) const EXITS: [u32; 2] = [EXIT, number("exit_group")];

/// The calls that depend on the stack pointer, or return with another one.
pub(crate) const STACK_NUMBERS: [u32; 3] = [RT_SIGRETURN, CLONE, CLONE3];

/// The calls that return twice, or do not return to this program. They need all registers.
pub(crate) const WHOLE_FRAME: [u32; 6] = [
    CLONE,
    number("fork"),
    number("vfork"),
    number("execve"),
    number("execveat"),
    CLONE3,
];

/// The number of the system call with this name, for constants.
///
/// # Panics
///
/// If there is no such system call. In a constant, this is an error of the compiler.
pub const fn number(name: &str) -> u32 {
    let mut index = 0;
    while index < TABLE.len() {
        let (number, known, _) = TABLE[index];
        if equal(known.as_bytes(), name.as_bytes()) {
            return number;
        }
        index += 1;
    }
    panic!("no system call has this name");
}

/// `==` for slices, which cannot be used in constants.
const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut index = 0;
    while index < a.len() {
        if a[index] != b[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Whether a system call has this name. The C library's functions have the same names.
pub(crate) fn is_call_name(name: &[u8]) -> bool {
    TABLE.iter().any(|(_, call, _)| call.as_bytes() == name)
}

/// The number of arguments that a system call reads, 6 if it is unknown.
pub fn arguments(number: u32) -> usize {
    let found = TABLE.binary_search_by_key(&number, |(number, ..)| *number);
    found.map_or(6, |index| TABLE[index].2.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(TABLE.is_sorted_by(|(a, ..), (b, ..)| a < b));
        assert!(TABLE.iter().all(|(.., arguments)| *arguments <= 6));
        for (index, (number, name, arguments)) in TABLE.iter().enumerate() {
            let again = TABLE[index + 1..].iter().any(|(_, other, _)| other == name);
            assert!(!again, "{name}");
            assert_eq!(super::number(name), *number);
            assert_eq!(super::arguments(*number), usize::from(*arguments), "{name}");
        }
    }

    #[test]
    fn calls_are_found_by_name_and_by_number() {
        assert!(is_call_name(b"openat2"));
        assert!(!is_call_name(b"printf"));
        assert_eq!(number("openat2"), 437);
        assert_eq!(arguments(number("openat2")), 4);
        assert_eq!(arguments(number("epoll_pwait2")), 6);
        assert_eq!(arguments(number("getpid")), 0);
        assert_eq!(arguments(400), 6);
        assert_eq!(arguments(u32::MAX), 6);
    }
}
