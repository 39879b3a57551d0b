//! Programs with their debugging sections, for gdb.
//!
//! The program in an image has no debugging sections. The complete program is stored as
//! `~/.cache/ukl/debug/<digest of the stripped program>/<name>`. `ukl-run --gdb` finds it by the
//! digest of the program in the image.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::cache;
use crate::files;

/// The oldest programs are removed until the rest has at most this size.
const LIMIT: u64 = 1 << 30;

/// Stores the complete program, of which the image contains `stripped`. If this fails, gdb has no
/// debugging information, but the link is not affected.
pub fn remember(stripped: &[u8], whole: &[u8], name: &str) {
    let write = || -> Option<()> {
        let base = cache::directory("debug")?;
        let dir = base.join(digest(stripped));
        fs::create_dir_all(&dir).ok()?;
        cache::put(&dir.join(name), whole, b"").ok()?;
        trim(&base, LIMIT);
        Some(())
    };
    let _ = write();
}

/// Finds the complete program that belongs to a program from an image, if it is as it was stored.
pub fn find(stripped: &[u8]) -> Option<PathBuf> {
    let dir = cache::directory("debug")?.join(digest(stripped));
    let mut files = fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| !path.file_name().is_some_and(files::is_unfinished))
        .filter(|path| !cache::is_check(path));
    files.find(|path| cache::get(path).is_some())
}

fn digest(program: &[u8]) -> String {
    let mut hex = blake3::hash(program).to_hex().to_string();
    // Users have to type it.
    hex.truncate(16);
    hex
}

/// Removes the oldest entries until the rest has at most `limit` bytes.
fn trim(base: &Path, limit: u64) {
    let size_of = |dir: &Path| -> u64 {
        let files = fs::read_dir(dir).into_iter().flatten().flatten();
        files
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum()
    };
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    let mut dirs: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let path = entry.path();
            let used = entry.metadata().ok()?.modified().ok()?;
            Some((used, size_of(&path), path))
        })
        .collect();
    let mut size: u64 = dirs.iter().map(|(_, size, _)| size).sum();
    dirs.sort();
    // The newest entry has just been written, so it is kept.
    dirs.pop();
    for (_, length, dir) in dirs {
        if size <= limit {
            return;
        }
        if fs::remove_dir_all(&dir).is_ok() {
            size -= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let base = tempfile::tempdir().unwrap();
        for (name, age) in [("old", 20), ("new", 10), ("newest", 0)] {
            let dir = base.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("p"), [0; 100]).unwrap();
            let time = SystemTime::now() - std::time::Duration::from_secs(age);
            fs::File::open(&dir).unwrap().set_modified(time).unwrap();
        }
        trim(base.path(), 250);
        assert!(!base.path().join("old").exists() && base.path().join("new").exists());
        trim(base.path(), 0);
        assert!(!base.path().join("new").exists() && base.path().join("newest").exists());
    }
}
