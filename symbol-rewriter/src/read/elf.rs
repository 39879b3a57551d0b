//! An x86-64 relocatable object, in the form that the later phases need.
//!
//! A linked file has the same form for these phases: `linked` makes one section of code of its
//! memory image, in which every offset is a virtual address ([`Object::from_image`]).
//!
//! The `object` crate parses the file. This module converts the result to plain types, because
//! later phases change fields of headers and write them back. The constants are those of the gABI
//! and of the psABI's AMD64 supplement.

use object::elf::{FileHeader64, Rela64, Sym64};
use object::read::elf::{CrelIterator, FileHeader as _, SectionHeader as _};
use object::{LittleEndian as LE, SectionIndex, SymbolIndex};

use crate::error::{Result, malformed, unsupported};

pub(crate) const SHT_NULL: u32 = 0;
pub(crate) const SHT_PROGBITS: u32 = 1;
pub(crate) const SHT_RELA: u32 = 4;
pub(crate) const SHT_NOTE: u32 = 7;
pub(crate) const SHT_NOBITS: u32 = 8;
pub(crate) const SHT_REL: u32 = 9;
pub(crate) const SHT_GROUP: u32 = 17;
pub(crate) const SHT_CREL: u32 = 0x4000_0014;
pub(crate) const SHT_X86_64_UNWIND: u32 = 0x7000_0001;
pub(crate) const SHF_ALLOC: u64 = 2;
pub(crate) const SHF_EXECINSTR: u64 = 4;
pub(crate) const SHF_INFO_LINK: u64 = 0x40;
pub(crate) const SHF_GROUP: u64 = 0x200;
pub(crate) const SHN_LORESERVE: usize = 0xff00;
pub(crate) const R_X86_64_PLT32: u32 = 4;
const R_X86_64_PC32: u32 = 2;
const R_X86_64_PC16: u32 = 13;
const R_X86_64_PC8: u32 = 15;
const R_X86_64_PC64: u32 = 24;
pub(crate) const STB_LOCAL: u8 = 0;
pub(crate) const STB_GLOBAL: u8 = 1;
pub(crate) const STT_OBJECT: u8 = 1;
pub(crate) const STT_FUNC: u8 = 2;
pub(crate) const STT_SECTION: u8 = 3;
pub(crate) const STT_FILE: u8 = 4;
pub(crate) const STT_TLS: u8 = 6;
pub(crate) const STT_GNU_IFUNC: u8 = 10;

pub(crate) const HEADER_SIZE: usize = 64;
pub(crate) const SECTION_SIZE: usize = 64;
pub(crate) const SYMBOL_SIZE: usize = 24;
pub(crate) const RELA_SIZE: usize = 24;

const EI_CLASS: usize = 4;
const EI_DATA: usize = 5;
const ET_REL: u16 = 1;
const EM_X86_64: u16 = 62;

/// A section header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section<'d> {
    pub name: &'d [u8],
    pub name_offset: u32,
    pub kind: u32,
    pub flags: u64,
    pub addr: u64,
    pub offset: u64,
    pub size: u64,
    pub link: u32,
    pub info: u32,
    pub align: u64,
    pub entsize: u64,
}

impl Section<'_> {
    /// The header in the format of a file.
    pub fn to_bytes(self) -> [u8; SECTION_SIZE] {
        let mut bytes = [0; SECTION_SIZE];
        bytes[0..4].copy_from_slice(&self.name_offset.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.flags.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.addr.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.size.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.link.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.info.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.align.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.entsize.to_le_bytes());
        bytes
    }

    /// Whether the section contains machine code.
    pub fn is_code(&self) -> bool {
        const CODE: u64 = SHF_ALLOC | SHF_EXECINSTR;
        self.kind == SHT_PROGBITS && self.flags & CODE == CODE
    }
}

/// A symbol, without its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symbol {
    pub name: u32,
    pub bind: u8,
    pub kind: u8,
    /// The section that defines it. `None` for undefined, absolute and common symbols.
    pub section: Option<usize>,
    pub undefined: bool,
    pub value: u64,
    pub size: u64,
}

/// A relocation with an addend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reloc {
    pub offset: u64,
    pub kind: u32,
    pub symbol: u32,
    pub addend: i64,
}

