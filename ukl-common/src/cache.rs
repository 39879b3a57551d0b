//! The user's cache, `~/.cache/ukl`.
//!
//! An entry is a file that others use by its path, for instance the linker. Its checksum is in a file
//! of the same name with the suffix `.check`, together with a note of the caller's. An entry that a
//! full disk, a crash or anything else has emptied, cut or changed does not have that checksum. It
//! counts as missing, so the caller makes it again.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;

use crate::files;

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

/// The suffix of the file with an entry's checksum.
const CHECK: &str = ".check";

/// The length of a checksum in hexadecimal.
const DIGITS: usize = 2 * blake3::OUT_LEN;

/// Stores an entry with a note. Both are written under temporary names, synced and renamed, the entry
/// last, so that several processes can use the cache at once.
pub fn put(path: &Path, data: &[u8], note: &[u8]) -> io::Result<()> {
    let mut check = checksum(data, note).into_bytes();
    check.push(b'\n');
    check.extend_from_slice(note);
    files::write_beside(&check_of(path), &check, 0o644)?;
    files::write_beside(path, data, 0o644)
}

/// Reads an entry's note, if the entry is as it was stored.
pub fn get(path: &Path) -> Option<Vec<u8>> {
    read(path).map(|(_, note)| note)
}

/// Reads an entry and its note, if the entry is as it was stored.
///
/// An entry that is not is left in place: another process may just be making it again.
pub fn read(path: &Path) -> Option<(Vec<u8>, Vec<u8>)> {
    let check = fs::read(check_of(path)).ok()?;
    let (sum, note) = check.split_at_checked(DIGITS)?;
    let note = note.strip_prefix(b"\n")?;
    let data = fs::read(path).ok()?;
    if checksum(&data, note).as_bytes() != sum {
        return None;
    }
    // `trim` removes the oldest entries. If this fails, the entry is merely removed earlier.
    let _ = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    Some((data, note.to_vec()))
}

fn check_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(CHECK);
    name.into()
}

/// Whether a path is that of a checksum, not of an entry.
pub fn is_check(path: &Path) -> bool {
    path.as_os_str()
        .as_encoded_bytes()
        .ends_with(CHECK.as_bytes())
}

fn checksum(data: &[u8], note: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(note.len() as u64).to_le_bytes());
    hasher.update(note).update(data);
    hasher.finalize().to_hex().to_string()
}

/// Removes the least recently used entries of a directory, with their checksums, until the rest is
/// within the limit.
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
        .filter(|(.., path)| !is_check(path) || is_alone(path))
        .collect();
    let mut size: u64 = files.iter().map(|(_, size, _)| size).sum();
    files.sort();
    let now = SystemTime::now();
    for (used, length, path) in files {
        let idle = now.duration_since(used).is_ok_and(|idle| idle > IDLE);
        if size <= limit || !idle {
            return;
        }
        if fs::remove_file(&path).is_ok() {
            let _ = fs::remove_file(check_of(&path));
            size -= length;
        }
    }
}

/// Whether the entry of a checksum is gone.
fn is_alone(check: &Path) -> bool {
    let name = check.as_os_str().to_string_lossy();
    !Path::new(name.trim_end_matches(CHECK)).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_entry_counts_as_missing_until_it_is_stored_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("entry.a");
        assert_eq!(get(&path), None);
        let damages: [&dyn Fn(Vec<u8>) -> Vec<u8>; 4] = [
            &|_| Vec::new(),
            &|data| data[..data.len() / 2].to_vec(),
            &|mut data| {
                data[0] ^= 1;
                data
            },
            &|data| [data, b"more".to_vec()].concat(),
        ];
        for file in [path.clone(), check_of(&path)] {
            for damage in damages {
                put(&path, b"data", b"note").unwrap();
                assert_eq!(get(&path).unwrap(), b"note");
                fs::write(&file, damage(fs::read(&file).unwrap())).unwrap();
                assert_eq!(get(&path), None, "{}", file.display());
            }
            put(&path, b"data", b"note").unwrap();
            fs::remove_file(&file).unwrap();
            assert_eq!(get(&path), None, "{}", file.display());
        }
    }

    #[test]
    fn an_entry_is_removed_with_its_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let long_ago = SystemTime::now() - IDLE * 2;
        for name in ["old", "new"] {
            put(&dir.path().join(name), b"data", b"").unwrap();
        }
        let old = fs::File::open(dir.path().join("old")).unwrap();
        old.set_modified(long_ago).unwrap();
        trim(dir.path(), 0);
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        left.retain(|entry| entry.is_ok());
        assert_eq!(left.len(), 2);
        assert_eq!(get(&dir.path().join("new")).unwrap(), b"");
    }
}
