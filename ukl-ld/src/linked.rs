//! Linked files for ring 0: programs and shared libraries that were built without UKL.
//!
//! ```no_run
//! # fn main() -> Result<(), ukl_ld::Error> {
//! let rewriter = ukl_ld::linked::Rewriter::open("/path/of/the/kernel/archive".as_ref())?;
//! let bytes = rewriter.for_ring0("/usr/bin/bash".as_ref())?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where the files go
//!
//! A rewritten library works at ring 0 only, so a process at ring 3 must never load it. Therefore
//! the rewritten interpreter and libraries are in a directory of their own, [`DIRECTORY`]:
//!
//! - A program names its interpreter in `PT_INTERP`. [`Rewriter::for_ring0`] changes that to a path
//!   in [`DIRECTORY`] ([`ring3::INTERPRETERS`] has the names). The new path is not longer, so it fits into
//!   the place of the old one.
//! - glibc's interpreter searches the directories that are compiled into it.
//!   [`Rewriter::for_ring0`] replaces the first of them by [`DIRECTORY`], and the name of the cache,
//!   which lists the libraries of ring 3, by [`CACHE`]. An image need not have that file.
//! - musl's interpreter is its libc, so the program's `PT_INTERP` is sufficient.
//!
//! All other libraries stay where they are, and processes at both rings share them. Neither
//! environment variables nor `DT_RUNPATH` take part: if they lead to a library of ring 3, the
//! program runs all the same, because a `syscall` instruction works at ring 0, too.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use ukl_common::cache;
use ukl_common::files;
use ukl_proto::ring3;

use crate::elf;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::files::Files;
use crate::kernel::Kernel;
use crate::thunk::code::LinkedThunks;

/// The directory of the interpreter and the libraries of ring 0 in an image.
pub const DIRECTORY: &str = "/usr/lib/ukl";

/// The cache of library paths that glibc's interpreter reads at ring 0 (`ld.so.cache(5)`).
pub const CACHE: &str = "/etc/ukl.cache";

/// The least recently used rewritten files are removed until the rest is within this size.
const LIMIT: u64 = 1 << 30;

/// Rewrites linked files for the kernel of an archive.
pub struct Rewriter {
    kernel: Kernel,
    /// The cache, and what the output depends on besides the file.
    cache: Option<(PathBuf, blake3::Hash)>,
}

impl Rewriter {
    /// Reads a kernel archive.
    pub fn open(archive: &Path) -> Result<Rewriter> {
        let files = Files::default();
        let kernel = Kernel::read(archive, &files)?;
        let mut identity = blake3::Hasher::new();
        let myself = std::env::current_exe().unwrap_or_default();
        identity.update(&crate::cache::rewriter(&myself));
        identity.update(env!("CARGO_PKG_VERSION").as_bytes());
        for name in ["abi", "syscalls", "vmlinux"] {
            let path = archive.join(name);
            identity.update(&files.read(&path)?);
        }
        let identity = identity.finalize();
        Ok(Rewriter {
            kernel,
            cache: cache::directory("linked").map(|dir| (dir, identity)),
        })
    }

    /// The bytes of a file with its system calls rewritten. They are the file's own bytes if it
    /// makes no system calls itself.
    ///
    /// The result is cached by the content of the file.
    pub fn rewrite(&self, path: &Path) -> Result<Vec<u8>> {
        let data = fs::read(path).at(path)?;
        self.rewrite_data(&path.to_string_lossy(), &data)
    }