impl Reloc {
    /// The relocation in the format of a file.
    pub fn to_bytes(self) -> [u8; RELA_SIZE] {
        let mut bytes = [0; RELA_SIZE];
        bytes[0..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.kind.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.symbol.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.addend.to_le_bytes());
        bytes
    }
}

type RawSymbols<'d> = object::read::elf::SymbolTable<'d, FileHeader64<LE>>;

/// What is known of a linked file besides its symbols and frame descriptions.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// The ranges of addresses that contain machine code, in order.
    pub code: Vec<std::ops::Range<u64>>,
    /// Addresses of code that data contains: the results of relocations, or all words of data that
    /// may be such an address if the file has no relocations.
    pub pointers: Vec<u64>,
    /// Whether the file runs at the addresses that it was linked to, so that instructions may
    /// contain absolute addresses.
    pub is_fixed: bool,
    /// Whether the code is Go's.
    pub is_go: bool,
}

impl Image {
    /// Whether an address is in a range of machine code.
    pub fn has_code_at(&self, addr: u64) -> bool {
        let after = self.code.partition_point(|range| range.start <= addr);
        after > 0 && addr < self.code[after - 1].end
    }
}

/// The symbols of an object.
enum Symbols<'d> {
    /// The symbol table of an object file.
    Table(RawSymbols<'d>),
    /// Those of a linked file, which may have several tables. `Symbol::name` is the index.
    List(Vec<(Symbol, Vec<u8>)>),
}

/// An object.
pub(crate) struct Object<'d> {
    pub data: &'d [u8],
    /// For a linked file.
    pub image: Option<Image>,
    pub sections: Vec<Section<'d>>,
    /// File offset of the section headers.
    pub section_headers: u64,
    /// Index of the section with the sections' names.
    pub section_names: usize,
    symbols: Symbols<'d>,
}

/// The kinds of files that this crate distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Archive,
    Elf,
    Bitcode,
    Other,
}

/// The kind of a file, by its first bytes.
pub(crate) fn kind(data: &[u8]) -> Kind {
    if data.starts_with(b"!<arch>\n") || data.starts_with(b"!<thin>\n") {
        Kind::Archive
    } else if data.starts_with(b"\x7fELF") {
        Kind::Elf
    } else if data.starts_with(b"BC\xc0\xde") || data.starts_with(&[0xde, 0xc0, 0x17, 0x0b]) {
        Kind::Bitcode
    } else {
        Kind::Other
    }
}

impl<'d> Object<'d> {
    /// Reads the headers of an object.
    pub fn parse(data: &'d [u8]) -> Result<Self> {
        if data.len() < HEADER_SIZE {
            return Err(malformed("the file ends within the ELF header"));
        }
        if data[EI_CLASS] != 2 || data[EI_DATA] != 1 {
            return Err(unsupported(
                "not a 64-bit little-endian ELF file; compile for x86-64",
            ));
        }
        let half = |at: usize| u16::from_le_bytes([data[at], data[at + 1]]);
        if half(18) != EM_X86_64 {
            return Err(unsupported(
                "an object for another machine; compile for x86-64",
            ));
        }
        if half(16) != ET_REL {
            return Err(unsupported(
                "a linked ELF file, not an object; use the objects or the static library instead",
            ));
        }
        let header = FileHeader64::<LE>::parse(data).map_err(broken)?;
        let table = header.sections(LE, data).map_err(broken)?;
        let mut sections = Vec::with_capacity(table.len());
        for (index, raw) in table.iter().enumerate() {
            let section = Section {
                name: table.section_name(LE, raw).map_err(broken)?,
                name_offset: raw.sh_name(LE),
                kind: raw.sh_type(LE).0,
                flags: raw.sh_flags(LE).0,
                addr: raw.sh_addr(LE),
                offset: raw.sh_offset(LE),
                size: raw.sh_size(LE),
                link: raw.sh_link(LE),
                info: raw.sh_info(LE),
                align: raw.sh_addralign(LE),
                entsize: raw.sh_entsize(LE),
            };
            let fits = matches!(section.kind, SHT_NULL | SHT_NOBITS)
                || section
                    .offset
                    .checked_add(section.size)
                    .is_some_and(|end| end <= data.len() as u64);
            if !fits {
                return Err(malformed(format!(
                    "section {index} reaches past the end of the file"
                )));
            }
            sections.push(section);
        }
        let section_names = if sections.is_empty() {
            0
        } else {
            header.section_strings_index(LE, data).map_err(broken)?.0
        };
        let symbols = table
            .symbols(LE, data, object::elf::SHT_SYMTAB)
            .map_err(broken)?;
        Ok(Object {
            data,
            image: None,
            sections,
            section_headers: header.e_shoff(LE),
            section_names,
            symbols: Symbols::Table(symbols),
        })
    }

