//! Reads and writes archives in cpio's newc format
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Times are zero, owners are root and entries are sorted by name, so that the same files make the
//! same archive.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::ImageError;

/// The magic number of a header.
const MAGIC: &[u8] = b"070701";
/// The magic and 13 numbers of 8 hexadecimal digits.
const HEADER: usize = 110;
/// The indices of two of these numbers.
const FILE_SIZE: usize = 6;
const NAME_SIZE: usize = 11;
/// The alignment of data, and of headers with their names.
const ALIGN: usize = 4;
/// The name of the last entry.
const TRAILER: &[u8] = b"TRAILER!!!";

const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// An entry: its type and permissions, its device numbers, its content.
#[derive(Debug)]
struct Entry<'a> {
    mode: u32,
    device: (u32, u32),
    data: Cow<'a, [u8]>,
}

/// A tree of files. The names have no leading slash.
///
/// A directory sorts before its entries, which is the order that the kernel needs.
#[derive(Debug, Default)]
pub struct Tree<'a> {
    entries: BTreeMap<Vec<u8>, Entry<'a>>,
}

impl<'a> Tree<'a> {
    /// An empty tree.
    pub fn new() -> Self {
        Tree::default()
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: impl AsRef<[u8]>, permissions: u32) {
        self.put(
            path.as_ref(),
            S_IFDIR | permissions,
            (0, 0),
            Cow::Borrowed(b""),
        );
    }

    /// Adds a regular file.
    pub fn file(
        &mut self,
        path: impl AsRef<[u8]>,
        permissions: u32,
        data: impl Into<Cow<'a, [u8]>>,
    ) {
        self.put(path.as_ref(), S_IFREG | permissions, (0, 0), data.into());
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: impl AsRef<[u8]>, target: impl Into<Cow<'a, [u8]>>) {
        self.put(path.as_ref(), S_IFLNK | 0o777, (0, 0), target.into());
    }

    /// Adds a character device.
    pub fn char_device(
        &mut self,
        path: impl AsRef<[u8]>,
        permissions: u32,
        major: u32,
        minor: u32,
    ) {
        self.put(
            path.as_ref(),
            S_IFCHR | permissions,
            (major, minor),
            Cow::Borrowed(b""),
        );
    }

    /// Adds a file or a tree of the host at `guest`.
    pub fn add_host(&mut self, host: &Path, guest: &str) -> Result<(), ImageError> {
        let mut path = Vec::new();
        for part in guest
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
        {
            if part == ".." || part.contains('\0') {
                return Err(ImageError::Spec(format!(
                    "--ukl-add {}:{guest}: a path in the guest cannot contain `..`",
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
                "--ukl-add {}:{guest}: the guest mounts a file system of the kernel there, which \
                 would hide the file",
                host.display()
            )));
        }
        // A symbolic link that the user names is followed; one inside a tree is kept.
        let meta = fs::metadata(host).map_err(|error| ImageError::read(host, error))?;
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
        } else if guest.is_empty() {
            return Err(ImageError::Spec(format!(
                "--ukl-add {}:/: a file cannot be the guest's root directory",
                host.display()
            )));
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

    fn put(&mut self, path: &[u8], mode: u32, device: (u32, u32), data: Cow<'a, [u8]>) {
        for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            self.entries.entry(path[..at].to_vec()).or_insert(Entry {
                mode: S_IFDIR | 0o755,
                device: (0, 0),
                data: Cow::Borrowed(b""),
            });
        }
        self.entries
            .insert(path.to_vec(), Entry { mode, device, data });
    }

    /// Writes the archive.
    pub fn write(&self) -> Vec<u8> {
        let size: usize = self
            .entries
            .iter()
            .map(|(path, entry)| 120 + path.len() + entry.data.len())
            .sum();
        let mut out = Vec::with_capacity(size + 128);
        for (ino, (path, entry)) in (1..).zip(&self.entries) {
            write_entry(&mut out, ino, path, entry);
        }
        let end = Entry {
            mode: 0,
            device: (0, 0),
            data: Cow::Borrowed(b""),
        };
        write_entry(&mut out, 0, TRAILER, &end);
        out
    }
}

fn write_entry(out: &mut Vec<u8>, ino: u32, path: &[u8], entry: &Entry<'_>) {
    let links = if entry.mode & 0o170_000 == S_IFDIR {
        2
    } else {
        1
    };
    let fields = [
        ino,
        entry.mode,
        0, // owner
        0, // group
        links,
        0, // time
        entry.data.len() as u32,
        0, // the device the file is on
        0,
        entry.device.0,
        entry.device.1,
        path.len() as u32 + 1,
        0, // checksum, not in newc
    ];
    out.extend_from_slice(MAGIC);
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path);
    out.push(0);
    out.resize(out.len().next_multiple_of(ALIGN), 0);
    out.extend_from_slice(&entry.data);
    out.resize(out.len().next_multiple_of(ALIGN), 0);
}

