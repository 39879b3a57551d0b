//! Compiles the crate's C code: the shortcuts as system calls, for the build host and for ring 3.
//!
//! `ukl-ld` finds the same code in `libukl.a`, but only in an installation. This build script makes
//! the crate usable on any machine, with any linker.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=c/host.c");
    println!("cargo::rerun-if-changed=c/shortcuts.def");
    let is = |key: &str, value: &str| env::var(key).is_ok_and(|found| found == value);
    // For other targets the crate is empty.
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_OS", "linux") {
        cc::Build::new()
            .file("c/host.c")
            .opt_level(2)
            .pic(true)
            .flag("-ffunction-sections")
            .compile("ukl_host");
    }
}
