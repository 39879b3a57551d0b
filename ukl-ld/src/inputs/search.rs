//! Where libraries are looked for.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::args::Args;
use crate::args::table::Role;
use crate::script;

/// The directories of `-L`, in order.
pub(super) fn search_dirs(args: &Args, base: &Path) -> Vec<PathBuf> {
    let sysroot = args
        .last(Role::Sysroot)
        .map(PathBuf::from)
        .unwrap_or_default();
    let dirs = args.all(Role::LibraryPath);
    dirs.map(|dir| base.join(under(&sysroot, dir.as_bytes())))
        .collect()
}

/// A directory that may begin with `=` or `$SYSROOT`.
pub(super) fn under(sysroot: &Path, dir: &[u8]) -> PathBuf {
    let rest = dir
        .strip_prefix(b"=")
        .or_else(|| dir.strip_prefix(b"$SYSROOT"));
    match rest {
        Some(rest) => {
            let mut path = sysroot.as_os_str().to_owned();
            path.push(OsStr::from_bytes(rest));
            path.into()
        }
        None => OsStr::from_bytes(dir).into(),
    }
}

/// The directories that the linker searches on its own.
pub(super) fn system_dirs(ld: &Path) -> Vec<PathBuf> {
    let output = Command::new(ld)
        .arg("--verbose")
        .stdin(Stdio::null())
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| line.starts_with("SEARCH_DIR"));
    let dirs = lines.flat_map(|line| script::parse(line).search);
    dirs.map(|dir| under(Path::new(""), dir.as_bytes()))
        .collect()
}

pub(super) fn named(before: &str, name: &OsStr, behind: &str) -> OsString {
    let mut whole = OsString::from(before);
    whole.push(name);
    whole.push(behind);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysroots_stand_for_the_equals_sign() {
        assert_eq!(under(Path::new("/s"), b"=/lib"), Path::new("/s/lib"));
        assert_eq!(under(Path::new("/s"), b"$SYSROOT/lib"), Path::new("/s/lib"));
        assert_eq!(under(Path::new("/s"), b"/lib"), Path::new("/lib"));
    }
}
