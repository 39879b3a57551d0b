//! The shortcuts that come with UKL: kernel code that does the work of a system call with less
//! overhead. `--ukl-shortcuts` makes the program's system calls of a kind call them. A shortcut
//! calls the kernel's own implementation if it does not support the descriptor.

/// The kinds, and the system calls that belong to each: number and function. A system call of two
/// kinds has one function, which tests the kind of the descriptor.
const KINDS: &[(&str, &[(u32, &str)])] = &[
    (
        "net",
        &[
            (0, "__ukl_shortcut_read"),
            (1, "__ukl_shortcut_write"),
            (44, "__ukl_shortcut_sendto"),
            (45, "__ukl_shortcut_recvfrom"),
        ],
    ),
    (
        "file",
        &[
            (0, "__ukl_shortcut_read"),
            (1, "__ukl_shortcut_write"),
            (17, "__ukl_shortcut_pread64"),
            (18, "__ukl_shortcut_pwrite64"),
        ],
    ),
    (
        "epoll",
        &[
            (232, "__ukl_shortcut_epoll_wait"),
            (281, "__ukl_shortcut_epoll_pwait"),
        ],
    ),
];

/// The system calls by which malloc gets memory, for `--ukl-malloc=kernel`.
const MALLOC: (&str, &[(u32, &str)]) = (
    "malloc",
    &[(9, "__ukl_shortcut_mmap"), (12, "__ukl_shortcut_brk")],
);

/// All kinds that any option can select.
fn kinds() -> impl Iterator<Item = &'static (&'static str, &'static [(u32, &'static str)])> {
    KINDS.iter().chain([&MALLOC])
}

/// The system call that a shortcut implements.
pub fn number(function: &str) -> Option<u32> {
    let mut calls = kinds().flat_map(|(_, calls)| calls.iter());
    let call = calls.find(|(_, name)| *name == function);
    call.map(|(number, _)| *number)
}

/// The selected kinds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Shortcuts {
    kinds: Vec<&'static str>,
}

impl Shortcuts {
    /// Selects a kind, or all kinds of `--ukl-shortcuts`.
    pub fn add(&mut self, wanted: &str) {
        let kinds = KINDS.iter().map(|(kind, _)| *kind);
        self.kinds
            .extend(kinds.filter(|kind| wanted == *kind || wanted == "all"));
    }

    /// Selects, or does not select, the shortcuts for malloc.
    pub fn malloc(&mut self, kernel: bool) {
        self.kinds.retain(|kind| *kind != MALLOC.0);
        self.kinds.extend(kernel.then_some(MALLOC.0));
    }

    /// Whether any kind is selected.
    pub fn any(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// The shortcut of a system call, if its kind is selected.
    pub fn of(&self, number: u32) -> Option<&'static str> {
        let kinds = kinds().filter(|(kind, _)| self.kinds.contains(kind));
        let mut calls = kinds.flat_map(|(_, calls)| calls.iter());
        calls
            .find(|(known, _)| *known == number)
            .map(|(_, function)| *function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_names_its_system_calls() {
        let mut shortcuts = Shortcuts::default();
        assert!(!shortcuts.any());
        shortcuts.add("net");
        shortcuts.add("epoll");
        assert_eq!(shortcuts.of(44), Some("__ukl_shortcut_sendto"));
        assert_eq!(shortcuts.of(17), None);
        let mut file = Shortcuts::default();
        file.add("file");
        assert_eq!(file.of(0), shortcuts.of(0));
        assert_eq!(file.of(18), Some("__ukl_shortcut_pwrite64"));
        assert_eq!(file.of(44), None);
        shortcuts.add("all");
        assert_eq!(shortcuts.of(17), Some("__ukl_shortcut_pread64"));
        assert_eq!(shortcuts.of(39), None);
        assert_eq!(shortcuts.of(12), None);
        shortcuts.malloc(true);
        assert_eq!(shortcuts.of(12), Some("__ukl_shortcut_brk"));
        shortcuts.malloc(false);
        assert_eq!(shortcuts.of(12), None);
    }
}
