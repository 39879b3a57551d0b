//! Kernel imports: undefined symbols of the program that vmlinux defines.
//!
//! A symbol is taken from the kernel only if the program declares it with `UKL_KERNEL_SYMBOL` of
//! `ukl.h` (or the Rust crate's `kernel_symbols!`), or if the option `--ukl-kernel-symbols` names it.
//! Otherwise a forgotten library would go unnoticed until the program called a kernel function of the
//! same name with other arguments, which can crash the machine. `-z defs` forbids it always.
//!
//! This module runs only after the host link has failed. For each such symbol that the inputs leave
//! undefined and vmlinux defines, it writes a member into two archives. The archives come after all
//! other inputs on the command line, so that the linker uses a member only if nothing else defines
//! the symbol. The members for the host link are placeholders for functions
//! ([`crate::kernel_module::placeholder`]), and zeroed variables. The members for the image's link
//! are thunks that call the kernel's functions ([`ThunkCode::function`]), and absolute symbols with
//! the addresses of the kernel's variables.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::path::PathBuf;

use ar_archive_writer::ArchiveKind;
use ar_archive_writer::DEFAULT_OBJECT_READER;
use ar_archive_writer::NewArchiveMember;
use ar_archive_writer::write_archive_to_stream;
use object::Endianness;
use object::Object as _;
use object::ObjectSection as _;
use object::ObjectSymbol as _;
use object::read::archive::ArchiveFile;
use object::read::elf::ElfFile64;
use object::write::Object;
use object::write::Symbol;
use object::write::SymbolSection;
use object::{SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use symbol_rewriter::Options;

use crate::args::Args;
use crate::args::table::Role;
use crate::elf_writer;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::files::Files;
use crate::kernel::Kernel;
use crate::kernel::symbols;
use crate::kernel_module::placeholder;
use crate::thunk::code::ThunkCode;
use crate::thunk::object::Block;
use crate::thunk::object::ThunkObject;

/// The prefix of the thunks' labels; the function's name follows.
const LABEL: &str = "__ukl_thunks_import_";

/// Prefixes of names that common libraries define, too. If such a symbol is undefined, the program
/// lacks the library, so it is not imported from the kernel.
const OTHERS: &[&str] = &[
    "FSE_", "HUF_", "LZ4_", "ZSTD_", "crc32", "deflate", "inflate", "strlcat", "strlcpy",
    "strnstr", "zlib",
];

/// The suffix of the kernel's allocation functions, whose plain names are macros
/// (linux/alloc_tag.h).
const NOPROF: &str = "_noprof";

/// The section in which `UKL_KERNEL_SYMBOL` records names, each with a NUL.
const DECLARED: &str = ".ukl_kernel_symbols";

/// The names that `--ukl-kernel-symbols` permits to take from the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    all: bool,
    names: BTreeSet<String>,
}

impl Allowed {
    /// Adds a name, or all.
    pub fn add(&mut self, name: &str) {
        match name {
            "all" => self.all = true,
            name => drop(self.names.insert(name.to_owned())),
        }
    }

    /// Whether a name may be taken from the kernel.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name) || self.all && !is_others(name)
    }
}

/// Whether common libraries have a symbol of this name.
fn is_others(name: &str) -> bool {
    OTHERS.iter().any(|other| name.starts_with(other))
}

/// The kernel's functions and variables that a program uses by name.
#[derive(Debug)]
pub struct KernelImports {
    found: BTreeMap<String, symbols::Symbol>,
    /// Undefined symbols that the kernel defines, but that nothing permits to take from it.
    pub refused: Vec<String>,
}

impl KernelImports {
    /// Finds the symbols that the inputs of a link leave undefined and vmlinux defines.
    pub fn find(
        args: &Args,
        kernel: &Path,
        allowed: &Allowed,
        files: &Files,
    ) -> Result<KernelImports> {
        let forbidden = forbids_undefined(args);
        let mut names = Names::default();
        for path in args.inputs() {
            // The linker reports inputs that cannot be read.
            if let Ok(data) = files.read(Path::new(path)) {
                names.take(&data);
            }
        }
        let wanted: Vec<&String> = names.undefined.difference(&names.defined).collect();
        let is_permitted =
            |name: &str| !forbidden && (names.declared.contains(name) || allowed.has(name));
        let called: Vec<String> = wanted
            .iter()
            .map(|name| format!("{name}{NOPROF}"))
            .collect();
        let both = wanted.iter().map(|name| name.as_str());
        let both = both.chain(called.iter().map(String::as_str)).collect();
        let vmlinux = kernel.join("vmlinux");
        let mut known = symbols::find(&vmlinux, &files.read(&vmlinux)?, &both)?;
        let mut found = BTreeMap::new();
        let mut refused = Vec::new();
        for (name, called) in wanted.iter().zip(&called) {
            let symbol = known
                .remove(name.as_str())
                .or_else(|| known.remove(called.as_str()));
            match symbol {
                Some(Ok(symbol)) if is_permitted(name) => {
                    found.insert((*name).clone(), symbol);
                }
                Some(Ok(_)) if !forbidden && !is_others(name) => refused.push((*name).clone()),
                _ => {}
            }
        }
        Ok(KernelImports { found, refused })
    }

