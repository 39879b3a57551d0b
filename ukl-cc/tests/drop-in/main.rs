//! ukl-cc in the place of cc: under build tools, and asked what they ask compilers.

mod bench;
#[path = "../../../testsuite/src/skip.rs"]
mod skip;

mod bazel;
mod build_tools;
mod finding;
mod probes;
