//! The directories in which libraries are searched.

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
pub(crate) fn search_dirs(args: &Args, base: &Path) -> Vec<PathBuf> {
    let sysroot = args
        .last(Role::Sysroot)
        .map(PathBuf::from)
        .unwrap_or_default();
    let dirs = args.all(Role::LibraryPath);
    dirs.map(|dir| base.join(under(&sysroot, dir.as_bytes())))
        .collect()
}

/// Finds the archive that the host link uses for `-lNAME`. Returns `None` if it uses a shared
/// library, which it may if `dynamic` is set. The linker's default directories are not searched.
pub fn archive(args: &Args, name: &OsStr, dynamic: bool) -> Option<PathBuf> {
    let exact = name.as_bytes().strip_prefix(b":").map(OsStr::from_bytes);
    let (archive, shared) = match exact {
        Some(exact) => (exact.to_owned(), None),
        None => {
            let shared = dynamic.then(|| named("lib", name, ".so"));
            (named("lib", name, ".a"), shared)
        }
    };
    for dir in search_dirs(args, Path::new("")) {
        if shared.as_ref().is_some_and(|name| dir.join(name).is_file()) {
            return None;
        }
        let path = dir.join(&archive);
        if path.is_file() {
            return Some(path);
        }
    }
    None
}

/// Resolves a directory that may begin with `=` or `$SYSROOT`.
pub(crate) fn under(sysroot: &Path, dir: &[u8]) -> PathBuf {
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

/// The linker's default search directories.
pub(crate) fn system_dirs(ld: &Path) -> Vec<PathBuf> {
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

pub(crate) fn named(before: &str, name: &OsStr, behind: &str) -> OsString {
    let mut whole = OsString::from(before);
    whole.push(name);
    whole.push(behind);
    whole
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_shared_library_hides_archives_unless_the_link_is_static() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one/libx.a", "two/libx.so", "two/libx.a", "two/liby.a"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = |dirs: &[&str], name: &str, dynamic| {
            let words = dirs
                .iter()
                .map(|name| dir.path().join(name))
                .map(|dir| format!("-L{}", dir.display()).into());
            let path = archive(&Args::parse(words), OsStr::new(name), dynamic)?;
            let path = path.strip_prefix(dir.path()).unwrap();
            Some(path.to_str().unwrap().to_owned())
        };
        assert_eq!(found(&["two", "one"], "x", true), None);
        assert_eq!(found(&["two", "one"], "x", false).unwrap(), "two/libx.a");
        assert_eq!(found(&["one", "two"], "x", true).unwrap(), "one/libx.a");
        assert_eq!(
            found(&["one", "two"], ":liby.a", true).unwrap(),
            "two/liby.a"
        );
        assert_eq!(found(&["one"], "y", true), None);
    }

    #[test]
    fn sysroots_stand_for_the_equals_sign() {
        assert_eq!(under(Path::new("/s"), b"=/lib"), Path::new("/s/lib"));
        assert_eq!(under(Path::new("/s"), b"$SYSROOT/lib"), Path::new("/s/lib"));
        assert_eq!(under(Path::new("/s"), b"/lib"), Path::new("/lib"));
    }
}
