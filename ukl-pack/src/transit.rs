//! The place that files pass on their way into the image: a file that runs at ring 0 may be changed
//! here.
//!
//! A program gets the mark that makes the kernel start it at ring 0. Its libraries pass unchanged:
//! their system calls enter the kernel by the `syscall` instruction, which works at ring 0. Whoever
//! changes a library here must leave the original to the programs at ring 3, which load the same
//! file.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ukl_image::tree::Tree;
use ukl_proto::ring3::E_FLAGS;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A program that starts at ring 0.
    Program,
    /// A library of such a program.
    Library,
}

/// The files that run at ring 0, by their paths without symbolic links.
#[derive(Debug, Default, Clone)]
pub struct Ring0 {
    /// Programs.
    pub programs: BTreeSet<Vec<u8>>,
    /// Their libraries.
    pub libraries: BTreeSet<Vec<u8>>,
}

impl Ring0 {
    /// Passes all files of the tree. `mark` is the value of `e_flags` that the kernel looks for.
    pub fn pass(&self, tree: &mut Tree<'_>, mark: u32) {
        let programs = self.programs.iter().map(|path| (path, Role::Program));
        let libraries = self.libraries.iter().map(|path| (path, Role::Library));
        for (path, role) in programs.chain(libraries) {
            if let Some(node) = tree.get_mut(path) {
                let data = std::mem::take(&mut node.data);
                node.data = pass(data, role, mark);
            }
        }
    }
}

/// Changes one file.
fn pass(data: Cow<'_, [u8]>, role: Role, mark: u32) -> Cow<'_, [u8]> {
    match role {
        Role::Library => data,
        Role::Program => {
            let mut data = data.into_owned();
            if let Some(flags) = data.get_mut(E_FLAGS..E_FLAGS + 4) {
                flags.copy_from_slice(&mark.to_le_bytes());
            }
            data.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use ukl_proto::ring3;

    use super::*;

    #[test]
    fn only_the_mark_of_programs_changes() {
        let original = std::fs::read("/proc/self/exe").unwrap();
        let mut tree = Tree::new();
        tree.file("a", 0o755, original.clone());
        tree.file("b", 0o755, original.clone());
        tree.file("c", 0o755, original.clone());
        let ring0 = Ring0 {
            programs: [b"a".to_vec()].into(),
            libraries: [b"b".to_vec()].into(),
        };
        ring0.pass(&mut tree, ring3::RING0_MARK);
        let data = |path: &str| tree.get(path.as_bytes()).unwrap().data.clone();
        assert!(ring3::is_marked(&data("a")));
        assert_eq!((&*data("b"), &*data("c")), (&*original, &*original));
        let mut back = data("a").into_owned();
        ring3::make_ordinary(&mut back, &[]).unwrap();
        assert_eq!(back, original);
    }
}
