//! Reads objects for the tests, independently of the code under test.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::{run, scratch, stdout};

/// Runs a tool from binutils on an object in memory.
pub fn tool(program: &str, flags: &[&str], data: &[u8]) -> String {
    let dir = scratch();
    let path = dir.path().join("object.o");
    std::fs::write(&path, data).unwrap();
    stdout(Command::new(program).args(flags).arg(&path))
}

/// The names in a symbol table, with what `nm` says of each.
pub fn symbols(data: &[u8]) -> Vec<(char, String)> {
    tool("nm", &["-f", "posix"], data)
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next()?.to_string();
            Some((words.next()?.chars().next()?, name))
        })
        .collect()
}

/// The disassembly without addresses and bytes, with the relocations.
pub fn disassembly(data: &[u8]) -> String {
    tool("objdump", &["-dr", "--no-show-raw-insn", "-w"], data)
}

pub fn word(data: &[u8], at: usize, size: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..size].copy_from_slice(&data[at..at + size]);
    u64::from_le_bytes(bytes)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    pub kind: u64,
    pub flags: u64,
    pub offset: usize,
    pub size: usize,
    pub link: usize,
    pub info: usize,
}

/// The section headers.
pub fn sections(data: &[u8]) -> Vec<Section> {
    let at = word(data, 40, 8) as usize;
    let header = |i: usize, field: usize, size| word(data, at + i * 64 + field, size);
    let count = match word(data, 60, 2) {
        0 => header(0, 32, 8) as usize,
        count => count as usize,
    };
    let names = match word(data, 62, 2) {
        0xffff => header(0, 40, 4) as usize,
        names => names as usize,
    };
    let names = header(names, 24, 8) as usize;
    (0..count)
        .map(|i| {
            let name = &data[names + header(i, 0, 4) as usize..];
            let end = name.iter().position(|&byte| byte == 0).unwrap();
            Section {
                name: String::from_utf8_lossy(&name[..end]).into_owned(),
                kind: header(i, 4, 4),
                flags: header(i, 8, 8),
                offset: header(i, 24, 8) as usize,
                size: header(i, 32, 8) as usize,
                link: header(i, 40, 4) as usize,
                info: header(i, 44, 4) as usize,
            }
        })
        .collect()
}

/// The content of a section.
pub fn content<'d>(data: &'d [u8], section: &Section) -> &'d [u8] {
    if section.kind == 8 {
        &[]
    } else {
        &data[section.offset..section.offset + section.size]
    }
}

/// The content of the first section of that name.
pub fn named<'d>(data: &'d [u8], name: &str) -> &'d [u8] {
    let sections = sections(data);
    content(
        data,
        sections
            .iter()
            .find(|section| section.name == name)
            .unwrap(),
    )
}

/// How many relocations each section has.
pub fn reloc_counts(data: &[u8]) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for section in sections(data).iter().filter(|section| section.kind == 4) {
        *counts.entry(section.info).or_insert(0) += section.size / 24;
    }
    counts
}

/// The members of an archive, in order.
pub fn members(path: &Path) -> Vec<String> {
    stdout(Command::new("ar").arg("t").arg(path))
        .lines()
        .map(str::to_string)
        .collect()
}

/// Asserts that a linker accepts the object: `ld -r` reads all of it.
pub fn links(data: &[u8]) {
    let dir = scratch();
    let path = dir.path().join("object.o");
    std::fs::write(&path, data).unwrap();
    run(Command::new("ld")
        .args(["-r", "-o"])
        .arg(dir.path().join("out.o"))
        .arg(&path));
}
