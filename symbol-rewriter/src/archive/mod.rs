//! Archives: every member through the object phases, and an index of the new names.
//!
//! The index is written from what the members' symbol tables said while they were renamed, so no
//! member is parsed twice. Members that are no ELF objects are copied, with their index entries.

pub(crate) mod script;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use object::read::archive::{ArchiveFile, ArchiveMember};
use rayon::prelude::*;

use crate::error::{Error, ErrorKind, Result, malformed};
use crate::object_file;
use crate::options::Options;
use crate::output::RewrittenChunks;
use crate::read::elf::{self, Kind};
use crate::report::Report;
use crate::write::chunks::Chunks;
use crate::write::emit;
use crate::write::emit::Names;

/// A member as it goes out.
struct Member<'d> {
    name: &'d [u8],
    data: Chunks<'d>,
    header: [u64; 4],
    defined: Names,
    report: Report,
}

/// Rewrites the archive `data`.
pub(crate) fn rewrite<'d>(
    name: &str,
    dir: Option<&Path>,
    data: &'d [u8],
    options: &Options,
) -> std::result::Result<RewrittenChunks<'d>, Error> {
    let at_file = |kind| Error {
        file: name.to_string(),
        member: None,
        kind,
    };
    let archive = ArchiveFile::parse(data).map_err(|e| at_file(malformed(e.to_string())))?;
    // Only needed for the members that are left alone.
    let old_index = LazyLock::new(|| read_index(&archive));
    let members: Vec<_> = archive
        .members()
        .map(|member| member.map_err(|e| at_file(malformed(e.to_string()))))
        .collect::<std::result::Result<_, _>>()?;
    let one = |member: ArchiveMember<'d>| -> std::result::Result<Member<'d>, Error> {
        let label = String::from_utf8_lossy(member.name()).into_owned();
        let at_member = |kind| Error {
            file: name.to_string(),
            member: Some(label.clone()),
            kind,
        };
        let place = format!("{name}({label})");
        let (data, defined, report) = if member.is_thin() {
            let content = read_thin(dir, member.name()).map_err(at_member)?;
            let (data, defined, report) =
                content_of(&place, &content, options).map_err(at_member)?;
            (data.into_owned(), defined, report)
        } else {
            let content = member.data(data);
            let content = content.map_err(|e| at_member(malformed(e.to_string())))?;
            content_of(&place, content, options).map_err(at_member)?
        };
        let defined = defined.unwrap_or_else(|| {
            let key = (member.file_range().0, member.name().to_vec());
            let mut names = Names::default();
            let old = old_index.get(&key).into_iter().flatten();
            old.for_each(|name| names.push(name));
            names
        });
        Ok(Member {
            name: member.name(),
            data,
            header: fields(&member),
            defined,
            report,
        })
    };
    // Threads take longer to start than a small archive takes.
    let members: Vec<Member<'_>> = if members.len() < FEW || data.len() < SMALL {
        members
            .into_iter()
            .map(one)
            .collect::<std::result::Result<_, _>>()?
    } else {
        members
            .into_par_iter()
            .map(one)
            .collect::<std::result::Result<_, _>>()?
    };
    let mut report = Report::default();
    for member in &members {
        report.add(&member.report);
    }
    Ok(RewrittenChunks {
        data: write(members).map_err(at_file)?,
        report,
    })
}

/// What becomes of a member, and the names it defines, if it is an object.
fn content_of<'d>(
    place: &str,
    content: &'d [u8],
    options: &Options,
) -> Result<(Chunks<'d>, Option<Names>, Report)> {
    match elf::kind(content) {
        Kind::Elf => {
            let done = object_file::rewrite(place, content, options)?;
            Ok((done.data, Some(done.defined), done.report))
        }
        kind => {
            let copy = Chunks::from(Cow::Borrowed(content));
            Ok((copy, None, object_file::copied(place, kind)))
        }
    }
}

/// The numbers in a member's header.
fn fields(member: &ArchiveMember<'_>) -> [u64; 4] {
    [
        member.date().unwrap_or(0),
        member.uid().unwrap_or(0),
        member.gid().unwrap_or(0),
        member.mode().unwrap_or(0o644),
    ]
}

/// The names that an index has of each member, by where the member is and its name, since names may
/// occur twice, and all members of a thin archive are nowhere.
type Index = HashMap<(u64, Vec<u8>), Vec<Vec<u8>>>;

/// Reads an archive's index.
fn read_index(archive: &ArchiveFile<'_>) -> Index {
    let mut index = Index::new();
    let Ok(Some(symbols)) = archive.symbols() else {
        return index;
    };
    for symbol in symbols.flatten() {
        if let Ok(member) = archive.member(symbol.offset()) {
            let key = (member.file_range().0, member.name().to_vec());
            index.entry(key).or_default().push(symbol.name().to_vec());
        }
    }
    index
}

