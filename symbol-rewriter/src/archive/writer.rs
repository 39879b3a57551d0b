//! Writes an ordinary archive in GNU format (`ar(5)`, and binutils' `bfd/archive.c`).

use std::borrow::Cow;

use crate::error::{Result, malformed};
use crate::report::Report;
use crate::write::chunks::Chunks;
use crate::write::emit::Names;

/// A member to be written.
pub(super) struct Member<'d> {
    pub name: &'d [u8],
    pub data: Chunks<'d>,
    /// Time, user, group and mode.
    pub header: [u64; 4],
    /// The names for the index.
    pub defined: Names,
    pub report: Report,
}

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_SIZE: usize = 60;

/// Writes an ordinary archive in GNU format.
pub(super) fn write(members: Vec<Member<'_>>) -> Result<Chunks<'_>> {
    let long = |name: &[u8]| name.len() > 15 || name.contains(&b'/') || name.contains(&b' ');
    let mut long_names = Vec::new();
    let names: Vec<Vec<u8>> = members
        .iter()
        .map(|member| {
            // The names in a thin archive are paths.
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
    let after_index = match long_names.len() {
        0 => 0,
        size => HEADER_SIZE + even(size),
    } + members
        .iter()
        .map(|m| HEADER_SIZE + even(m.data.len()))
        .sum::<usize>();
    // Offsets in the index have four bytes, which every linker reads, unless the archive is too
    // large for them.
    let total = |width: usize| {
        MAGIC.len() + HEADER_SIZE + even((entries + 1) * width + letters) + after_index
    };
    let width = if total(4) <= u32::MAX as usize { 4 } else { 8 };
    let mut out = MAGIC.to_vec();
    // GNU ld refuses an archive without an index, even if the index is empty.
    if !members.is_empty() {
        let size = (entries + 1) * width + letters;
        let name: &[u8] = if width == 4 { b"/" } else { b"/SYM64/" };
        header(&mut out, name, [0; 4], even(size))?;
        let number = |out: &mut Vec<u8>, number: usize| match width {
            4 => out.extend_from_slice(&(number as u32).to_be_bytes()),
            _ => out.extend_from_slice(&(number as u64).to_be_bytes()),
        };
        number(&mut out, entries);
        let mut at = total(width) - after_index;
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

/// Writes the header of a member.
fn header(out: &mut Vec<u8>, name: &[u8], fields: [u64; 4], size: usize) -> Result<()> {
    let [date, uid, gid, mode] = fields;
    let mut text = name.to_vec();
    text.resize(16, b' ');
    text.extend_from_slice(format!("{date:<12}{uid:<6}{gid:<6}{mode:<8o}{size:<10}`\n").as_bytes());
    if text.len() != HEADER_SIZE {
        return Err(malformed(
            "a number in a member's header is too large for its field",
        ));
    }
    out.extend_from_slice(&text);
    Ok(())
}