    /// What to do about symbols that only the kernel defines, if there are any in the linker's
    /// messages.
    pub fn advice(&self, said: &[u8]) -> Option<String> {
        let said = String::from_utf8_lossy(said);
        let names = self.refused.iter();
        let names = names.filter(|name| {
            said.contains(&format!("`{name}'")) || said.contains(&format!(": {name}\n"))
        });
        let names: Vec<&str> = names.map(String::as_str).collect();
        let first = names.first()?;
        let (list, quoted) = (names.join(","), names.join("', `"));
        Some(format!(
            "ukl-ld: note: the kernel defines `{quoted}'; a program that means the kernel's declares \
             it with UKL_KERNEL_SYMBOL({first}) of ukl.h, or is linked with \
             --ukl-kernel-symbols={list}\n"
        ))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.found.keys().map(String::as_str)
    }

    /// Writes the host link's archive.
    pub fn for_the_host(&self, dir: &Path) -> Result<PathBuf> {
        let members = self
            .found
            .iter()
            .map(|(name, symbol)| match symbol.function {
                true => placeholder::make(&BTreeSet::from([name.clone()])),
                false => nothing(name, symbol.size.max(8)),
            });
        archive(&dir.join("libkernel-host.a"), members)
    }

    /// Writes the archive for the image's link of the program.
    pub fn for_the_image(
        &self,
        dir: &Path,
        kernel: &Kernel,
        options: &Options,
    ) -> Result<ImageImports> {
        let mut members = Vec::new();
        let mut blocks = Vec::new();
        for (name, symbol) in &self.found {
            let prefixed = symbol_rewriter::prefixed(name.as_bytes(), options);
            if symbol.function {
                let (member, block) = thunk(name, &prefixed, symbol.address, kernel)?;
                members.push(Ok(member));
                members.push(placeholder::make(&BTreeSet::from([name.clone()])));
                blocks.push(block);
            } else {
                members.push(variable(&prefixed, symbol.address));
            }
        }
        let archive = archive(&dir.join("libkernel-image.a"), members.into_iter())?;
        Ok(ImageImports {
            files: vec![archive, end_of_frames(dir)?],
            blocks,
        })
    }
}

/// What the image's link of the program gets.
#[derive(Debug, Default)]
pub struct ImageImports {
    /// The files, which must come last on the command line.
    pub files: Vec<PathBuf>,
    /// The thunks in them.
    pub blocks: Vec<Block>,
}

/// Writes an object with the zero that terminates `.eh_frame`. The one in crtend.o is no longer the
/// last entry if thunks follow it, and a C library that reads all entries in order needs a
/// terminator.
fn end_of_frames(dir: &Path) -> Result<PathBuf> {
    let mut object = elf_writer::new();
    let frames = object.add_section(vec![], b".eh_frame".to_vec(), SectionKind::ReadOnlyData);
    object.append_section_data(frames, &[0; 4], 4);
    let path = dir.join("end-of-frames.o");
    fs::write(&path, written(object)?).at(&path)?;
    Ok(path)
}

/// The symbols of objects and archives.
#[derive(Debug, Default)]
struct Names {
    defined: BTreeSet<String>,
    undefined: BTreeSet<String>,
    /// Those that `UKL_KERNEL_SYMBOL` declares.
    declared: BTreeSet<String>,
}

/// Whether the command line forbids undefined symbols explicitly.
fn forbids_undefined(args: &Args) -> bool {
    args.all(Role::Keyword).any(|keyword| keyword == "defs")
        || args
            .list
            .iter()
            .any(|arg| arg.name() == Some("no-undefined"))
}

impl Names {
    fn take(&mut self, data: &[u8]) {
        if let Ok(archive) = ArchiveFile::parse(data) {
            for member in archive.members().flatten() {
                if let Ok(data) = member.data(data) {
                    self.take_object(data);
                }
            }
        } else {
            self.take_object(data);
        }
    }

