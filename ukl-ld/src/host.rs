//! The host link: runs the real linker with the same arguments.
//!
//! Its messages and its exit status are passed through unchanged. It runs first, so that errors in
//! a link are reported in the form that build tools know.

use std::ffi::OsString;
use std::io;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use memchr::memmem;
use ukl_common::temp::TempDir;

use crate::args::response;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::tools;
use crate::tools::Tools;

/// Longer command lines are passed in a response file. The kernel limits all arguments and the
/// environment to about 2 MiB, and one argument to 128 KiB.
const LONG: usize = 96 * 1024;

/// The host linker's command.
pub struct Host {
    command: Command,
    /// The directory of the response file, if there is one. It must exist while the linker runs.
    file: Option<TempDir>,
    /// Whether to suppress the warnings that GNU ld prints for every program with a static glibc.
    quiet: bool,
}

impl Host {
    /// Prepares the command.
    pub fn new(tools: &Tools, words: &[OsString]) -> Result<Host> {
        let mut command = Command::new(&tools.host_ld);
        let (name, depth) = tools::depth(&tools.host_ld)?;
        command.env(name, depth);
        let file = args_or_file(&mut command, words)?;
        Ok(Host {
            command,
            file,
            quiet: false,
        })
    }

    /// Suppresses GNU ld's warnings that some functions of a static glibc need its shared
    /// libraries. This is for static programs of rustc, which prints all output of the linker as a
    /// warning, and whose own linker has no such warning.
    pub fn quiet(self, quiet: bool) -> Host {
        Host { quiet, ..self }
    }

    /// Replaces this process by the linker. Returns only if that fails.
    pub fn exec(mut self) -> Result<ExitStatus> {
        if self.file.is_some() || self.quiet {
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
        if self.quiet {
            let (status, said) = self.run_and_listen()?;
            pass_on(&said);
            return Ok(status);
        }
        let status = self.command.status();
        status.map_err(|source| Error::Run {
            program: self.command.get_program().into(),
            source,
        })
    }

    /// Runs the linker and returns what it writes to standard error, without suppressed warnings.
    pub fn run_and_listen(mut self) -> Result<(ExitStatus, Vec<u8>)> {
        self.command.stdin(Stdio::inherit());
        self.command.stdout(Stdio::inherit());
        self.command.stderr(Stdio::piped());
        let output = self.command.output().map_err(|source| Error::Run {
            program: self.command.get_program().into(),
            source,
        })?;
        let said = match self.quiet {
            true => without_static_warnings(&output.stderr),
            false => output.stderr,
        };
        Ok((output.status, said))
    }
}

/// The linker's messages without the warnings that functions of a static glibc need shared
/// libraries.
fn without_static_warnings(text: &[u8]) -> Vec<u8> {
    const WARNING: &str = " in statically linked applications requires at runtime ";
    let mut kept = Vec::with_capacity(text.len());
    // A line that may be the beginning of such a warning.
    let mut function: &[u8] = b"";
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if memmem::find(line, WARNING.as_bytes()).is_some() {
            continue;
        }
        if memmem::find(line, b": in function `").is_some() {
            function = line;
            continue;
        }
        kept.extend_from_slice(std::mem::take(&mut function));
        kept.extend_from_slice(line);
    }
    kept
}

/// Prints the linker's messages.
pub fn pass_on(said: &[u8]) {
    // There is no other way to report that this failed.
    let _ = io::stderr().write_all(said);
}

/// Adds arguments to a command, in a response file if they are too long.
pub fn args_or_file(command: &mut Command, words: &[OsString]) -> Result<Option<TempDir>> {
    if words.iter().map(|word| word.len() + 1).sum::<usize>() < LONG {
        command.args(words);
        return Ok(None);
    }
    let dir = TempDir::new().at(&std::env::temp_dir())?;
    let file = dir.path().join("arguments");
    std::fs::write(&file, response::join(words)).at(&file)?;
    let mut word = OsString::from("@");
    word.push(&file);
    command.arg(word);
    Ok(Some(dir))
}

/// The exit status that corresponds to a child's: its own, or, as in a shell, 128 plus the signal
/// that killed it.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Removes a file if it exists. Like ld, it does not remove special files (/dev/null).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_warnings_of_a_static_glibc_are_left_out() {
        let text = "ld: a.rlib(a.o): in function `home':\n\
                    a.rs:1: Using 'getpwuid_r' in statically linked applications requires at \
                    runtime the shared libraries from the glibc version used for linking\n\
                    ld: b.o: in function `main':\n\
                    b.c:(.text+0x9): warning: Using 'getaddrinfo' in statically linked \
                    applications requires at runtime the shared libraries from the glibc version \
                    used for linking\n\
                    b.c:(.text+0x20): warning: the `gets' function is dangerous\n\
                    ld: c.o: undefined reference to `nowhere'\n";
        let kept = "ld: b.o: in function `main':\n\
                    b.c:(.text+0x20): warning: the `gets' function is dangerous\n\
                    ld: c.o: undefined reference to `nowhere'\n";
        let left = without_static_warnings(text.as_bytes());
        assert_eq!(String::from_utf8(left).unwrap(), kept);
    }
}
