//! The cache of rewritten archives, under a hash of the input.
//!
//! An entry is the archive, and its note is the list of thunks that it calls. [`ukl_common::cache`]
//! checks that it is as it was stored.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use symbol_rewriter::Thunk;
use ukl_common::cache;

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

/// What identifies the rewriter in the tool at this path.
pub fn rewriter(myself: &Path) -> Vec<u8> {
    let mut identity = symbol_rewriter::VERSION.as_bytes().to_vec();
    identity.push(0);
    // During development the rewriter changes without a change of its version.
    if let Ok(meta) = fs::metadata(myself) {
        let age = meta
            .modified()
            .ok()
            .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        identity.extend_from_slice(&meta.len().to_le_bytes());
        identity.extend_from_slice(&age.unwrap_or_default().as_nanos().to_le_bytes());
    }
    identity
}

impl Cache {
    /// Opens the cache, and creates it if necessary. Returns `None` if that is not possible; a link
    /// works without it, only more slowly.
    pub fn open(myself: &Path, prefix: &[u8]) -> Option<Cache> {
        let dir = cache::directory("rewritten")?;
        let mut salt = rewriter(myself);
        salt.extend_from_slice(prefix);
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
        let note = String::from_utf8(cache::get(&path)?).ok()?;
        let thunks = parse(&note)?;
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
        cache::put(&path, rewritten, names.as_bytes())?;
        cache::trim(&self.dir, LIMIT);
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

    fn open(dir: &Path) -> Cache {
        Cache {
            dir: dir.to_owned(),
            salt: b"salt".to_vec(),
        }
    }

    #[test]
    fn what_was_put_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let entries = open(dir.path());
        assert!(entries.get(b"input").is_none());
        let call = Thunk::Call {
            number: 0,
            preserved: 0x24,
        };
        let thunks = BTreeSet::from([Thunk::Number(39), Thunk::Generic, call]);
        entries.put(b"input", b"output", &thunks).unwrap();
        let entry = entries.get(b"input").unwrap();
        assert_eq!(fs::read(entry.path).unwrap(), b"output");
        assert_eq!(entry.thunks, thunks);
        assert!(entries.get(b"other").is_none());
    }

    #[test]
    fn another_version_has_other_entries() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path())
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
        let entries = open(dir.path());
        let old = entries.put(b"old", b"output", &BTreeSet::new()).unwrap();
        entries.put(b"new", b"output", &BTreeSet::new()).unwrap();
        let long_ago = SystemTime::now() - IDLE * 2;
        fs::File::open(&old.path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        cache::trim(dir.path(), 0);
        assert!(entries.get(b"old").is_none());
        assert!(entries.get(b"new").is_some());
    }
}
