//! A drop-in for GNU ld that makes a bootable image beside every program.
//!
//! The phases, in order, a file or a folder each: [`args`] reads the command line and our own
//! options, [`mode`] decides whether there is an image, [`startup`] completes what rustc sends,
//! [`host`] runs the real linker, [`inputs`] finds the static counterparts (with [`shared`]),
//! [`lto`] has programs of intermediate code optimised, [`rewrite`] (with [`cache`]) rewrites the
//! inputs, [`thunk`] makes the thunks, [`kernel_module`] links kernel code, [`program`] links,
//! [`elf`] marks the result, [`debug`] takes out what only gdb reads, [`ukl_image`] makes it bootable.
//! [`link`] drives them.

pub mod args;
pub mod cache;
pub mod debug;
pub mod elf;
pub mod elf_writer;
pub mod error;
pub mod explain;
pub mod host;
pub mod image_link;
pub mod inform;
pub mod inputs;
pub mod interrupt;
pub mod kernel;
pub mod kernel_module;
pub mod link;
pub mod lto;
pub mod messages;
pub mod missing;
pub mod mode;
pub mod products;
pub mod program;
pub mod rewrite;
pub mod save;
pub mod script;
pub mod shared;
pub mod startup;
pub mod thunk;
pub mod tools;
pub mod version;

pub use error::Error;
pub use link::run;
