//! The image maker: a program becomes a bootable image.
//!
//! Four steps, one file each but the first:
//!
//! 1. gather the files of the guest ([`cpio`]): init, the program, what was asked for with
//!    `--ukl-add`;
//! 2. lay them behind the kernel as one more loadable segment ([`vmlinux`]);
//! 3. compress that, link the kernel's own decompressor around it and put the real-mode part in
//!    front ([`bzimage`]).
//!
//! The kernel itself is not changed: its variables `phys_initrd_start` and `phys_initrd_size`
//! learn where the segment will be, as if a boot loader had told them.

pub mod bzimage;
pub mod cpio;
mod memory;
pub mod vmlinux;

use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::kernel_module::calls::Bound;
use crate::kernel_module::link;
use crate::thunk::code;
use crate::thunk::code::Table;

/// All that goes into one image, but for the kernel.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    /// The guest's init, a static ELF.
    pub init: PathBuf,
    /// The linked program.
    pub program: Vec<u8>,
    /// The program's name in the guest, without a directory.
    pub name: String,
    /// Where the program's slots are, so that the guest's init can make the ring-3 variant.
    pub slots: Vec<Table>,
    /// The module of the program's kernel code, and which calls go there.
    pub code: Option<(Vec<u8>, Vec<Bound>)>,
    /// Files and trees to add: from the host, to the guest.
    pub add: Vec<(PathBuf, String)>,
    /// A kernel command line to build in.
    pub cmdline: Option<String>,
    /// How the program gets into the kernel: settings for init.
    pub policy: Vec<(&'static str, String)>,
}

/// What can go wrong while an image is made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A piece of the kernel archive is not there.
    #[error(
        "{path}: missing from the kernel archive; `make kernel` builds it, UKL_LIBDIR says where \
         to look"
    )]
    MissingPiece {
        /// The piece.
        path: String,
    },
    /// The guest's init is not there.
    #[error("{path}: the guest's init is missing; `make init` builds it")]
    MissingInit {
        /// Where it was looked for.
        path: String,
    },
    /// A file could not be read or written.
    #[error("{path}: cannot be {what}")]
    Io {
        /// The file.
        path: String,
        /// "read" or "written".
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A piece of the kernel archive is not what it should be.
    #[error("{path}: {what}; `make kernel` builds the kernel archive anew")]
    BadPiece {
        /// The piece.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The user asked for something that cannot be.
    #[error("{0}")]
    Spec(String),
    /// The linker that puts the decompressor together failed.
    #[error("ld failed on the kernel's decompressor: {0}")]
    Link(String),
}

impl ImageError {
    /// An error of reading `path`.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        ImageError::Io {
            path: path.display().to_string(),
            what: "read",
            source,
        }
    }

    /// An error of writing `path`.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        ImageError::Io {
            path: path.display().to_string(),
            what: "written",
            source,
        }
    }

    /// Something is wrong with a piece of the kernel archive.
    pub(crate) fn bad(path: &Path, what: impl Into<String>) -> Self {
        ImageError::BadPiece {
            path: path.display().to_string(),
            what: what.into(),
        }
    }
}

/// Makes an image with the kernel archive in this directory.
pub fn make(kernel: &Path, spec: &ImageSpec) -> Result<Vec<u8>, ImageError> {
    Base::read(kernel)?.image(spec)
}

/// What an image has of the kernel, which can be read before there is a program.
#[derive(Debug)]
pub struct Base {
    archive: bzimage::KernelArchive,
    vmlinux: vmlinux::Vmlinux,
}

impl Base {
    /// Reads it from a kernel archive.
    pub fn read(dir: &Path) -> Result<Base, ImageError> {
        let archive = bzimage::KernelArchive::open(dir)?;
        let vmlinux = vmlinux::Vmlinux::parse(&archive.vmlinux_path(), archive.vmlinux()?)?;
        Ok(Base { archive, vmlinux })
    }

    /// Makes the image.
    pub fn image(self, spec: &ImageSpec) -> Result<Vec<u8>, ImageError> {
        let files = guest_files(spec)?.write();
        let payload = self.vmlinux.with_initramfs(
            &files,
            self.archive.load_address(),
            spec.cmdline.as_deref(),
        )?;
        self.archive.bzimage(&payload)
    }
}

