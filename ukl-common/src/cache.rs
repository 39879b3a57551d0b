//! Directories in the user's cache, `~/.cache/ukl`.

use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

/// [`trim`] keeps entries that were used within this time, because a process may still read them.
pub const IDLE: Duration = Duration::from_secs(3600);

/// A directory in `~/.cache/ukl`. It is created if it does not exist.
pub fn directory(name: &str) -> Option<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        // Some build systems (Bazel) clear the environment. The user database still has the home
        // directory.
        .or_else(|| Some(env::home_dir()?.join(".cache")))?;
    let dir = base.join("ukl").join(name);
    fs::create_dir_all(&dir).ok()?;
    Some(dir)
}

/// Removes the least recently used entries of a directory until the rest is within the limit.
///
/// An entry is a file, together with the file of the same name and the suffix `.stubs`, if there is
/// one.
pub fn trim(dir: &Path, limit: u64) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let meta = entry.metadata().ok()?;
            Some((meta.modified().ok()?, meta.len(), entry.path()))
        })
        .collect();
    let mut size: u64 = files.iter().map(|(_, size, _)| size).sum();
    files.sort();
    let now = SystemTime::now();
    for (used, length, path) in files {
        let idle = now.duration_since(used).is_ok_and(|idle| idle > IDLE);
        if size <= limit || !idle {
            return;
        }
        let companion = path.extension().is_some_and(|kind| kind == "stubs");
        if !companion && fs::remove_file(&path).is_ok() {
            let _ = fs::remove_file(path.with_extension("stubs"));
            size -= length;
        }
    }
}
