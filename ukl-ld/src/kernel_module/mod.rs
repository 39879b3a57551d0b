//! Kernel code among the inputs, and the kernel's own functions that the program calls by name.

pub mod calls;
pub mod imports;
pub mod link;
pub mod placeholder;
pub mod shortcuts;
