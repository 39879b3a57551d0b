//! The files that a link makes, and where they go.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use ukl_common::files;

use crate::args::Args;
use crate::args::table::Role;
use crate::args::ukl_options;
use crate::args::ukl_options::UklOptions;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::host;
use crate::mode;
use crate::mode::Surroundings;

/// Where the products of a link go.
#[derive(Debug)]
pub struct Products {
    /// The output of the host link.
    pub output: PathBuf,
    /// The path to which cargo will hard-link the output.
    pub uplifted: Option<PathBuf>,
    /// The image, if the link makes one.
    pub image: Option<PathBuf>,
    /// Whether the build system will move only the output, and remove everything beside it.
    pub passing: bool,
}

impl Products {
    /// The products of this command line.
    pub fn new(args: &Args, image: Option<PathBuf>, around: &Surroundings) -> Products {
        let output = args.output();
        Products {
            uplifted: mode::uplifted(args, around),
            passing: mode::passing(&output, around),
            output,
            image,
        }
    }

    /// The image of this link, or the one that an earlier link may have left beside the output.
    fn any_image(&self) -> PathBuf {
        let beside = || mode::beside(&self.output);
        self.image.clone().unwrap_or_else(beside)
    }

    /// Refuses a link whose products would overwrite its inputs or each other.
    pub fn check(&self, args: &Args, options: &UklOptions) -> Result<()> {
        let by_products = [
            (&options.program, "program", ukl_options::RING0),
            (&options.ring3, "ring3", ukl_options::RING3),
        ];
        let mut made: Vec<(&str, PathBuf)> = Vec::new();
        made.extend(self.image.clone().map(|path| ("image", path)));
        for (place, name, suffix) in by_products {
            made.extend(
                place
                    .as_ref()
                    .map(|place| (name, place.path(&self.output, suffix))),
            );
        }
        let mut taken: Vec<(&str, PathBuf)> = vec![("the output", self.output.clone())];
        taken.extend(args.inputs().map(|path| ("an input", path.into())));
        taken.extend(args.all(Role::Script).map(|path| ("an input", path.into())));
        let added = options.add.iter();
        taken.extend(added.map(|(host, _)| ("a file of --ukl-add", host.clone())));
        for (name, path) in made {
            if let Some((what, _)) = taken.iter().find(|(_, other)| is_same(&path, other)) {
                return Err(Error::Usage(format!(
                    "--ukl-{name}: `{}' is also {what} of this link; choose another path",
                    path.display()
                )));
            }
            taken.push(("another product", path));
        }
        Ok(())
    }

    /// Removes the images of earlier links, which do not belong to the new output.
    pub fn remove_old_images(&self) -> Result<()> {
        host::remove(&self.any_image())?;
        if let Some(path) = &self.uplifted {
            host::remove(&mode::beside(path))?;
        }
        Ok(())
    }

    /// Removes the output of a failed link, which make and ninja would take for up to date.
    pub fn remove_output(&self) -> Result<()> {
        host::remove(&self.output)
    }

    /// Removes the image of a link that was interrupted.
    pub fn remove_image(&self) -> Result<()> {
        host::remove(&self.any_image())
    }

    /// Writes a product. It also goes beside the path to which cargo links the output, if there is
    /// one.
    pub fn write(&self, path: &Path, data: &[u8], suffix: &str, mode: u32) -> Result<()> {
        files::write_beside(path, data, mode).at(path)?;
        if let Some(uplifted) = &self.uplifted
            && *path == ukl_options::beside(&self.output, suffix)
        {
            let also = ukl_options::beside(uplifted, suffix);
            host::remove(&also)?;
            let linked = std::fs::hard_link(path, &also);
            return linked
                .or_else(|_| files::write_beside(&also, data, mode))
                .at(&also);
        }
        Ok(())
    }

    /// The program's name in the guest. For cargo, it is the program's final name, not the
    /// temporary one with a hash.
    pub fn guest_name(&self) -> String {
        let path = self.uplifted.as_ref().unwrap_or(&self.output);
        let name = path.file_name().unwrap_or(OsStr::new("a.out"));
        name.to_string_lossy().into_owned()
    }
}

/// Whether two paths lead to the same file, or will once it is written. Devices may be written to by
/// several products.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => {
            one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
        }
        (Err(_), Err(_)) => real(one) == real(other),
        _ => false,
    }
}

/// The path without symbolic links of a file that may not exist yet.
fn real(path: &Path) -> PathBuf {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let dir = dir.unwrap_or(Path::new(".")).canonicalize();
    match (dir, path.file_name()) {
        (Ok(dir), Some(name)) => dir.join(name),
        _ => path.to_owned(),
    }
}
