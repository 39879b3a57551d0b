//! The cache of rewritten archives.

use std::fs;

use crate::bench::Bench;
use crate::bench::silent;

#[test]
fn a_damaged_entry_of_the_cache_is_made_again() {
    let bench = Bench::hello();
    let link = || {
        let mut gcc = bench.compiler("gcc");
        gcc.env("XDG_CACHE_HOME", bench.path("cache"));
        silent(&gcc.args(["hello.c", "-o", "hello"]).output().unwrap());
        bench.same("hello");
    };
    link();
    let damages: [fn(Vec<u8>) -> Vec<u8>; 3] = [
        |_| Vec::new(),
        |data| data[..data.len() / 2].to_vec(),
        |mut data| {
            let middle = data.len() / 2;
            data[middle] ^= 0x10;
            data
        },
    ];
    for damage in damages {
        let mut count = 0;
        for entry in fs::read_dir(bench.path("cache/ukl/rewritten")).unwrap() {
            let path = entry.unwrap().path();
            fs::write(&path, damage(fs::read(&path).unwrap())).unwrap();
            count += 1;
        }
        assert!(count >= 2, "{count} files in the cache");
        link();
    }
}
