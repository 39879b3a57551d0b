//! Reads QEMU's firmware configuration device through its I/O ports (docs/specs/fw_cfg.rst in
//! QEMU).
//!
//! The kernel's driver finds the device only by ACPI. This module is for machines without ACPI
//! (microvm).

use std::arch::asm;
use std::io;

use crate::sys;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const SIGNATURE: u16 = 0x00;
const DIRECTORY: u16 = 0x19;
/// Limits for the numbers that the device reports.
const MAX_FILES: u32 = 4096;
const MAX_SIZE: u32 = 16 << 20;

/// Reads the file called `name`, if the device exists and has it.
pub fn read(name: &str) -> io::Result<Option<Vec<u8>>> {
    // SAFETY: no memory is involved.
    sys::check(unsafe { libc::ioperm(SELECTOR.into(), 2, 1) })?;
    let mut device = Ports;
    Ok(find(&mut device, name))
}

/// The device, or a stand-in for tests.
trait Device {
    fn select(&mut self, item: u16);
    fn byte(&mut self) -> u8;

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }
}

struct Ports;

impl Device for Ports {
    fn select(&mut self, item: u16) {
        // SAFETY: `read` got access to this port, and the instruction does not touch memory.
        unsafe { asm!("out dx, ax", in("dx") SELECTOR, in("ax") item, options(nomem, nostack)) };
    }

    fn byte(&mut self) -> u8 {
        let byte;
        // SAFETY: as above.
        unsafe { asm!("in al, dx", in("dx") DATA, out("al") byte, options(nomem, nostack)) };
        byte
    }
}

fn find(device: &mut impl Device, name: &str) -> Option<Vec<u8>> {
    device.select(SIGNATURE);
    if device.bytes() != *b"QEMU" {
        return None;
    }
    device.select(DIRECTORY);
    let count = u32::from_be_bytes(device.bytes());
    for _ in 0..count.min(MAX_FILES) {
        let size = u32::from_be_bytes(device.bytes());
        let item = u16::from_be_bytes(device.bytes());
        let _reserved: [u8; 2] = device.bytes();
        let found: [u8; 56] = device.bytes();
        if found.split(|byte| *byte == 0).next() == Some(name.as_bytes()) && size <= MAX_SIZE {
            device.select(item);
            return Some((0..size).map(|_| device.byte()).collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fake {
        items: Vec<(u16, Vec<u8>)>,
        rest: std::vec::IntoIter<u8>,
    }

    impl Device for Fake {
        fn select(&mut self, item: u16) {
            let found = self.items.iter().find(|(number, _)| *number == item);
            self.rest = found
                .map(|(_, data)| data.clone())
                .unwrap_or_default()
                .into_iter();
        }

        fn byte(&mut self) -> u8 {
            self.rest.next().unwrap_or(0)
        }
    }

    fn device() -> Fake {
        let mut directory = 2u32.to_be_bytes().to_vec();
        for (name, item, size) in [("etc/other", 0x20u16, 9u32), ("opt/this", 0x21, 4)] {
            directory.extend_from_slice(&size.to_be_bytes());
            directory.extend_from_slice(&item.to_be_bytes());
            directory.extend_from_slice(&[0; 2]);
            let mut field = name.as_bytes().to_vec();
            field.resize(56, 0);
            directory.extend_from_slice(&field);
        }
        let items = vec![
            (0, b"QEMU".to_vec()),
            (0x19, directory),
            (0x21, b"data".to_vec()),
        ];
        Fake {
            items,
            ..Fake::default()
        }
    }

    #[test]
    fn a_file_is_found_by_its_name() {
        assert_eq!(find(&mut device(), "opt/this").unwrap(), b"data");
        assert_eq!(find(&mut device(), "opt/that"), None);
        assert_eq!(find(&mut Fake::default(), "opt/this"), None);
    }
}
