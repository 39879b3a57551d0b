//! Archives: rewrites every member, and writes an index of the new names.
//!
//! The index is made from the names that are collected while members are renamed, so no member is
//! parsed twice. Members other than ELF objects are copied with their index entries.

pub(crate) mod script;
mod writer;

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
use writer::Member;

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
    // The old index is needed only for members that are copied.
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
    // Starting threads would take longer than rewriting a small archive.
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
        data: writer::write(members).map_err(at_file)?,
        report,
    })
}

/// The rewritten member, and the names it defines if it is an object.
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

/// The numeric fields of a member's header.
fn fields(member: &ArchiveMember<'_>) -> [u64; 4] {
    [
        member.date().unwrap_or(0),
        member.uid().unwrap_or(0),
        member.gid().unwrap_or(0),
        member.mode().unwrap_or(0o644),
    ]
}

/// The names that an index lists for each member. The key is the member's offset and name, because
/// names are not unique, and in a thin archive offsets are not unique either.
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

/// Merges rewritten archives, and rewritten objects with their names, into one archive.
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
    writer::write(members)
}

/// Reads the file of a member of a thin archive.
fn read_thin(dir: Option<&Path>, name: &[u8]) -> Result<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    let path = match dir {
        Some(dir) => dir.join(path),
        None => path.to_path_buf(),
    };
    std::fs::read(path).map_err(ErrorKind::ThinMember)
}

/// An archive with fewer members is rewritten by one thread.
const FEW: usize = 4;
/// An archive with fewer bytes is rewritten by one thread.
const SMALL: usize = 512 << 10;
