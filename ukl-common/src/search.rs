//! Finds commands in PATH.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

/// The value of PATH, or a default if it is not set.
pub fn path_variable() -> OsString {
    env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

/// The first executable called `name` in a list of directories separated by colons that `accept`
/// accepts.
pub fn find(dirs: &OsStr, name: &OsStr, accept: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    env::split_paths(dirs)
        .map(|dir| dir.join(name))
        .find(|path| is_executable(path) && accept(path))
}

/// Whether a path is an executable file.
pub fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether a path leads to the file `myself`, a path without symbolic links.
pub fn leads_to(path: &Path, myself: &Path) -> bool {
    path.canonicalize().is_ok_and(|real| real == myself)
}
