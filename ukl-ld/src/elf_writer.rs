//! What all objects that we write have in common.

use object::write::Error;
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

/// Begins one.
pub fn new() -> Object<'static> {
    Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little)
}

/// Ends one.
pub fn finish(mut object: Object<'_>) -> Result<Vec<u8>, Error> {
    // Without it, ld takes the object for one that wants an executable stack.
    object.add_section(vec![], b".note.GNU-stack".to_vec(), SectionKind::Other);
    object.write()
}