    fn take_object(&mut self, data: &[u8]) {
        let Ok(file) = ElfFile64::<Endianness>::parse(data) else {
            return;
        };
        if let Some(section) = file.section_by_name(DECLARED)
            && let Ok(data) = section.data()
        {
            let names = data
                .split(|&byte| byte == 0)
                .filter(|name| !name.is_empty());
            let names = names.filter_map(|name| std::str::from_utf8(name).ok());
            self.declared.extend(names.map(str::to_owned));
        }
        for symbol in file.symbols().filter(|symbol| symbol.is_global()) {
            let Ok(name) = symbol.name() else { continue };
            match symbol.is_undefined() {
                // A weak symbol may remain undefined.
                true if symbol.is_weak() => {}
                true => drop(self.undefined.insert(name.to_owned())),
                false => drop(self.defined.insert(name.to_owned())),
            }
        }
    }
}

/// An object with one symbol.
fn with_symbol(
    mut object: Object<'static>,
    name: &[u8],
    (section, value, size): (SymbolSection, u64, u64),
) -> Result<Vec<u8>> {
    object.add_symbol(Symbol {
        name: name.into(),
        value,
        size,
        kind: SymbolKind::Data,
        scope: SymbolScope::Linkage,
        weak: false,
        section,
        flags: SymbolFlags::None,
    });
    written(object)
}

fn written(object: Object<'_>) -> Result<Vec<u8>> {
    elf_writer::finish(object).map_err(|error| Error::KernelCode(error.to_string()))
}

/// An object with a zeroed variable, for the host link.
fn nothing(name: &str, size: u64) -> Result<Vec<u8>> {
    let mut object = elf_writer::new();
    let section = object.add_section(vec![], b".bss".to_vec(), SectionKind::UninitializedData);
    let at = object.append_section_bss(section, size, 16);
    let place = (SymbolSection::Section(section), at, size);
    with_symbol(object, name.as_bytes(), place)
}

/// An object with the address of a kernel variable, for the image's link.
fn variable(name: &[u8], address: u64) -> Result<Vec<u8>> {
    with_symbol(
        elf_writer::new(),
        name,
        (SymbolSection::Absolute, address, 0),
    )
}

/// An object with the thunk of a kernel function.
fn thunk(name: &str, prefixed: &[u8], address: u64, kernel: &Kernel) -> Result<(Vec<u8>, Block)> {
    let mut object = ThunkObject::new(&format!("{LABEL}{name}"), kernel);
    let thunk = ThunkCode::function(None, Some(address), kernel)?;
    let offset = object.add(&thunk, prefixed)?;
    object.jump_at_ring3(offset, &placeholder::name(name))?;
    object.finish()
}

fn archive(path: &Path, members: impl Iterator<Item = Result<Vec<u8>>>) -> Result<PathBuf> {
    let members: Vec<Vec<u8>> = members.collect::<Result<_>>()?;
    let members: Vec<NewArchiveMember<'_>> = members
        .into_iter()
        .enumerate()
        .map(|(index, data)| {
            NewArchiveMember::new(data, &DEFAULT_OBJECT_READER, format!("{index}.o"))
        })
        .collect();
    let mut bytes = Cursor::new(Vec::new());
    let written = write_archive_to_stream(&mut bytes, &members, ArchiveKind::Gnu, false, None);
    written.at(path)?;
    fs::write(path, bytes.into_inner()).at(path)?;
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_names_and_defined_ones_are_not_asked_for() {
        let mut names = Names::default();
        names.take(&variable(b"here", 16).unwrap());
        assert!(names.defined.contains("here"));
        let (object, block) =
            thunk("f", b"_ukl_f", 0xffff_ffff_8100_0000, &Kernel::none()).unwrap();
        names.take(&object);
        assert_eq!(block.label, "__ukl_thunks_import_f");
        assert!(names.undefined.contains("__ukl_host_code_f"));
        assert!(names.defined.contains("_ukl_f"));
    }

    #[test]
    fn an_archive_has_a_member_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let symbol = |function| symbols::Symbol {
            address: 0xffff_ffff_8100_0000,
            size: 8,
            function,
        };
        let found = [
            ("jiffies".to_owned(), symbol(false)),
            ("vmalloc".to_owned(), symbol(true)),
        ];
        let imports = KernelImports {
            found: found.into(),
            refused: Vec::new(),
        };
        let path = imports.for_the_host(dir.path()).unwrap();
        let mut names = Names::default();
        names.take(&fs::read(path).unwrap());
        assert!(
            ["jiffies", "vmalloc"]
                .iter()
                .all(|&name| names.defined.contains(name))
        );
    }
}
