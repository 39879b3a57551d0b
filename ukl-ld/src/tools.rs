//! Where things are: the real linker, the installation, the kernel archive.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;

use ukl_common::library;
use ukl_common::library::Library;
use ukl_common::recursion;
use ukl_common::search;

use crate::error::Error;
use crate::error::Result;

/// Counts how often ukl-ld has started a linker that turned out to be ukl-ld.
const DEPTH: &str = "UKL_LD_DEPTH";

/// The real linker and the installation.
#[derive(Debug, Clone)]
pub struct Tools {
    /// This executable, with links resolved.
    pub myself: PathBuf,
    /// Which linker we stand in for: `ld`, `ld.gold`, ...
    pub name: String,
    /// The real one of that name.
    pub host_ld: PathBuf,
    /// Where kernel/, init and libexec/ are.
    pub libdir: PathBuf,
}

impl Tools {
    /// Looks for everything. `argv0` says which linker we are called as.
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

    /// Whether the host linker is LLVM's.
    pub fn is_lld(&self) -> bool {
        self.name == "ld.lld"
    }

    /// The same with that lld for the host links.
    pub fn with_lld(self, path: PathBuf) -> Tools {
        Tools {
            name: "ld.lld".into(),
            host_ld: path,
            ..self
        }
    }

    /// The linker for the image. It has to be GNU ld: the others read neither its scripts nor all
    /// of its options alike.
    pub fn image_ld(&self) -> Result<PathBuf> {
        if self.is_gnu() {
            return Ok(self.host_ld.clone());
        }
        find_linker("ld.bfd", &self.myself).or_else(|_| find_linker("ld", &self.myself))
    }

    /// The kernel archive.
    pub fn kernel(&self, chosen: Option<&Path>) -> Result<PathBuf> {
        let dir = chosen.map_or_else(|| self.libdir.join("kernel"), Path::to_owned);
        if dir.join("vmlinux").is_file() {
            return Ok(dir);
        }
        Err(Error::NotInstalled {
            path: dir.join("vmlinux"),
            target: "kernel",
        })
    }

    /// The guest's init.
    pub fn init(&self) -> Result<PathBuf> {
        let path = self.libdir.join("init");
        if path.is_file() {
            return Ok(path);
        }
        Err(Error::NotInstalled {
            path,
            target: "layout",
        })
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

/// Looks where gcc looks for its programs, then in PATH, past everything that is ourselves.
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

/// Refuses to run in circles, as a wrapper script called `ld` that calls us would make us do.
/// Returns what to put into a linker's environment.
pub fn depth(host_ld: &Path) -> Result<(&'static str, String)> {
    let depth = recursion::next_depth(DEPTH);
    depth
        .map(|depth| (DEPTH, depth))
        .ok_or_else(|| Error::Loop(host_ld.to_owned()))
}
