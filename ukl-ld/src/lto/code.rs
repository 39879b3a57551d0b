//! Recognises files with a compiler's intermediate code, and finds out which compiler made it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use object::Object;
use object::ObjectSection;
use object::ObjectSymbol;
use object::read::archive::ArchiveFile;
use object::read::archive::ArchiveMember;
use object::read::elf::ElfFile64;

use super::bitcode;
use crate::error::Result;
use crate::files::Files;
use crate::inputs::File;
use crate::inputs::FileKind;

/// Intermediate code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// GCC's intermediate code of this version.
    Gcc(Option<[u16; 2]>),
    /// LLVM bitcode of this producer.
    Llvm(Option<String>),
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::Gcc(Some([major, minor])) => {
                write!(f, "GCC's intermediate code, version {major}.{minor}")
            }
            Code::Gcc(None) => f.write_str("GCC's intermediate code"),
            Code::Llvm(Some(producer)) => write!(f, "LLVM bitcode made by {producer}"),
            Code::Llvm(None) => f.write_str("LLVM bitcode"),
        }
    }
}

/// The intermediate code in a file, with the names of archive members. If `fat` is set, objects
/// that also contain machine code count.
pub fn of_file(file: &File, fat: bool, files: &Files) -> Result<Vec<(String, Code)>> {
    let name = file.path.display();
    let data = match file.kind {
        FileKind::Object | FileKind::Archive => files.read(&file.path)?,
        FileKind::Script | FileKind::Binary => return Ok(Vec::new()),
    };
    if file.kind == FileKind::Object {
        let code = of_object(&data, fat).map(|code| (name.to_string(), code));
        return Ok(code.into_iter().collect());
    }
    let Ok(archive) = ArchiveFile::parse(&**data) else {
        return Ok(Vec::new());
    };
    let dir = file.path.parent().unwrap_or(Path::new(""));
    let found = archive.members().flatten().filter_map(|member| {
        let code = of_object(&content(&archive, &member, &data, dir)?, fat)?;
        let member = String::from_utf8_lossy(member.name());
        Some((format!("{name}({member})"), code))
    });
    Ok(found.collect())
}

/// The archive without the members that contain intermediate code, or nothing if no object is left.
/// It has no index; the rewriter adds one.
pub fn without(path: &Path, fat: bool, files: &Files) -> Result<Option<Vec<u8>>> {
    let data = files.read(path)?;
    let Ok(archive) = ArchiveFile::parse(&**data) else {
        return Ok(None);
    };
    let dir = path.parent().unwrap_or(Path::new(""));
    let mut made = b"!<arch>\n".to_vec();
    let mut any = false;
    for member in archive.members().flatten() {
        let Some(content) = content(&archive, &member, &data, dir) else {
            continue;
        };
        if !content.starts_with(b"\x7fELF") || of_object(&content, fat).is_some() {
            continue;
        }
        any = true;
        // In BSD's format the name is at the start of the content, so no name table is needed.
        let name = member.name();
        let length = format!("#1/{}", name.len());
        let size = name.len() + content.len();
        let header = format!("{length:<16}{0:<12}{0:<6}{0:<6}{1:<8}{size:<10}`\n", 0, 644);
        made.extend(header.bytes());
        made.extend(name);
        made.extend(&*content);
        if size % 2 == 1 {
            made.push(b'\n');
        }
    }
    Ok(any.then_some(made))
}

fn content<'d>(
    archive: &ArchiveFile<'_>,
    member: &ArchiveMember<'d>,
    data: &'d [u8],
    dir: &Path,
) -> Option<Cow<'d, [u8]>> {
    if archive.is_thin() {
        let path = dir.join(OsStr::from_bytes(member.name()));
        return fs::read(path).ok().map(Cow::Owned);
    }
    member.data(data).ok().map(Cow::Borrowed)
}

fn of_object(data: &[u8], fat: bool) -> Option<Code> {
    if bitcode::is_bitcode(data) {
        return Some(Code::Llvm(bitcode::producer(data)));
    }
    // Searching the bytes is faster than parsing every object.
    memchr::memmem::find(data, b".gnu.lto_")?;
    let file = ElfFile64::<object::Endianness>::parse(data).ok()?;
    let named = |beginning: &[u8]| {
        file.sections().find(|section| {
            section
                .name_bytes()
                .is_ok_and(|name| name.starts_with(beginning))
        })
    };
    named(b".gnu.lto_")?;
    // gcc 10 and later record this in the fifth byte of this section, earlier versions by a symbol.
    let header = named(b".gnu.lto_.lto.").and_then(|section| section.data().ok());
    let (slim, version) = match header {
        Some(&[a, b, c, d, slim, ..]) => {
            let version = [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])];
            (slim == 1, Some(version))
        }
        _ => {
            let mut symbols = file.symbols();
            (
                symbols.any(|symbol| symbol.name() == Ok("__gnu_lto_slim")),
                None,
            )
        }
    };
    (slim || fat).then_some(Code::Gcc(version))
}
