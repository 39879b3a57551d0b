//! What gdb needs: the program and the kernel with their symbols, a script that attaches, and the
//! line to type.
//!
//! The image's program has no DWARF; the whole of it lies where [`ukl_common::debug_store`] keeps it. Where
//! that is gone, or was never there since nothing was compiled with `-g`, the one in the image still
//! has its symbols.

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

/// Unwinds the kernel's frames.
const UNWINDER: &str = include_str!("../gdb/ukl.py");

/// What gdb is told, and the files it is told of.
#[derive(Debug)]
pub struct Debug {
    /// The line to type.
    pub line: String,
    _files: Option<TempDir>,
}

impl Debug {
    /// For a machine that runs `image` in this way and listens on `port`.
    pub fn new(image: &Path, accel: Accel, port: u16) -> Self {
        let connect = format!("target remote 127.0.0.1:{port}");
        // Without symbols gdb is of little use, but of more than none.
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
                let copy = dir.path().join(name);
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
            // A breakpoint that is an instruction in memory cannot be set in a program that is not
            // there yet. gdb takes the processor's breakpoints where memory cannot be written to.
            let _ = writeln!(script, "set mem inaccessible-by-default off");
            for range in elf::code(program).into_iter().chain(payload.code()) {
                let _ = writeln!(script, "mem {:#x} {:#x} ro", range.start, range.end);
            }
        }
        // Before the program is there, or a page of it, gdb looks at its code in the file: it sets a
        // breakpoint behind a function's prologue.
        let _ = writeln!(script, "set trust-readonly-sections on");
        let _ = writeln!(script, "{connect}");
        let path = dir.path().join("attach.gdb");
        fs::write(&path, script).ok()?;
        words.extend(["-x".into(), path.into()]);
        Some(Files { dir, words })
    }
}

/// A path as both gdb and Python read it.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

/// The kernel of this build ID with its symbols: the installed one, or an earlier one.
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
