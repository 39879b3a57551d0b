//! The contents of the kernel archive that a link needs.

use std::path::PathBuf;

use ukl_image::Base;
use ukl_image::ImageError;

use crate::error::Result;
use crate::files::Files;
use crate::kernel::Kernel;

/// The contents of the kernel archive that a link needs.
pub struct Archive {
    /// The directory. `None` if nothing that the link makes runs at ring 0.
    pub dir: Option<PathBuf>,
    /// The addresses that the thunks refer to.
    pub kernel: Kernel,
    /// The parts of an image other than the program, if the link makes an image.
    pub base: Option<Result<Base, ImageError>>,
}

impl Archive {
    /// Reads the archive. `image`: also read the parts of an image.
    pub fn read(dir: PathBuf, image: bool, files: &Files) -> Result<Archive> {
        Ok(Archive {
            kernel: Kernel::read(&dir, files)?,
            base: image.then(|| Base::read(&dir)),
            dir: Some(dir),
        })
    }

    /// A substitute for a link that makes only the ring-3 variant, whose thunks never enter the
    /// kernel.
    pub fn none() -> Archive {
        Archive {
            dir: None,
            kernel: Kernel::none(),
            base: None,
        }
    }
}
