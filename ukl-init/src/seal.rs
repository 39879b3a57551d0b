//! Makes the programs of the image immutable.
//!
//! A process without CAP_SYS_MODULE may start a file that is marked for ring 0 if the file is
//! immutable and on the root file system (`ukl_check_exec()` in the kernel). So a program can drop
//! its privileges and still start itself again. Init seals the programs before it runs anything of
//! the image, so all that it finds is part of the image.

use crate::{say, sys};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ukl_proto::ring3;

/// Seals every marked file of the root file system.
pub fn programs() {
    let sealed = fs::metadata("/").and_then(|root| seal_below(Path::new("/"), root.dev()));
    if let Err(error) = sealed {
        // Programs can still be started with the capability.
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
    Ok(ring3::is_marked(&header))
}
