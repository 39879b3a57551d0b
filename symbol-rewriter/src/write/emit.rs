//! Writes the object with its symbols renamed and the plan of the other phases applied.
//!
//! Nothing in the input moves. A section that keeps its size is patched in place. A section that
//! grows is written to the end of the file, and its header is changed to point there. All other
//! bytes are the input's, so sections of unknown types survive.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::{Result, malformed, unsupported};
use crate::names::{keeps_name, prefixed, wrapped};
use crate::options::Options;
use crate::read::elf::{
    HEADER_SIZE, Object, RELA_SIZE, Reloc, SHF_GROUP, SHF_INFO_LINK, SHN_LORESERVE, SHT_GROUP,
    SHT_NOBITS, SHT_RELA, STB_GLOBAL, STB_LOCAL, STT_FILE, STT_SECTION, SYMBOL_SIZE, Section,
};
use crate::thunk::Thunk;
use crate::write::chunks::Chunks;

/// `nop`, between functions.
const NOP: u8 = 0x90;

/// `int3`, between pieces of code that nothing falls into.
const INT3: u8 = 0xcc;

/// The changes that the earlier phases request, apart from names.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// New contents of sections.
    pub contents: BTreeMap<usize, Vec<u8>>,
    /// New relocations of sections, by the section they apply to.
    pub relocs: BTreeMap<usize, Vec<Reloc>>,
    /// New sizes of symbols, by the symbols' numbers.
    pub sizes: BTreeMap<usize, u64>,
    /// The thunks that are called, with the numbers of their symbols, which follow those of the input.
    pub thunks: BTreeMap<Thunk, u32>,
    /// For a linked file: what is added to it.
    pub added: Option<Added>,
}

/// The code that is added to a linked file, and its frame descriptions.
#[derive(Debug, Default)]
pub(crate) struct Added {
    /// The address of the code.
    pub start: u64,
    /// The trampolines.
    pub code: Vec<u8>,
    /// The descriptions of the trampolines.
    pub frames: Vec<AddedFrame>,
}

/// The description of the frame of added code.
#[derive(Debug)]
pub(crate) struct AddedFrame {
    /// The address of the code.
    pub start: u64,
    /// Its length.
    pub len: u64,
    /// The offset of the common information entry in `.eh_frame` that it starts from.
    pub cie: usize,
    /// The call frame instructions.
    pub script: Vec<u8>,
}

impl Plan {
    /// The address of the next trampoline for code in `section`, which is aligned to `align`.
    pub fn next_trampoline(&mut self, object: &Object<'_>, section: usize, align: usize) -> u64 {
        match &mut self.added {
            Some(added) => {
                added
                    .code
                    .resize(added.code.len().next_multiple_of(align), INT3);
                added.start + added.code.len() as u64
            }
            None => {
                let content = self.content(object, section);
                content.resize(content.len().next_multiple_of(align), NOP);
                content.len() as u64
            }
        }
    }

    /// Adds the trampoline that [`Plan::next_trampoline`] has made room for.
    pub fn add_trampoline(&mut self, object: &Object<'_>, section: usize, code: &[u8]) {
        match &mut self.added {
            Some(added) => added.code.extend_from_slice(code),
            None => self.content(object, section).extend_from_slice(code),
        }
    }

    /// The content of a section, for changes.
    pub fn content(&mut self, object: &Object<'_>, section: usize) -> &mut Vec<u8> {
        let content = self.contents.entry(section);
        content.or_insert_with(|| object.content(section).to_vec())
    }

    /// The symbol number of a thunk.
    pub fn thunk_symbol(&mut self, object: &Object<'_>, thunk: Thunk) -> u32 {
        let next = (object.symbol_count().max(1) + self.thunks.len()) as u32;
        *self.thunks.entry(thunk).or_insert(next)
    }
}

/// A written object, and the names for the index of an archive.
pub(crate) struct Written<'d> {
    pub data: Chunks<'d>,
    pub defined: Names,
    pub renamed: usize,
}

/// Names, each followed by a NUL.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub count: usize,
    pub bytes: Vec<u8>,
}

impl Names {
    /// Adds a name.
    pub fn push(&mut self, name: &[u8]) {
        self.count += 1;
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
    }
}

