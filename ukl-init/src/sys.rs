//! System calls for which the standard library has no function.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use ukl_proto::image_conf::User;

/// Turns a result of -1 into an error.
pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// mount(2).
pub fn mount(
    source: &str,
    target: &Path,
    kind: &str,
    flags: libc::c_ulong,
    options: &str,
) -> io::Result<()> {
    let source = c_string(source.as_bytes())?;
    let target = c_string(target.as_os_str().as_bytes())?;
    let kind = c_string(kind.as_bytes())?;
    let options = c_string(options.as_bytes())?;
    // SAFETY: the strings live until the call returns.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    })
    .map(drop)
}

/// umount(2).
pub fn unmount(target: &Path) -> io::Result<()> {
    let target = c_string(target.as_os_str().as_bytes())?;
    // SAFETY: the string lives until the call returns.
    check(unsafe { libc::umount2(target.as_ptr(), 0) }).map(drop)
}

/// A pipe whose ends are closed on exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors, and nothing else owns the new descriptors.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// Waits until one of `fds` can be read or has ended, or until `timeout` (milliseconds, -1 for none).
/// Returns the events of each.
pub fn poll<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: i32) -> io::Result<[i16; N]> {
    let mut polls = fds.map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: the length is the array's.
    let result = unsafe { libc::poll(polls.as_mut_ptr(), N as libc::nfds_t, timeout) };
    match check(result) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(polls.map(|poll| poll.revents)),
    }
}

/// Sets the name of the machine.
pub fn set_hostname(name: &str) {
    // SAFETY: the pointer and the length belong together. Init continues if the kernel refuses the
    // name.
    unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
}

/// Raises resource limits, because the program has the machine to itself. The soft limit of
/// descriptors stays low enough for programs that close all possible descriptors in a loop.
pub fn raise_limits() {
    let infinity = libc::RLIM_INFINITY;
    for (what, soft, hard) in [
        (libc::RLIMIT_NOFILE, 65_536, 1_048_576),
        (libc::RLIMIT_NPROC, infinity, infinity),
        (libc::RLIMIT_MEMLOCK, infinity, infinity),
        (libc::RLIMIT_MSGQUEUE, infinity, infinity),
        (libc::RLIMIT_SIGPENDING, infinity, infinity),
        (libc::RLIMIT_RTPRIO, 99, 99),
        (libc::RLIMIT_STACK, 8 << 20, infinity),
        (libc::RLIMIT_CORE, 0, infinity),
    ] {
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: the structure is valid. If the kernel refuses, its defaults stay.
        unsafe { libc::setrlimit(what, &limit) };
    }
}

/// Sends a signal; a negative `pid` is a process group.
pub fn kill(pid: libc::pid_t, signal: libc::c_int) {
    // SAFETY: no memory is involved. The process may no longer exist, which is not an error.
    unsafe { libc::kill(pid, signal) };
}

