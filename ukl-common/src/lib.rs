//! Code that the tools on the host share.
//!
//! - [`library`]: where the kernel archive, the guest's init and the linker's names are installed;
//! - [`search`] and [`recursion`]: finding the real compiler or linker, and detecting a wrapper
//!   that runs the tool again;
//! - [`cache`]: directories below `~/.cache/ukl`;
//! - [`files`]: atomic writes;
//! - [`options`]: the table of the options `--ukl-*`;
//! - [`temp`]: temporary directories that are removed even if their process is killed;
//! - [`build_id`] and [`registry`]: which image belongs to which program;
//! - [`debug_store`]: programs with their DWARF, for gdb.

pub mod build_id;
pub mod cache;
pub mod debug_store;
pub mod files;
pub mod library;
pub mod messages;
pub mod options;
pub mod recursion;
pub mod registry;
pub mod search;
pub mod temp;
