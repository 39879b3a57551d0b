//! Build IDs: the note that identifies a linked file, wherever it is copied.

use std::fs::File;
use std::path::Path;

use object::Endianness;
use object::Object as _;
use object::ReadCache;
use object::read::elf::ElfFile64;

/// The build ID of a 64-bit ELF file. `None` if it is not such a file or has no build ID.
pub fn of(path: &Path) -> Option<Vec<u8>> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    let id = file.build_id().ok().flatten()?;
    Some(id.to_vec())
}

/// A build ID in hexadecimal, as other tools show it.
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
