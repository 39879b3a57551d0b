//! Makes the programs of the image immutable.
//!
//! A file that is marked for ring 0 may be started by a process without CAP_SYS_MODULE if it came
//! with the image: if it lies on the root file system and is immutable (`ukl_check_exec()` in the
//! kernel). So a program can drop its privileges and still start itself anew. This runs before
//! anything else of the image does, so what it finds is what came.

use crate::{say, sys};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where e_flags stand in a 64-bit ELF header (elf(5)), and the mark there.
const E_FLAGS: usize = 48;
const MARK: [u8; 4] = 0x554b_4c30_u32.to_le_bytes();

/// Seals every marked file of the root file system.
pub fn programs() {
    let sealed = fs::metadata("/").and_then(|root| seal_below(Path::new("/"), root.dev()));
    if let Err(error) = sealed {
        // All it takes away is the start without the capability.
        say(format_args!("warning: making programs immutable: {error}"));
    }
}

fn seal_below(dir: &Path, device: u64) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            seal_below(&path, device)?;
        } else if metadata.is_file() && is_marked(&path)? {
            sys::make_immutable(&File::open(&path)?)?;
        }
    }
    Ok(())
}

fn is_marked(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut header)?;
    Ok(header.starts_with(b"\x7fELF\x02") && header.get(E_FLAGS..E_FLAGS + 4) == Some(&MARK[..]))
}
