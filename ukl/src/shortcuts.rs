//! Shortcuts: functions that do the work of a system call with less overhead. They behave like the
//! functions of libc with the same names, including errors and signals.
//!
//! By default they are system calls (c/host.c). In an image, `ukl-ld` replaces them by thunks that call
//! kernel code.

use std::ffi::c_int;
use std::ffi::c_long;
use std::io;
use std::os::fd::RawFd;

// c/host.c defines these functions. The definitions are weak, so that the link of an image can
// override them.
unsafe extern "C" {
    fn __ukl_shortcut_read(fd: c_long, buf: *mut u8, len: c_long) -> c_long;
    fn __ukl_shortcut_write(fd: c_long, buf: *const u8, len: c_long) -> c_long;
    fn __ukl_shortcut_pread64(fd: c_long, buf: *mut u8, len: c_long, pos: c_long) -> c_long;
    fn __ukl_shortcut_pwrite64(fd: c_long, buf: *const u8, len: c_long, pos: c_long) -> c_long;
    fn __ukl_shortcut_sendto(
        fd: c_long,
        buf: *const u8,
        len: c_long,
        flags: c_long,
        address: c_long,
        size: c_long,
    ) -> c_long;
    fn __ukl_shortcut_recvfrom(
        fd: c_long,
        buf: *mut u8,
        len: c_long,
        flags: c_long,
        address: c_long,
        size: c_long,
    ) -> c_long;
    fn __ukl_shortcut_epoll_wait(
        fd: c_long,
        events: *mut EpollEvent,
        max: c_long,
        timeout: c_long,
    ) -> c_long;
}

/// An event of epoll(7), as the kernel writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, packed)]
pub struct EpollEvent {
    /// The events that occurred, for instance `EPOLLIN`.
    pub events: u32,
    /// The value that the program passed with the descriptor.
    pub data: u64,
}

fn result(result: c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result as i32))
}

/// send(2).
pub fn send(fd: RawFd, buf: &[u8], flags: c_int) -> io::Result<usize> {
    let (at, len) = (buf.as_ptr(), buf.len() as c_long);
    // SAFETY: the pointer and the length are the slice's.
    result(unsafe { __ukl_shortcut_sendto(fd.into(), at, len, flags.into(), 0, 0) })
}

/// recv(2).
pub fn recv(fd: RawFd, buf: &mut [u8], flags: c_int) -> io::Result<usize> {
    let (at, len) = (buf.as_mut_ptr(), buf.len() as c_long);
    // SAFETY: as above.
    result(unsafe { __ukl_shortcut_recvfrom(fd.into(), at, len, flags.into(), 0, 0) })
}

/// read(2).
pub fn read(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let (at, len) = (buf.as_mut_ptr(), buf.len() as c_long);
    // SAFETY: as above.
    result(unsafe { __ukl_shortcut_read(fd.into(), at, len) })
}

/// write(2).
pub fn write(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    let (at, len) = (buf.as_ptr(), buf.len() as c_long);
    // SAFETY: as above.
    result(unsafe { __ukl_shortcut_write(fd.into(), at, len) })
}

/// pread(2).
pub fn pread(fd: RawFd, buf: &mut [u8], position: u64) -> io::Result<usize> {
    let (at, len) = (buf.as_mut_ptr(), buf.len() as c_long);
    // SAFETY: as above. The call rejects a position that is too large.
    result(unsafe { __ukl_shortcut_pread64(fd.into(), at, len, position as c_long) })
}

/// pwrite(2).
pub fn pwrite(fd: RawFd, buf: &[u8], position: u64) -> io::Result<usize> {
    let (at, len) = (buf.as_ptr(), buf.len() as c_long);
    // SAFETY: as above.
    result(unsafe { __ukl_shortcut_pwrite64(fd.into(), at, len, position as c_long) })
}

/// epoll_wait(2). The timeout is in milliseconds; a negative one is infinite.
pub fn epoll_wait(fd: RawFd, events: &mut [EpollEvent], timeout: c_int) -> io::Result<usize> {
    let (at, max) = (events.as_mut_ptr(), events.len().min(c_int::MAX as usize));
    // SAFETY: the slice has room for `max` events.
    result(unsafe { __ukl_shortcut_epoll_wait(fd.into(), at, max as c_long, timeout.into()) })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let (a, b) = UnixStream::pair().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(send(a.as_raw_fd(), b"ab", 0).unwrap(), 2);
        assert_eq!(write(a.as_raw_fd(), b"cde").unwrap(), 3);
        assert_eq!(recv(b.as_raw_fd(), &mut buffer[..3], 0).unwrap(), 3);
        assert_eq!(read(b.as_raw_fd(), &mut buffer[3..]).unwrap(), 2);
        assert_eq!(&buffer[..5], b"abcde");
    }

    #[test]
    fn a_file_is_read_at_a_position() {
        let file = File::open("/proc/self/exe").unwrap();
        let mut buffer = [0; 3];
        assert_eq!(pread(file.as_raw_fd(), &mut buffer, 1).unwrap(), 3);
        assert_eq!(&buffer, b"ELF");
        // The file is open only for reading.
        let error = pwrite(file.as_raw_fd(), &buffer, 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(9));
    }

    #[test]
    fn errors_are_those_of_the_call() {
        assert_eq!(read(-1, &mut [0]).unwrap_err().raw_os_error(), Some(9));
        let file = File::open("/proc/self/exe").unwrap();
        let error = epoll_wait(file.as_raw_fd(), &mut [EpollEvent::default()], 0);
        assert_eq!(error.unwrap_err().raw_os_error(), Some(22));
    }
}
