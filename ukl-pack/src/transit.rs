//! The place that files pass on their way into the image: what runs at ring 0 is changed here.
//!
//! A program gets the mark that makes the kernel start it at ring 0. Its C library and its dynamic
//! loader make nearly all of its system calls, so these are rewritten ([`ukl_ld::linked`]), and the
//! program names the rewritten loader. The rewritten files have a directory of their own, because
//! processes at ring 3 must not load them. Where that is not possible, the program runs on the
//! unchanged files, because a `syscall` instruction works at ring 0, too.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ukl_image::tree::Tree;
use ukl_ld::linked;
use ukl_ld::linked::Rewriter;
use ukl_proto::ring3;
use ukl_proto::ring3::E_FLAGS;
use ukl_proto::ring3::INTERPRETERS;
use ukl_proto::ring3::RING0_MARK;

use crate::elf;
use crate::elf::Kind;

/// The directories of Debian's libraries. They are the same one if /lib is a link to /usr/lib.
const LIBRARIES: [&[u8]; 2] = [b"/lib/x86_64-linux-gnu", b"/usr/lib/x86_64-linux-gnu"];

/// glibc's C library.
const LIBC: &str = "libc.so.6";

/// The files that run at ring 0, by their paths without symbolic links.
#[derive(Debug, Default, Clone)]
pub struct Ring0 {
    /// Programs.
    pub programs: BTreeSet<Vec<u8>>,
    /// Their libraries.
    pub libraries: BTreeSet<Vec<u8>>,
}

impl Ring0 {
    /// Passes the files of the tree. Without a rewriter, the programs are only marked. Returns why
    /// files could not be rewritten.
    pub fn pass(&self, tree: &mut Tree<'_>, rewriter: Option<&Rewriter>) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut loaders = Vec::new();
        for names in INTERPRETERS {
            let (ordinary, _) = names;
            let Some(path) = tree.resolve(ordinary.as_bytes()) else {
                continue;
            };
            let Some(rewriter) = rewriter.filter(|_| self.libraries.contains(&path)) else {
                continue;
            };
            match self.rewritten(tree, rewriter, &path, names) {
                Ok(files) => {
                    for (path, data) in files {
                        tree.file(path.trim_start_matches('/'), 0o755, data);
                    }
                    loaders.push(ordinary);
                }
                Err(reason) => reasons.push(format!("{ordinary} is not rewritten: {reason}")),
            }
        }
        for path in &self.programs {
            if let Some(node) = tree.get_mut(path) {
                let data = std::mem::take(&mut node.data);
                node.data = program(data, &loaders);
            }
        }
        reasons
    }

    /// The rewritten loader and what it needs, by their paths in the image. `names` is its entry in
    /// [`INTERPRETERS`].
    fn rewritten(
        &self,
        tree: &Tree<'_>,
        rewriter: &Rewriter,
        loader: &[u8],
        names: (&str, &str),
    ) -> Result<Vec<(String, Vec<u8>)>, String> {
        if tree.resolve(b"/usr/lib").as_deref() != Some(b"usr/lib") {
            return Err("/usr/lib is not a directory of its own".into());
        }
        let data = |path: &[u8]| tree.get(path).map(|node| &*node.data).unwrap_or_default();
        let rewrite = |path: &[u8]| {
            let name = String::from_utf8_lossy(path);
            let rewritten = rewriter.rewrite_data(&name, data(path));
            rewritten.map_err(|error| error.to_string())
        };
        let mut code = rewrite(loader)?;
        let mut files = Vec::new();
        if names == ring3::GLIBC {
            let dirs = LIBRARIES.map(|dir| tree.resolve(dir));
            if dirs[0] != dirs[1] {
                return Err("/lib and /usr/lib are different directories".into());
            }
            let libc = [LIBRARIES[0], b"/", LIBC.as_bytes()].concat();
            let libc = tree
                .resolve(&libc)
                .filter(|path| self.libraries.contains(path));
            let libc = libc.ok_or("the C library is not Debian's")?;
            linked::search_directory(&mut code)?;
            files.push((format!("{}/{LIBC}", linked::DIRECTORY), rewrite(&libc)?));
            if let Some(cache) = tree.resolve(b"/etc/ld.so.cache") {
                let cache = linked::ring0_cache(data(&cache));
                files.push((linked::CACHE.to_owned(), cache));
            }
        }
        files.push((names.1.to_owned(), code));
        Ok(files)
    }
}

/// Marks a program. If its dynamic loader has been rewritten, the program names that one.
fn program<'a>(data: Cow<'a, [u8]>, loaders: &[&str]) -> Cow<'a, [u8]> {
    let loader = match elf::read(&data) {
        Kind::Elf(elf) => elf.interpreter,
        _ => None,
    };
    let mut data = data.into_owned();
    if let Some(flags) = data.get_mut(E_FLAGS..E_FLAGS + 4) {
        flags.copy_from_slice(&RING0_MARK.to_le_bytes());
    }
    if loader.is_some_and(|loader| loaders.iter().any(|name| name.as_bytes() == loader)) {
        ring3::use_ring0_interpreter(&mut data);
    }
    data.into()
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
        assert!(ring0.pass(&mut tree, None).is_empty());
        let data = |path: &str| tree.get(path.as_bytes()).unwrap().data.clone();
        assert!(ring3::is_marked(&data("a")));
        assert_eq!((&*data("b"), &*data("c")), (&*original, &*original));
        let mut back = data("a").into_owned();
        ring3::make_ordinary(&mut back, &[]).unwrap();
        assert_eq!(back, original);
    }
}
