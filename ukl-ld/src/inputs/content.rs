//! Recognises files by their first bytes and by their names.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::At;
use crate::error::Result;
use crate::files::Files;
use crate::inputs::item::File;
use crate::inputs::item::FileKind;

/// How many bytes at the start of a file tell what it contains.
const HEAD: usize = 20;

/// The kind of content that the first bytes of a file announce.
pub(crate) enum Content {
    Object,
    Archive,
    Shared,
    Text,
    Other(&'static str),
}

/// Tells what a file contains. It reads no more than the first bytes.
pub(crate) fn kind(path: &Path) -> Result<Content> {
    let mut head = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(HEAD as u64).read_to_end(&mut head))
        .at(path)?;
    Ok(kind_of(&head))
}

/// Tells what a file with this content contains.
pub(crate) fn kind_of(data: &[u8]) -> Content {
    let head = &data[..data.len().min(HEAD)];
    match head {
        [0x7f, b'E', b'L', b'F', 2, 1, .., kind, 0, machine, 0] => match (kind, machine) {
            (1, 62) => Content::Object,
            (3, 62) => Content::Shared,
            (_, 62) => Content::Other("an executable"),
            _ => Content::Other("an object for another machine"),
        },
        [0x7f, b'E', b'L', b'F', ..] => Content::Other("an object for another machine"),
        [b'!', b'<', b'a' | b't', ..] => Content::Archive,
        // LLVM's bitcode.
        [b'B', b'C', 0xc0, 0xde, ..] | [0xde, 0xc0, 0x17, 0x0b, ..] => Content::Object,
        _ if head.contains(&0) => Content::Other("a file of unknown format"),
        _ => Content::Text,
    }
}

/// Makes a `File` of a path that leads to an object or an archive.
pub fn file(path: &Path, files: &Files) -> Option<File> {
    let kind = match kind_of(&files.read(path).ok()?) {
        Content::Object => FileKind::Object,
        Content::Archive => FileKind::Archive,
        Content::Shared | Content::Text | Content::Other(_) => return None,
    };
    Some(File::new(path.to_owned(), kind))
}

/// The name of a shared library without `lib` and what follows it: `foo` for libfoo.so and
/// libfoo.so.1.2.
pub(crate) fn library_stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if name.starts_with("ld-linux") {
        return Some("ld-linux".into());
    }
    let end = name.find(".so")?;
    Some(name[..end].strip_prefix("lib")?.to_owned())
}

/// Whether this is a part of the C library that libc.a contains, or that a static program does not
/// need.
pub(crate) fn is_part_of_libc(stem: &str) -> bool {
    matches!(stem, "c" | "ld-linux")
}

/// Whether this is one of the startup objects (crt1.o, crtbegin.o, …) that a compiler adds to a
/// link.
pub fn is_startup_part(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let stem = [&b"crt"[..], b"Scrt", b"rcrt", b"gcrt", b"grcrt", b"Mcrt"];
    name.ends_with(b".o") && stem.iter().any(|stem| name.starts_with(stem))
        || name.starts_with(b"clang_rt.crt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_of_libraries() {
        let stem = |name: &str| library_stem(Path::new(name));
        assert_eq!(stem("/usr/lib/libz.so"), Some("z".into()));
        assert_eq!(stem("libz.so.1.2.13"), Some("z".into()));
        assert_eq!(stem("ld-linux-x86-64.so.2"), Some("ld-linux".into()));
        assert_eq!(stem("plugin.so"), None);
        assert_eq!(stem("libz.a"), None);
    }
}
