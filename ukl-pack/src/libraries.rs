//! Finds the shared libraries of programs, as the dynamic loader does (ld.so(8); for musl,
//! ldso/dynlink.c).

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::rc::Rc;

use crate::elf;
use crate::elf::Elf;
use crate::elf::Kind;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::ldcache::Cache;
use crate::root::Root;

/// The paths of the dynamic loader's cache and of musl's list of directories.
const CACHE: &[u8] = b"/etc/ld.so.cache";
const MUSL_PATH: &[u8] = b"/etc/ld-musl-x86_64.path";

/// The directories that glibc searches last: those of Debian and of the x86-64 psABI.
const DEFAULT: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// The directories that musl searches unless its list names others.
const MUSL_DEFAULT: &str = "/lib:/usr/local/lib:/usr/lib";

/// The names of libraries that are parts of musl's libc (ldso/dynlink.c, `load_library()`).
const MUSL_OWN: [&str; 7] = ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];

/// The values of `$LIB`.
const LIB: [&str; 3] = ["lib/x86_64-linux-gnu", "lib64", "lib"];

/// The subdirectories with libraries for some processors, which the dynamic loader prefers.
const HWCAPS: [&str; 3] = ["x86-64-v4", "x86-64-v3", "x86-64-v2"];

/// Finds libraries.
#[derive(Debug, Default)]
pub struct Finder {
    library_path: Option<Vec<u8>>,
    cache: Option<Cache>,
    known: HashMap<Vec<u8>, Rc<Elf>>,
}

/// The objects of a program.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Closure {
    /// The paths of its libraries, without symbolic links. The dynamic loader is one of them.
    pub libraries: BTreeSet<Vec<u8>>,
    /// The libraries that were not found, each with the object that needs it.
    pub missing: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the dynamic loader is the first of the missing ones. Then the program cannot start.
    has_no_loader: bool,
}

/// An object that the dynamic loader has loaded.
struct Object {
    path: Vec<u8>,
    elf: Rc<Elf>,
    /// The index of the object that needs it.
    loader: Option<usize>,
}

impl Finder {
    /// A finder for programs with this LD_LIBRARY_PATH in the guest.
    pub fn new(library_path: Option<&[u8]>) -> Finder {
        Finder {
            library_path: library_path.map(<[u8]>::to_vec),
            ..Finder::default()
        }
    }

    /// Finds the libraries of a program or library by its path without symbolic links, and copies
    /// them into the root.
    pub fn closure(&mut self, root: &mut Root, path: &[u8]) -> Result<Closure> {
        let mut closure = Closure::default();
        let Some(first) = self.read(root, path) else {
            return Ok(closure);
        };
        let mut names: HashSet<Vec<u8>> = HashSet::new();
        names.extend(first.soname.clone());
        if let Some(name) = &first.interpreter {
            match root.find(name)? {
                Some(found) => {
                    // The kernel loads it; libraries that need it get the same object.
                    let elf = self.read(root, &found);
                    names.extend(elf.and_then(|elf| elf.soname.clone()));
                    closure.libraries.insert(found);
                }
                None => {
                    closure.has_no_loader = true;
                    closure.missing.push((name.clone(), path.to_vec()));
                }
            }
        }
        let is_musl = first.interpreter.as_deref().map_or_else(
            || {
                first
                    .needed
                    .iter()
                    .any(|name| name.starts_with(b"libc.musl"))
            },
            |name| name.windows(7).any(|part| part == b"ld-musl"),
        );
        let mut objects = vec![Object {
            path: path.to_vec(),
            elf: first,
            loader: None,
        }];
        let mut at = 0;
        while at < objects.len() {
            for name in objects[at].elf.needed.clone() {
                if !names.insert(name.clone()) || is_musl && is_own_of_musl(&name) {
                    continue;
                }
                let Some(found) = self.find(root, &objects, at, &name, is_musl)? else {
                    closure.missing.push((name, objects[at].path.clone()));
                    continue;
                };
                closure.libraries.insert(found.clone());
                if objects.iter().any(|object| object.path == found) {
                    continue;
                }
                if let Some(elf) = self.read(root, &found) {
                    names.extend(elf.soname.clone());
                    objects.push(Object {
                        path: found,
                        elf,
                        loader: Some(at),
                    });
                }
            }
            at += 1;
        }
        Ok(closure)
    }

    /// Reads an object. `None` if it is not one that the guest can load.
    fn read(&mut self, root: &Root, path: &[u8]) -> Option<Rc<Elf>> {
        if let Some(elf) = self.known.get(path) {
            return Some(Rc::clone(elf));
        }
        let Kind::Elf(elf) = elf::read(root.data(path)) else {
            return None;
        };
        let elf = Rc::new(elf);
        self.known.insert(path.to_vec(), Rc::clone(&elf));
        Some(elf)
    }

