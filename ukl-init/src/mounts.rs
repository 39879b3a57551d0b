//! Mounts the kernel's file systems and the directories of the host.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::config::Config;
use crate::config::Mount;
use crate::error::Result;
use crate::failed;
use crate::say;
use crate::sys;

const QUIET: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
const SHARED: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV;

/// File systems that every process may expect.
const NEEDED: &[(&str, &str, libc::c_ulong, &str)] = &[
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

/// File systems that only some kernels have.
const WELCOME: &[(&str, &str, libc::c_ulong, &str)] = &[
    ("mqueue", "/dev/mqueue", QUIET, ""),
    ("cgroup2", "/sys/fs/cgroup", QUIET, ""),
    ("tracefs", "/sys/kernel/tracing", QUIET, ""),
    ("securityfs", "/sys/kernel/security", QUIET, ""),
];

/// Mounts the kernel's file systems. A failure is only reported: the program may not need it.
pub fn kernel_file_systems() {
    for (kind, dir, flags, options) in NEEDED {
        make_dir(Path::new(dir));
        if let Err(error) = sys::mount(kind, Path::new(dir), kind, *flags, options) {
            say(format_args!("warning: {dir}: cannot mount {kind}: {error}"));
        }
    }
    for (kind, dir, flags, options) in WELCOME {
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

/// Creates a directory if it is missing. If that fails, the mount reports it.
fn make_dir(dir: &Path) {
    let _ = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir);
}

/// Mounts the host's directories and creates the symbolic links that belong to them.
pub fn volumes(config: &Config) -> Result<()> {
    for mount in &config.mounts {
        let dir = &mount.dir;
        fs::create_dir_all(dir).map_err(failed(dir.display()))?;
        // Host name and addresses are the guest's own, even if it has the host's /etc.
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
    for (path, target) in &config.links {
        // The image may have an empty directory in this place.
        let _ = fs::remove_dir(path);
        if fs::symlink_metadata(path).is_err() {
            symlink(target, path).map_err(failed(path.display()))?;
        }
    }
    Ok(())
}

fn mount_9p(mount: &Mount) -> io::Result<()> {
    // Without a cache, every write has reached the host when it returns, and fsync is the host's
    // fsync, as databases need it. A directory that the host does not change can be cached.
    let cache = if mount.cached { "loose" } else { "none" };
    let options = format!("trans=virtio,version=9p2000.L,msize=512000,access=client,cache={cache}");
    let flags = if mount.writable { 0 } else { libc::MS_RDONLY };
    sys::mount(&mount.tag, &mount.dir, "9p", flags, &options)
}

/// Copies of the files that describe this guest's network, and their places.
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

/// Writes all data back and unmounts the host's directories and disks.
pub fn flush() {
    sys::sync();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines().rev() {
        let mut fields = line.split(' ');
        let (source, Some(dir), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if kind == "9p" || source.is_some_and(|source| source.starts_with("/dev/")) {
            // A file system that stays busy has been synced.
            let _ = sys::unmount(Path::new(dir));
        }
    }
}