    /// The section of a linked file's memory image, as an object.
    pub const IMAGE: usize = 1;

    /// Makes an object of a linked file. `memory` is what the file's segments put into memory, from
    /// address 0 on. `frames` is the range of `.eh_frame`.
    pub fn from_image(
        memory: &'d [u8],
        frames: Option<std::ops::Range<u64>>,
        symbols: Vec<(Symbol, Vec<u8>)>,
        image: Image,
    ) -> Self {
        let section = |name, kind, flags, range: std::ops::Range<u64>| Section {
            name,
            name_offset: 0,
            kind,
            flags,
            addr: range.start,
            offset: range.start,
            size: range.end - range.start,
            link: 0,
            info: 0,
            align: 1,
            entsize: 0,
        };
        let code = SHF_ALLOC | SHF_EXECINSTR;
        let mut sections = vec![
            section(b"".as_slice(), SHT_NULL, 0, 0..0),
            section(b"", SHT_PROGBITS, code, 0..memory.len() as u64),
        ];
        sections.extend(frames.map(|at| section(b".eh_frame", SHT_PROGBITS, SHF_ALLOC, at)));
        Object {
            data: memory,
            image: Some(image),
            sections,
            section_headers: 0,
            section_names: 0,
            symbols: Symbols::List(symbols),
        }
    }

