//! Atomic writes: files that appear complete or not at all.

use std::fs;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The prefix of a file's name while the file is being written.
const UNFINISHED: &str = ".ukl.";

/// Whether this is the name of a temporary file of [`write_beside`].
pub fn is_unfinished(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// Writes a file under another name in the same directory, then renames it. The data is synced to
/// the disk before the rename, so that even a power failure does not leave an empty file. The umask
/// applies to the mode.
pub fn write_beside(path: &Path, data: &[u8], mode: u32) -> io::Result<()> {
    // A device is written to, not replaced.
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return fs::write(path, data);
    }
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let create = |path: &Path| {
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
    };
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .make_in(dir, create)?;
    file.write_all(data)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_beside(&path, b"one", 0o600).unwrap();
        write_beside(&path, b"two", 0o700).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none/f");
        assert!(write_beside(&path, b"one", 0o600).is_err());
        assert!(write_beside(Path::new("/dev/null"), b"one", 0o600).is_ok());
    }
}
