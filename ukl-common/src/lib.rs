//! What the tools on the host share.
//!
//! - [`library`]: where the kernel archive, the guest's init and the linker's names are installed;
//! - [`search`] and [`recursion`]: finding the real compiler or linker behind a tool that stands in
//!   for it, and noticing when it leads back;
//! - [`cache`]: directories below `~/.cache/ukl`;
//! - [`files`]: files that appear whole or not at all;
//! - [`options`]: the table of the options `--ukl-*`;
//! - [`temp`]: temporary directories that a killed process does not leave behind for long;
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
