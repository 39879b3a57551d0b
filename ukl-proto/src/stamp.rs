//! The image's stamp: what can be known of an image without decompressing it.
//!
//! A bzImage begins with real-mode code whose length the boot header gives in sectors
//! (Documentation/arch/x86/boot.rst, `setup_sects`). The last 64 bytes of that part are padding, and
//! hold the stamp. Boot loaders and the kernel ignore it.

/// The size of a stamp.
pub const SIZE: usize = 64;

/// How much of a build ID a stamp has room for. GNU ld's default has 20 bytes.
pub const ID_SIZE: usize = 40;

const MAGIC: [u8; 8] = *b"UKLSTAMP";

/// What a stamp says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The protocol version of the image's init.
    pub version: u32,
    /// The build ID of the host program that the image belongs to.
    id: [u8; ID_SIZE],
    id_size: u8,
}

impl Stamp {
    /// A stamp of this crate's version. Without a build ID, `id` is empty; of one that is longer
    /// than [`ID_SIZE`], the stamp has the beginning.
    pub fn new(id: &[u8]) -> Self {
        let mut stamp = Stamp {
            version: crate::VERSION,
            id: [0; ID_SIZE],
            id_size: id.len().min(ID_SIZE) as u8,
        };
        let size = usize::from(stamp.id_size);
        stamp.id[..size].copy_from_slice(&id[..size]);
        stamp
    }

    /// The build ID of the host program, or its first [`ID_SIZE`] bytes. Empty if it has none.
    pub fn id(&self) -> &[u8] {
        &self.id[..usize::from(self.id_size)]
    }

    /// Whether an image with this stamp belongs to the program with this build ID.
    pub fn is_of(&self, id: &[u8]) -> bool {
        self.id() == &id[..id.len().min(ID_SIZE)]
    }

    /// The bytes of the stamp.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[12] = self.id_size;
        bytes[16..16 + ID_SIZE].copy_from_slice(&self.id);
        bytes
    }

    /// Reads a stamp. `None` if there is none, as in images of version 0.
    pub fn decode(bytes: &[u8; SIZE]) -> Option<Self> {
        let version = u32::from_le_bytes(*bytes[8..].first_chunk()?);
        let (id_size, id) = (bytes[12], *bytes[16..].first_chunk()?);
        let valid = bytes.starts_with(&MAGIC) && usize::from(id_size) <= ID_SIZE;
        valid.then_some(Stamp {
            version,
            id,
            id_size,
        })
    }
}
