//! Temporary directories that are removed even if their process is killed.
//!
//! A directory is removed when its owner drops it. SIGKILL prevents that. Therefore the owner holds
//! a lock (flock(2)) on the directory as long as it runs, and before a new directory is made, those
//! without a lock are removed. The kernel releases the locks of a process that ends. A process ID
//! in the name would not work, because containers with different PID namespaces may share /tmp.

use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The prefix of the names of directories that a sweep may remove.
const PREFIX: &str = "ukl-ld-temp.";

/// The prefix of the names of directories that are kept.
const KEPT: &str = "ukl-ld.";

/// A temporary directory.
#[derive(Debug)]
pub struct TempDir {
    dir: tempfile::TempDir,
    /// Holds the lock.
    _lock: Option<File>,
}

impl TempDir {
    /// Makes a directory in the system's temporary directory.
    pub fn new() -> io::Result<TempDir> {
        TempDir::new_in(&std::env::temp_dir())
    }

    fn new_in(base: &Path) -> io::Result<TempDir> {
        sweep(base);
        loop {
            let mut dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base)?;
            let lock = match File::open(dir.path()) {
                Ok(file) => file,
                // Another process's sweep removed the directory before it was locked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    dir.disable_cleanup(true);
                    continue;
                }
                Err(error) => return Err(error),
            };
            // If this file system does not support locks, no sweep removes the directory either.
            let _ = flock(&lock, libc::LOCK_EX);
            let ours = lock.metadata()?;
            match fs::symlink_metadata(dir.path()) {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(TempDir {
                        dir,
                        _lock: Some(lock),
                    });
                }
                _ => dir.disable_cleanup(true),
            }
        }
    }

    /// Makes a directory that is not removed.
    pub fn kept() -> io::Result<TempDir> {
        let mut dir = tempfile::Builder::new().prefix(KEPT).tempdir()?;
        dir.disable_cleanup(true);
        Ok(TempDir { dir, _lock: None })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the directories of this user that are not locked. Errors are ignored: the next sweep
/// tries again.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        let open = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(&path);
        let Ok(dir) = open else {
            continue;
        };
        // SAFETY: the call is always sound.
        let user = unsafe { libc::geteuid() };
        let ours = dir.metadata().is_ok_and(|meta| meta.uid() == user);
        if ours && flock(&dir, libc::LOCK_EX | libc::LOCK_NB).is_ok() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

fn flock(file: &File, operation: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the file is borrowed.
    match unsafe { libc::flock(file.as_raw_fd(), operation) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_without_an_owner_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let owned = TempDir::new_in(base.path()).unwrap();
        fs::write(owned.path().join("file"), "").unwrap();
        // A directory of a process that was killed.
        let stale = base.path().join(format!("{PREFIX}stale"));
        fs::create_dir_all(stale.join("deep")).unwrap();
        fs::write(stale.join("deep/file"), "").unwrap();
        let other = base.path().join("ukl-ld.kept");
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&other, base.path().join(format!("{PREFIX}link"))).unwrap();

        let next = TempDir::new_in(base.path()).unwrap();
        assert!(!stale.exists() && other.exists());
        assert!(owned.path().join("file").exists());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}