/// The names that an object defines for other objects.
pub(crate) fn defined(object: &Object<'_>) -> Result<Names> {
    let mut names = Names::default();
    for symbol in object.symbols() {
        let symbol = symbol?;
        let is_local = symbol.bind == STB_LOCAL || matches!(symbol.kind, STT_SECTION | STT_FILE);
        if !is_local && !symbol.undefined {
            names.push(object.symbol_name(&symbol)?);
        }
    }
    Ok(names)
}

/// An object under construction.
struct Output<'o, 'd> {
    object: &'o Object<'d>,
    sections: Vec<Section<'d>>,
    names_of_added: Vec<(usize, Vec<u8>)>,
    /// New contents of sections.
    contents: BTreeMap<usize, Chunks<'d>>,
    /// The symbol table, if it differs from the input's.
    symbols: Option<Vec<u8>>,
}

/// Writes `object` with its symbols renamed and `plan` applied.
pub(crate) fn write<'d>(object: &Object<'d>, plan: Plan, options: &Options) -> Result<Written<'d>> {
    let mut out = Output {
        object,
        sections: object.sections.clone(),
        names_of_added: Vec::new(),
        contents: BTreeMap::new(),
        symbols: None,
    };
    for (index, content) in plan.contents {
        out.set_content(index, content);
    }
    for (target, relocs) in &plan.relocs {
        out.set_relocs(*target, relocs)?;
    }
    out.resize_symbols(&plan.sizes);
    let (defined, renamed) = out.rename(&plan.thunks, options)?;
    Ok(Written {
        data: out.finish(),
        defined,
        renamed,
    })
}

