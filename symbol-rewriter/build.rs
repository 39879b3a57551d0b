//! Puts a digest of the sources into the crate, as part of its version: a cache of rewritten files
//! then never outlives the code that wrote them.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=Cargo.toml");
    let mut files: Vec<_> = std::fs::read_dir("src")
        .expect("the crate has sources")
        .map(|entry| entry.expect("the sources can be listed").path())
        .collect();
    files.push(Path::new("Cargo.toml").to_path_buf());
    files.sort();
    // FNV-1a: nobody attacks this one.
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        for byte in std::fs::read(&file).expect("the sources can be read") {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    println!("cargo::rustc-env=SYMBOL_REWRITER_DIGEST={digest:016x}");
}