    /// The bytes of a section. Sections such as `.bss` have none.
    pub fn content(&self, index: usize) -> &'d [u8] {
        let section = &self.sections[index];
        if matches!(section.kind, SHT_NULL | SHT_NOBITS) {
            return &[];
        }
        &self.data[section.offset as usize..(section.offset + section.size) as usize]
    }

    /// The section of the symbol table, if the object has one.
    pub fn symbol_section(&self) -> Option<usize> {
        let Symbols::Table(table) = &self.symbols else {
            return None;
        };
        Some(table.section().0).filter(|&index| index != 0)
    }

    /// The section of the symbols' names.
    pub fn string_section(&self) -> usize {
        match &self.symbols {
            Symbols::Table(table) => table.string_section().0,
            Symbols::List(_) => 0,
        }
    }

    /// The table of section indices beyond 65,279 (`SHT_SYMTAB_SHNDX`), if there is one.
    pub fn shndx_section(&self) -> Option<usize> {
        let Symbols::Table(table) = &self.symbols else {
            return None;
        };
        Some(table.shndx_section().0).filter(|&index| index != 0)
    }

    /// The number of symbols, including the null symbol.
    pub fn symbol_count(&self) -> usize {
        match &self.symbols {
            Symbols::Table(table) => table.len(),
            Symbols::List(list) => list.len(),
        }
    }

    /// Symbol number `index`.
    pub fn symbol(&self, index: usize) -> Result<Symbol> {
        let missing = || malformed(format!("there is no symbol {index}"));
        match &self.symbols {
            Symbols::Table(table) => {
                let raw = table.symbols().get(index).ok_or_else(missing)?;
                self.convert(table, index, raw)
            }
            Symbols::List(list) => list
                .get(index)
                .map(|(symbol, _)| *symbol)
                .ok_or_else(missing),
        }
    }

    fn convert(&self, table: &RawSymbols<'d>, index: usize, raw: &Sym64<LE>) -> Result<Symbol> {
        let section = table
            .symbol_section(LE, raw, SymbolIndex(index))
            .map_err(broken)?;
        let section = section.map(|SectionIndex(section)| section);
        if section.is_some_and(|section| section >= self.sections.len()) {
            return Err(malformed(format!(
                "symbol {index} is in a section that does not exist"
            )));
        }
        Ok(Symbol {
            name: raw.st_name.get(LE),
            bind: raw.st_bind().0,
            kind: raw.st_type().0,
            section,
            undefined: raw.st_shndx.get(LE).0 == 0,
            value: raw.st_value.get(LE),
            size: raw.st_size.get(LE),
        })
    }

    /// All symbols, in the order of their numbers.
    pub fn symbols(&self) -> impl Iterator<Item = Result<Symbol>> + '_ {
        (0..self.symbol_count()).map(|index| self.symbol(index))
    }

    /// A symbol's name.
    pub fn symbol_name(&self, symbol: &Symbol) -> Result<&[u8]> {
        match &self.symbols {
            Symbols::Table(table) => table
                .strings()
                .get(symbol.name)
                .map_err(|()| malformed("a symbol's name is outside the string table")),
            Symbols::List(list) => Ok(list
                .get(symbol.name as usize)
                .map_or(&[], |(_, name)| name.as_slice())),
        }
    }

    /// The relocation sections, each with the section that it applies to: `(target, relocations)`.
    pub fn reloc_sections(&self) -> Vec<(usize, usize)> {
        self.sections
            .iter()
            .enumerate()
            .filter(|(_, section)| matches!(section.kind, SHT_RELA | SHT_REL | SHT_CREL))
            .filter(|(_, section)| (section.info as usize) < self.sections.len())
            .map(|(index, section)| (section.info as usize, index))
            .collect()
    }

    /// The relocations that apply to section `target`. `None` if they cannot be changed, because they
    /// have no addends or are in more than one section.
    pub fn relocs_for(&self, target: usize) -> Result<Option<Vec<Reloc>>> {
        let mut of = self
            .reloc_sections()
            .into_iter()
            .filter(|&(of, _)| of == target);
        match (of.next(), of.next()) {
            (None, _) => Ok(Some(Vec::new())),
            (Some((_, index)), None) => self.relocs(index),
            _ => Ok(None),
        }
    }

    /// The relocations in section `index`. `None` if they have no addends. Compilers for x86-64
    /// always emit addends.
    pub fn relocs(&self, index: usize) -> Result<Option<Vec<Reloc>>> {
        let section = &self.sections[index];
        let relocs: Vec<Reloc> = match section.kind {
            SHT_RELA => {
                let raw: &[Rela64<LE>] = object::pod::slice_from_all_bytes(self.content(index))
                    .map_err(|()| malformed("a relocation section ends within an entry"))?;
                raw.iter()
                    .map(|rela| Reloc {
                        offset: rela.r_offset.get(LE),
                        kind: rela.r_type(LE, false).0,
                        symbol: rela.r_sym(LE, false),
                        addend: rela.r_addend.get(LE),
                    })
                    .collect()
            }
            SHT_CREL => {
                let entries = CrelIterator::new(self.content(index)).map_err(broken)?;
                if !entries.is_rela() {
                    return Ok(None);
                }
                entries
                    .map(|entry| {
                        let entry = entry.map_err(broken)?;
                        Ok(Reloc {
                            offset: entry.r_offset,
                            kind: entry.r_type.0,
                            symbol: entry.r_sym,
                            addend: entry.r_addend,
                        })
                    })
                    .collect::<Result<_>>()?
            }
            _ => return Ok(None),
        };
        match relocs
            .iter()
            .find(|reloc| reloc.symbol as usize >= self.symbol_count().max(1))
        {
            Some(reloc) => Err(malformed(format!(
                "a relocation refers to symbol {}",
                reloc.symbol
            ))),
            None => Ok(Some(relocs)),
        }
    }
}

/// Whether a relocation's value is relative to the address of the relocated field.
pub(crate) fn is_pc_relative(kind: u32) -> bool {
    matches!(
        kind,
        R_X86_64_PC32 | R_X86_64_PLT32 | R_X86_64_PC16 | R_X86_64_PC8 | R_X86_64_PC64
    )
}

fn broken(error: object::Error) -> crate::error::ErrorKind {
    malformed(error.to_string())
}