/// Finds a file in an archive by its name. `None` if the archive does not contain it, or is
/// malformed.
pub fn find<'a>(mut archive: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    loop {
        let header = archive.get(..HEADER)?;
        let field = |number: usize| {
            let at = MAGIC.len() + number * 8;
            let text = std::str::from_utf8(header.get(at..at + 8)?).ok()?;
            usize::from_str_radix(text, 16).ok()
        };
        let (size, name_size) = (field(FILE_SIZE)?, field(NAME_SIZE)?);
        let name = archive.get(HEADER..HEADER + name_size.checked_sub(1)?)?;
        if !header.starts_with(MAGIC) || name == TRAILER {
            return None;
        }
        let data = (HEADER + name_size).next_multiple_of(ALIGN);
        let end = data.checked_add(size)?;
        if name == wanted {
            return archive.get(data..end);
        }
        archive = archive.get(end.checked_next_multiple_of(ALIGN)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Command;
    use std::process::Stdio;

    use super::*;

    fn cpio(args: &[&str], archive: &[u8], dir: &Path) -> String {
        let mut child = Command::new("cpio")
            .args(args)
            .arg("--quiet")
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio is needed for this test");
        child.stdin.take().unwrap().write_all(archive).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        String::from_utf8(out.stdout).unwrap()
    }

    #[test]
    fn cpio_reads_our_archives() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new();
        tree.dir("a", 0o750);
        tree.file("a/b", 0o644, b"12345".as_slice());
        tree.file("a/deep/er/c", 0o755, b"".as_slice());
        tree.symlink("l", b"a/b".as_slice());
        let archive = tree.write();
        assert_eq!(
            cpio(&["-t"], &archive, dir.path()),
            "a\na/b\na/deep\na/deep/er\na/deep/er/c\nl\n"
        );
        cpio(&["-i", "-d"], &archive, dir.path());
        assert_eq!(fs::read(dir.path().join("l")).unwrap(), b"12345");
        assert_eq!(
            fs::metadata(dir.path().join("a")).unwrap().mode() & 0o7777,
            0o750
        );
        assert_eq!(
            fs::metadata(dir.path().join("a/deep/er/c")).unwrap().mode() & 0o7777,
            0o755
        );
    }

    #[test]
    fn a_file_is_found_by_its_name() {
        let mut tree = Tree::new();
        tree.dir("a", 0o750);
        tree.file("a/b", 0o644, b"12345".as_slice());
        tree.file("a/c", 0o644, b"".as_slice());
        let archive = tree.write();
        assert_eq!(find(&archive, b"a/b"), Some(&b"12345"[..]));
        assert_eq!(find(&archive, b"a/c"), Some(&b""[..]));
        assert_eq!(find(&archive, b"a/d"), None);
        assert_eq!(find(&archive, TRAILER), None);
        for length in 0..archive.len() {
            let _ = find(&archive[..length], b"a/d");
        }
        assert_eq!(find(&[b'0'; 200], b"x"), None);
    }

    #[test]
    fn devices_keep_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = Tree::new();
        tree.char_device("dev/console", 0o600, 5, 1);
        let list = cpio(&["-tv"], &tree.write(), dir.path());
        assert!(
            list.lines()
                .any(|l| l.starts_with("crw-------") && l.contains("5,   1")),
            "{list}"
        );
    }

    #[test]
    fn a_tree_of_the_host_is_added_recursively() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path().join("tree");
        fs::create_dir_all(host.join("x")).unwrap();
        fs::write(host.join("x/y"), "y").unwrap();
        std::os::unix::fs::symlink("x/y", host.join("z")).unwrap();
        let mut tree = Tree::new();
        tree.add_host(&host, "/opt//t/").unwrap();
        let list = cpio(&["-t"], &tree.write(), dir.path());
        assert_eq!(list, "opt\nopt/t\nopt/t/x\nopt/t/x/y\nopt/t/z\n");
    }

    #[test]
    fn paths_where_the_guest_cannot_have_files_are_refused() {
        let mut tree = Tree::new();
        assert!(
            tree.add_host(Path::new("/etc/passwd"), "a/../../b")
                .is_err()
        );
        assert!(tree.add_host(Path::new("/etc/passwd"), "/").is_err());
        assert!(tree.add_host(Path::new("/etc/passwd"), "/proc/a").is_err());
        assert!(
            tree.add_host(Path::new("/etc/passwd"), "//sys/b/a")
                .is_err()
        );
        assert!(tree.add_host(Path::new("/nonexistent"), "/a").is_err());
        assert!(tree.add_host(Path::new("/dev/null"), "/a").is_err());
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let make = |order: [&'static str; 2]| {
            let mut tree = Tree::new();
            for name in order {
                tree.file(name, 0o644, name.as_bytes());
            }
            tree.write()
        };
        assert_eq!(make(["a", "b"]), make(["b", "a"]));
    }
}