/// The guest's root file system.
fn guest_files(spec: &ImageSpec) -> Result<cpio::Tree<'_>, ImageError> {
    let name = &spec.name;
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\n', '\0']) {
        return Err(ImageError::Spec(format!(
            "`{name}` cannot be a program's name in the guest"
        )));
    }
    let init = std::fs::read(&spec.init).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ImageError::MissingInit {
            path: spec.init.display().to_string(),
        },
        _ => ImageError::read(&spec.init, error),
    })?;

    let mut tree = cpio::Tree::new();
    for dir in [
        "dev", "proc", "sys", "etc", "run", "mnt", "ukl", "var", "var/tmp",
    ] {
        tree.dir(dir, 0o755);
    }
    tree.dir("root", 0o700);
    tree.dir("tmp", 0o1777);
    tree.dir("var/tmp", 0o1777);
    tree.char_device("dev/console", 0o600, 5, 1);
    tree.file("etc/passwd", 0o644, PASSWD);
    tree.file("etc/group", 0o644, GROUP);
    tree.file("etc/hosts", 0o644, HOSTS);
    tree.file("etc/nsswitch.conf", 0o644, NSSWITCH);
    tree.file("etc/resolv.conf", 0o644, b"");
    for (from, to) in &spec.add {
        tree.add_host(from, to)?;
    }
    // Last, so that nothing that was added can stand in their places.
    tree.file("init", 0o755, init);
    tree.file(format!("ukl/{name}"), 0o755, spec.program.as_slice());
    if let Some((module, _)) = &spec.code {
        tree.file(link::GUEST_PATH, 0o644, module.as_slice());
    }
    tree.file("ukl/image.conf", 0o644, image_conf(spec));
    Ok(tree)
}

/// What the guest's init has to know of the image.
fn image_conf(spec: &ImageSpec) -> Vec<u8> {
    let mut conf = format!("program=/ukl/{}\n", spec.name);
    for table in &spec.slots {
        let (first, count, ring3) = (table.file_offset, table.count, table.ring3);
        let (stride, entry) = (code::SIZE, code::ENTRY);
        conf += &format!("slots={first},{count},{stride},{ring3},{entry}\n");
    }
    if let Some((_, bindings)) = &spec.code {
        conf += &format!("kernel-code=/{}\n", link::GUEST_PATH);
        for bound in bindings {
            let (section, offset) = &bound.function;
            let (operand, next) = (bound.operand, bound.next);
            conf += &format!("bind={operand},{next},{section},{offset}\n");
        }
    }
    for (key, value) in &spec.policy {
        conf += &format!("{key}={value}\n");
    }
    conf.into_bytes()
}

const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
daemon:x:1:1:daemon:/:/usr/sbin/nologin\n\
nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n";
const GROUP: &[u8] = b"root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n";
const HOSTS: &[u8] = b"127.0.0.1 localhost\n::1 localhost\n";
const NSSWITCH: &[u8] = b"passwd: files\ngroup: files\nhosts: files dns\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dir: &Path) -> ImageSpec {
        let init = dir.join("init");
        std::fs::write(&init, b"\x7fELF init").unwrap();
        ImageSpec {
            init,
            program: b"\x7fELF program".to_vec(),
            name: "hello".into(),
            slots: vec![Table {
                file_offset: 4096,
                count: 7,
                ring3: 0,
            }],
            code: None,
            add: Vec::new(),
            cmdline: None,
            policy: vec![("transition", "bypass".into())],
        }
    }

    #[test]
    fn the_configuration_tells_of_the_stubs() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec(dir.path());
        assert_eq!(
            image_conf(&spec),
            b"program=/ukl/hello\nslots=4096,7,128,0,8\ntransition=bypass\n"
        );
        spec.slots.clear();
        spec.policy.clear();
        assert_eq!(image_conf(&spec), b"program=/ukl/hello\n");
    }

    #[test]
    fn the_configuration_tells_of_kernel_code() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec(dir.path());
        spec.slots = vec![Table {
            file_offset: 128,
            count: 1,
            ring3: code::CODE_RING3,
        }];
        let bound = Bound {
            operand: 172,
            next: 0x40_00b0,
            function: (".text".into(), 16),
        };
        spec.code = Some((b"\x7fELF module".to_vec(), vec![bound]));
        let conf = String::from_utf8(image_conf(&spec)).unwrap();
        assert_eq!(
            conf,
            "program=/ukl/hello\nslots=128,1,128,112,8\nkernel-code=/ukl/kernel-code.ko\n\
             bind=172,4194480,.text,16\ntransition=bypass\n"
        );
    }

    #[test]
    fn a_name_with_a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "a/b", "..", "a\nb"] {
            let spec = ImageSpec {
                name: name.into(),
                ..spec(dir.path())
            };
            assert!(
                matches!(guest_files(&spec), Err(ImageError::Spec(_))),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_missing_archive_says_how_to_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = make(dir.path(), &spec(dir.path())).unwrap_err().to_string();
        assert!(error.contains("make kernel"), "{error}");
    }

    #[test]
    fn a_missing_init_says_how_to_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let spec = ImageSpec {
            init: dir.path().join("none"),
            ..spec(dir.path())
        };
        let error = guest_files(&spec).err().unwrap().to_string();
        assert!(error.contains("make init"), "{error}");
    }
}
