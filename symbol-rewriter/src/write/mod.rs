//! Writing: the object with all changes, and the bytes of the output.

pub(crate) mod cfi;
pub(crate) mod chunks;
pub(crate) mod emit;
