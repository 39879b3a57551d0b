//! The guest protocol: everything that `ukl-run`, `ukl-ld` and `ukl-init` exchange.
//!
//! | module | from | to | how it travels |
//! |---|---|---|---|
//! | [`stamp`] | `ukl-ld` | `ukl-run` | 64 bytes of the image that can be read without decompressing it |
//! | [`image_conf`] | `ukl-ld` | `ukl-init` | the file [`names::IMAGE_CONF`] in the image |
//! | [`ring3`] | `ukl-ld` | `ukl-init` | the places of the program that differ at ring 3 |
//! | [`run`] | `ukl-run` | `ukl-init` | the firmware configuration file [`names::RUN_FILE`] |
//! | [`status`] | both | both | lines on the virtio-serial port [`ports::Port::Status`] |
//! | [`ports`] | both | both | the other ports, which carry the program's streams |
//! | [`policy`] | all | kernel | bits of personality(2) |
//!
//! # Versions
//!
//! [`VERSION`] is the version that this crate speaks. Each side sends its version first: `ukl-ld`
//! in the stamp and in image.conf, `ukl-run` in the first record. Data without a version has
//! version 0.
//!
//! - `ukl-run` reads the image's version from its stamp and encodes its records for that version.
//! - `ukl-init` reads records and image.conf of its own version and of all earlier ones.
//! - Either refuses a later version, with a message that says what to do.
//!
//! An addition that a reader may ignore (a key of image.conf, a line on the status port) does not
//! raise the version. Everything else does.

mod error;
pub mod image_conf;
mod keys;
pub mod names;
pub mod policy;
pub mod ports;
pub mod ring3;
pub mod run;
pub mod stamp;
pub mod status;
pub mod words;

pub use error::DecodeError;
pub use error::EncodeError;

/// The version of the protocol that this crate speaks.
///
/// - 0: the protocol before versions were introduced.
/// - 1: the version itself, the image's stamp, and the names `jump` and `kernel` for the policy
///   values that version 0 calls `ret` and `own`.
pub const VERSION: u32 = 1;
