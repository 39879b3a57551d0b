//! The shortcuts that come with UKL: kernel code that does the work of a system call with less
//! overhead. `--ukl-shortcuts` makes the program's system calls of a kind call them. A shortcut
//! calls the kernel's own implementation if it does not support the descriptor.

use std::sync::LazyLock;

/// The kind of `--ukl-malloc=kernel`, which `--ukl-shortcuts` does not offer.
const MALLOC: &str = "malloc";

/// The table. The C code of `libukl.a` and of the crate `ukl` includes the same file.
const TABLE: &str = include_str!("../../../ukl/c/shortcuts.def");

/// A shortcut.
#[derive(Debug, PartialEq, Eq)]
struct Shortcut {
    /// The number of the system call that it implements.
    number: u32,
    /// The name of the function.
    function: String,
    /// The kinds that it belongs to.
    kinds: Vec<&'static str>,
}

static SHORTCUTS: LazyLock<Vec<Shortcut>> =
    LazyLock::new(|| TABLE.lines().filter_map(parse).collect());

/// Reads a line `SHORTCUT(NUMBER, NAME, KINDS);`. Returns `None` for a comment.
fn parse(line: &'static str) -> Option<Shortcut> {
    let inside = line.strip_prefix("SHORTCUT(")?.strip_suffix(");")?;
    let mut parts = inside.splitn(3, ", ");
    Some(Shortcut {
        number: parts.next()?.parse().ok()?,
        function: format!("__ukl_shortcut_{}", parts.next()?),
        kinds: parts.next()?.split(' ').collect(),
    })
}

/// The number of the system call that a shortcut implements. `None` if the function is no shortcut.
pub fn number(function: &str) -> Option<u32> {
    let mut shortcuts = SHORTCUTS.iter();
    let found = shortcuts.find(|shortcut| shortcut.function == function);
    found.map(|shortcut| shortcut.number)
}

/// The selected kinds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Shortcuts {
    kinds: Vec<&'static str>,
}

impl Shortcuts {
    /// Selects a kind, or all kinds of `--ukl-shortcuts`.
    pub fn add(&mut self, wanted: &str) {
        let kinds = SHORTCUTS.iter().flat_map(|shortcut| &shortcut.kinds);
        let wanted = kinds.filter(|kind| **kind != MALLOC && (wanted == **kind || wanted == "all"));
        self.kinds.extend(wanted);
    }

    /// Selects, or does not select, the shortcuts for malloc.
    pub fn malloc(&mut self, kernel: bool) {
        self.kinds.retain(|kind| *kind != MALLOC);
        self.kinds.extend(kernel.then_some(MALLOC));
    }

    /// Whether any kind is selected.
    pub fn any(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// The shortcut of a system call, if its kind is selected.
    pub fn of(&self, number: u32) -> Option<&'static str> {
        let wanted = |shortcut: &&Shortcut| {
            let mut kinds = shortcut.kinds.iter();
            shortcut.number == number && kinds.any(|kind| self.kinds.contains(kind))
        };
        let shortcut = SHORTCUTS.iter().find(wanted)?;
        Some(&shortcut.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_has_the_kinds_of_the_option() {
        assert_eq!(SHORTCUTS.len(), TABLE.matches("\nSHORTCUT(").count());
        assert!(SHORTCUTS.is_sorted_by(|a, b| a.number < b.number));
        for shortcut in SHORTCUTS.iter() {
            let name = shortcut.function.strip_prefix("__ukl_shortcut_").unwrap();
            assert_eq!(shortcut.number, symbol_rewriter::syscalls::number(name));
        }
        let option = ukl_common::options::find("shortcuts").unwrap();
        for kind in SHORTCUTS.iter().flat_map(|shortcut| &shortcut.kinds) {
            assert!(*kind == MALLOC || option.choices.contains(kind), "{kind}");
        }
        for kind in option.choices {
            let mut shortcuts = Shortcuts::default();
            shortcuts.add(kind);
            assert!(shortcuts.any(), "{kind}");
        }
        assert_eq!(number("__ukl_shortcut_brk"), Some(12));
        assert_eq!(number("brk"), None);
    }

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
