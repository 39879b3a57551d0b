//! The registry: finds images by the build IDs of their programs.
//!
//! Build systems copy, rename and install a program without its image. The program keeps its build
//! ID, even after `strip`. So `~/.cache/ukl/images/<build ID>` is a symbolic link to the image.
//!
//! Go builds a program in a temporary directory and moves only the program out of it. The image of
//! such a program is stored in `~/.cache/ukl/kept`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use crate::build_id;
use crate::cache;

/// When there are this many links, those to images that no longer exist are removed.
const MANY: usize = 1000;

/// The least recently used images in `kept` are removed until the rest has at most this size.
const LIMIT: u64 = 1 << 30;

/// Records the path of a program's image. Failure is not an error; the image is then not found
/// later.
pub fn remember(program: &Path, image: &Path) {
    let note = || link(&id(program)?, image.canonicalize().ok()?);
    let _ = note();
}

/// Stores the image of a program whose directory will be removed, and records its path.
pub fn keep(program: &Path, image: &Path) {
    let write = || -> Option<()> {
        let id = id(program)?;
        let dir = cache::directory("kept")?;
        let kept = dir.join(format!("{id}.ukl"));
        cache::put(&kept, &fs::read(image).ok()?, b"").ok()?;
        cache::trim(&dir, LIMIT);
        link(&id, kept)
    };
    let _ = write();
}

/// Finds the image of a program, if it still exists. An image in `kept` must be as it was stored.
pub fn find(program: &Path) -> Option<PathBuf> {
    let link = cache::directory("images")?.join(id(program)?);
    let image = link.canonicalize().ok().filter(|image| image.is_file())?;
    let kept = cache::directory("kept").and_then(|dir| dir.canonicalize().ok());
    let is_kept = kept.is_some_and(|kept| image.starts_with(kept));
    (!is_kept || cache::get(&image).is_some()).then_some(image)
}

fn id(program: &Path) -> Option<String> {
    build_id::of(program).map(|id| build_id::hex(&id))
}

fn link(id: &str, image: PathBuf) -> Option<()> {
    let dir = cache::directory("images")?;
    let link = dir.join(id);
    // The link is created under a temporary name and renamed, because another process may be
    // reading it.
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
