//! The guest's root directory while it is being put together.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use ukl_image::tree;
use ukl_image::tree::Node;
use ukl_image::tree::S_IFDIR;
use ukl_image::tree::S_IFLNK;
use ukl_image::tree::S_IFREG;
use ukl_image::tree::Step;
use ukl_image::tree::Tree;

use crate::error::Error;
use crate::error::Result;

/// The root directory. Files of the host are copied into it when they are first looked for, with
/// the symbolic links that lead to them.
#[derive(Debug, Default)]
pub struct Root {
    /// The files.
    pub tree: Tree<'static>,
    /// The directory of the host whose files are copied. `None` if the root is complete.
    pub host: Option<PathBuf>,
}

impl Root {
    /// The root that takes its files from a directory of the host.
    pub fn of_host(dir: &Path) -> Root {
        Root {
            tree: Tree::new(),
            host: Some(dir.to_path_buf()),
        }
    }

    /// Finds a file or directory, and copies it from the host if it is missing. Returns its path
    /// without symbolic links. Of a directory, this does not copy the entries.
    pub fn find(&mut self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(host) = &self.host else {
            return Ok(self.tree.resolve(path));
        };
        // Nothing is copied if the path does not exist.
        let mut missing = BTreeMap::new();
        let found = tree::walk(path, |path| {
            if let Some(node) = self.tree.get(path) {
                return Ok(Some(Step::of(node)));
            }
            let node = self::node(&host.join(OsStr::from_bytes(path)))?;
            let step = node.as_ref().map(Step::of);
            if let Some(node) = node {
                missing.insert(path.to_vec(), node);
            }
            Ok::<_, Error>(step)
        })?;
        let Some(found) = found else { return Ok(None) };
        for (path, mut node) in missing {
            if node.is_file() {
                let source = host.join(OsStr::from_bytes(&path));
                node.data = fs::read(&source).map_err(Error::file(&source))?.into();
            }
            self.tree.put(path, node);
        }
        Ok(Some(found))
    }

    /// A file of the host or of the tree, without copying it.
    pub fn peek(&self, path: &[u8]) -> Option<Vec<u8>> {
        if let Some(real) = self.tree.resolve(path) {
            return self.tree.get(&real).map(|node| node.data.to_vec());
        }
        let path = path.strip_prefix(b"/").unwrap_or(path);
        fs::read(self.host.as_ref()?.join(OsStr::from_bytes(path))).ok()
    }

    /// Copies a directory of the host with its entries, or a file. Nothing happens if it does not
    /// exist.
    pub fn find_all(&mut self, path: &[u8]) -> Result<()> {
        let (Some(found), Some(host)) = (self.find(path)?, &self.host) else {
            return Ok(());
        };
        if self.tree.get(&found).is_some_and(Node::is_dir)
            && let Ok(guest) = std::str::from_utf8(&found)
        {
            self.tree.add_host("--add", &host.join(guest), guest)?;
        }
        Ok(())
    }

    /// The content of a file, by its path without symbolic links.
    pub fn data(&self, path: &[u8]) -> &[u8] {
        self.tree.get(path).map_or(&[], |node| &node.data)
    }

    /// Whether this path, without symbolic links, is a regular file.
    pub fn is_file(&self, path: &[u8]) -> bool {
        self.tree.get(path).is_some_and(Node::is_file)
    }
}

/// The node for a path of the host, without the content of files.
fn node(path: &Path) -> Result<Option<Node<'static>>> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(Error::file(path)(error)),
    };
    let permissions = meta.mode() & 0o7777;
    let mut node = Node::default();
    if meta.is_dir() {
        node.mode = S_IFDIR | permissions;
    } else if meta.is_symlink() {
        node.mode = S_IFLNK | 0o777;
        let target = fs::read_link(path).map_err(Error::file(path))?;
        node.data = target.as_os_str().as_bytes().to_vec().into();
    } else if meta.is_file() {
        if u32::try_from(meta.len()).is_err() {
            return Err(Error::input(
                path.display(),
                "too large for an image; pass it to the guest with `ukl-run -v'",
            ));
        }
        node.mode = S_IFREG | permissions;
    } else {
        return Ok(None);
    }
    Ok(Some(node))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_are_copied_with_the_links_that_lead_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let host = dir.path();
        fs::create_dir_all(host.join("usr/lib/deep")).unwrap();
        symlink("usr/lib", host.join("lib")).unwrap();
        fs::write(host.join("usr/lib/deep/x.so.1.2"), "x").unwrap();
        symlink("x.so.1.2", host.join("usr/lib/deep/x.so.1")).unwrap();
        symlink("/lib/deep/x.so.1", host.join("x")).unwrap();
        let mut root = Root::of_host(host);
        assert_eq!(root.find(b"/lib/deep/y").unwrap(), None);
        assert_eq!(root.find(b"/lib/deep/x.so.1/y").unwrap(), None);
        assert_eq!(root.tree.iter().count(), 0);
        let found = root.find(b"/x").unwrap().unwrap();
        assert_eq!(found, b"usr/lib/deep/x.so.1.2");
        assert_eq!(root.data(&found), b"x");
        let names: Vec<_> = root.tree.iter().map(|(path, _)| shown(path)).collect();
        let expected = [
            "/lib",
            "/usr",
            "/usr/lib",
            "/usr/lib/deep",
            "/usr/lib/deep/x.so.1",
            "/usr/lib/deep/x.so.1.2",
            "/x",
        ];
        assert_eq!(names, expected);
        root.find_all(b"/lib").unwrap();
        assert_eq!(root.tree.iter().count(), expected.len());
        // A complete root takes nothing from the host.
        root.host = None;
        fs::write(host.join("new"), "").unwrap();
        assert_eq!(root.find(b"/new").unwrap(), None);
    }

    use crate::error::shown;
}
