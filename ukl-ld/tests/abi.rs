//! The kernel archive that `make kernel` built, and what is compiled into the tools, have to agree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use symbol_rewriter::syscalls;
use ukl_ld::kernel::abi::Abi;
use ukl_proto::policy;
use ukl_proto::ring3;

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The kernel archive. None, with a note, if there is none and tests may be skipped.
fn archive() -> Option<PathBuf> {
    let libdir =
        std::env::var_os("UKL_LIBDIR").map_or_else(|| source("target/lib/ukl"), PathBuf::from);
    let kernel = libdir.join("kernel");
    if !kernel.exists() {
        let forbidden = std::env::var_os("UKL_TEST_NO_SKIPS").is_some_and(|value| value == "1");
        assert!(!forbidden, "{}: run `make kernel'", kernel.display());
        eprintln!("skipped: no kernel archive in {}", kernel.display());
        return None;
    }
    Some(kernel)
}

#[test]
fn the_built_in_values_are_those_of_the_archive() {
    if let Some(kernel) = archive() {
        let abi = Abi::read(&kernel).unwrap_or_else(|error| panic!("{error}"));
        assert_ne!(abi.exit_work, 0);
        // These depend on the kernel's configuration.
        let exit_work = abi.exit_work;
        assert_eq!(
            Abi {
                exit_work,
                ..Abi::V2
            },
            abi
        );
    }
}

/// The calls for which the archive's list has more arguments than an x86-64 call. The list takes the
/// largest number of all definitions, and 32-bit calls pass an offset in two arguments.
const SPLIT_OFFSETS: [&str; 5] = [
    "pread64",
    "pwrite64",
    "readahead",
    "sync_file_range",
    "fallocate",
];

#[test]
fn the_table_of_system_calls_is_that_of_the_archive() {
    let Some(kernel) = archive() else { return };
    let list = fs::read_to_string(kernel.join("syscalls")).unwrap();
    assert!(list.lines().count() > 300, "{list}");
    for line in list.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (number, name) = (words[0].parse().unwrap(), words[1]);
        assert_eq!(syscalls::number(name), number, "{line}");
        let (ours, listed) = (
            syscalls::arguments(number),
            words[2].parse::<usize>().unwrap(),
        );
        match SPLIT_OFFSETS.contains(&name) {
            true => assert!(ours < listed, "{line}"),
            false => assert_eq!(ours, listed, "{line}"),
        }
    }
}

/// The values of `#define NAME 0x…U` and of `const NAME: u32 = …;`.
fn constants(path: &str) -> BTreeMap<String, u32> {
    let text = fs::read_to_string(source(path)).unwrap();
    let values = text.lines().filter_map(|line| {
        let (name, value) = match line.strip_prefix("#define ") {
            Some(rest) => rest.split_once(char::is_whitespace)?,
            None => line.strip_prefix("const ")?.split_once(": u32 = ")?,
        };
        let value = value
            .split(['U', ';', ' ', '\t'])
            .find(|word| !word.is_empty())?;
        let value = value.replace('_', "");
        let value = match value.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => value.parse().ok()?,
        };
        Some((name.to_owned(), value))
    });
    values.collect()
}

#[test]
fn all_sides_have_the_same_policy_bits() {
    let bits = Abi::V2.policy;
    let wanted = [bits.bypass, bits.return_jump, bits.shared];
    assert_eq!(
        [policy::BYPASS, policy::RETURN_JUMP, policy::SHARED],
        wanted
    );
    assert_eq!(policy::LIMIT_SHIFT, bits.limit_shift);

    let header = constants("shortcuts/include/ukl.h");
    let names = ["UKL_BYPASS", "UKL_RETURN_JUMP", "UKL_SHARED"];
    assert_eq!(names.map(|name| header[name]), wanted);

    let library = constants("ukl/src/lib.rs");
    let names = ["BYPASS", "RETURN_JUMP", "SHARED"];
    assert_eq!(names.map(|name| library[name]), wanted);
    assert_eq!(library["LIMIT_SHIFT"], bits.limit_shift);
}

#[test]
fn all_sides_have_the_same_mark_of_ring_0() {
    assert_eq!(ring3::RING0_MARK, Abi::V2.e_flags);
    assert_eq!(ring3::PATCH_SIZE, ukl_ld::thunk::code::RING3_SIZE);
}
