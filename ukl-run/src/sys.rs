//! System calls for which the standard library has no function.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::fd::FromRawFd as _;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;

/// The signals that are handled.
const SIGNALS: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGWINCH];

/// Turns a result of -1 into an error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Whether two descriptors refer to the same open file, so that writes to them have one order.
pub fn same_file(one: RawFd, other: RawFd) -> bool {
    let identity = |fd| {
        // SAFETY: an all-zero stat is valid and is filled in.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer leads to a variable for the result.
        check(unsafe { libc::fstat(fd, &mut stat) }).ok()?;
        // SAFETY: no memory is involved.
        let position = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
        Some((stat.st_dev, stat.st_ino, position))
    };
    match (identity(one), identity(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// The version of KVM's interface.
pub fn kvm_api_version(kvm: RawFd) -> libc::c_int {
    const KVM_GET_API_VERSION: libc::c_ulong = 0xae00;
    // SAFETY: the request takes no argument.
    unsafe { libc::ioctl(kvm, KVM_GET_API_VERSION as _, 0) }
}

/// A file in memory, without a name, that holds `data`.
pub fn memory_file(data: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string, and nothing else owns the new descriptor.
    let mut file = unsafe {
        File::from_raw_fd(check(libc::memfd_create(
            c"ukl-run".as_ptr(),
            libc::MFD_CLOEXEC,
        ))?)
    };
    file.write_all(data)?;
    Ok(file.into())
}

/// Blocks these signals in this thread and in those that it starts, for [`next_signal`].
pub fn hold_signals() {
    // SAFETY: a set of signals on the stack.
    unsafe {
        let set = signal_set();
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// Waits for one of these signals.
pub fn next_signal() -> libc::c_int {
    let set = signal_set();
    let mut signal = 0;
    // SAFETY: the pointers lead to a set of signals and to a variable for the result.
    while unsafe { libc::sigwait(&set, &mut signal) } != 0 {}
    signal
}

fn signal_set() -> libc::sigset_t {
    // SAFETY: sigemptyset makes it valid.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in SIGNALS {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// Prepares the process that will execute QEMU: removes it from the terminal's foreground process
/// group, and makes the kernel kill it when ukl-run ends.
///
/// For use between fork and exec: it only makes system calls.
pub fn become_dependent(parent: libc::pid_t, inherited: &[RawFd]) -> io::Result<()> {
    // SAFETY: no memory is involved.
    unsafe {
        // Ctrl-C is handled by ukl-run alone.
        check(libc::setsid())?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        if libc::getppid() != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        for fd in inherited {
            check(libc::fcntl(*fd, libc::F_SETFD, 0))?;
        }
    }
    Ok(())
}

/// A descriptor that becomes readable when a process has ended.
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: nothing else owns the new descriptor.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0);
        Ok(OwnedFd::from_raw_fd(check(fd as libc::c_int)?))
    }
}

/// Waits until a descriptor can be read, or written to if `write`.
pub fn wait_for(fd: RawFd, write: bool) {
    let events = if write { libc::POLLOUT } else { libc::POLLIN };
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: the pointer leads to one structure.
    unsafe { libc::poll(&mut poll, 1, -1) };
}

/// write(2) to an inherited descriptor, which may be non-blocking.
pub fn write_all(fd: RawFd, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        // SAFETY: the pointer and the length are the slice's.
        let count = unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) };
        match check(count.clamp(-1, i32::MAX as isize) as libc::c_int) {
            Ok(count) => data = &data[count as usize..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for(fd, true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// read(2) from an inherited descriptor, which may be non-blocking.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: the pointer and the length are the slice's.
        let count = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        match check(count.clamp(-1, i32::MAX as isize) as libc::c_int) {
            Ok(count) => return Ok(count as usize),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for(fd, false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The size of a terminal: rows and columns.
pub fn window(fd: RawFd) -> Option<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the request fills in a winsize.
    check(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &mut size) }).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// A terminal's settings.
pub fn terminal_settings(file: &File) -> io::Result<libc::termios> {
    // SAFETY: an all-zero termios is valid and is filled in.
    unsafe {
        let mut settings = std::mem::zeroed();
        check(libc::tcgetattr(file.as_raw_fd(), &mut settings))?;
        Ok(settings)
    }
}

/// Sets a terminal's settings.
pub fn set_terminal(file: &File, settings: &libc::termios) -> io::Result<()> {
    // SAFETY: valid settings.
    check(unsafe { libc::tcsetattr(file.as_raw_fd(), libc::TCSADRAIN, settings) }).map(drop)
}
