//! The virtio-serial ports between `ukl-run` and `ukl-init`.
//!
//! Standard output and standard error are sent unchanged. Standard input is sent in frames, because
//! a port, unlike a pipe, has no end of file: 32 bits with the length of the data in little-endian
//! order, then the data. A frame of length 0 is the end of the input.

/// A port. There is one virtio-serial device, and each port has a name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The lines of [`crate::status`].
    Status,
    /// The program's standard input.
    Stdin,
    /// The program's standard output.
    Stdout,
    /// The program's standard error, unless it is merged with its standard output.
    Stderr,
}

impl Port {
    /// The name of the port.
    pub const fn name(self) -> &'static str {
        match self {
            Port::Status => "ukl.status",
            Port::Stdin => "ukl.stdin",
            Port::Stdout => "ukl.stdout",
            Port::Stderr => "ukl.stderr",
        }
    }
}

/// The size of the header before a frame's data.
pub const FRAME_HEADER: usize = 4;

/// The header of a frame with `length` bytes of data.
pub fn frame_header(length: u32) -> [u8; FRAME_HEADER] {
    length.to_le_bytes()
}

/// The number of bytes after this header.
pub fn frame_length(header: [u8; FRAME_HEADER]) -> u32 {
    u32::from_le_bytes(header)
}
