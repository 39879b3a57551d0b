//! A stand-in for GCC's lto-wrapper that keeps its output.
//!
//! GCC's plugin runs lto-wrapper to compile intermediate code, gives the resulting objects to the
//! linker, and deletes them. It reads their names from lto-wrapper's standard output.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::host::exit_code;
use crate::tools::Tools;

/// The base name of the objects that the compiler makes; a number follows.
pub(super) const OBJECTS: &str = "lto.o";

/// The name under which ukl-ld is run as lto-wrapper.
const NAME: &str = "lto-wrapper";

/// Environment variables with the real lto-wrapper and the directory for the objects.
const REAL: &str = "UKL_LTO_WRAPPER";
const KEEP: &str = "UKL_LTO_KEEP";

/// The stand-in.
pub struct Wrapper {
    /// The program for the plugin to run.
    pub path: PathBuf,
    /// The environment that it needs.
    pub environment: [(&'static str, OsString); 2],
}

impl Wrapper {
    /// Stands in for `real`. The objects go to `dir`.
    pub fn new(real: &OsStr, dir: &Path, tools: &Tools) -> Result<Wrapper> {
        let path = dir.join(NAME);
        symlink(&tools.myself, &path).at(&path)?;
        let environment = [(REAL, real.to_owned()), (KEEP, dir.as_os_str().to_owned())];
        Ok(Wrapper { path, environment })
    }
}

/// Acts as lto-wrapper if ukl-ld was started under that name.
pub fn run(argv0: &OsStr, args: &[OsString]) -> Option<Result<u8>> {
    if Path::new(argv0).file_name()? != NAME {
        return None;
    }
    let (real, dir) = (env::var_os(REAL)?, env::var_os(KEEP)?);
    Some(keep(Path::new(&real), Path::new(&dir), args))
}

fn keep(real: &Path, dir: &Path, args: &[OsString]) -> Result<u8> {
    let mut command = Command::new(real);
    command.args(args).stderr(Stdio::inherit());
    let output = command.output().map_err(|source| Error::Run {
        program: real.to_owned(),
        source,
    })?;
    let names = output.stdout.split(|&byte| byte == b'\n');
    for (number, name) in names.filter(|name| !name.is_empty()).enumerate() {
        let made = Path::new(OsStr::from_bytes(name));
        let kept = dir.join(format!("{}{number}", OBJECTS));
        fs::copy(made, &kept).at(made)?;
    }
    let mut stdout = std::io::stdout();
    let written = stdout.write_all(&output.stdout);
    written
        .and_then(|()| stdout.flush())
        .at(Path::new("<stdout>"))?;
    Ok(exit_code(output.status))
}
