//! The cache of rewritten archives, under a hash of the input.
//!
//! An entry consists of two files: the archive, and the list of thunks that it calls. Each is
//! written under a temporary name and renamed, the archive last. Therefore an archive in the cache
//! is complete, and several links can use the cache at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use symbol_rewriter::Thunk;
use ukl_common::cache::directory;
use ukl_common::cache::trim;
use ukl_common::files::write_beside;

/// The least recently used entries are removed until the rest is within this size.
const LIMIT: u64 = 2 << 30;

/// The cache's directory.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    /// Everything except the input that influences the rewriter's output.
    salt: Vec<u8>,
}

/// A rewritten archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path.
    pub path: PathBuf,
    /// The thunks it calls.
    pub thunks: BTreeSet<Thunk>,
}

impl Cache {
    /// Opens the cache, and creates it if necessary. Returns `None` if that is not possible; a link
    /// works without it, only more slowly.
    pub fn open(myself: &Path, prefix: &[u8]) -> Option<Cache> {
        let dir = directory("rewritten")?;
        let mut salt = symbol_rewriter::VERSION.as_bytes().to_vec();
        salt.push(0);
        salt.extend_from_slice(prefix);
        // During development the rewriter changes without a change of its version.
        if let Ok(meta) = fs::metadata(myself) {
            let age = meta
                .modified()
                .ok()
                .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
            salt.extend_from_slice(&meta.len().to_le_bytes());
            salt.extend_from_slice(&age.unwrap_or_default().as_nanos().to_le_bytes());
        }
        Some(Cache { dir, salt })
    }

    fn path(&self, data: &[u8]) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&(self.salt.len() as u64).to_le_bytes())
            .update(&self.salt)
            .update(data);
        self.dir.join(format!("{}.a", hasher.finalize().to_hex()))
    }

    /// Finds the rewritten form of this input.
    pub fn get(&self, data: &[u8]) -> Option<Entry> {
        let path = self.path(data);
        let file = fs::File::open(&path).ok()?;
        let thunks = parse(&fs::read_to_string(path.with_extension("thunks")).ok()?)?;
        // `trim` removes the oldest entries. If this fails, the entry is merely removed earlier.
        let _ = file.set_modified(SystemTime::now());
        Some(Entry { path, thunks })
    }

    /// Stores the rewritten form of an input.
    pub fn put(
        &self,
        data: &[u8],
        rewritten: &[u8],
        thunks: &BTreeSet<Thunk>,
    ) -> std::io::Result<Entry> {
        let path = self.path(data);
        let names: String = thunks.iter().map(|thunk| format!("{thunk}\n")).collect();
        write_beside(&path.with_extension("thunks"), names.as_bytes(), 0o644)?;
        write_beside(&path, rewritten, 0o644)?;
        trim(&self.dir, LIMIT);
        Ok(Entry {
            path,
            thunks: thunks.clone(),
        })
    }
}

fn parse(names: &str) -> Option<BTreeSet<Thunk>> {
    names.lines().map(Thunk::from_name).collect()
}

#[cfg(test)]
mod tests {
    use ukl_common::cache::IDLE;

    use super::*;

    fn cache(dir: &Path) -> Cache {
        Cache {
            dir: dir.to_owned(),
            salt: b"salt".to_vec(),
        }
    }

    #[test]
    fn what_was_put_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        assert!(cache.get(b"input").is_none());
        let call = Thunk::Call {
            number: 0,
            preserved: 0x24,
        };
        let thunks = BTreeSet::from([Thunk::Number(39), Thunk::Generic, call]);
        cache.put(b"input", b"output", &thunks).unwrap();
        let entry = cache.get(b"input").unwrap();
        assert_eq!(fs::read(entry.path).unwrap(), b"output");
        assert_eq!(entry.thunks, thunks);
        assert!(cache.get(b"other").is_none());
    }

    #[test]
    fn another_version_has_other_entries() {
        let dir = tempfile::tempdir().unwrap();
        cache(dir.path())
            .put(b"input", b"output", &BTreeSet::new())
            .unwrap();
        let other = Cache {
            dir: dir.path().to_owned(),
            salt: b"other".to_vec(),
        };
        assert!(other.get(b"input").is_none());
    }

    #[test]
    fn only_idle_entries_are_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let old = cache.put(b"old", b"output", &BTreeSet::new()).unwrap();
        cache.put(b"new", b"output", &BTreeSet::new()).unwrap();
        let long_ago = SystemTime::now() - IDLE * 2;
        fs::File::open(&old.path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        trim(dir.path(), 0);
        assert!(cache.get(b"old").is_none());
        assert!(cache.get(b"new").is_some());
    }
}
