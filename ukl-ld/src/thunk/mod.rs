//! Thunks: short pieces of code through which the program's calls enter the kernel.
//!
//! [`code`] writes the code of one thunk by the layout that the kernel archive's ABI defines,
//! [`object`] puts thunks into an object file, [`syscalls`] makes those of the system calls that the
//! rewritten inputs use, and [`table`] records where all of them are in the linked program.

pub mod code;
pub mod object;
pub mod syscalls;
pub mod table;
