//! Reads init's configuration: that of the image, and the records of `ukl-run` or the kernel's
//! command line.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use ukl_proto::image_conf::ImageConf;
use ukl_proto::names::IMAGE_CONF;
use ukl_proto::names::RUN_FILE;
use ukl_proto::run::Run;

use crate::error::Error;
use crate::error::Result;
use crate::failed;
use crate::fw_cfg;

/// The directory in which the kernel's driver shows the files of the firmware configuration device.
const BY_NAME: &str = "/sys/firmware/qemu_fw_cfg/by_name";

/// The records of `ukl-run`, if it started this machine.
pub fn records() -> Result<Option<Vec<u8>>> {
    let path = Path::new(BY_NAME).join(RUN_FILE).join("raw");
    match fs::read(&path) {
        Ok(records) => Ok(Some(records)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path.display())(error)),
        Err(_) if Path::new(BY_NAME).exists() => Ok(None),
        // If the kernel refuses access to the device's ports, ukl-run did not start this machine.
        Err(_) => Ok(fw_cfg::read(RUN_FILE).unwrap_or(None)),
    }
}

/// What to run, according to the records of `ukl-run`, or to the kernel's command line if there are
/// none.
pub fn run(records: Option<&[u8]>) -> Result<Run> {
    match records {
        Some(records) => Run::decode(records).map_err(|error| Error(error.to_string())),
        None => Ok(plain_boot()),
    }
}

/// What to run in a boot without `ukl-run`.
fn plain_boot() -> Run {
    let cmdline = fs::read("/proc/cmdline").unwrap_or_default();
    Run {
        args: arguments(&cmdline),
        // The kernel puts unknown `NAME=value` parameters into init's environment.
        env: std::env::vars_os()
            .filter(|(name, _)| name != "HOME" && name != "TERM")
            .collect(),
        ..Run::default()
    }
}

/// Reads the image's configuration.
pub fn image() -> Result<ImageConf> {
    let text = fs::read_to_string(IMAGE_CONF).map_err(failed(IMAGE_CONF))?;
    ImageConf::decode(&text).map_err(|error| Error(error.to_string()))
}

/// The words after `--` on a kernel command line, in which only `"` quotes.
fn arguments(cmdline: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let (mut quoted, mut any) = (false, false);
    for byte in cmdline.iter().copied().chain([b' ']) {
        match byte {
            b'"' => {
                quoted = !quoted;
                any = true;
            }
            b' ' | b'\n' | b'\t' if !quoted => {
                if any {
                    words.push(OsString::from_vec(std::mem::take(&mut word)));
                }
                any = false;
            }
            _ => {
                word.push(byte);
                any = true;
            }
        }
    }
    match words.iter().position(|word| word == "--") {
        Some(at) => words.split_off(at + 1),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_follow_the_dashes() {
        assert_eq!(
            arguments(b"console=ttyS0 x=\"a b\" -- one \"two three\" \"\" f=\"4 5\"\n"),
            ["one", "two three", "", "f=4 5"]
        );
        assert!(arguments(b"console=ttyS0\n").is_empty());
    }
}
