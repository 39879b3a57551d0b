//! Reads and writes archives in cpio's newc format
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Times are zero and entries are sorted by name, so that the same files make the same archive.

use crate::tree::Node;
use crate::tree::S_IFDIR;
use crate::tree::S_IFMT;
pub use crate::tree::Tree;

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

/// Writes the archive of a tree.
pub(crate) fn write(tree: &Tree<'_>) -> Vec<u8> {
    let size: usize = tree
        .iter()
        .map(|(path, node)| 120 + path.len() + node.data.len())
        .sum();
    let mut out = Vec::with_capacity(size + 128);
    for (ino, (path, node)) in (1..).zip(tree.iter()) {
        write_entry(&mut out, ino, path, node);
    }
    write_entry(&mut out, 0, TRAILER, &Node::default());
    out
}

fn write_entry(out: &mut Vec<u8>, ino: u32, path: &[u8], node: &Node<'_>) {
    let links = if node.mode & S_IFMT == S_IFDIR { 2 } else { 1 };
    let fields = [
        ino,
        node.mode,
        node.owner.0,
        node.owner.1,
        links,
        0, // time
        node.data.len() as u32,
        0, // the device the file is on
        0,
        node.device.0,
        node.device.1,
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
    out.extend_from_slice(&node.data);
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
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;
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
        tree.add_host("--ukl-add", &host, "/opt//t/").unwrap();
        let list = cpio(&["-t"], &tree.write(), dir.path());
        assert_eq!(list, "opt\nopt/t\nopt/t/x\nopt/t/x/y\nopt/t/z\n");
    }

    #[test]
    fn paths_where_the_guest_cannot_have_files_are_refused() {
        let mut tree = Tree::new();
        assert!(
            tree.add_host("--ukl-add", Path::new("/etc/passwd"), "a/../../b")
                .is_err()
        );
        assert!(
            tree.add_host("--ukl-add", Path::new("/etc/passwd"), "/")
                .is_err()
        );
        assert!(
            tree.add_host("--ukl-add", Path::new("/etc/passwd"), "/proc/a")
                .is_err()
        );
        assert!(
            tree.add_host("--ukl-add", Path::new("/etc/passwd"), "//sys/b/a")
                .is_err()
        );
        assert!(
            tree.add_host("--ukl-add", Path::new("/nonexistent"), "/a")
                .is_err()
        );
        assert!(
            tree.add_host("--ukl-add", Path::new("/dev/null"), "/a")
                .is_err()
        );
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
