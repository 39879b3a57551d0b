//! A rewritten file, and the report on it.

use crate::report::Report;
use crate::write::chunks::Chunks;

/// A rewritten object or archive.
#[derive(Debug, Clone)]
pub struct Rewritten {
    /// The bytes of the new file.
    pub data: Vec<u8>,
    /// What was done to it.
    pub report: Report,
}

/// A rewritten object or archive that borrows the unchanged parts of its input.
#[derive(Debug, Clone)]
pub struct RewrittenChunks<'d> {
    /// The bytes of the new file.
    pub data: Chunks<'d>,
    /// What was done to it.
    pub report: Report,
}
