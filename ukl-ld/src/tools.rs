//! Finds the real linker, the installation, and the kernel archive.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use ukl_common::library;
use ukl_common::library::Library;
use ukl_common::recursion;
use ukl_common::search;

use crate::error::At;
use crate::error::Error;
use crate::error::Result;

/// Counts how often ukl-ld has started a linker that was ukl-ld again.
const DEPTH: &str = "UKL_LD_DEPTH";

/// The real linker and the installation.
#[derive(Debug, Clone)]
pub struct Tools {
    /// This executable, with links resolved.
    pub myself: PathBuf,
    /// The linker that ukl-ld replaces: `ld`, `ld.gold`, ...
    pub name: String,
    /// The real linker of that name.
    pub host_ld: PathBuf,
    /// The directory with kernel/, init and libexec/.
    pub libdir: PathBuf,
}

impl Tools {
    /// Finds everything. `argv0` is the name under which ukl-ld was called.
    pub fn find(argv0: &OsStr) -> Result<Tools> {
        let myself = library::myself().map_err(|source| Error::Io {
            path: argv0.into(),
            source,
        })?;
        let name = linker_name(argv0);
        let host_ld = find_linker(&name, &myself)?;
        let libdir = Library::of(&myself).dir().to_owned();
        Ok(Tools {
            myself,
            name,
            host_ld,
            libdir,
        })
    }

    /// Whether the host linker is GNU ld.
    pub fn is_gnu(&self) -> bool {
        matches!(self.name.as_str(), "ld" | "ld.bfd")
    }

    /// Whether the host linker is lld.
    pub fn is_lld(&self) -> bool {
        self.name == "ld.lld"
    }

    /// The same tools with this lld for the host link.
    pub fn with_lld(self, path: PathBuf) -> Tools {
        Tools {
            name: "ld.lld".into(),
            host_ld: path,
            ..self
        }
    }

    /// The linker for the image. It must be GNU ld, because other linkers do not treat all scripts
    /// and options alike.
    pub fn image_ld(&self) -> Result<PathBuf> {
        if self.is_gnu() {
            return Ok(self.host_ld.clone());
        }
        find_linker("ld.bfd", &self.myself).or_else(|_| find_linker("ld", &self.myself))
    }

    /// The kernel archive.
    pub fn kernel(&self, chosen: Option<&Path>) -> Result<PathBuf> {
        let dir = chosen.map_or_else(|| self.libdir.join("kernel"), Path::to_owned);
        installed(dir.join("vmlinux"), "kernel")?;
        Ok(dir)
    }

    /// The guest's init.
    pub fn init(&self) -> Result<PathBuf> {
        installed(self.libdir.join("init"), "layout")
    }
}

/// A file of the installation, which `make TARGET` builds. A file that exists and cannot be read is
/// not missing.
fn installed(path: PathBuf, target: &'static str) -> Result<PathBuf> {
    match fs::metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error).at(&path),
        _ => Err(Error::NotInstalled { path, target }),
    }
}

/// `ld.gold` for a link of that name (`gcc -fuse-ld=gold` looks for it), else `ld`.
fn linker_name(argv0: &OsStr) -> String {
    let name = Path::new(argv0)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    match &*name {
        "ld.bfd" | "ld.gold" | "ld.lld" | "ld.mold" | "ld.wild" => name.into_owned(),
        _ => "ld".to_owned(),
    }
}

/// Searches the places where gcc looks for its programs, then PATH, and skips ukl-ld itself.
fn find_linker(name: &str, myself: &Path) -> Result<PathBuf> {
    if let Some(path) = env::var_os("UKL_LD").filter(|path| !path.is_empty())
        && matches!(name, "ld" | "ld.bfd")
    {
        return Ok(path.into());
    }
    let compiler = env::var_os("COMPILER_PATH");
    let dirs = compiler.into_iter().chain([search::path_variable()]);
    let other = |path: &Path| path.canonicalize().is_ok_and(|real| real != myself);
    let mut found = dirs.filter_map(|dirs| search::find(&dirs, OsStr::new(name), other));
    found.next().ok_or_else(|| Error::NoLinker(name.to_owned()))
}

/// Detects endless recursion, for instance by a wrapper script called `ld` that runs ukl-ld.
/// Returns the variable for the linker's environment.
pub fn depth(host_ld: &Path) -> Result<(&'static str, String)> {
    let depth = recursion::next_depth(DEPTH);
    depth
        .map(|depth| (DEPTH, depth))
        .ok_or_else(|| Error::Loop(host_ld.to_owned()))
}