    /// The same for the bytes of a file. `name` is for error messages.
    pub fn rewrite_data(&self, name: &str, data: &[u8]) -> Result<Vec<u8>> {
        let entry = self.cache.as_ref().map(|(dir, identity)| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(identity.as_bytes()).update(data);
            dir.join(format!("{}.elf", hasher.finalize().to_hex()))
        });
        if let Some((bytes, _)) = entry.as_deref().and_then(cache::read) {
            return Ok(bytes);
        }
        let source = LinkedThunks(&self.kernel);
        let rewritten = symbol_rewriter::rewrite_linked(name, data, &source)?;
        if let (Some(entry), Some((dir, _))) = (entry, &self.cache) {
            // Without the cache, the next call takes longer.
            let _ = cache::put(&entry, &rewritten.data, b"");
            cache::trim(dir, LIMIT);
        }
        Ok(rewritten.data)
    }

    /// The bytes of a file as it is in an image for ring 0: rewritten, and
    ///
    /// - a program is marked for ring 0 and names the interpreter of ring 0,
    /// - glibc's interpreter searches [`DIRECTORY`] first.
    pub fn for_ring0(&self, path: &Path) -> Result<Vec<u8>> {
        let mut data = self.rewrite(path)?;
        let wrong = |what: &str| Error::Input {
            file: path.display().to_string(),
            what: what.into(),
        };
        match elf::is_program(path) {
            true => {
                elf::mark(&mut data, self.kernel.abi.e_flags)?;
                set_interpreter(&mut data).map_err(wrong)?;
            }
            false if is_glibc_interpreter(path) => search_directory(&mut data).map_err(wrong)?,
            false => {}
        }
        Ok(data)
    }

    /// Writes what [`Rewriter::for_ring0`] makes. The output gets the mode of the input.
    pub fn write_for_ring0(&self, path: &Path, output: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let data = self.for_ring0(path)?;
        let mode = fs::metadata(path).at(path)?.permissions().mode() & 0o7777;
        files::write_beside(output, &data, mode).at(output)
    }
}

fn is_glibc_interpreter(path: &Path) -> bool {
    elf::soname(path).is_some_and(|name| name.starts_with("ld-linux"))
}

/// Overwrites the name of the interpreter, if the file has one.
fn set_interpreter(data: &mut [u8]) -> Result<(), &'static str> {
    if ring3::interpreter(data).is_none() || ring3::use_ring0_interpreter(data) {
        return Ok(());
    }
    Err("its interpreter is neither glibc's nor musl's for x86-64")
}

/// The directory that glibc's interpreter searches first in Debian. glibc keeps its length elsewhere.
const FIRST: &str = "/lib/x86_64-linux-gnu/";

/// [`DIRECTORY`] in the length of [`FIRST`]: slashes fill the room.
fn directory() -> String {
    format!("{DIRECTORY:/<room$}", room = FIRST.len())
}

/// Makes glibc's interpreter search [`DIRECTORY`] and read [`CACHE`].
pub fn search_directory(data: &mut [u8]) -> Result<(), &'static str> {
    for (old, new) in [(FIRST, directory().as_str()), ("/etc/ld.so.cache", CACHE)] {
        let old = format!("\0{old}\0");
        let at = memchr::memmem::find(data, old.as_bytes())
            .ok_or("it does not search the directories of Debian's glibc")?;
        replace(&mut data[at + 1..at + old.len()], new)?;
    }
    Ok(())
}

/// Makes [`CACHE`] of the cache of ring 3: the C library is the one in [`DIRECTORY`].
pub fn ring0_cache(cache: &[u8]) -> Vec<u8> {
    let (old, new) = (format!("{FIRST}libc.so.6\0"), directory());
    let mut data = cache.to_vec();
    for at in memchr::memmem::find_iter(cache, old.as_bytes()) {
        data[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
    data
}

/// Overwrites a string and the NUL after it.
fn replace(field: &mut [u8], new: &str) -> Result<(), &'static str> {
    if new.len() >= field.len() {
        return Err("it has no room for the path of ring 0");
    }
    field.fill(0);
    field[..new.len()].copy_from_slice(new.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_ring_0_fit_into_the_place_of_others() {
        for (old, new) in ring3::INTERPRETERS {
            assert!(new.len() <= old.len());
            assert!(new.starts_with(DIRECTORY));
        }
        assert!(CACHE.len() <= "/etc/ld.so.cache".len());
    }

    #[test]
    fn the_directory_keeps_its_length() {
        let mut data = b"x\0/lib/x86_64-linux-gnu/\0/usr/lib/\0/etc/ld.so.cache\0y".to_vec();
        search_directory(&mut data).unwrap();
        assert_eq!(
            data,
            b"x\0/usr/lib/ukl//////////\0/usr/lib/\0/etc/ukl.cache\0\0\0y"
        );
        assert!(search_directory(&mut data).is_err());
        let cache = b"a\0/lib/x86_64-linux-gnu/libc.so.6\0/lib/x86_64-linux-gnu/libm.so.6\0";
        assert_eq!(
            ring0_cache(cache),
            b"a\0/usr/lib/ukl//////////libc.so.6\0/lib/x86_64-linux-gnu/libm.so.6\0"
        );
    }
}
