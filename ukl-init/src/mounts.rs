//! Mounts the kernel's file systems and the directories of the host.

use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use ukl_proto::run::Mount;
use ukl_proto::run::Run;

use crate::error::Result;
use crate::failed;
use crate::say;
use crate::sys;

const QUIET: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
const SHARED: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV;

/// A file system of the kernel: type, mount point, mount flags, options.
type KernelFs = (&'static str, &'static str, libc::c_ulong, &'static str);

/// File systems that every process expects.
const NEEDED: &[KernelFs] = &[
    ("proc", "/proc", QUIET, ""),
    ("sysfs", "/sys", QUIET, ""),
    ("devtmpfs", "/dev", libc::MS_NOSUID, "mode=0755"),
    ("tmpfs", "/tmp", SHARED, "mode=1777"),
    ("tmpfs", "/run", SHARED, "mode=0755"),
    ("tmpfs", "/dev/shm", SHARED, "mode=1777"),
    (
        "devpts",
        "/dev/pts",
        libc::MS_NOSUID | libc::MS_NOEXEC,
        "mode=0620,gid=5,ptmxmode=0666",
    ),
];

/// File systems that some kernels have.
const OPTIONAL: &[KernelFs] = &[
    ("mqueue", "/dev/mqueue", QUIET, ""),
    ("cgroup2", "/sys/fs/cgroup", QUIET, ""),
    ("tracefs", "/sys/kernel/tracing", QUIET, ""),
    ("securityfs", "/sys/kernel/security", QUIET, ""),
];

/// Mounts the kernel's file systems. A failure is only a warning, because the program may not need
/// the file system.
pub fn kernel_file_systems() {
    for (kind, dir, flags, options) in NEEDED {
        let dir = Path::new(dir);
        make_dir(dir);
        // The mount would hide the image's files in this directory, so they are moved onto the new
        // file system.
        let below = File::open(dir);
        if let Err(error) = sys::mount(kind, dir, kind, *flags, options) {
            let dir = dir.display();
            say(format_args!("warning: {dir}: cannot mount {kind}: {error}"));
        } else if matches!(*kind, "tmpfs" | "devtmpfs")
            && let Err(error) = below.and_then(|below| move_contents(&below, dir))
        {
            let dir = dir.display();
            say(format_args!("warning: {dir}: files of the image: {error}"));
        }
    }
    for (kind, dir, flags, options) in OPTIONAL {
        make_dir(Path::new(dir));
        let _ = sys::mount(kind, Path::new(dir), kind, *flags, options);
    }
    for (path, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        let _ = symlink(target, path);
    }
    let _ = fs::create_dir_all("/run/ukl");
}

/// Makes a directory if it is missing. An error is not reported here, because the mount then fails,
/// too.
fn make_dir(dir: &Path) {
    let _ = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir);
}

/// Moves the contents of a directory, which may be hidden by a mount, to another one.
fn move_contents(from: &File, to: &Path) -> io::Result<()> {
    // This link leads to the directory itself, not to the file system that is mounted on it
    // (proc_pid_fd(5)).
    let from = format!("/proc/self/fd/{}", from.as_raw_fd());
    move_entries(Path::new(&from), to)
}

/// Moves files, directories and symbolic links to a directory on another file system. It does not
/// replace existing files, and does not move devices, because devtmpfs contains the kernel's.
fn move_entries(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&source)?;
        let is_new = fs::symlink_metadata(&target).is_err();
        if meta.is_dir() {
            if is_new {
                fs::create_dir(&target)?;
                fs::set_permissions(&target, meta.permissions())?;
            }
            move_entries(&source, &target)?;
        } else if is_new && meta.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if is_new && meta.is_file() {
            fs::copy(&source, &target)?;
            // This frees its memory.
            fs::remove_file(&source)?;
        }
    }
    Ok(())
}

/// Mounts the host's directories, and makes the symbolic links that belong to them.
pub fn volumes(run: &Run) -> Result<()> {
    for mount in &run.mounts {
        let dir = &mount.dir;
        fs::create_dir_all(dir).map_err(failed(dir.display()))?;
        // If /etc is a volume, the files with the guest's names and addresses are put on top of it.
        let etc = dir == Path::new("/etc");
        let saved = if etc { save_own_files() } else { Vec::new() };
        mount_9p(mount).map_err(failed(format_args!("cannot mount {}", dir.display())))?;
        for (own, target) in saved {
            if let Err(error) = sys::mount(&own, Path::new(target), "", libc::MS_BIND, "")
                && error.kind() != io::ErrorKind::NotFound
            {
                say(format_args!("warning: {target}: {error}"));
            }
        }
    }
    for link in &run.links {
        let path = &link.path;
        // The image may have an empty directory at the link's path.
        let _ = fs::remove_dir(path);
        if fs::symlink_metadata(path).is_err() {
            symlink(&link.target, path).map_err(failed(path.display()))?;
        }
    }
    Ok(())
}

fn mount_9p(mount: &Mount) -> io::Result<()> {
    // Without a cache, a write has reached the host when it returns, and fsync is the host's fsync,
    // which databases require. A directory that the host does not change can be cached.
    let cache = if mount.cached { "loose" } else { "none" };
    let options = format!("trans=virtio,version=9p2000.L,msize=512000,access=client,cache={cache}");
    let flags = if mount.writable { 0 } else { libc::MS_RDONLY };
    sys::mount(&mount.tag, &mount.dir, "9p", flags, &options)
}

/// Copies the files with this machine's names and addresses. Returns the copies and their paths.
fn save_own_files() -> Vec<(String, &'static str)> {
    let mut saved = Vec::new();
    for path in ["/etc/resolv.conf", "/etc/hosts"] {
        let copy = format!("/run/ukl/{}", path.trim_start_matches("/etc/"));
        if fs::copy(path, &copy).is_ok() {
            saved.push((copy, path));
        }
    }
    saved
}

/// Writes all dirty data and unmounts the host's directories and disks.
pub fn flush() {
    sys::sync();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines().rev() {
        let mut fields = line.split(' ');
        let (source, Some(dir), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if kind == "9p" || source.is_some_and(|source| source.starts_with("/dev/")) {
            // A busy file system cannot be unmounted, but it has been synced.
            let _ = sys::unmount(Path::new(dir));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn contents_move_and_what_is_there_stays() {
        let base = std::env::temp_dir().join(format!("ukl-init-{}", std::process::id()));
        let (from, to) = (base.join("from"), base.join("to"));
        fs::create_dir_all(from.join("dir/deep")).unwrap();
        fs::create_dir_all(to.join("dir")).unwrap();
        fs::write(from.join("dir/deep/file"), "moved").unwrap();
        let mode = |mode| fs::Permissions::from_mode(mode);
        fs::set_permissions(from.join("dir/deep"), mode(0o710)).unwrap();
        fs::set_permissions(from.join("dir/deep/file"), mode(0o640)).unwrap();
        fs::write(from.join("both"), "hidden").unwrap();
        fs::write(to.join("both"), "kept").unwrap();
        symlink("dir", from.join("link")).unwrap();

        move_contents(&File::open(&from).unwrap(), &to).unwrap();
        let text = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!(text("dir/deep/file"), "moved");
        assert_eq!(text("both"), "kept");
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("dir"));
        let mode = |name: &str| fs::metadata(to.join(name)).unwrap().permissions().mode();
        assert_eq!(mode("dir/deep") & 0o7777, 0o710);
        assert_eq!(mode("dir/deep/file") & 0o7777, 0o640);
        assert!(!from.join("dir/deep/file").exists());
        fs::remove_dir_all(base).unwrap();
    }
}
