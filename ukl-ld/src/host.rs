//! The host link: what the ordinary linker makes of the same arguments.
//!
//! Its messages and its exit status are the user's, as they are. It comes first, so that whatever
//! is wrong with a link is said in the words that build tools know.

use std::ffi::OsString;
use std::io;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::process::ExitStatus;

use tempfile::NamedTempFile;

use crate::args::response;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::tools;
use crate::tools::Tools;

/// Longer command lines go through a file. The kernel's limit for all arguments and the
/// environment is some 2 MiB, and that for one argument 128 KiB.
const LONG: usize = 96 * 1024;

/// The host linker's command.
pub struct Host {
    command: Command,
    /// Holds the arguments, if they are many. Has to live as long as the linker.
    file: Option<NamedTempFile>,
}

impl Host {
    /// Prepares the command.
    pub fn new(tools: &Tools, words: &[OsString]) -> Result<Host> {
        let mut command = Command::new(&tools.host_ld);
        let (name, depth) = tools::depth(&tools.host_ld)?;
        command.env(name, depth);
        let file = args_or_file(&mut command, words)?;
        Ok(Host { command, file })
    }

    /// Becomes the linker. Returns only if that fails.
    pub fn exec(mut self) -> Result<ExitStatus> {
        if self.file.is_some() {
            return self.run();
        }
        let source = self.command.exec();
        Err(Error::Run {
            program: self.command.get_program().into(),
            source,
        })
    }

    /// Runs the linker and waits for its end.
    pub fn run(mut self) -> Result<ExitStatus> {
        let status = self.command.status();
        status.map_err(|source| Error::Run {
            program: self.command.get_program().into(),
            source,
        })
    }
}

/// Gives a command its arguments, through a file if they are many.
pub fn args_or_file(command: &mut Command, words: &[OsString]) -> Result<Option<NamedTempFile>> {
    if words.iter().map(|word| word.len() + 1).sum::<usize>() < LONG {
        command.args(words);
        return Ok(None);
    }
    let dir = std::env::temp_dir();
    let mut file = tempfile::Builder::new()
        .prefix("ukl-ld-args.")
        .tempfile_in(&dir)
        .at(&dir)?;
    file.write_all(&response::join(words)).at(file.path())?;
    let mut word = OsString::from("@");
    word.push(file.path());
    command.arg(word);
    Ok(Some(file))
}

/// The status to exit with for a child's: its own, or as a shell has it for one that was killed.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Removes a file that may not be there. What is no ordinary file (/dev/null) stays, as with ld.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() || meta.is_symlink() => {}
        _ => return Ok(()),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at(path),
        _ => Ok(()),
    }
}
