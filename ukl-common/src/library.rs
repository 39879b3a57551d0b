//! The library directory of the installation, `PREFIX/lib/ukl`.

use std::env;
use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// The environment variable that names another library directory.
pub const VARIABLE: &str = "UKL_LIBDIR";

/// The library directory. Nothing need be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    dir: PathBuf,
}

impl Library {
    /// The directory that `UKL_LIBDIR` names, or else the one beside the directory of the executable
    /// `myself`.
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

    /// Where the kernel archive is.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("kernel")
    }

    /// Where the guest's init is.
    pub fn init(&self) -> PathBuf {
        self.dir.join("init")
    }

    /// The directory that has the linker under the names that compilers look for.
    pub fn libexec(&self) -> PathBuf {
        self.dir.join("libexec")
    }

    /// What `--version` says of the kernel archive.
    pub fn kernel_version(&self) -> KernelVersion {
        KernelVersion(self.kernel())
    }
}

/// The running executable, without symbolic links.
pub fn myself() -> io::Result<PathBuf> {
    env::current_exe()?.canonicalize()
}

/// The kernel archive as `--version` shows it: its place, its kernel's release, or that it is
/// missing.
#[derive(Debug, Clone)]
pub struct KernelVersion(PathBuf);

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
        let release = std::fs::read_to_string(dir.join("version")).unwrap_or_default();
        match release.trim() {
            "" => Ok(()),
            release => write!(f, " (Linux {release})"),
        }
    }
}