    /// Finds the library `name` of the object at index `at`.
    fn find(
        &mut self,
        root: &mut Root,
        objects: &[Object],
        at: usize,
        name: &[u8],
        is_musl: bool,
    ) -> Result<Option<Vec<u8>>> {
        let object = &objects[at];
        if name.contains(&b'/') {
            for path in expand(name, &object.path) {
                if let Some(found) = self.accept(root, &path)? {
                    return Ok(Some(found));
                }
            }
            return Ok(None);
        }
        let mut dirs: Vec<Vec<u8>> = Vec::new();
        let list = |list: &[u8], origin: &[u8]| {
            let dirs = list.split(|byte| *byte == b':' || *byte == b';');
            let dirs = dirs.filter(|dir| !dir.is_empty());
            let dirs: Vec<_> = dirs.flat_map(|dir| expand(dir, origin)).collect();
            dirs
        };
        // DT_RPATH counts only in objects without DT_RUNPATH. musl treats both alike.
        let own = &object.elf;
        let mut rpaths = Vec::new();
        if is_musl || own.runpath.is_none() {
            let mut next = Some(at);
            let mut seen_first = false;
            while let Some(index) = next {
                let object = &objects[index];
                let paths = match is_musl {
                    true => object.elf.runpath.as_ref().or(object.elf.rpath.as_ref()),
                    false if object.elf.runpath.is_none() => object.elf.rpath.as_ref(),
                    false => None,
                };
                if let Some(paths) = paths {
                    rpaths.extend(list(paths, &object.path));
                }
                seen_first |= index == 0;
                next = object.loader;
                if next.is_none() && !seen_first {
                    next = Some(0);
                }
            }
        }
        let environment = self.library_path.clone().unwrap_or_default();
        let environment = list(&environment, &objects[0].path);
        if is_musl {
            dirs.extend(environment);
            dirs.append(&mut rpaths);
            let named = root.peek(MUSL_PATH);
            let named = named.map(|text| {
                let text = text.split(|byte| *byte == b'\n').collect::<Vec<_>>();
                text.join(&b':')
            });
            let named = named.unwrap_or_else(|| MUSL_DEFAULT.into());
            dirs.extend(list(&named, b""));
            return self.search(root, &dirs, name);
        }
        dirs.append(&mut rpaths);
        dirs.extend(environment);
        if let Some(paths) = &own.runpath {
            dirs.extend(list(paths, &object.path));
        }
        if let Some(found) = self.search(root, &dirs, name)? {
            return Ok(Some(found));
        }
        if own.no_default {
            return Ok(None);
        }
        if let Some(found) = self.in_cache(root, name)? {
            return Ok(Some(found));
        }
        let dirs: Vec<Vec<u8>> = DEFAULT.iter().map(|dir| dir.as_bytes().to_vec()).collect();
        self.search(root, &dirs, name)
    }

    /// Searches directories for a library.
    fn search(&self, root: &mut Root, dirs: &[Vec<u8>], name: &[u8]) -> Result<Option<Vec<u8>>> {
        for dir in dirs {
            if let Some(found) = self.accept(root, &join(dir, name))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Searches the cache for a library.
    fn in_cache(&mut self, root: &mut Root, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let cache = self
            .cache
            .get_or_insert_with(|| Cache::read(&root.peek(CACHE).unwrap_or_default()));
        for path in cache.find(name).to_vec() {
            let Some(found) = self.accept(root, &path)? else {
                continue;
            };
            // In other directories, the guest's dynamic loader finds it by the cache only.
            let dir = path
                .strip_suffix(name)
                .and_then(|dir| dir.strip_suffix(b"/"));
            if !DEFAULT.iter().any(|known| Some(known.as_bytes()) == dir) {
                root.find(CACHE)?;
            }
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// The file at a path without symbolic links if the dynamic loader would load it, together with
    /// its variants for other processors.
    fn accept(&self, root: &mut Root, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(found) = root.find(path)?.filter(|found| root.is_file(found)) else {
            return Ok(None);
        };
        if !matches!(elf::read(root.data(&found)), Kind::Elf(_)) {
            return Ok(None);
        }
        let at = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let (dir, name) = path.split_at(at);
        for level in HWCAPS {
            let variant = [dir, b"/glibc-hwcaps/", level.as_bytes(), name].concat();
            root.find(&variant)?;
        }
        Ok(Some(found))
    }
}

impl Closure {
    /// Fails if the dynamic loader was not found.
    pub fn check_loader(&self) -> Result<()> {
        match self.has_no_loader {
            true => self.check(),
            false => Ok(()),
        }
    }

    /// Fails if a library was not found.
    pub fn check(&self) -> Result<()> {
        match self.missing.first() {
            None => Ok(()),
            Some((library, object)) => Err(Error::NoLibrary {
                library: String::from_utf8_lossy(library).into_owned(),
                object: shown(object),
            }),
        }
    }
}

fn is_own_of_musl(name: &[u8]) -> bool {
    let rest = name.strip_prefix(b"lib").unwrap_or_default();
    MUSL_OWN.iter().any(|own| rest.starts_with(own.as_bytes()))
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    [dir, b"/", name].concat()
}

/// Replaces `$ORIGIN`, `$LIB` and `$PLATFORM` (ld.so(8), "Dynamic string tokens"). `$LIB` has
/// several values, because it depends on the distribution.
fn expand(text: &[u8], object: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(text);
    let dir = object.iter().rposition(|byte| *byte == b'/');
    let dir = shown(&object[..dir.unwrap_or(0)]);
    let replace = |text: &str, token: &str, value: &str| {
        let braced = format!("${{{token}}}");
        text.replace(&braced, value)
            .replace(&format!("${token}"), value)
    };
    let text = replace(&text, "ORIGIN", &dir);
    let text = replace(&text, "PLATFORM", "x86_64");
    let mut all: Vec<Vec<u8>> = Vec::new();
    for lib in LIB {
        let text = replace(&text, "LIB", lib).into_bytes();
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}
