//! What a link takes from the kernel archive.

use std::path::PathBuf;

use ukl_image::Base;
use ukl_image::ImageError;

use crate::error::Result;
use crate::kernel::Kernel;

/// The kernel archive, as far as a link needs it.
pub struct Archive {
    /// The directory. None if the link makes nothing that runs at ring 0.
    pub dir: Option<PathBuf>,
    /// What the thunks refer to.
    pub kernel: Kernel,
    /// What an image consists of besides the program, if there is to be an image.
    pub base: Option<Result<Base, ImageError>>,
}

impl Archive {
    /// Reads the archive for an image, if there is to be one, or for the program alone.
    pub fn read(dir: PathBuf, image: bool) -> Result<Archive> {
        Ok(Archive {
            kernel: Kernel::read(&dir)?,
            base: image.then(|| Base::read(&dir)),
            dir: Some(dir),
        })
    }

    /// Stands for the archive in a link of the ring-3 variant, which never enters the kernel through
    /// a thunk.
    pub fn none() -> Archive {
        Archive {
            dir: None,
            kernel: Kernel::none(),
            base: None,
        }
    }
}
