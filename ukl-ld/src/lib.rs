//! A drop-in replacement for GNU ld that also makes a bootable image of every program.
//!
//! Each phase has a file or a folder. In order: [`args`] reads the command line and the options of
//! ukl-ld, [`mode`] decides whether the link makes an image, [`startup`] completes the command line
//! of rustc, [`host`] runs the real linker, [`inputs`] finds static counterparts (with [`shared`]),
//! [`lto`] has intermediate code optimised, [`rewrite`] (with [`cache`]) rewrites the inputs,
//! [`thunk`] makes the thunks, [`kernel_module`] links kernel code, [`program`] links the program,
//! [`elf`] marks it for ring 0, [`debug`] removes debugging sections, and [`ukl_image`] makes the
//! bootable image. [`linked`] prepares linked files for ring 0, outside of any link. [`link`] calls the phases, which share the bytes of their inputs ([`files`]).

pub mod args;
pub mod cache;
pub mod debug;
pub mod elf;
pub mod elf_writer;
pub mod error;
pub mod explain;
pub mod files;
pub mod host;
pub mod image_link;
pub mod inform;
pub mod inputs;
pub mod interpose;
pub mod interrupt;
pub mod kernel;
pub mod kernel_module;
pub mod link;
pub mod linked;
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
