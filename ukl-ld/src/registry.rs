//! Where images are, by the build ID of their programs.
//!
//! Build systems copy, rename and install a program, and know nothing of the image beside it. The
//! build ID goes along with the program wherever it goes, `strip` included. So for each image
//! there is a link `~/.cache/ukl/images/<build ID>` to it.
//!
//! Go builds a program in a temporary directory and takes only the program out of it. Such an image
//! is kept in `~/.cache/ukl/kept`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;

use crate::cache;
use crate::elf;

/// From so many links on, those to images that are gone are removed.
const MANY: usize = 1000;

/// The images that are kept are brought down to this size by those not used for longest.
const LIMIT: u64 = 1 << 30;

/// Notes where the image of a program is. Where that cannot be done, it is only not found later.
pub fn remember(program: &Path, image: &Path) {
    let note = || link(&elf::build_id(program)?, image.canonicalize().ok()?);
    let _ = note();
}

/// Keeps the image of a program whose directory will not stay, and notes where.
pub fn keep(program: &Path, image: &Path) {
    let write = || -> Option<()> {
        let id = elf::build_id(program)?;
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

fn link(id: &str, image: PathBuf) -> Option<()> {
    let dir = cache::directory("images")?;
    let link = dir.join(id);
    // Beside, then renamed: somebody may be looking.
    let beside = dir.join(format!(".{}", std::process::id()));
    symlink(image, &beside).ok()?;
    fs::rename(&beside, &link).ok()?;
    forget(&dir);
    Some(())
}

/// Finds the image of a program, if it is still there.
pub fn find(program: &Path) -> Option<PathBuf> {
    let link = cache::directory("images")?.join(elf::build_id(program)?);
    link.canonicalize().ok().filter(|image| image.is_file())
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
