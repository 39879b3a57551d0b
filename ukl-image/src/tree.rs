//! The tree of the guest's files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::ImageError;
use crate::cpio;

// The types of files (inode(7)).
/// The bits of the type.
pub const S_IFMT: u32 = 0o170_000;
/// A directory.
pub const S_IFDIR: u32 = 0o040_000;
/// A character device.
pub const S_IFCHR: u32 = 0o020_000;
/// A block device.
pub const S_IFBLK: u32 = 0o060_000;
/// A FIFO.
pub const S_IFIFO: u32 = 0o010_000;
/// A regular file.
pub const S_IFREG: u32 = 0o100_000;
/// A symbolic link.
pub const S_IFLNK: u32 = 0o120_000;

/// How many symbolic links a path may lead through, as in the kernel (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A file, a directory, or another kind of node.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Node<'a> {
    /// Type and permissions.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// The device's numbers, of a device.
    pub device: (u32, u32),
    /// A file's content, or a symbolic link's target.
    pub data: Cow<'a, [u8]>,
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, owner, size) = (self.mode, self.owner, self.data.len());
        write!(f, "Node({mode:o}, {owner:?}, {size} bytes)")
    }
}

impl Node<'_> {
    fn is(&self, kind: u32) -> bool {
        self.mode & S_IFMT == kind
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.is(S_IFDIR)
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.is(S_IFREG)
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.is(S_IFLNK)
    }
}

/// A tree of files. The names have no leading slash, and none leads through a symbolic link: what
/// is added below a link is added below the link's target.
///
/// A directory sorts before its entries, which is the order that the kernel needs.
#[derive(Debug, Default, Clone)]
pub struct Tree<'a> {
    nodes: BTreeMap<Vec<u8>, Node<'a>>,
}

impl<'a> Tree<'a> {
    /// An empty tree.
    pub fn new() -> Self {
        Tree::default()
    }

    /// Adds a directory. A symbolic link to a directory stays.
    pub fn dir(&mut self, path: impl AsRef<[u8]>, permissions: u32) {
        self.put(path, node(S_IFDIR | permissions, Cow::Borrowed(b"")));
    }

    /// Adds a regular file.
    pub fn file(
        &mut self,
        path: impl AsRef<[u8]>,
        permissions: u32,
        data: impl Into<Cow<'a, [u8]>>,
    ) {
        self.put(path, node(S_IFREG | permissions, data.into()));
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: impl AsRef<[u8]>, target: impl Into<Cow<'a, [u8]>>) {
        self.put(path, node(S_IFLNK | 0o777, target.into()));
    }

    /// Adds a character device.
    pub fn char_device(
        &mut self,
        path: impl AsRef<[u8]>,
        permissions: u32,
        major: u32,
        minor: u32,
    ) {
        let device = Node {
            device: (major, minor),
            ..node(S_IFCHR | permissions, Cow::Borrowed(b""))
        };
        self.put(path, device);
    }

