//! Symbol interposition: resolves symbols in the image's static link as the dynamic linker resolves
//! them for the host program.
//!
//! - If the program and a shared library define the same symbol, the dynamic linker takes the
//!   program's. In a static link this is the error "multiple definition" if another symbol of the
//!   same archive member is needed. So the definitions of the archives that stand in for shared
//!   libraries become weak ([`weaken`]). Most programs do not need this, so it is done only if a link
//!   has failed.
//! - A weak reference is resolved if any shared library of the program defines the symbol. A static
//!   link takes no member from an archive for a weak reference. So the linker is told to look for the
//!   symbol ([`weak_references`]).

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;

use object::Endianness;
use object::elf;
use object::read::archive::ArchiveFile;
use object::read::elf::ElfFile64;
use object::read::elf::SectionHeader as _;
use object::read::elf::Sym as _;
use symbol_rewriter::Options;

use crate::elf as linked_elf;
use crate::error::At;
use crate::error::Result;
use crate::rewrite::Linked;

/// The size of an entry in the symbol table.
const SYMBOL: u64 = 24;

/// The offset of `st_info`, the binding and the type, in such an entry.
const INFO: u64 = 4;

/// A global definition in a file: its name, and the position of its `st_info`.
struct Definition<'d> {
    name: &'d [u8],
    info: usize,
}

/// Makes weak what files that stand in for shared libraries define and other files define, too.
/// `stand_ins` are the paths of the files before they were rewritten; copies of those that change go
/// to the directory `temp`. Returns the new inputs, or `None` if nothing is defined twice.
pub fn weaken(
    items: &[Linked],
    stand_ins: &BTreeSet<PathBuf>,
    temp: &Path,
) -> Result<Option<Vec<Linked>>> {
    let mut files: Vec<(usize, bool, Vec<u8>)> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let Linked::File { path, origin, .. } = item {
            let data = fs::read(path).at(path)?;
            files.push((index, stand_ins.contains(origin), data));
        }
    }
    // How many files define each name. An archive may define a name in several members, of which a
    // link takes one.
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    let definitions: Vec<Vec<Definition<'_>>> =
        files.iter().map(|(_, _, data)| definitions(data)).collect();
    for list in &definitions {
        let names: HashSet<&[u8]> = list.iter().map(|definition| definition.name).collect();
        for name in names {
            *counts.entry(name).or_default() += 1;
        }
    }
    let mut changed: HashMap<usize, PathBuf> = HashMap::new();
    for ((index, stands_in, data), list) in files.iter().zip(&definitions) {
        if !stands_in {
            continue;
        }
        let twice = list.iter();
        let twice = twice.filter(|one| counts.get(one.name).is_some_and(|&count| count > 1));
        let places: Vec<usize> = twice.map(|definition| definition.info).collect();
        if places.is_empty() {
            continue;
        }
        let mut copy = data.clone();
        for place in places {
            copy[place] = elf::STB_WEAK.0 << 4 | copy[place] & 0xf;
        }
        // The file name must not change, because patterns in linker scripts match it.
        let dir = temp.join(format!("weak-{index}"));
        fs::create_dir_all(&dir).at(&dir)?;
        let path = dir.join(file_name(&items[*index]));
        fs::write(&path, copy).at(&path)?;
        changed.insert(*index, path);
    }
    if changed.is_empty() {
        return Ok(None);
    }
    let items = items.iter().enumerate().map(|(index, item)| match item {
        Linked::File {
            path,
            origin,
            archive,
        } => Linked::File {
            path: changed.remove(&index).unwrap_or_else(|| path.clone()),
            origin: origin.clone(),
            archive: *archive,
        },
        Linked::Flag(flag) => Linked::Flag(flag.clone()),
    });
    Ok(Some(items.collect()))
}

fn file_name(item: &Linked) -> PathBuf {
    let name = match item {
        Linked::File { path, .. } => path.file_name(),
        Linked::Flag(_) => None,
    };
    name.unwrap_or_default().into()
}

/// The global definitions of an object or an archive. Files of other kinds have none.
fn definitions(data: &[u8]) -> Vec<Definition<'_>> {
    let mut found = Vec::new();
    match ArchiveFile::parse(data) {
        Ok(archive) => {
            for member in archive.members().flatten() {
                let (start, size) = member.file_range();
                if let (Ok(start), Ok(size)) = (usize::try_from(start), usize::try_from(size)) {
                    take(data, start..start.saturating_add(size), &mut found);
                }
            }
        }
        Err(_) => take(data, 0..data.len(), &mut found),
    }
    found
}

