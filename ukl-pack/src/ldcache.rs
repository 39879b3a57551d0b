//! Reads /etc/ld.so.cache, in which ldconfig lists the libraries of further directories (glibc's
//! sysdeps/generic/dl-cache.h).

use std::collections::HashMap;

/// The libraries in the cache: paths by name.
#[derive(Debug, Default)]
pub struct Cache {
    paths: HashMap<Vec<u8>, Vec<Vec<u8>>>,
}

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// The header of the old format, which may come first: magic, padding, number of entries.
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// FLAG_ELF_LIBC6 and FLAG_X8664_LIB64.
const X86_64: u32 = 0x0303;

impl Cache {
    /// Reads the file. A malformed cache is empty, as it is for the dynamic loader.
    pub fn read(data: &[u8]) -> Cache {
        Cache::parse(data).unwrap_or_default()
    }

    fn parse(data: &[u8]) -> Option<Cache> {
        let word = |data: &[u8], at: usize| {
            let bytes = data.get(at..)?.first_chunk()?;
            usize::try_from(u32::from_le_bytes(*bytes)).ok()
        };
        let mut start = 0;
        if data.starts_with(OLD_MAGIC) {
            let entries = word(data, 12)?.checked_mul(OLD_ENTRY)?;
            start = entries
                .checked_add(OLD_HEADER)?
                .checked_next_multiple_of(8)?;
        }
        let data = data.get(start..)?;
        if !data.starts_with(MAGIC) {
            return None;
        }
        let entries = data
            .get(HEADER..)?
            .get(..word(data, 20)?.checked_mul(ENTRY)?)?;
        let string = |at: usize| {
            let rest = data.get(at..)?;
            Some(rest.split(|byte| *byte == 0).next()?.to_vec())
        };
        let mut cache = Cache::default();
        for entry in entries.chunks_exact(ENTRY) {
            let (flags, name, path) = (word(entry, 0)?, word(entry, 4)?, word(entry, 8)?);
            // Entries with requirements on the processor are found in glibc-hwcaps beside the
            // ordinary ones.
            let hwcap = &entry[16..];
            if flags == X86_64 as usize && hwcap.iter().all(|byte| *byte == 0) {
                cache
                    .paths
                    .entry(string(name)?)
                    .or_default()
                    .push(string(path)?);
            }
        }
        Some(cache)
    }

    /// The paths of a library.
    pub fn find(&self, name: &[u8]) -> &[Vec<u8>] {
        self.paths.get(name).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(old: bool) -> Vec<u8> {
        let mut data = MAGIC.to_vec();
        let strings = b"libx.so.1\0/opt/x/libx.so.1\0";
        let at = (HEADER + 2 * ENTRY) as u32;
        data.extend([2u32.to_le_bytes(), (strings.len() as u32).to_le_bytes()].concat());
        data.resize(HEADER, 0);
        for (flags, hwcap) in [(X86_64, 1u64 << 62), (X86_64, 0)] {
            for word in [flags, at, at + 10, 0] {
                data.extend(word.to_le_bytes());
            }
            data.extend(hwcap.to_le_bytes());
        }
        data.extend(strings);
        if old {
            let mut both = OLD_MAGIC.to_vec();
            both.resize(12, 0);
            both.extend(1u32.to_le_bytes());
            both.resize((OLD_HEADER + OLD_ENTRY).next_multiple_of(8), 0);
            both.extend(data);
            return both;
        }
        data
    }

    #[test]
    fn both_formats_are_read() {
        for old in [false, true] {
            let data = cache(old);
            assert_eq!(Cache::read(&data).find(b"libx.so.1"), [b"/opt/x/libx.so.1"]);
            assert!(Cache::read(&data).find(b"liby.so").is_empty());
            for length in 0..data.len() {
                let _ = Cache::read(&data[..length]);
            }
        }
    }

    #[test]
    fn the_hosts_cache_has_its_libc() {
        let data = std::fs::read("/etc/ld.so.cache").unwrap();
        let cache = Cache::read(&data);
        let paths = cache.find(b"libc.so.6");
        assert!(
            paths.iter().any(|path| path.ends_with(b"/libc.so.6")),
            "{paths:?}"
        );
    }
}
