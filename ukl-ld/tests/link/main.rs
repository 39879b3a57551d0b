//! Links as gcc, g++ and rustc ask for them. The image's program is run on the host, as its ring-3
//! variant: it has to do what the host output does.

mod bench;
#[path = "../../../testsuite/src/skip.rs"]
mod skip;

mod cache;
mod diagnostics;
mod images;
mod inputs;
mod interposition;
mod libraries;
mod lto;
mod modes;
mod options;
mod programs;
mod rust;
mod save;
mod temp;
