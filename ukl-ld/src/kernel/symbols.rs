//! Symbols of the kernel: its functions and variables, including `static` ones.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use object::Endianness;
use object::Object;
use object::ObjectSection;
use object::ObjectSymbol;
use object::SymbolKind;
use object::read::elf::ElfFile64;

use crate::error::Error;
use crate::error::Result;

/// A function or variable of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// Its address.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it can be called.
    pub function: bool,
}

/// A symbol, or why it cannot be used.
pub type Found = Result<Symbol, &'static str>;

/// Looks up these names in the symbol table of vmlinux, given its path and its content.
pub fn find<'n>(
    vmlinux: &Path,
    data: &[u8],
    names: &BTreeSet<&'n str>,
) -> Result<BTreeMap<&'n str, Found>> {
    let file = ElfFile64::<Endianness>::parse(data).map_err(|error| Error::Kernel {
        path: vmlinux.to_owned(),
        what: error.to_string(),
    })?;
    let mut found: BTreeMap<&str, (bool, Found)> = BTreeMap::new();
    for symbol in file.symbols() {
        let Ok(name) = symbol.name() else { continue };
        let Some(&name) = names.get(name).filter(|_| !symbol.is_undefined()) else {
            continue;
        };
        let section = symbol.section_index();
        let section = section.and_then(|index| file.section_by_index(index).ok());
        let gone = section
            .is_some_and(|section| section.name().is_ok_and(|name| name.starts_with(".init.")));
        let global = symbol.is_global();
        let this = match gone {
            true => Err("it is in an init section, which the kernel frees after boot"),
            false => Ok(Symbol {
                address: symbol.address(),
                size: symbol.size(),
                function: symbol.kind() == SymbolKind::Text,
            }),
        };
        match found.get_mut(name) {
            None => drop(found.insert(name, (global, this))),
            Some(known) if global && !known.0 => *known = (global, this),
            Some(known) if !known.0 && !global && known.1 != this => {
                known.1 = Err("several kernel source files define a static symbol of this name");
            }
            Some(_) => {}
        }
    }
    let found = found.into_iter().map(|(name, (_, symbol))| (name, symbol));
    Ok(found.collect())
}
