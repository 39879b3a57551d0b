//! Rewriting: what becomes of each site and each privileged instruction.

pub(crate) mod hlt;
pub(crate) mod sites;
pub(crate) mod trampoline;
