//! Thunks: the 128 bytes each through which the program's calls enter the kernel.

pub mod code;
pub mod object;
pub mod table;