impl<'d> Output<'_, 'd> {
    /// Replaces the bytes of section `index`.
    fn set_content(&mut self, index: usize, content: Vec<u8>) {
        self.contents
            .insert(index, Chunks::from(Cow::Owned(content)));
    }

    /// The symbol table, for changes.
    fn symbols(&mut self, table: usize) -> &mut Vec<u8> {
        self.symbols
            .get_or_insert_with(|| self.object.content(table).to_vec())
    }

    /// Replaces the relocations of section `target`.
    fn set_relocs(&mut self, target: usize, relocs: &[Reloc]) -> Result<()> {
        let content: Vec<u8> = relocs.iter().flat_map(|reloc| reloc.to_bytes()).collect();
        let existing = self
            .object
            .reloc_sections()
            .into_iter()
            .find(|&(of, _)| of == target);
        let index = match existing {
            Some((_, index)) => index,
            None => self.add_reloc_section(target)?,
        };
        let section = &mut self.sections[index];
        // Compact relocations become ordinary ones. The section keeps its name, which has no
        // meaning.
        section.kind = SHT_RELA;
        section.entsize = RELA_SIZE as u64;
        section.align = section.align.max(8);
        self.set_content(index, content);
        Ok(())
    }

    /// Adds an empty relocation section for `target`, in the same group.
    fn add_reloc_section(&mut self, target: usize) -> Result<usize> {
        let symbols = self
            .object
            .symbol_section()
            .ok_or_else(|| malformed("it has machine code, but no symbol table"))?;
        let index = self.sections.len();
        let of = &self.object.sections[target];
        let name = [b".rela", of.name].concat();
        let group = of.flags & SHF_GROUP;
        self.sections.push(Section {
            name: b"",
            name_offset: 0,
            kind: SHT_RELA,
            flags: SHF_INFO_LINK | group,
            addr: 0,
            offset: 0,
            size: 0,
            link: symbols as u32,
            info: target as u32,
            align: 8,
            entsize: RELA_SIZE as u64,
        });
        self.names_of_added.push((index, name));
        if group != 0 {
            self.join_group(target, index);
        }
        Ok(index)
    }

    /// Makes section `new` a member of the group that `member` is in.
    fn join_group(&mut self, member: usize, new: usize) {
        let word = (member as u32).to_le_bytes();
        let group = (0..self.object.sections.len()).find(|&index| {
            self.object.sections[index].kind == SHT_GROUP
                && self
                    .object
                    .content(index)
                    .chunks_exact(4)
                    .skip(1)
                    .any(|entry| entry == word)
        });
        if let Some(group) = group {
            let old = || Chunks::from(Cow::Borrowed(self.object.content(group)));
            let content = self.contents.entry(group).or_insert_with(old);
            content.copy(&(new as u32).to_le_bytes());
        }
    }

    /// Changes the sizes of symbols.
    fn resize_symbols(&mut self, sizes: &BTreeMap<usize, u64>) {
        let Some(table) = self.object.symbol_section() else {
            return;
        };
        for (index, size) in sizes {
            let at = index * SYMBOL_SIZE + 16;
            self.symbols(table)[at..at + 8].copy_from_slice(&size.to_le_bytes());
        }
    }

    /// Renames the symbols and adds those of the thunks.
    fn rename(
        &mut self,
        thunks: &BTreeMap<Thunk, u32>,
        options: &Options,
    ) -> Result<(Names, usize)> {
        let object = self.object;
        let Some(table) = object.symbol_section() else {
            self.add_section_names(None)?;
            return Ok((Names::default(), 0));
        };
        let strings = object.string_section();
        let mut names = Strings::behind(object.content(strings));
        let mut defined = Names::default();
        let mut renamed = 0;
        for (index, symbol) in object.symbols().enumerate() {
            let symbol = symbol?;
            if symbol.bind == STB_LOCAL || matches!(symbol.kind, STT_SECTION | STT_FILE) {
                continue;
            }
            let name = object.symbol_name(&symbol)?;
            let wrapped = match symbol.undefined {
                true => wrapped(name, options),
                false => None,
            };
            let name = wrapped.as_deref().unwrap_or(name);
            if keeps_name(name) {
                if !symbol.undefined {
                    defined.push(name);
                }
                continue;
            }
            let name = prefixed(name, options);
            if !symbol.undefined {
                defined.push(&name);
            }
            renamed += 1;
            let start = names.push(&name)?;
            let entry = index * SYMBOL_SIZE;
            self.symbols(table)[entry..entry + 4].copy_from_slice(&start.to_le_bytes());
        }
        if !thunks.is_empty() {
            self.add_thunks(table, thunks, &mut names)?;
        }
        if let Some(symbols) = self.symbols.take() {
            self.set_content(table, symbols);
        }
        if names.new.is_empty() && self.names_of_added.is_empty() {
            return Ok((defined, renamed));
        }
        if strings == object.section_names {
            // LLVM writes one string table for symbols and sections.
            self.add_section_names(Some(&mut names))?;
        } else {
            self.add_section_names(None)?;
        }
        self.contents.insert(strings, names.into_chunks());
        Ok((defined, renamed))
    }

    /// Adds the symbols of thunks. Global symbols must come last in the table.
    fn add_thunks(
        &mut self,
        table: usize,
        thunks: &BTreeMap<Thunk, u32>,
        names: &mut Strings<'d>,
    ) -> Result<()> {
        let symbols = self.symbols(table);
        if symbols.is_empty() {
            symbols.resize(SYMBOL_SIZE, 0);
        }
        let mut in_order: Vec<_> = thunks.iter().collect();
        in_order.sort_by_key(|(_, number)| **number);
        for (thunk, number) in in_order {
            debug_assert_eq!(symbols.len(), *number as usize * SYMBOL_SIZE);
            let name = names.push(thunk.to_string().as_bytes())?;
            let mut symbol = [0; SYMBOL_SIZE];
            symbol[0..4].copy_from_slice(&name.to_le_bytes());
            symbol[4] = STB_GLOBAL << 4;
            symbols.extend_from_slice(&symbol);
        }
        let count = symbols.len() / SYMBOL_SIZE;
        if let Some(index) = self.object.shndx_section() {
            let mut shndx = self.object.content(index).to_vec();
            shndx.resize(count * 4, 0);
            self.set_content(index, shndx);
        }
        Ok(())
    }

    /// Names the added sections, in the table `shared` if symbols and sections share one.
    fn add_section_names(&mut self, shared: Option<&mut Strings<'d>>) -> Result<()> {
        if self.names_of_added.is_empty() {
            return Ok(());
        }
        let index = self.object.section_names;
        let is_shared = shared.is_some();
        let mut own = Strings::behind(self.object.content(index));
        let table = shared.unwrap_or(&mut own);
        for (section, name) in &self.names_of_added {
            self.sections[*section].name_offset = table.push(name)?;
        }
        if !is_shared {
            self.contents.insert(index, own.into_chunks());
        }
        Ok(())
    }

    /// Lays the object out. Sections that keep their size stay in place, the others go to the end.
    fn finish(mut self) -> Chunks<'d> {
        let old = self.object.data;
        let mut patches = Patches::default();
        let mut tail = Chunks::default();
        for (index, content) in std::mem::take(&mut self.contents) {
            let section = &mut self.sections[index];
            let is_there = index < self.object.sections.len() && section.kind != SHT_NOBITS;
            if is_there && content.len() as u64 == section.size {
                patches.add(section.offset as usize, content.into_vec());
                continue;
            }
            let align = (section.align.max(1) as usize).min(4096);
            let at = (old.len() + tail.len()).next_multiple_of(align);
            tail.pad(at - old.len() - tail.len());
            section.offset = at as u64;
            section.size = content.len() as u64;
            tail.append(content);
        }
        self.write_headers(&mut patches, &mut tail);
        let mut all = patches.apply(old);
        all.append(tail);
        all
    }

    /// Writes the section headers if any differs. If there are new ones, all of them go to the end.
    fn write_headers(&mut self, patches: &mut Patches, tail: &mut Chunks<'d>) {
        let object = self.object;
        let count = self.sections.len();
        let headers = |sections: &[Section<'_>]| -> Vec<u8> {
            sections
                .iter()
                .flat_map(|section| section.to_bytes())
                .collect()
        };
        if count == object.sections.len() {
            if self.sections != object.sections {
                patches.add(object.section_headers as usize, headers(&self.sections));
            }
            return;
        }
        let at = (object.data.len() + tail.len()).next_multiple_of(8);
        tail.pad(at - object.data.len() - tail.len());
        let mut header = object.data[..HEADER_SIZE].to_vec();
        header[40..48].copy_from_slice(&(at as u64).to_le_bytes());
        if count < SHN_LORESERVE {
            header[60..62].copy_from_slice(&(count as u16).to_le_bytes());
        } else {
            header[60..62].copy_from_slice(&0u16.to_le_bytes());
            self.sections[0].size = count as u64;
        }
        patches.add(0, header);
        tail.copy(&headers(&self.sections));
    }
}

