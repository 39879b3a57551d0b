//! Lets processes without CAP_SYS_MODULE start the image's programs, for `--ukl-start=anyone`.
//!
//! The kernel starts a file that is marked for ring 0 if the process has CAP_SYS_MODULE once exec
//! has computed its credentials (`arch_check_exec()`). A file capability (capabilities(7)) provides
//! it. exec ignores file capabilities if the process has set no_new_privs, is traced, or shares its
//! working directory, and they apply only in the caller's user namespace. This code runs before any
//! other program of the image, so all marked files are those that came with the image.

use crate::error::{Error, Result};
use crate::{failed, sys};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ukl_proto::ring3;

/// The file capability: `struct vfs_cap_data` of linux/capability.h with VFS_CAP_REVISION_2 and
/// VFS_CAP_FLAGS_EFFECTIVE, and CAP_SYS_MODULE (bit 16) permitted.
const CAPABILITY: [u32; 5] = [0x0200_0001, 1 << 16, 0, 0, 0];

/// Gives every marked file of the root file system the capability.
pub fn programs() -> Result<()> {
    let root = Path::new("/");
    let device = fs::metadata(root).map_err(failed("/"))?.dev();
    seal_below(root, device)
}

fn seal_below(dir: &Path, device: u64) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(failed(dir.display()))? {
        let path = entry.map_err(failed(dir.display()))?.path();
        let metadata = fs::symlink_metadata(&path).map_err(failed(path.display()))?;
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            seal_below(&path, device)?;
        } else if metadata.is_file() && is_marked(&path).map_err(failed(path.display()))? {
            seal(&path)
                .map_err(|error| Error(format!("{}: file capability: {error}", path.display())))?;
        }
    }
    Ok(())
}

/// Makes the file immutable and gives it the capability. A write through a shared mapping would not
/// remove the capability, but an immutable file cannot be mapped that way.
fn seal(path: &Path) -> io::Result<()> {
    let value: Vec<u8> = CAPABILITY
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let file = File::open(path)?;
    sys::set_attribute(&file, c"security.capability", &value)?;
    sys::make_immutable(&file)
}

fn is_marked(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut header)?;
    Ok(ring3::is_marked(&header))
}
