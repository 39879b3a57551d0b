//! Finds the image of a program, and checks that it belongs to the program.

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::path::PathBuf;

use ukl_common::build_id;
use ukl_common::registry;
use ukl_image::header;
use ukl_image::header::Header;
use ukl_proto::VERSION;

use crate::args::values::Size;
use crate::error::Error;
use crate::error::Result;

/// An image that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// The protocol version of its init.
    pub version: u32,
}

impl Image {
    /// Finds the image for `path`, which is an image or a program.
    pub fn find(path: &Path) -> Result<Image> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".ukl");
        let beside = PathBuf::from(beside);
        if path.extension() != Some(OsStr::new("ukl")) && beside.is_file() {
            return Image::of(path, beside);
        }
        if let Some(program) = behind_libtool(path) {
            return Image::find(&program);
        }
        if path.is_file() {
            // A program that was copied or installed is not beside its image.
            return Image::open(path.to_path_buf()).or_else(|error| {
                let elsewhere = registry::find(path).ok_or(error)?;
                Image::of(path, elsewhere)
            });
        }
        match fs::metadata(path) {
            Ok(meta) if !meta.is_dir() => Image::open(path.to_path_buf()),
            _ => Err(Error::NoImage {
                path: path.to_path_buf(),
            }),
        }
    }

    /// The image at `candidate` if it belongs to the program, or else the one that the registry
    /// has. An image of another build would silently run an earlier version of the program.
    fn of(program: &Path, candidate: PathBuf) -> Result<Image> {
        let image = Image::open(candidate.clone())?;
        if is_of(program, &candidate)? {
            return Ok(image);
        }
        let elsewhere = registry::find(program).filter(|other| *other != candidate);
        if let Some(elsewhere) = elsewhere
            && let Ok(image) = Image::open(elsewhere.clone())
            && is_of(program, &elsewhere)?
        {
            return Ok(image);
        }
        Err(Error::Stale {
            program: program.to_path_buf(),
            image: candidate,
        })
    }

    /// Checks that a file is an image of a version that can be run.
    fn open(path: PathBuf) -> Result<Image> {
        match Header::read(&path) {
            Ok(Some(_)) => {}
            Ok(None) if is_of_rustdoc(&path) => return Err(Error::OfRustdoc { path }),
            Ok(None) => return Err(Error::NotAnImage { path }),
            Err(source) => return Err(Error::File { path, source }),
        }
        let stamp = header::read_stamp(&path).map_err(Error::file(&path))?;
        match stamp.map_or(0, |stamp| stamp.version) {
            version if version > VERSION => Err(Error::NewerImage { path, version }),
            version => Ok(Image { path, version }),
        }
    }

    /// Refuses memory that is smaller than the image: such a machine would end without a message.
    pub fn check_memory(&self, memory: Size) -> Result<()> {
        let header = Header::read(&self.path).map_err(Error::file(&self.path))?;
        let Some(header) = header else {
            let path = self.path.clone();
            return Err(Error::NotAnImage { path });
        };
        let needed = header.load_address().saturating_add(header.init_size());
        let needed = needed.div_ceil(1 << 20);
        if memory.0 >> 10 < needed {
            return Err(Error::Request(format!(
                "{}: needs more than {needed}M of memory; set the memory with -m",
                self.path.display()
            )));
        }
        Ok(())
    }
}

/// Whether an image belongs to a program, by the build ID. It does if either has none to compare.
fn is_of(program: &Path, image: &Path) -> Result<bool> {
    let stamp = header::read_stamp(image).map_err(Error::file(image))?;
    let stamp = stamp.filter(|stamp| !stamp.id().is_empty());
    Ok(match stamp {
        Some(stamp) if is_elf(program) => stamp.is_of(&build_id::of(program).unwrap_or_default()),
        _ => true,
    })
}

fn is_elf(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && &start == b"\x7fELF"
}

