//! What can go wrong before and around the guest.

use std::io;
use std::path::Path;
use std::path::PathBuf;

/// A result with an error of ukl-run's.
pub type Result<T> = std::result::Result<T, Error>;

/// ukl-run's own failures.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to run.
    #[error("{path}: no image there, nor {path}.ukl; build the program with CC=ukl-cc to get one")]
    NoImage {
        /// What was asked for.
        path: PathBuf,
    },
    /// A documentation test that was linked without us.
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
    /// A file or directory cannot be used.
    #[error("{path}: {source}")]
    File {
        /// It.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A request that cannot be met.
    #[error("{0}")]
    Request(String),
    /// QEMU is not there.
    #[error("{program}: {source}; install qemu-system-x86 or name another with UKL_QEMU")]
    NoQemu {
        /// What was tried.
        program: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// QEMU ended with an error of its own.
    #[error("QEMU failed: {0}")]
    Qemu(String),
    /// The guest's init could not start the program.
    #[error("in the guest: {0}")]
    Guest(String),
    /// The host refused something.
    #[error("{what}: {source}")]
    Host {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err` where a file is concerned.
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::File { path, source }
    }

    /// For `map_err` where the host refuses something.
    pub fn host(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Host { what, source }
    }
}
