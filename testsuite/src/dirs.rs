//! Directories of tests.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;

use crate::tools::Tools;

/// An empty directory for this test.
pub fn scratch(tools: &Tools, name: &str) -> Result<PathBuf> {
    let dir = tools.out.join("scratch").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The argument of `-v` that makes a directory `/data` in the guest.
pub fn volume(dir: &Path) -> String {
    format!("{}:/data", dir.display())
}
