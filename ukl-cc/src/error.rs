//! Errors before the compiler runs.

use std::path::PathBuf;

/// A failure of ukl-cc itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no real compiler.
    #[error(
        "cannot find the real compiler `{name}' in PATH; install one (Debian: {package}), \
         or name it in {variable}"
    )]
    NoCompiler {
        /// The name that was looked for.
        name: String,
        /// The Debian package that has it.
        package: &'static str,
        /// The variable to name it in.
        variable: &'static str,
    },
    /// The compiler leads back to ukl-cc.
    #[error(
        "the compiler {} leads back to ukl-cc; name the real one in {variable}",
        path.display()
    )]
    Loop {
        /// The path.
        path: PathBuf,
        /// The variable to name the real one in.
        variable: &'static str,
    },
    /// The linker is missing from the installation.
    #[error(
        "{} is missing: run `make' in UKL's source tree, or set UKL_LIBDIR",
        .0.display()
    )]
    NoLinker(PathBuf),
    /// The kernel archive lacks what kernel code is compiled with.
    #[error(
        "{} does not have what kernel code is compiled with: run `make kernel' in UKL's source \
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
    /// This executable cannot be found.
    #[error("cannot find out where ukl-cc is installed: {0}")]
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
