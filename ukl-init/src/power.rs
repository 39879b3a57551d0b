//! The end of the machine.

use std::path::Path;
use std::time::Duration;

use crate::sys;

/// Turns the machine off.
pub fn off() -> ! {
    // Without ACPI there is no way to switch it off, and the kernel would halt for ever; a reset
    // ends the virtual machine just as well, since ukl-run tells it not to start again.
    if Path::new("/sys/firmware/acpi").exists() {
        sys::reboot(libc::RB_POWER_OFF);
    }
    sys::reboot(libc::RB_AUTOBOOT);
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