/// A table of strings that grows.
struct Strings<'d> {
    old: &'d [u8],
    new: Vec<u8>,
}

impl<'d> Strings<'d> {
    fn behind(old: &'d [u8]) -> Self {
        Strings {
            old,
            new: Vec::new(),
        }
    }

    /// Adds a string, and returns its offset.
    fn push(&mut self, string: &[u8]) -> Result<u32> {
        let at = u32::try_from(self.old.len() + self.new.len());
        self.new.extend_from_slice(string);
        self.new.push(0);
        at.map_err(|_| unsupported("more than 4 GiB of symbol names; split the object"))
    }

    fn into_chunks(self) -> Chunks<'d> {
        let mut all = Chunks::from(Cow::Borrowed(self.old));
        all.append(Chunks::from(Cow::Owned(self.new)));
        all
    }
}

/// Bytes that overwrite the input, in the order they were added.
#[derive(Default)]
struct Patches(Vec<(usize, Vec<u8>)>);

impl Patches {
    fn add(&mut self, at: usize, bytes: Vec<u8>) {
        self.0.push((at, bytes));
    }

    fn apply(mut self, old: &[u8]) -> Chunks<'_> {
        let is_apart = |pair: &[(usize, Vec<u8>)]| pair[0].0 + pair[0].1.len() <= pair[1].0;
        let in_order = self.0.clone();
        self.0.sort_by_key(|(at, _)| *at);
        if !self.0.windows(2).all(is_apart) {
            // Sections overlap, which no compiler produces. The last patch takes precedence.
            let mut all = old.to_vec();
            for (at, bytes) in in_order {
                all[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            return Chunks::from(Cow::Owned(all));
        }
        let mut all = Chunks::default();
        let mut from = 0;
        for (at, bytes) in self.0 {
            all.push(&old[from..at]);
            from = at + bytes.len();
            all.append(Chunks::from(Cow::Owned(bytes)));
        }
        all.push(&old[from..]);
        all
    }
}
