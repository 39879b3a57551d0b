//! Reads a directory of the host that is to be the guest's root directory.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ukl_image::tree::Node;
use ukl_image::tree::S_IFDIR;
use ukl_image::tree::S_IFIFO;
use ukl_image::tree::S_IFLNK;
use ukl_image::tree::S_IFREG;
use ukl_image::tree::Tree;

use crate::error::Error;
use crate::error::Result;

/// Adds the files below a directory. Files of the user who runs this belong to root in the guest.
pub fn read(dir: &Path, tree: &mut Tree<'static>) -> Result<()> {
    // SAFETY: the call is always sound.
    let user = unsafe { libc::geteuid() };
    below(dir, &[], user, tree)
}

fn below(dir: &Path, path: &[u8], user: u32, tree: &mut Tree<'static>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::file(dir))? {
        let entry = entry.map_err(Error::file(dir))?;
        let (host, name) = (entry.path(), entry.file_name());
        let meta = entry.metadata().map_err(Error::file(&host))?;
        let mut path = path.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let permissions = meta.mode() & 0o7777;
        let kind = meta.file_type();
        let mut node = Node {
            owner: match meta.uid() == user {
                true => (0, 0),
                false => (meta.uid(), meta.gid()),
            },
            ..Node::default()
        };
        node.mode = if kind.is_dir() {
            S_IFDIR | permissions
        } else if kind.is_symlink() {
            let target = fs::read_link(&host).map_err(Error::file(&host))?;
            node.data = target.as_os_str().as_bytes().to_vec().into();
            S_IFLNK | 0o777
        } else if kind.is_file() {
            if u32::try_from(meta.len()).is_err() {
                return Err(Error::input(
                    host.display(),
                    "too large for an image; pass it to the guest with `ukl-run -v'",
                ));
            }
            node.data = fs::read(&host).map_err(Error::file(&host))?.into();
            S_IFREG | permissions
        } else if kind.is_fifo() {
            S_IFIFO | permissions
        } else {
            // The guest has its own devices, and nobody serves a socket of the host.
            continue;
        };
        let is_dir = node.is_dir();
        tree.put(&path, node);
        // The guest mounts file systems of the kernel there.
        if is_dir && !matches!(path.as_slice(), b"proc" | b"sys" | b"dev") {
            below(&host, &path, user, tree)?;
        }
    }
    Ok(())
}
