//! Analysis of the code around a site.

pub(crate) mod constants;
pub(crate) mod flags;
pub(crate) mod flow;
pub(crate) mod liveness;
pub(crate) mod redzone;
pub(crate) mod stack;