/// Adds the global definitions of the object in this range of a file.
fn take<'d>(data: &'d [u8], range: Range<usize>, found: &mut Vec<Definition<'d>>) {
    let base = range.start;
    let Some(object) = data.get(range) else {
        return;
    };
    let Ok(file) = ElfFile64::<Endianness>::parse(object) else {
        return;
    };
    let endian = file.endian();
    let table = file.elf_symbol_table();
    let Ok(section) = file.elf_section_table().section(table.section()) else {
        return;
    };
    let start = section.sh_offset(endian);
    for (index, symbol) in table.enumerate() {
        let section = symbol.st_shndx(endian);
        let is_defined = section != elf::SHN_UNDEF && section != elf::SHN_COMMON;
        let Ok(name) = table.symbol_name(endian, symbol) else {
            continue;
        };
        if is_defined && symbol.st_bind() == elf::STB_GLOBAL {
            let info = start + index.0 as u64 * SYMBOL + INFO;
            found.push(Definition {
                name,
                info: base + info as usize,
            });
        }
    }
}

/// The names that the startup objects of every program refer to weakly. Those of a static program do
/// without.
const STARTUP: &[&str] = &["__cxa_finalize", "__gmon_start__"];

/// The symbols, with the prefix, that only weak references need and that the dynamic linker resolves:
/// the host program or one of its libraries refers to them, one of these libraries defines them, and
/// so does an archive among the inputs.
pub fn weak_references(
    host: &Path,
    needed: &[PathBuf],
    items: &[Linked],
    options: &Options,
) -> Result<BTreeSet<Vec<u8>>> {
    // The unwinder refers to functions of threads, which a program without threads does not need.
    let is_unwinder = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"libgcc_s.")
    };
    let libraries = needed.iter().map(PathBuf::as_path);
    let mut open: BTreeSet<String> = BTreeSet::new();
    for file in libraries.filter(|path| !is_unwinder(path)).chain([host]) {
        open.extend(linked_elf::weakly_wanted(file));
    }
    open.retain(|name| !STARTUP.contains(&name.as_str()) && !name.starts_with("_ITM_"));
    if open.is_empty() {
        return Ok(BTreeSet::new());
    }
    let provided: BTreeSet<String> = needed
        .iter()
        .flat_map(|library| linked_elf::provided(library))
        .collect();
    let open: BTreeSet<Vec<u8>> = open
        .intersection(&provided)
        .map(|name| symbol_rewriter::prefixed(name.as_bytes(), options))
        .collect();
    let mut indexed = BTreeSet::new();
    for item in items {
        if open.is_empty() {
            break;
        }
        if let Linked::File {
            path,
            archive: true,
            ..
        } = item
        {
            let data = fs::read(path).at(path)?;
            let symbols = ArchiveFile::parse(&*data).and_then(|archive| archive.symbols());
            let symbols = symbols.ok().flatten().into_iter().flatten().flatten();
            let names = symbols.map(|symbol| symbol.name().to_vec());
            indexed.extend(names.filter(|name| open.contains(name)));
        }
    }
    Ok(indexed)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::elf_writer;
    use object::Object as _;
    use object::ObjectSymbol as _;
    use object::write::Symbol;
    use object::write::SymbolSection;
    use object::{SectionKind, SymbolFlags, SymbolKind, SymbolScope};

    fn object_with(names: &[&str]) -> Vec<u8> {
        let mut object = elf_writer::new();
        let section = object.add_section(vec![], b".text".to_vec(), SectionKind::Text);
        object.append_section_data(section, &[0xc3], 16);
        for name in names {
            object.add_symbol(Symbol {
                name: name.as_bytes().to_vec(),
                value: 0,
                size: 1,
                kind: SymbolKind::Text,
                scope: SymbolScope::Linkage,
                weak: false,
                section: SymbolSection::Section(section),
                flags: SymbolFlags::None,
            });
        }
        elf_writer::finish(object).unwrap()
    }

    fn weak_names(data: &[u8]) -> Vec<String> {
        let file = ElfFile64::<Endianness>::parse(data).unwrap();
        let weak = file.symbols().filter(|symbol| symbol.is_weak());
        weak.map(|symbol| symbol.name().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn only_what_is_defined_twice_becomes_weak_and_only_in_libraries() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, names: &[&str]| {
            let path = dir.path().join(name);
            fs::write(&path, object_with(names)).unwrap();
            Linked::File {
                origin: path.clone(),
                path,
                archive: false,
            }
        };
        let items = [
            file("program.o", &["main", "malloc"]),
            file("library.o", &["malloc", "free"]),
        ];
        let library = BTreeSet::from([dir.path().join("library.o")]);
        let done = weaken(&items, &library, dir.path()).unwrap().unwrap();
        let paths: Vec<&PathBuf> = done
            .iter()
            .map(|item| match item {
                Linked::File { path, .. } => path,
                Linked::Flag(_) => unreachable!("there are no flags"),
            })
            .collect();
        assert_eq!(paths[0], &dir.path().join("program.o"));
        assert_eq!(paths[1].file_name().unwrap(), "library.o");
        assert_eq!(weak_names(&fs::read(paths[1]).unwrap()), ["malloc"]);
        assert!(
            weaken(&items, &BTreeSet::new(), dir.path())
                .unwrap()
                .is_none()
        );
        assert!(weaken(&items[1..], &library, dir.path()).unwrap().is_none());
    }
}
