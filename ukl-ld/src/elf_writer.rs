//! What all objects that ukl-ld writes have in common.

use object::write::Error;
use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

/// Creates an empty object.
pub fn new() -> Object<'static> {
    Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little)
}

/// Completes an object, and returns the file.
pub fn finish(mut object: Object<'_>) -> Result<Vec<u8>, Error> {
    // Without this section, ld makes the stack executable.
    object.add_section(vec![], b".note.GNU-stack".to_vec(), SectionKind::Other);
    object.write()
}
