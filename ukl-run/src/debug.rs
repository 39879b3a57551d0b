//! What gdb needs: the program and the kernel with their symbols, a script that attaches, and the
//! command to type.
//!
//! The image's program has no DWARF; [`ukl_common::debug_store`] has the whole program. If that no
//! longer exists, or nothing was compiled with `-g`, the program in the image still has its
//! symbols.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use tempfile::TempDir;
use ukl_common::build_id;
use ukl_common::cache;
use ukl_common::debug_store;
use ukl_common::library::Library;
use ukl_image::elf;
use ukl_image::payload::Payload;

use crate::plan::Accel;
use crate::qemu::shown;

/// The script that unwinds the kernel's frames.
const UNWINDER: &str = include_str!("../gdb/ukl.py");

/// The command to type, and the files that it names.
#[derive(Debug)]
pub struct Debug {
    /// The command to type.
    pub line: String,
    _files: Option<TempDir>,
}

impl Debug {
    /// Makes the files for a machine that runs `image` and listens on `port`.
    pub fn new(image: &Path, accel: Accel, port: u16) -> Self {
        let connect = format!("target remote 127.0.0.1:{port}");
        // Without symbols, gdb can still attach.
        match Files::make(image, accel, &connect) {
            Some(files) => Debug {
                line: shown(&files.words),
                _files: Some(files.dir),
            },
            None => Debug {
                line: shown(&["gdb".into(), "-ex".into(), connect.into()]),
                _files: None,
            },
        }
    }
}

struct Files {
    dir: TempDir,
    words: Vec<std::ffi::OsString>,
}

impl Files {
    fn make(image: &Path, accel: Accel, connect: &str) -> Option<Self> {
        let payload = Payload::read(&fs::read(image).ok()?)?;
        let dir = tempfile::Builder::new().prefix("ukl-run-").tempdir().ok()?;
        let mut words = vec!["gdb".into()];
        let mut script = String::new();

        let (name, program) = payload.program()?;
        match debug_store::find(program) {
            Some(whole) => words.push(whole.into()),
            None => {
                let copy = dir.path().join(&name);
                fs::write(&copy, program).ok()?;
                words.push(copy.into());
            }
        }
        if let Some(kernel) = payload.build_id().and_then(kernel) {
            let unwinder = dir.path().join("ukl.py");
            fs::write(&unwinder, UNWINDER).ok()?;
            let _ = writeln!(script, "add-symbol-file {}", quoted(&kernel));
            let _ = writeln!(script, "source {}", unwinder.display());
            let _ = writeln!(script, "python unwind_kernel({})", quoted(&kernel));
        }
        if accel == Accel::Kvm {
            // The program is not in memory yet, so gdb cannot write a breakpoint instruction. In
            // memory that is read-only, it uses the processor's breakpoints.
            let _ = writeln!(script, "set mem inaccessible-by-default off");
            for range in elf::code(program).into_iter().chain(payload.code()) {
                let _ = writeln!(script, "mem {:#x} {:#x} ro", range.start, range.end);
            }
        }
        // gdb reads code from the file, since it is not in memory yet: to set a breakpoint, it looks
        // for the end of the function's prologue.
        let _ = writeln!(script, "set trust-readonly-sections on");
        let _ = writeln!(script, "{connect}");
        let path = dir.path().join("attach.gdb");
        fs::write(&path, script).ok()?;
        words.extend(["-x".into(), path.into()]);
        Some(Files { dir, words })
    }
}

/// Quotes a path for both gdb and Python.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

/// The kernel with this build ID and its symbols: the installed one, or an earlier one in the cache.
fn kernel(build_id: &[u8]) -> Option<PathBuf> {
    let installed = Library::find().ok().map(|library| library.kernel());
    let cached = cache::directory("kernel").and_then(|dir| fs::read_dir(dir).ok());
    let cached = cached.into_iter().flatten().flatten();
    installed
        .into_iter()
        .chain(cached.map(|entry| entry.path()))
        .map(|dir| dir.join("vmlinux"))
        .find(|path| build_id::of(path).as_deref() == Some(build_id))
        .and_then(|path| path.canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_cannot_be_read_can_still_be_attached_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        fs::write(&path, [0; 0x300]).unwrap();
        let debug = Debug::new(&path, Accel::Tcg, 99);
        assert_eq!(debug.line, "gdb -ex 'target remote 127.0.0.1:99'");
    }
}