/// Waits for a child to end, without reaping it. `None` if there are no children.
pub fn next_dead() -> Option<libc::pid_t> {
    loop {
        // SAFETY: an all-zero siginfo is valid and is filled in.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let result =
            unsafe { libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOWAIT) };
        match check(result) {
            // SAFETY: waitid filled it in for a child that ended.
            Ok(_) => return Some(unsafe { info.si_pid() }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// Reaps `pid` (-1 for any child): its process ID and its wait status. With WNOHANG in `flags` it
/// does not wait.
pub fn reap(pid: libc::pid_t, flags: libc::c_int) -> io::Result<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer leads to a variable for the status.
        match check(unsafe { libc::waitpid(pid, &mut status, flags) }) {
            Ok(pid) => return Ok((pid, status)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits until the console has sent everything that was written to it.
pub fn drain_console() {
    for fd in [1, 2] {
        // SAFETY: no memory is involved. The call fails if this is not a terminal, which needs no
        // waiting.
        unsafe { libc::tcdrain(fd) };
    }
}

/// Writes all dirty data to its file systems (sync(2)).
pub fn sync() {
    // SAFETY: no arguments.
    unsafe { libc::sync() };
}

/// reboot(2) with one of its commands.
pub fn reboot(command: libc::c_int) {
    // SAFETY: no memory is involved.
    unsafe { libc::reboot(command) };
}

/// Makes a pseudoterminal. Returns init's end and the program's end.
pub fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut ours, mut theirs) = (0, 0);
    let null = ptr::null_mut();
    // SAFETY: the pointers lead to variables for two descriptors, and nothing else owns the new
    // descriptors. The other pointers are null.
    let ends = unsafe {
        check(libc::openpty(
            &mut ours,
            &mut theirs,
            null,
            null.cast(),
            null.cast(),
        ))?;
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    };
    for end in [&ends.0, &ends.1] {
        // SAFETY: no memory is involved.
        check(unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok(ends)
}

/// Sets the size of a terminal.
pub fn set_window(tty: BorrowedFd<'_>, rows: u16, columns: u16) {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the request takes a winsize.
    unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ, &size) };
}

/// Makes the caller the leader of a new session, with its standard input as controlling terminal if
/// `tty`.
///
/// For use between fork and exec: it only makes system calls.
pub fn new_session(tty: bool) -> io::Result<()> {
    // SAFETY: no memory is involved.
    unsafe {
        check(libc::setsid())?;
        if tty {
            check(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
        }
    }
    Ok(())
}

/// An interface request filled with zeros.
pub fn zeroed_ifreq() -> libc::ifreq {
    // SAFETY: all zeros are a valid ifreq: names, numbers and null pointers.
    unsafe { std::mem::zeroed() }
}

/// An ioctl on a socket with an interface request.
pub fn interface_ioctl(
    socket: BorrowedFd<'_>,
    request: libc::c_ulong,
    argument: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: every request used with it takes an ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), request as _, ptr::from_mut(argument)) })
        .map(drop)
}

/// Adds a route.
pub fn add_route(socket: BorrowedFd<'_>, route: &libc::rtentry) -> io::Result<()> {
    // SAFETY: SIOCADDRT takes an rtentry.
    check(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCADDRT as _,
            ptr::from_ref(route),
        )
    })
    .map(drop)
}

/// Loads a kernel module.
pub fn init_module(module: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads the module and the parameters, of which there are none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_init_module,
            module.as_ptr(),
            module.len(),
            c"".as_ptr(),
        )
    };
    check(result as libc::c_int)?;
    Ok(())
}

/// Sets an extended attribute of a file.
pub fn set_attribute(file: &std::fs::File, name: &std::ffi::CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: the name ends in a NUL, and the value is as long as it says.
    check(unsafe {
        libc::fsetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    })?;
    Ok(())
}

/// Sets the immutable flag of a file (chattr(1) +i).
pub fn make_immutable(file: &std::fs::File) -> io::Result<()> {
    // linux/fs.h. The argument is an int, although the request number says long.
    const FS_IMMUTABLE_FL: libc::c_int = 0x10;
    let mut flags: libc::c_int = 0;
    // SAFETY: both take a pointer to an int.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS as _, &raw mut flags) })?;
    flags |= FS_IMMUTABLE_FL;
    // SAFETY: as above.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS as _, &raw mut flags) })?;
    Ok(())
}

/// Adds bits to the personality of this thread, which its children inherit.
pub fn add_personality(bits: u32) -> io::Result<()> {
    // SAFETY: no memory is involved. This number returns the present personality.
    let present = check(unsafe { libc::personality(0xffff_ffff) })?;
    // SAFETY: as above.
    check(unsafe { libc::personality((present as u32 | bits).into()) })?;
    Ok(())
}

/// Gives the standard streams to a user and takes on the user's credentials, for good. This runs
/// between fork and exec, so it only makes system calls.
pub fn become_user(user: &User) -> io::Result<()> {
    for stream in 0..3 {
        // Programs open /dev/stdout again, which needs permission. Not every stream has an owner.
        // SAFETY: no memory is involved.
        unsafe { libc::fchown(stream, user.uid, user.gid) };
    }
    // SAFETY: the pointer and the length are those of a slice.
    check(unsafe { libc::setgroups(user.groups.len(), user.groups.as_ptr()) })?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::setgid(user.gid) })?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::setuid(user.uid) })?;
    Ok(())
}
