//! Errors.

use std::io;
use std::path::Path;
use std::path::PathBuf;

/// A result with such an error.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of ukl-run itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("{path}: no image there, nor {path}.ukl; build the program with CC=ukl-cc to get one")]
    NoImage {
        /// The path that was given.
        path: PathBuf,
    },
    /// A documentation test that was linked without ukl-ld.
    #[error(
        "{path}: linked without ukl-ld, since rustdoc does not read RUSTFLAGS; set \
         RUSTDOCFLAGS=\"-C linker=ukl-ld\" as well, or `linker = \"ukl-ld\"' in .cargo/config.toml"
    )]
    OfRustdoc {
        /// The program.
        path: PathBuf,
    },
    /// The file is not an image.
    #[error(
        "{path}: not an image (it has no kernel's boot header), and no image is beside it; \
         link it with ukl-cc or ukl-ld to get one"
    )]
    NotAnImage {
        /// The file.
        path: PathBuf,
    },
    /// The image beside a program is not the program's.
    #[error(
        "{program}: {image} is the image of another build of the program (the build IDs differ); \
         link the program again with ukl-cc or ukl-ld, or name the image itself to run it"
    )]
    Stale {
        /// The program.
        program: PathBuf,
        /// The image that was found for it.
        image: PathBuf,
    },
    /// The image's init speaks a later version of the guest protocol.
    #[error(
        "{path}: made by newer tools (version {version} of the guest protocol, and this ukl-run \
         speaks versions up to {}); run it with the ukl-run of these tools, or link the program \
         again",
        ukl_proto::VERSION
    )]
    NewerImage {
        /// The image.
        path: PathBuf,
        /// The version of its init.
        version: u32,
    },
    /// A file or directory cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The options ask for something impossible.
    #[error("{0}")]
    Request(String),
    /// QEMU cannot be started.
    #[error("{program}: {source}; install qemu-system-x86 or name another with UKL_QEMU")]
    NoQemu {
        /// The command that was tried.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// QEMU ended with an error of its own.
    #[error("QEMU failed: {0}")]
    Qemu(String),
    /// The guest's init could not start the program.
    #[error("in the guest: {0}")]
    Guest(String),
    /// A system call failed.
    #[error("{what}: {source}")]
    Host {
        /// What it was for.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
}

impl Error {
    /// Makes the error of an operation on a file, for `map_err`.
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::File { path, source }
    }

    /// Makes the error of a system call, for `map_err`.
    pub fn host(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Host { what, source }
    }
}
