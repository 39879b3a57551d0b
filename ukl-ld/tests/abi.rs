//! The kernel archive that `make kernel` built, and what is compiled into the tools, have to agree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use ukl_ld::kernel::abi::Abi;
use ukl_proto::policy;
use ukl_proto::ring3;

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The archive's file. None, with a note, if there is no kernel archive and tests may be skipped.
fn archive() -> Option<Abi> {
    let libdir =
        std::env::var_os("UKL_LIBDIR").map_or_else(|| source("target/lib/ukl"), PathBuf::from);
    let kernel = libdir.join("kernel");
    if !kernel.exists() {
        let forbidden = std::env::var_os("UKL_TEST_NO_SKIPS").is_some_and(|value| value == "1");
        assert!(!forbidden, "{}: run `make kernel'", kernel.display());
        eprintln!("skipped: no kernel archive in {}", kernel.display());
        return None;
    }
    Some(Abi::read(&kernel).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn the_built_in_values_are_those_of_the_archive() {
    if let Some(abi) = archive() {
        assert_ne!(abi.exit_work, 0);
        // These depend on the kernel's configuration.
        let exit_work = abi.exit_work;
        assert_eq!(
            Abi {
                exit_work,
                ..Abi::V1
            },
            abi
        );
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
    let bits = Abi::V1.policy;
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
    assert_eq!(ring3::RING0_MARK, Abi::V1.e_flags);
    assert_eq!(ring3::PATCH_SIZE, ukl_ld::thunk::code::RING3_SIZE);
}
