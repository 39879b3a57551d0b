//! Names of files that both sides use.

/// The file of QEMU's firmware configuration device (docs/specs/fw_cfg.rst of QEMU) that carries
/// the records of [`crate::run`]. QEMU reserves names below `opt/` for its users.
pub const RUN_FILE: &str = "opt/org.unikernel-linux/run";

/// The directory of the guest with the program and its files.
pub const PROGRAM_DIR: &str = "/ukl";

/// The image's configuration ([`crate::image_conf`]), in the guest.
pub const IMAGE_CONF: &str = "/ukl/image.conf";

/// The module of the program's kernel code, in the guest.
pub const KERNEL_MODULE: &str = "/ukl/kernel-code.ko";
