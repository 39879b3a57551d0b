//! Shared libraries that the user's own build has linked through ukl-ld.
//!
//! A project that links its program against a shared library of its own has no archive of that
//! library. But ukl-ld linked the library, and recorded the command line under a hash of the
//! result. The image's link uses the recorded inputs instead of the library. Records in the cache
//! leave no files in the user's directories, and the hash makes sure that a library from elsewhere
//! is never mistaken for a recorded one.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use object::Object;
use object::ObjectSymbol;
use object::read::elf::ElfFile64;
use symbol_rewriter::Options;
use ukl_common::cache;

use crate::args::Args;
use crate::args::Kind;
use crate::args::response;
use crate::elf;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;

/// The oldest records are removed until the rest has at most this size.
const LIMIT: u64 = 32 << 20;

/// The same limit for the copies of objects.
const PARTS: u64 = 512 << 20;

/// The record of a shared library's link.
#[derive(Debug, Clone)]
pub struct Record {
    /// The directory it was linked in.
    pub dir: PathBuf,
    /// The command line.
    pub args: Args,
}

/// Records the link of a shared library. Failure to write the record is not an error: it matters
/// only if a later link needs it.
pub fn remember(args: &Args, output: &Path) {
    let write = || -> Option<()> {
        let dir = cache::directory("shared")?;
        let here = std::env::current_dir().ok()?.into_os_string();
        let mut words = vec![here];
        for arg in args.list.iter().filter(|arg| !arg.is_ukl()) {
            match &arg.kind {
                Kind::Input(path) if will_go(Path::new(path)) => {
                    // This one contains metadata for rustc only.
                    if !path.as_bytes().ends_with(b"rmeta.o") {
                        words.push(keep(Path::new(path))?.into());
                    }
                }
                _ => words.extend(arg.words.iter().cloned()),
            }
        }
        let text = response::join(&words);
        // Two checkouts of a project can link identical libraries from different files.
        let which = blake3::hash(&text).to_hex();
        let path = dir.join(format!("{}-{}", key(output)?, &which[..16]));
        cache::put(&path, &text, b"").ok()?;
        cache::trim(&dir, LIMIT);
        Some(())
    };
    let _ = write();
}

/// Whether the compiler removes this file after the link.
fn will_go(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(Path::new(""));
    let temporary = dir.file_name().unwrap_or_default().as_bytes();
    path.as_os_str().as_bytes().ends_with(b".rcgu.o")
        || temporary.starts_with(b"rustc") && temporary.len() == "rustc".len() + 6
        || dir == std::env::temp_dir()
}

/// Copies an object of a library to the cache.
fn keep(part: &Path) -> Option<PathBuf> {
    let data = fs::read(part).ok()?;
    let dir = cache::directory("parts")?;
    let path = dir.join(format!("{}.o", blake3::hash(&data).to_hex()));
    cache::put(&path, &data, b"").ok()?;
    cache::trim(&dir, PARTS);
    Some(path)
}

/// Finds the records of a shared library. The record whose output is this very file comes first.
pub fn recall(shared: &Path) -> Vec<Record> {
    let look = || -> Option<Vec<Record>> {
        let records = records(shared).into_iter();
        let mut records: Vec<Record> = records.map(|(_, record)| record).collect();
        let real = shared.canonicalize().ok()?;
        records.sort_by_key(|record| {
            let output = record.dir.join(record.args.output());
            output.canonicalize().is_ok_and(|output| output != real)
        });
        Some(records)
    };
    look().unwrap_or_default()
}

/// The records of a shared library, in no particular order, each with its file name.
pub fn records(shared: &Path) -> Vec<(OsString, Record)> {
    let look = || -> Option<Vec<(OsString, Record)>> {
        let dir = cache::directory("shared")?;
        let key = key(shared)?;
        let names = fs::read_dir(dir).ok()?.flatten();
        let ours = names.filter(|entry| entry.file_name().to_string_lossy().starts_with(&key));
        let records = ours.filter_map(|entry| {
            let path = entry.path();
            // The checksum of a record is not a record.
            if cache::is_check(&path) {
                return None;
            }
            let (text, _) = cache::read(&path)?;
            let record = read(&text)?;
            remove_damaged_parts(&record);
            Some((entry.file_name(), record))
        });
        Some(records.collect())
    };
    look().unwrap_or_default()
}

/// Removes the copies of a library's objects that are not as they were stored. The link then says
/// which object is missing.
fn remove_damaged_parts(record: &Record) {
    let Some(parts) = cache::directory("parts") else {
        return;
    };
    for path in record.args.inputs().map(Path::new) {
        if path.starts_with(&parts) && path.exists() && cache::get(path).is_none() {
            // If this fails, the rewriter reports the file.
            let _ = fs::remove_file(path);
        }
    }
}

fn read(text: &[u8]) -> Option<Record> {
    let mut words = response::split(text).into_iter();
    let dir = words.next()?.into();
    Some(Record {
        dir,
        args: Args::parse(words),
    })
}

fn key(shared: &Path) -> Option<String> {
    Some(blake3::hash(&fs::read(shared).ok()?).to_hex().to_string())
}

/// Joins the rewritten objects of a library into one. Symbols that the library does not export
/// become local.
pub fn join(
    ld: &Path,
    shared: &Path,
    parts: &[OsString],
    options: &Options,
    output: &Path,
) -> Result<()> {
    let mut link = Command::new(ld);
    link.args(["-r", "-o"])
        .arg(output)
        .arg("--start-group")
        .args(parts)
        .arg("--end-group");
    run(link, shared)?;

    let data = fs::read(output).at(output)?;
    let exported: BTreeSet<Vec<u8>> = elf::provided(shared)
        .iter()
        .map(|name| symbol_rewriter::prefixed(name.as_bytes(), options))
        .collect();
    let file = ElfFile64::<object::Endianness>::parse(&*data)
        .map_err(|error| Error::Program(format!("{}: {error}", shared.display())))?;
    let mut hidden = Vec::new();
    // Not `is_definition`, which excludes thread-local variables.
    for symbol in file
        .symbols()
        .filter(|symbol| !symbol.is_undefined() && symbol.is_global())
    {
        let Ok(name) = symbol.name_bytes() else {
            continue;
        };
        // The version follows an `@`. Most weak symbols belong to COMDAT groups, which the linker
        // merges with groups of the same name elsewhere, so they stay global.
        let plain = name.split(|&byte| byte == b'@').next().unwrap_or_default();
        if !symbol.is_weak() && !exported.contains(plain) && !symbol_rewriter::keeps_name(plain) {
            hidden.extend_from_slice(name);
            hidden.push(b'\n');
        }
    }
    let mut objcopy = Command::new("objcopy");
    if !hidden.is_empty() {
        let list = output.with_extension("hidden");
        fs::write(&list, hidden).at(&list)?;
        let mut word = OsString::from("--localize-symbols=");
        word.push(&list);
        objcopy.arg(word);
    }
    if !elf::wants_executable_stack(shared) {
        // An object may lack the section because its link had `-z noexecstack`.
        objcopy.args([
            "--remove-section=.note.GNU-stack",
            "--add-section=.note.GNU-stack=/dev/null",
        ]);
    }
    objcopy.arg(output);
    run(objcopy, shared)
}

fn run(mut command: Command, shared: &Path) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|source| Error::Run {
        program: command.get_program().into(),
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let what = format!(
        "cannot join the objects of this shared library for the image: {}",
        said.trim_end()
    );
    Err(Error::Input {
        file: shared.display().to_string(),
        what,
    })
}
