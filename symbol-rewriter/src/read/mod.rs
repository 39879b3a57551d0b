//! Reading: the bytes of a file, the headers of an object, and its frame descriptions.

pub(crate) mod elf;
pub(crate) mod frames;
pub(crate) mod input;
