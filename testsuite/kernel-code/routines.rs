//! Kernel functions and variables by name, and the crate's shortcuts.

use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

ukl::kernel_symbols!(vmalloc, vfree, msleep, jiffies);

unsafe extern "C" {
    fn vmalloc(size: usize) -> *mut u8;
    fn vfree(address: *const u8);
    fn msleep(ms: u32);
    static jiffies: u64;
}

fn main() -> ExitCode {
    let (a, b) = UnixStream::pair().expect("a pair");
    let mut buffer = [0; 8];
    assert_eq!(ukl::send(a.as_raw_fd(), b"hello", 0).expect("send"), 5);
    assert_eq!(ukl::recv(b.as_raw_fd(), &mut buffer, 0).expect("recv"), 5);
    assert_eq!(&buffer[..5], b"hello");
    println!("shortcuts");
    std::io::stdout().flush().expect("standard output");

    // SAFETY: the memory is as long as was asked for, and given back once.
    unsafe {
        let memory = vmalloc(4096);
        memory.write_bytes(9, 4096);
        assert_eq!(memory.add(4095).read(), 9);
        vfree(memory);
        let before = (&raw const jiffies).read_volatile();
        msleep(20);
        assert!((&raw const jiffies).read_volatile() > before);
    }
    println!("kernel routines");
    ExitCode::from(42)
}
