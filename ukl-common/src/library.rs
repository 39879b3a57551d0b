//! The library directory of the installation, `PREFIX/lib/ukl`.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// The environment variable that names another library directory.
pub const VARIABLE: &str = "UKL_LIBDIR";

/// The library directory. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    dir: PathBuf,
}

impl Library {
    /// The directory that `UKL_LIBDIR` names, or by default `../lib/ukl` relative to the directory
    /// of the executable `myself`.
    pub fn of(myself: &Path) -> Library {
        let chosen = env::var_os(VARIABLE).filter(|dir| !dir.is_empty());
        let dir = chosen.map(PathBuf::from).unwrap_or_else(|| {
            let bin = myself.parent().unwrap_or(Path::new("/"));
            let prefix = bin.parent().unwrap_or(Path::new("/"));
            prefix.join("lib/ukl")
        });
        Library { dir }
    }

    /// The library directory of the running executable.
    pub fn find() -> io::Result<Library> {
        Ok(Library::of(&myself()?))
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of the kernel archive.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("kernel")
    }

    /// The path of the guest's init.
    pub fn init(&self) -> PathBuf {
        self.dir.join("init")
    }

    /// The directory that has the linker under the names that compilers look for.
    pub fn libexec(&self) -> PathBuf {
        self.dir.join("libexec")
    }

    /// What `--version` prints about the kernel archive.
    pub fn kernel_version(&self) -> KernelVersion {
        KernelVersion::of(self.kernel())
    }
}

/// The running executable, without symbolic links.
pub fn myself() -> io::Result<PathBuf> {
    env::current_exe()?.canonicalize()
}

/// The kernel archive as `--version` shows it: its path, its kernel's release and ABI version, or
/// that it is missing.
#[derive(Debug, Clone)]
pub struct KernelVersion(PathBuf);

impl KernelVersion {
    /// Describes the archive in this directory.
    pub fn of(dir: PathBuf) -> KernelVersion {
        KernelVersion(dir)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.0.canonicalize().unwrap_or_else(|_| self.0.clone());
        if !dir.join("vmlinux").is_file() {
            return write!(
                f,
                "kernel archive: none in {} (`make kernel' builds it)",
                dir.display()
            );
        }
        write!(f, "kernel archive: {}", dir.display())?;
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        let release = read("version");
        let abi = read("abi");
        // The first line is `ukl-abi VERSION`.
        let abi = abi.lines().next().unwrap_or_default();
        let abi = match abi.strip_prefix("ukl-abi ") {
            Some(version) => format!("ABI version {}", version.trim()),
            None => "no ABI version".to_owned(),
        };
        match release.trim() {
            "" => write!(f, " ({abi})"),
            release => write!(f, " (Linux {release}, {abi})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_shown_with_its_path_its_release_and_its_abi() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let shown = || KernelVersion::of(path.clone()).to_string();
        let place = path.display();
        assert_eq!(
            shown(),
            format!("kernel archive: none in {place} (`make kernel' builds it)")
        );
        fs::write(path.join("vmlinux"), "").unwrap();
        fs::write(path.join("version"), "6.12.57\n").unwrap();
        assert_eq!(
            shown(),
            format!("kernel archive: {place} (Linux 6.12.57, no ABI version)")
        );
        fs::write(path.join("abi"), "ukl-abi 1\nUKL_THUNK_SIZE 128\n").unwrap();
        assert_eq!(
            shown(),
            format!("kernel archive: {place} (Linux 6.12.57, ABI version 1)")
        );
    }
}
