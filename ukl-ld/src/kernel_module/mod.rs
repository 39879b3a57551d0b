//! Kernel code that the program brings along, and the kernel's own functions that it calls by name.

pub mod calls;
pub mod imports;
pub mod link;
pub mod placeholder;
pub mod shortcuts;