    /// Adds a file or a tree of the host at `guest`. `option` is the option that asks for it, for
    /// error messages.
    pub fn add_host(&mut self, option: &str, host: &Path, guest: &str) -> Result<(), ImageError> {
        let mut path = Vec::new();
        for part in guest
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            if part == ".." || part.contains('\0') {
                return Err(ImageError::Spec(format!(
                    "{option} {}:{guest}: a path in the guest cannot contain `..`",
                    host.display()
                )));
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part.as_bytes());
        }
        if path.starts_with(b"proc/") || path.starts_with(b"sys/") {
            return Err(ImageError::Spec(format!(
                "{option} {}:{guest}: the guest mounts a file system of the kernel there, which \
                 would hide the file",
                host.display()
            )));
        }
        // A symbolic link that the user names is followed; one inside a tree is kept.
        let meta = fs::metadata(host).map_err(|error| ImageError::read(host, error))?;
        if path.is_empty() && !meta.is_dir() {
            return Err(ImageError::Spec(format!(
                "{option} {}:/: a file cannot be the guest's root directory",
                host.display()
            )));
        }
        self.add_entry(host, path, &meta)
    }

    fn add_entry(
        &mut self,
        host: &Path,
        guest: Vec<u8>,
        meta: &fs::Metadata,
    ) -> Result<(), ImageError> {
        let failed = |error| ImageError::read(host, error);
        let permissions = meta.mode() & 0o7777;
        if meta.is_dir() {
            if !guest.is_empty() {
                self.dir(&guest, permissions);
            }
            for entry in fs::read_dir(host).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let mut path = guest.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(entry.file_name().as_bytes());
                let meta = entry.metadata().map_err(failed)?;
                self.add_entry(&entry.path(), path, &meta)?;
            }
        } else if meta.is_symlink() {
            let target = fs::read_link(host).map_err(failed)?;
            self.symlink(&guest, target.as_os_str().as_bytes().to_vec());
        } else if meta.is_file() {
            let data = fs::read(host).map_err(failed)?;
            if u32::try_from(data.len()).is_err() {
                return Err(ImageError::Spec(format!(
                    "{}: too large for an image; pass it to the guest with `ukl-run -v`",
                    host.display()
                )));
            }
            self.file(&guest, permissions, data);
        } else {
            return Err(ImageError::Spec(format!(
                "{}: only files, directories and symbolic links can be in an image",
                host.display()
            )));
        }
        Ok(())
    }

    /// Adds a node, and the directories above it that are missing. It replaces what is at its path:
    /// a directory only together with everything below, except that a directory does not replace a
    /// directory or a symbolic link to one.
    pub fn put(&mut self, path: impl AsRef<[u8]>, node: Node<'a>) {
        let path = self.place(path.as_ref());
        if path.is_empty() {
            return;
        }
        if node.is_dir() {
            match self.resolve(&path) {
                Some(real) if self.nodes.get(&real).is_some_and(Node::is_dir) => {
                    self.nodes.insert(real, node);
                    return;
                }
                _ => {}
            }
        } else {
            self.remove_below(&path);
        }
        self.nodes.insert(path, node);
    }

    /// The path of a new node without symbolic links in front of its last part. Makes the
    /// directories that are missing there.
    fn place(&mut self, path: &[u8]) -> Vec<u8> {
        let (above, last) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => return path.to_vec(),
        };
        let mut real = Vec::new();
        let mut todo = parts(above);
        let mut links = 0;
        while let Some(part) = todo.pop() {
            step(&mut real, &part);
            if real.is_empty() {
                continue;
            }
            match self.nodes.get(&real) {
                Some(node) if node.is_dir() => {}
                Some(node) if node.is_symlink() && links < MOST_LINKS => {
                    links += 1;
                    let target = node.data.to_vec();
                    follow(&mut real, &target, &mut todo);
                }
                // A file or an endless link makes way for the directory.
                _ => {
                    let dir = self::node(S_IFDIR | 0o755, Cow::Borrowed(&b""[..]));
                    self.nodes.insert(real.clone(), dir);
                }
            }
        }
        step(&mut real, last);
        real
    }

    /// The node at a path, which leads through no symbolic link.
    pub fn get(&self, path: &[u8]) -> Option<&Node<'a>> {
        self.nodes.get(path)
    }

    /// The node at a path, to change it.
    pub fn get_mut(&mut self, path: &[u8]) -> Option<&mut Node<'a>> {
        self.nodes.get_mut(path)
    }

    /// The path without symbolic links, if it exists. The root directory is the empty path.
    pub fn resolve(&self, path: &[u8]) -> Option<Vec<u8>> {
        let look = |path: &[u8]| Ok::<_, Infallible>(self.nodes.get(path).map(Step::of));
        walk(path, look).unwrap_or(None)
    }

    /// The path with symbolic links followed in all parts but the last, if its directory exists.
    pub fn resolve_parent(&self, path: &[u8]) -> Option<Vec<u8>> {
        let at = path.iter().rposition(|byte| *byte == b'/');
        let (above, last) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        let mut real = self.resolve(above)?;
        step(&mut real, last);
        Some(real)
    }

    /// Removes a node and everything below it.
    pub fn remove(&mut self, path: &[u8]) {
        self.nodes.remove(path);
        self.remove_below(path);
    }

    /// Removes everything below a path.
    pub fn remove_below(&mut self, path: &[u8]) {
        let below: Vec<Vec<u8>> = self.below(path).map(|(path, _)| path.to_vec()).collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }

    /// The nodes below a path, sorted by path.
    pub fn below(&self, path: &[u8]) -> impl Iterator<Item = (&[u8], &Node<'a>)> {
        let mut prefix = path.to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let range = (Bound::Included(prefix.clone()), Bound::Unbounded);
        self.nodes
            .range::<Vec<u8>, _>(range)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, node)| (path.as_slice(), node))
    }

    /// All nodes, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Node<'a>)> {
        let nodes = self.nodes.iter();
        nodes.map(|(path, node)| (path.as_slice(), node))
    }

    /// All nodes, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&[u8], &mut Node<'a>)> {
        let nodes = self.nodes.iter_mut();
        nodes.map(|(path, node)| (path.as_slice(), node))
    }

    /// Writes a cpio archive.
    pub fn write(&self) -> Vec<u8> {
        cpio::write(self)
    }
}

