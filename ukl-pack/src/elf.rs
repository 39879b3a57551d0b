//! What the dynamic loader reads of a program or library (elf(5), gABI chapter 5).

use object::elf;
use ukl_image::elf::Segment;
use ukl_image::elf::segments;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A program or library for x86-64.
    Elf(Elf),
    /// An ELF file that the guest cannot run, and the reason.
    Foreign(&'static str),
    /// Anything else.
    Other,
}

/// A program or library.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Elf {
    /// PT_INTERP: the path of the dynamic loader.
    pub interpreter: Option<Vec<u8>>,
    /// DT_NEEDED: the libraries that it needs.
    pub needed: Vec<Vec<u8>>,
    /// DT_SONAME.
    pub soname: Option<Vec<u8>>,
    /// DT_RPATH: directories to search, also for the libraries of its libraries.
    pub rpath: Option<Vec<u8>>,
    /// DT_RUNPATH: directories to search for its own libraries.
    pub runpath: Option<Vec<u8>>,
    /// DF_1_NODEFLIB: whether the cache and the default directories are not searched.
    pub no_default: bool,
    /// Whether it is a program, not a library.
    pub is_program: bool,
    /// Whether it uses iconv(3).
    pub uses_iconv: bool,
}

/// `EM_X86_64`.
const X86_64: u16 = 62;
/// `ET_EXEC` and `ET_DYN`.
const EXEC: u16 = 2;
const DYN: u16 = 3;

// Tags of the dynamic section.
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_NODEFLIB: u64 = 0x800;
const DF_1_PIE: u64 = 0x0800_0000;

/// Reads a file.
pub fn read(data: &[u8]) -> Kind {
    if !data.starts_with(b"\x7fELF") {
        return Kind::Other;
    }
    let half = |at: usize| Some(u16::from_le_bytes(*data.get(at..)?.first_chunk()?));
    if data.get(4) != Some(&2) {
        return Kind::Foreign("it is a 32-bit program, which the guest cannot run");
    }
    if data.get(5) != Some(&1) || half(18) != Some(X86_64) {
        return Kind::Foreign("it is not for x86-64");
    }
    let Some(kind @ (EXEC | DYN)) = half(16) else {
        return Kind::Foreign("it is neither a program nor a shared library");
    };
    match parse(data, kind == EXEC) {
        Some(elf) => Kind::Elf(elf),
        None => Kind::Foreign("its program headers or its dynamic section are malformed"),
    }
}

fn parse(data: &[u8], exec: bool) -> Option<Elf> {
    let segments = segments(data).ok()?;
    let of = |kind| segments.iter().find(move |segment| segment.kind == kind);
    let mut found = Elf {
        is_program: exec,
        ..Elf::default()
    };
    if let Some(segment) = of(elf::PT_INTERP) {
        let path = segment.data(data)?;
        found.interpreter = Some(path.split(|byte| *byte == 0).next()?.to_vec());
    }
    let Some(dynamic) = of(elf::PT_DYNAMIC) else {
        return Some(found);
    };
    let entries = tags(dynamic.data(data)?);
    let value = |tag| entries.iter().find(|entry| entry.0 == tag);
    let value = |tag| value(tag).map(|entry| entry.1);
    let strings = match (value(DT_STRTAB), value(DT_STRSZ)) {
        (Some(address), Some(size)) => at_address(data, &segments, address, size)?,
        _ => &[],
    };
    let string = |at: u64| {
        let rest = strings.get(usize::try_from(at).ok()?..)?;
        Some(rest.split(|byte| *byte == 0).next()?.to_vec())
    };
    for (tag, value) in &entries {
        match *tag {
            DT_NEEDED => found.needed.push(string(*value)?),
            DT_SONAME => found.soname = Some(string(*value)?),
            DT_RPATH => found.rpath = Some(string(*value)?),
            DT_RUNPATH => found.runpath = Some(string(*value)?),
            _ => {}
        }
    }
    let flags = value(DT_FLAGS_1).unwrap_or(0);
    found.no_default = flags & DF_1_NODEFLIB != 0;
    // libc.so.6 has an interpreter, too, because it can be executed.
    found.is_program |=
        flags & DF_1_PIE != 0 || found.interpreter.is_some() && found.soname.is_none();
    // Only undefined and defined symbols have their names here, and only libc defines this one.
    let is_libc = found
        .soname
        .as_deref()
        .is_some_and(|name| name.starts_with(b"libc."));
    found.uses_iconv = !is_libc
        && strings
            .split(|byte| *byte == 0)
            .any(|name| name == b"iconv_open");
    Some(found)
}

/// The entries of a dynamic section up to DT_NULL: tag and value.
fn tags(section: &[u8]) -> Vec<(u64, u64)> {
    let (entries, _) = section.as_chunks::<16>();
    let word = |bytes: &[u8]| {
        bytes
            .first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word))
    };
    let entries = entries.iter().map(|entry| (word(entry), word(&entry[8..])));
    entries.take_while(|(tag, _)| *tag != 0).collect()
}

/// The bytes that are loaded at an address.
fn at_address<'d>(
    data: &'d [u8],
    segments: &[Segment],
    address: u64,
    size: u64,
) -> Option<&'d [u8]> {
    let loads = segments
        .iter()
        .filter(|segment| segment.kind == elf::PT_LOAD);
    let segment = loads
        .filter(|load| address >= load.vaddr)
        .find(|load| address - load.vaddr < load.filesz)?;
    let start = usize::try_from(address - segment.vaddr).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    segment.data(data)?.get(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_programs_are_read() {
        let myself = std::fs::read("/proc/self/exe").unwrap();
        let Kind::Elf(elf) = read(&myself) else {
            panic!("not an ELF file")
        };
        assert!(elf.is_program);
        let interpreter = elf.interpreter.unwrap();
        assert_eq!(interpreter, b"/lib64/ld-linux-x86-64.so.2");
        assert!(elf.needed.contains(&b"libc.so.6".to_vec()));
        let libc = std::fs::read("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
        let Kind::Elf(elf) = read(&libc) else {
            panic!("not an ELF file")
        };
        assert!(!elf.is_program && !elf.uses_iconv);
        assert_eq!(elf.soname.unwrap(), b"libc.so.6");
    }

    #[test]
    fn damaged_files_do_not_panic() {
        let libc = std::fs::read("/lib/x86_64-linux-gnu/libc.so.6").unwrap();
        for length in (0..4096).chain((4096..libc.len()).step_by(9973)) {
            let _ = read(&libc[..length]);
        }
        // Every byte of the headers, and of the dynamic section.
        let segments = segments(&libc).unwrap();
        let dynamic = segments.iter().find(|s| s.kind == elf::PT_DYNAMIC).unwrap();
        let start = dynamic.offset as usize;
        let mut damaged = libc.clone();
        for at in (0..1024).chain(start..start + dynamic.filesz as usize) {
            for byte in [0, 0x7f, 0xff] {
                damaged[at] = byte;
                let _ = read(&damaged);
            }
            damaged[at] = libc[at];
        }
        assert_eq!(read(b"#!/bin/sh\n"), Kind::Other);
        assert!(matches!(read(b"\x7fELF\x01\x01"), Kind::Foreign(_)));
    }
}
