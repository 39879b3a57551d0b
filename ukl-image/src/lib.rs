//! Reading and writing images.
//!
//! An image is a bzImage: the kernel's real-mode code, its decompressor, and the compressed kernel
//! with the guest's files as one more loadable segment behind it. To make one:
//!
//! 1. [`guest`] gathers the guest's files: init, the program, what `--ukl-add` asked for; [`cpio`]
//!    makes an archive of them;
//! 2. [`vmlinux`] lays the archive behind the kernel;
//! 3. [`lz4`] compresses that, and [`bzimage`] links the kernel's own decompressor around it and puts
//!    the real-mode code in front.
//!
//! The kernel itself is not changed: its variables `phys_initrd_start` and `phys_initrd_size` are
//! set to where the segment will be, as if a boot loader had set them.
//!
//! [`payload`] takes an image apart again. [`header`] reads what the beginning of an image says:
//! whether it is one, how much memory it needs, and its stamp.

pub mod bzimage;
pub mod cpio;
pub mod elf;
mod error;
pub mod guest;
pub mod header;
pub mod lz4;
mod memory;
pub mod payload;
pub mod vmlinux;

use std::path::Path;

pub use error::ImageError;
pub use guest::ImageSpec;

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
        let files = guest::files(spec)?.write();
        let payload = self.vmlinux.with_initramfs(
            &files,
            self.archive.load_address(),
            spec.cmdline.as_deref(),
        )?;
        self.archive.bzimage(&payload, &spec.stamp())
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
