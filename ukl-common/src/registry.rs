//! Where images are, by the build IDs of their programs.
//!
//! Build systems copy, rename and install a program without its image. The build ID stays with the
//! program, even after `strip`. So `~/.cache/ukl/images/<build ID>` is a link to the image.
//!
//! Go builds a program in a temporary directory and takes only the program out of it. Such an image
//! is kept in `~/.cache/ukl/kept`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use crate::build_id;
use crate::cache;

/// With this many links, those to images that no longer exist are removed.
const MANY: usize = 1000;

/// The least recently used images in `kept` are removed until the rest is within this size.
const LIMIT: u64 = 1 << 30;

/// Records where the image of a program is. If that fails, the image is not found later.
pub fn remember(program: &Path, image: &Path) {
    let note = || link(&id(program)?, image.canonicalize().ok()?);
    let _ = note();
}

/// Keeps the image of a program whose directory will be removed, and records where.
pub fn keep(program: &Path, image: &Path) {
    let write = || -> Option<()> {
        let id = id(program)?;
        let dir = cache::directory("kept")?;
        let kept = dir.join(format!("{id}.ukl"));
        let beside = dir.join(format!(".{}", std::process::id()));
        // On another file system the directory can have only a copy.
        fs::hard_link(image, &beside)
            .or_else(|_| fs::copy(image, &beside).map(|_| ()))
            .ok()?;
        fs::rename(&beside, &kept).ok()?;
        cache::trim(&dir, LIMIT);
        link(&id, kept)
    };
    let _ = write();
}

/// Finds the image of a program, if it still exists.
pub fn find(program: &Path) -> Option<PathBuf> {
    let link = cache::directory("images")?.join(id(program)?);
    link.canonicalize().ok().filter(|image| image.is_file())
}

fn id(program: &Path) -> Option<String> {
    build_id::of(program).map(|id| build_id::hex(&id))
}

fn link(id: &str, image: PathBuf) -> Option<()> {
    let dir = cache::directory("images")?;
    let link = dir.join(id);
    // Made beside and renamed, since another process may be reading it.
    let beside = dir.join(format!(".{}", std::process::id()));
    symlink(image, &beside).ok()?;
    fs::rename(&beside, &link).ok()?;
    forget(&dir);
    Some(())
}

fn forget(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let links: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    if links.len() >= MANY {
        for link in links.iter().filter(|link| !link.exists()) {
            let _ = fs::remove_file(link);
        }
    }
}