/// What a walk along a path finds at one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A directory.
    Directory,
    /// A symbolic link, with its target.
    Link(Vec<u8>),
    /// Anything else.
    Other,
}

impl Step {
    /// What a node is.
    pub fn of(node: &Node<'_>) -> Step {
        if node.is_dir() {
            Step::Directory
        } else if node.is_symlink() {
            Step::Link(node.data.to_vec())
        } else {
            Step::Other
        }
    }
}

/// Follows the symbolic links of a path. `look` says what is at a path that leads through no link.
/// Returns the path without links, if it exists. The root directory is the empty path and its own
/// parent.
pub fn walk<E>(
    path: &[u8],
    mut look: impl FnMut(&[u8]) -> Result<Option<Step>, E>,
) -> Result<Option<Vec<u8>>, E> {
    let mut real = Vec::new();
    let mut todo = parts(path);
    let mut links = 0;
    let mut is_dir = true;
    while let Some(part) = todo.pop() {
        if !is_dir {
            return Ok(None);
        }
        step(&mut real, &part);
        if real.is_empty() {
            continue;
        }
        match look(&real)? {
            None => return Ok(None),
            Some(Step::Directory) => {}
            Some(Step::Other) => is_dir = false,
            Some(Step::Link(target)) => {
                links += 1;
                if links > MOST_LINKS {
                    return Ok(None);
                }
                follow(&mut real, &target, &mut todo);
            }
        }
    }
    Ok(Some(real))
}

/// A node that belongs to root.
fn node(mode: u32, data: Cow<'_, [u8]>) -> Node<'_> {
    Node {
        mode,
        data,
        ..Node::default()
    }
}

/// The parts of a path, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').rev();
    let parts = parts.filter(|part| !part.is_empty() && *part != b".");
    parts.map(<[u8]>::to_vec).collect()
}

/// Goes one part further. The root directory is its own parent.
fn step(path: &mut Vec<u8>, part: &[u8]) {
    if part == b".." {
        up(path);
        return;
    }
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(part);
}

fn up(path: &mut Vec<u8>) {
    path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
}

/// Goes on at the target of the symbolic link at `path`.
fn follow(path: &mut Vec<u8>, target: &[u8], todo: &mut Vec<Vec<u8>>) {
    match target.starts_with(b"/") {
        true => path.clear(),
        false => up(path),
    }
    todo.extend(parts(target));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(tree: &Tree<'_>) -> String {
        let names = tree.iter().map(|(path, _)| String::from_utf8_lossy(path));
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_added_below_a_link_is_added_below_its_target() {
        let mut tree = Tree::new();
        tree.symlink("lib", &b"usr/lib"[..]);
        tree.symlink("usr/lib/x", &b"/opt/../opt/x"[..]);
        tree.file("lib/a", 0o644, &b"a"[..]);
        tree.dir("lib", 0o700);
        tree.file("lib/x/b", 0o644, &b"b"[..]);
        assert_eq!(
            names(&tree),
            "lib opt opt/x opt/x/b usr usr/lib usr/lib/a usr/lib/x"
        );
        assert_eq!(tree.get(b"usr/lib").unwrap().mode, S_IFDIR | 0o700);
        assert_eq!(tree.resolve(b"/lib/x/b").unwrap(), b"opt/x/b");
        assert_eq!(tree.resolve(b"lib/../../lib/a").unwrap(), b"usr/lib/a");
        assert_eq!(tree.resolve(b"lib/a/b"), None);
        assert_eq!(tree.resolve(b"lib/c"), None);
        assert_eq!(tree.resolve(b"/"), Some(Vec::new()));
    }

    #[test]
    fn endless_links_are_no_trap() {
        let mut tree = Tree::new();
        tree.symlink("a", &b"b"[..]);
        tree.symlink("b", &b"a"[..]);
        assert_eq!(tree.resolve(b"a/c"), None);
        tree.file("a/c", 0o644, &b""[..]);
        assert!(tree.iter().any(|(_, node)| node.is_file()));
        tree.symlink("out", &b"../../../etc"[..]);
        tree.file("out/passwd", 0o644, &b""[..]);
        assert!(tree.get(b"etc/passwd").is_some());
    }

    #[test]
    fn a_node_replaces_what_is_there() {
        let mut tree = Tree::new();
        tree.file("a/b/c", 0o644, &b""[..]);
        tree.file("a", 0o644, &b""[..]);
        assert_eq!(names(&tree), "a");
        tree.file("a/b", 0o644, &b""[..]);
        tree.file("ab", 0o644, &b""[..]);
        tree.remove(b"a");
        assert_eq!(names(&tree), "ab");
    }
}
