//! The files that a link reads. Each is opened and mapped once, and all phases share its bytes.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use symbol_rewriter::Input;

use crate::error::At;
use crate::error::Result;

/// The number of files that are kept. A process can have 65,530 mappings (`vm.max_map_count`);
/// files beyond this number are mapped by each phase that reads them.
const KEPT: usize = 16384;

/// The files that were read, by the path that the command line or a search gave them.
#[derive(Debug, Default)]
pub struct Files {
    known: Mutex<HashMap<PathBuf, Arc<Input>>>,
}

impl Files {
    /// The content of a file. It must not change during the link.
    pub fn read(&self, path: &Path) -> Result<Arc<Input>> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(data) = known().get(path) {
            return Ok(Arc::clone(data));
        }
        let data = Arc::new(Input::read(path).at(path)?);
        let mut known = known();
        if known.len() < KEPT {
            // Another thread may have read it in the meantime.
            let data = known.entry(path.to_owned()).or_insert(data);
            return Ok(Arc::clone(data));
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let files = Files::default();
        let first = files.read(&path).unwrap();
        assert_eq!(&**first, b"content");
        std::fs::remove_file(&path).unwrap();
        let again = files.read(&path).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let error = files.read(&dir.path().join("other")).unwrap_err();
        assert!(error.to_string().contains("other"), "{error}");
    }
}
