//! Decides which symbols get the prefix.
//!
//! A symbol that the linker itself defines must keep its name. Otherwise the program's reference
//! stays undefined. If the reference is weak, the link succeeds, but at run time the program lacks
//! its IRELATIVE relocations or its stdio tables.

use crate::options::Options;

/// Names that linkers define themselves or look up by name. Sorted.
const LINKER_NAMES: &[&[u8]] = &[
    b"_DYNAMIC",
    b"_GLOBAL_OFFSET_TABLE_",
    b"_PROCEDURE_LINKAGE_TABLE_",
    b"_TLS_MODULE_BASE_",
    b"__GNU_EH_FRAME_HDR",
    b"__TMC_END__",
    b"__bss_start",
    b"__ehdr_start",
    b"__etext",
    b"__executable_start",
    b"__fini_array_end",
    b"__fini_array_start",
    b"__gnu_lto_slim",
    b"__gnu_lto_v1",
    b"__init_array_end",
    b"__init_array_start",
    b"__preinit_array_end",
    b"__preinit_array_start",
    b"__rel_iplt_end",
    b"__rel_iplt_start",
    b"__rela_iplt_end",
    b"__rela_iplt_start",
    // A static link relaxes a general-dynamic TLS sequence only if it calls a function of this name.
    b"__tls_get_addr",
    b"_edata",
    b"_end",
    b"_etext",
    b"edata",
    b"end",
    b"etext",
];

/// Prefixes of such names.
const LINKER_PREFIXES: &[&[u8]] = &[
    b"__start_",
    b"__stop_",
    b"__ukl_",
    b".startof.",
    b".sizeof.",
];

/// What `ld --wrap=f` prepends to `f`. The linker prepends it to the name as it is, so the prefix
/// must come after it.
const WRAPPERS: &[&[u8]] = &[b"__wrap_", b"__real_"];

/// Splits a name into what `ld --wrap` prepended, if anything, and the rest.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(wrapper) = WRAPPERS
        .iter()
        .find(|wrapper| name[at..].starts_with(wrapper) && name.len() > at + wrapper.len())
    {
        at += wrapper.len();
    }
    name.split_at(at)
}

/// Whether a symbol of this name gets no prefix.
pub fn keeps_name(name: &[u8]) -> bool {
    let (_, name) = split(name);
    name.is_empty()
        || LINKER_NAMES.binary_search(&name).is_ok()
        || LINKER_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// The new name of a symbol that is not local.
pub fn prefixed(name: &[u8], options: &Options) -> Vec<u8> {
    if keeps_name(name) {
        return name.to_vec();
    }
    let (wrapper, rest) = split(name);
    [wrapper, &options.prefix, rest].concat()
}

/// The function to which `--wrap` redirects an undefined reference (ld(1)), if it does.
pub fn wrapped(name: &[u8], options: &Options) -> Option<Vec<u8>> {
    let is_wrapped = |name: &[u8]| options.wrap.iter().any(|wrapped| wrapped == name);
    if is_wrapped(name) {
        return Some([b"__wrap_", name].concat());
    }
    let real = name.strip_prefix(b"__real_")?;
    is_wrapped(real).then(|| real.to_vec())
}

/// The inverse of [`prefixed`]: the name to show in messages.
pub fn unprefixed(name: &[u8], options: &Options) -> Vec<u8> {
    let (wrapper, rest) = split(name);
    match rest.strip_prefix(&options.prefix[..]) {
        Some(rest) if !keeps_name(name) => [wrapper, rest].concat(),
        _ => name.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linker_names_are_sorted() {
        assert!(LINKER_NAMES.is_sorted());
    }

    #[test]
    fn the_prefix_follows_what_wrap_prepends() {
        let options = Options::default();
        assert_eq!(prefixed(b"__wrap_malloc", &options), b"__wrap__ukl_malloc");
        assert_eq!(prefixed(b"__real_malloc", &options), b"__real__ukl_malloc");
        assert_eq!(
            prefixed(b"__wrap___wrap_f", &options),
            b"__wrap___wrap__ukl_f"
        );
        assert_eq!(prefixed(b"__wrap_", &options), b"_ukl___wrap_");
        assert_eq!(
            unprefixed(b"__wrap__ukl_malloc", &options),
            b"__wrap_malloc"
        );
    }

    #[test]
    fn references_are_wrapped_as_the_linker_wraps_them() {
        let options = Options {
            wrap: vec![b"malloc".to_vec()],
            ..Options::default()
        };
        let wrapped = |name: &[u8]| wrapped(name, &options);
        assert_eq!(wrapped(b"malloc").unwrap(), b"__wrap_malloc");
        assert_eq!(wrapped(b"__real_malloc").unwrap(), b"malloc");
        assert_eq!(wrapped(b"__wrap_malloc"), None);
        assert_eq!(wrapped(b"__real_free"), None);
    }

    #[test]
    fn a_name_that_has_the_prefix_gets_it_again() {
        assert_eq!(prefixed(b"_ukl_f", &Options::default()), b"_ukl__ukl_f");
    }
}
