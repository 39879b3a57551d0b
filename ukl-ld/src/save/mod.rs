//! `--ukl-save-dir`: everything that a link reads, in one directory, and a script that repeats the
//! link from there. A failing link becomes a report that needs none of the user's other files.
//!
//! The directory holds
//!
//! | | |
//! |---|---|
//! | `root/` | the files, each under the path it had |
//! | `arguments` | the command line, a response file |
//! | `run-with` | the script; it puts the products into `out/` |
//! | `report` | the versions of the tools and the identity of the kernel archive |
//! | `cache/` | the records of shared libraries that the user's build made through ukl-ld |
//!
//! The linker's default directories contain files of the machine on which the saved link runs.
//! Therefore the arguments disable them (`-nostdlib`) and name directories in `root/` instead. The
//! compiler's LTO plugin, the real linker and the kernel archive stay where they are: the report
//! names them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::args::Args;
use crate::args::response;
use crate::args::ukl_options::UklOptions;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::mode;
use crate::mode::Mode;
use crate::mode::Surroundings;
use crate::tools::Tools;

mod collect;
mod link;
mod mirror;
mod report;

use collect::Collector;
use link::Link;
use link::SCRIPT;
use mirror::Mirror;

/// The environment variable with the directory in which each link is saved, in a subdirectory of
/// its own.
pub const VARIABLE: &str = "UKL_SAVE_DIR";

/// Saves the link, if the options or the environment request it. `args` is the complete command
/// line. Returns the directory.
pub fn save_if_asked(
    args: &Args,
    options: &UklOptions,
    tools: &Tools,
    around: &Surroundings,
) -> Result<Option<PathBuf>> {
    let variable = std::env::var_os(VARIABLE).filter(|base| !base.is_empty());
    if options.save_dir.is_none() && variable.is_none() {
        return Ok(None);
    }
    let output = mode::uplifted(args, around).unwrap_or_else(|| args.output());
    let name = output.file_name().unwrap_or(OsStr::new("a.out"));
    let dir = match (&options.save_dir, &variable) {
        (Some(dir), _) => prepare(dir)?,
        (None, Some(base)) => numbered(Path::new(base), name)?,
        (None, None) => return Ok(None),
    };
    let link = Link {
        args,
        flags: std::env::var_os("UKL_FLAGS"),
        tools,
        kernel: options.kernel.as_deref(),
        image: matches!(mode::decide(args, options, around), Mode::Program(_)),
        name,
    };
    save(&dir, &link)?;
    Ok(Some(dir))
}

fn save(dir: &Path, link: &Link<'_>) -> Result<()> {
    let mut mirror = Mirror::new(dir)?;
    let mut collector = Collector::new(&mut mirror, link)?;
    let words = collector.words()?;
    let arguments = dir.join("arguments");
    fs::write(&arguments, response::join(&words)).at(&arguments)?;
    report::write(dir, link, &mirror)?;
    report::script(dir, link, &mirror)
}

/// Makes the directory, or empties it if it contains a saved link. Any other directory that is not
/// empty is an error, because the user's files must not be lost.
fn prepare(dir: &Path) -> Result<PathBuf> {
    if dir.join(SCRIPT).is_file() {
        fs::remove_dir_all(dir).at(dir)?;
    }
    fs::create_dir_all(dir).at(dir)?;
    if fs::read_dir(dir).at(dir)?.next().is_some() {
        return Err(Error::Usage(format!(
            "option '--ukl-save-dir': {} is neither empty nor a saved link; name a new directory",
            dir.display()
        )));
    }
    dir.canonicalize().at(dir)
}

/// Makes a new directory with this name and a number. Links may run at the same time, and several
/// may have the same name.
fn numbered(base: &Path, name: &OsStr) -> Result<PathBuf> {
    fs::create_dir_all(base).at(base)?;
    for number in 1u32.. {
        let mut name = name.to_owned();
        if number > 1 {
            name.push(format!("-{number}"));
        }
        let dir = base.join(name);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                made.at(&dir)?;
                return dir.canonicalize().at(&dir);
            }
        }
    }
    unreachable!("the file system cannot hold so many directories")
}