/// The program that a libtool wrapper script runs. The script only sets library paths, which a
/// static program does not need.
fn behind_libtool(path: &Path) -> Option<PathBuf> {
    let program = path.parent()?.join(".libs").join(path.file_name()?);
    let mut start = [0; 2];
    File::open(path).ok()?.read_exact(&mut start).ok()?;
    (&start == b"#!" && program.is_file()).then_some(program)
}

/// Whether this is in a directory where rustdoc runs documentation tests.
fn is_of_rustdoc(path: &Path) -> bool {
    path.components()
        .any(|part| part.as_os_str().as_bytes().starts_with(b"rustdoctest"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use ukl_proto::stamp;
    use ukl_proto::stamp::Stamp;

    use super::*;

    /// The beginning of an image, with a stamp if there is one.
    fn image(stamp: Option<[u8; stamp::SIZE]>) -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[0x1f1] = 1; // two sectors
        image[0x202..0x206].copy_from_slice(b"HdrS");
        if let Some(stamp) = stamp {
            image[0x400 - stamp::SIZE..].copy_from_slice(&stamp);
        }
        image
    }

    fn found(path: &Path) -> Result<PathBuf> {
        Image::find(path).map(|image| image.path)
    }

    #[test]
    fn images_are_found_beside_programs() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let image = image(None);
        fs::write(path("prog.ukl"), &image).unwrap();
        fs::write(path("prog"), b"\x7fELF").unwrap();
        fs::write(path("other"), b"\x7fELF").unwrap();
        assert_eq!(found(&path("prog")).unwrap(), path("prog.ukl"));
        assert_eq!(found(&path("prog.ukl")).unwrap(), path("prog.ukl"));
        assert!(matches!(
            found(&path("other")),
            Err(Error::NotAnImage { .. })
        ));
        assert!(matches!(found(&path("none")), Err(Error::NoImage { .. })));
        assert!(matches!(found(dir.path()), Err(Error::NoImage { .. })));
        // A wrapper script like libtool's.
        fs::create_dir(path(".libs")).unwrap();
        fs::write(path("script"), "#! /bin/sh\n").unwrap();
        assert!(matches!(
            found(&path("script")),
            Err(Error::NotAnImage { .. })
        ));
        fs::write(path(".libs/script"), b"\x7fELF").unwrap();
        fs::write(path(".libs/script.ukl"), &image).unwrap();
        assert_eq!(found(&path("script")).unwrap(), path(".libs/script.ukl"));
    }

    #[test]
    fn an_image_of_another_build_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("prog.c"), "int main(void) { return 0; }").unwrap();
        let cc = Command::new("cc")
            .arg("-Wl,--build-id=0x1234")
            .args([&path("prog.c")])
            .arg("-o")
            .arg(path("prog"))
            .status();
        assert!(cc.unwrap().success());
        let put = |id: &[u8]| {
            let stamp = Stamp::new(id).encode();
            fs::write(path("prog.ukl"), image(Some(stamp))).unwrap();
        };
        put(&[0x12, 0x34]);
        let image = Image::find(&path("prog")).unwrap();
        assert_eq!(image.path, path("prog.ukl"));
        assert_eq!(image.version, VERSION);
        put(&[0x12, 0x35]);
        let error = found(&path("prog")).unwrap_err();
        assert!(matches!(error, Error::Stale { .. }), "{error}");
        assert!(error.to_string().contains("link the program again"));
        // By its own name, it can be run.
        assert_eq!(found(&path("prog.ukl")).unwrap(), path("prog.ukl"));
        // Without a build ID there is nothing to compare.
        put(&[]);
        assert_eq!(found(&path("prog")).unwrap(), path("prog.ukl"));
    }

    #[test]
    fn versions_are_told_by_the_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prog.ukl");
        fs::write(&path, image(None)).unwrap();
        assert_eq!(Image::find(&path).unwrap().version, 0);
        let mut newer = Stamp::new(&[]);
        newer.version = VERSION + 1;
        fs::write(&path, image(Some(newer.encode()))).unwrap();
        let error = Image::find(&path).unwrap_err();
        assert!(matches!(error, Error::NewerImage { .. }), "{error}");
        assert!(error.to_string().contains("ukl-run"), "{error}");
    }
}
