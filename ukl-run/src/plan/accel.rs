//! How the guest's instructions are executed.

use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd as _;

use crate::args::Args;
use crate::sys;

/// How instructions of the guest are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By translation.
    Tcg,
    /// By translation, with a clock that counts instructions.
    Icount,
}

impl Accel {
    /// Chooses by the options and by what the host supports.
    pub fn choose(args: &Args) -> Accel {
        if args.icount {
            Accel::Icount
        } else if !args.no_kvm && kvm_works() {
            Accel::Kvm
        } else {
            Accel::Tcg
        }
    }
}

/// Whether the processor can run the guest. On some machines /dev/kvm exists and works for a while
/// although the processor has no support for it, so the processor is asked too.
fn kvm_works() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu
        .lines()
        .find(|line| line.starts_with("flags"))
        .unwrap_or_default();
    if !flags
        .split_whitespace()
        .any(|flag| flag == "vmx" || flag == "svm")
    {
        return false;
    }
    File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok_and(|kvm| sys::kvm_api_version(kvm.as_raw_fd()) == 12)
}