/// Puts the members of several rewritten archives, or rewritten objects with names, into one.
pub(crate) fn merge(archives: &[(Vec<u8>, Vec<u8>)]) -> Result<Chunks<'_>> {
    let mut members = Vec::new();
    for (name, data) in archives {
        if elf::kind(data) != Kind::Archive {
            members.push(Member {
                name,
                data: Chunks::from(Cow::Borrowed(&data[..])),
                header: [0, 0, 0, 0o644],
                defined: emit::defined(&elf::Object::parse(data)?)?,
                report: Report::default(),
            });
            continue;
        }
        let archive = ArchiveFile::parse(&data[..]).map_err(|e| malformed(e.to_string()))?;
        let index = read_index(&archive);
        for member in archive.members() {
            let member = member.map_err(|e| malformed(e.to_string()))?;
            let key = (member.file_range().0, member.name().to_vec());
            let mut defined = Names::default();
            let names = index.get(&key).into_iter().flatten();
            names.for_each(|name| defined.push(name));
            let content = member.data(&data[..]);
            let content = content.map_err(|e| malformed(e.to_string()))?;
            members.push(Member {
                name: member.name(),
                data: Chunks::from(Cow::Borrowed(content)),
                header: fields(&member),
                defined,
                report: Report::default(),
            });
        }
    }
    write(members)
}

/// Reads the file that stands behind a member of a thin archive.
fn read_thin(dir: Option<&Path>, name: &[u8]) -> Result<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    let path = match dir {
        Some(dir) => dir.join(path),
        None => path.to_path_buf(),
    };
    std::fs::read(path).map_err(ErrorKind::ThinMember)
}

/// An archive of so few members is rewritten by one thread ...
const FEW: usize = 4;
/// ... and so is a small one.
const SMALL: usize = 512 << 10;

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_SIZE: usize = 60;

/// Writes an ordinary archive in GNU format.
fn write(members: Vec<Member<'_>>) -> Result<Chunks<'_>> {
    let long = |name: &[u8]| name.len() > 15 || name.contains(&b'/') || name.contains(&b' ');
    let mut long_names = Vec::new();
    let names: Vec<Vec<u8>> = members
        .iter()
        .map(|member| {
            // A thin archive has paths where an ordinary one has file names.
            let name = member
                .name
                .rsplit(|&byte| byte == b'/')
                .next()
                .unwrap_or(member.name);
            if long(name) {
                let at = long_names.len();
                long_names.extend_from_slice(name);
                long_names.extend_from_slice(b"/\n");
                format!("/{at}").into_bytes()
            } else {
                [name, b"/"].concat()
            }
        })
        .collect();

    let even = |size: usize| size.next_multiple_of(2);
    let entries: usize = members.iter().map(|member| member.defined.count).sum();
    let letters: usize = members
        .iter()
        .map(|member| member.defined.bytes.len())
        .sum();
    let behind_index = match long_names.len() {
        0 => 0,
        size => HEADER_SIZE + even(size),
    } + members
        .iter()
        .map(|m| HEADER_SIZE + even(m.data.len()))
        .sum::<usize>();
    // Offsets of four bytes while they suffice, as every linker reads those.
    let total = |width: usize| {
        MAGIC.len() + HEADER_SIZE + even((entries + 1) * width + letters) + behind_index
    };
    let width = if total(4) <= u32::MAX as usize { 4 } else { 8 };
    let mut out = MAGIC.to_vec();
    // Linkers want an index, if only an empty one.
    if !members.is_empty() {
        let size = (entries + 1) * width + letters;
        let name: &[u8] = if width == 4 { b"/" } else { b"/SYM64/" };
        header(&mut out, name, [0; 4], even(size))?;
        let number = |out: &mut Vec<u8>, number: usize| match width {
            4 => out.extend_from_slice(&(number as u32).to_be_bytes()),
            _ => out.extend_from_slice(&(number as u64).to_be_bytes()),
        };
        number(&mut out, entries);
        let mut at = total(width) - behind_index;
        if !long_names.is_empty() {
            at += HEADER_SIZE + even(long_names.len());
        }
        for member in &members {
            for _ in 0..member.defined.count {
                number(&mut out, at);
            }
            at += HEADER_SIZE + even(member.data.len());
        }
        for member in &members {
            out.extend_from_slice(&member.defined.bytes);
        }
        if !size.is_multiple_of(2) {
            out.push(0);
        }
    }
    if !long_names.is_empty() {
        header(&mut out, b"//", [0; 4], long_names.len())?;
        out.extend_from_slice(&long_names);
        if !long_names.len().is_multiple_of(2) {
            out.push(b'\n');
        }
    }
    let mut all = Chunks::from(Cow::Owned(out));
    for (member, name) in members.into_iter().zip(&names) {
        let size = member.data.len();
        let mut start = Vec::with_capacity(HEADER_SIZE);
        header(&mut start, name, member.header, size)?;
        all.copy(&start);
        all.append(member.data);
        if !size.is_multiple_of(2) {
            all.copy(b"\n");
        }
    }
    Ok(all)
}

fn header(out: &mut Vec<u8>, name: &[u8], fields: [u64; 4], size: usize) -> Result<()> {
    let [date, uid, gid, mode] = fields;
    let mut text = name.to_vec();
    text.resize(16, b' ');
    text.extend_from_slice(format!("{date:<12}{uid:<6}{gid:<6}{mode:<8o}{size:<10}`\n").as_bytes());
    if text.len() != HEADER_SIZE {
        return Err(malformed(
            "a member's header has a number too large for its field",
        ));
    }
    out.extend_from_slice(&text);
    Ok(())
}
