//! Stops the machine.

use std::path::Path;
use std::time::Duration;

use crate::sys;

/// Turns the machine off.
pub fn off() -> ! {
    // The kernel does not wait until the serial line has sent everything.
    sys::drain_console();
    // Without ACPI the machine cannot be powered off, and the kernel would halt forever. A reset
    // also ends the virtual machine, because ukl-run starts QEMU with -no-reboot.
    if Path::new("/sys/firmware/acpi").exists() {
        sys::reboot(libc::RB_POWER_OFF);
    }
    sys::reboot(libc::RB_AUTOBOOT);
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
