//! Errors before the compiler runs.

use std::path::PathBuf;

/// A failure of ukl-cc itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The real compiler was not found.
    #[error(
        "cannot find the real compiler `{name}' in PATH; install one (Debian: {package}), \
         or name it in {variable}"
    )]
    NoCompiler {
        /// The name of the compiler.
        name: String,
        /// The Debian package that has it.
        package: &'static str,
        /// The environment variable that selects the compiler.
        variable: &'static str,
    },
    /// The command found as the compiler is ukl-cc itself.
    #[error(
        "the compiler {} runs ukl-cc again; name the real compiler in {variable}",
        path.display()
    )]
    Loop {
        /// The path.
        path: PathBuf,
        /// The environment variable that selects the compiler.
        variable: &'static str,
    },
    /// The linker is missing from the installation.
    #[error(
        "{} is missing; run `make' in UKL's source tree, or set UKL_LIBDIR",
        .0.display()
    )]
    NoLinker(PathBuf),
    /// The kernel archive has no files for compiling kernel code.
    #[error(
        "{} does not contain the files for compiling kernel code; run `make kernel' in UKL's source \
         tree, or set UKL_LIBDIR",
        .0.display()
    )]
    NoKernelCode(PathBuf),
    /// Wrong arguments for kernel code.
    #[error("--ukl-kernel-code: {0}")]
    KernelCode(String),
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// An option `--ukl-*` lacks its value.
    #[error("option '{0}' requires an argument")]
    NoValue(String),
    /// The path of this executable is unknown.
    #[error("cannot determine where ukl-cc is installed: {0}")]
    Myself(std::io::Error),
    /// The compiler could not be started.
    #[error("cannot run {}: {source}", path.display())]
    Exec {
        /// The compiler.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}
