//! Reads and writes images.
//!
//! An image is a bzImage: the kernel's real-mode code, its decompressor, and the compressed kernel,
//! to which the guest's files are added as one more loadable segment. To make one:
//!
//! 1. [`guest`] collects the guest's files: init, the program, and the files of `--ukl-add`;
//!    [`tree`] holds them, and [`cpio`] makes an archive of them;
//! 2. [`vmlinux`] adds the archive to the kernel as a segment;
//! 3. [`lz4`] compresses the result, and [`bzimage`] links it with the kernel's own decompressor
//!    and puts the real-mode code before it.
//!
//! The kernel's code is not changed. Its variables `phys_initrd_start` and `phys_initrd_size` are
//! set to the segment's address and size, as if a boot loader had passed an initrd.
//!
//! [`payload`] extracts the kernel and the guest's files from an image. [`header`] reads the
//! beginning of an image: whether it is one, how much memory it needs, and its stamp.

pub mod bzimage;
pub mod cpio;
pub mod elf;
mod error;
pub mod guest;
pub mod header;
pub mod lz4;
mod memory;
pub mod payload;
pub mod tree;
pub mod vmlinux;

use std::path::Path;

pub use error::ImageError;
pub use guest::ImageSpec;
use ukl_proto::stamp::Stamp;

/// Makes an image with the kernel archive in this directory.
pub fn make(kernel: &Path, spec: &ImageSpec) -> Result<Vec<u8>, ImageError> {
    Base::read(kernel)?.image(spec)
}

/// The parts of an image that come from the kernel archive. They can be read before the program is
/// linked.
#[derive(Debug)]
pub struct Base {
    archive: bzimage::KernelArchive,
    vmlinux: vmlinux::Vmlinux,
}

impl Base {
    /// Reads the parts from a kernel archive.
    pub fn read(dir: &Path) -> Result<Base, ImageError> {
        let archive = bzimage::KernelArchive::open(dir)?;
        let vmlinux = vmlinux::Vmlinux::parse(&archive.vmlinux_path(), archive.vmlinux()?)?;
        Ok(Base { archive, vmlinux })
    }

    /// Makes the image.
    pub fn image(self, spec: &ImageSpec) -> Result<Vec<u8>, ImageError> {
        let files = guest::files(spec)?;
        self.image_of(&files, spec.cmdline.as_deref(), &spec.stamp())
    }

    /// Makes the image of a tree, which has init and its configuration.
    pub fn image_of(
        self,
        files: &tree::Tree<'_>,
        cmdline: Option<&str>,
        stamp: &Stamp,
    ) -> Result<Vec<u8>, ImageError> {
        let address = self.archive.load_address();
        let payload = self
            .vmlinux
            .with_initramfs(&files.write(), address, cmdline)?;
        self.archive.bzimage(&payload, stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_archive_says_how_to_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let spec = guest::tests::spec(dir.path());
        let error = make(dir.path(), &spec).unwrap_err().to_string();
        assert!(error.contains("make kernel"), "{error}");
    }
}
