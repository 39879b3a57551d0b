//! The boots of one test: the only way for a test to boot, and the scan of the kernels' logs.
//!
//! [`Tools::tool`](crate::tools::Tools::tool) and the `PATH` of [`project::path`](crate::project::path)
//! lead to the `ukl-run` of this module and to no other. It is a script that adds `--log` with a
//! file in the test's directory, so that no boot goes unrecorded, not even one that a build system
//! makes. When the test is over, the [`harness`](crate::harness) searches all of these logs for
//! messages that a healthy kernel does not print.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::kernel_log;

/// The environment variable that names the log of a command's boot. Without it, the name is the time.
const NAME: &str = "UKL_TEST_LOG";

/// The `ukl-run` of one test, and the logs of its boots.
#[derive(Debug)]
pub struct Boots {
    dir: PathBuf,
    provoked: Mutex<Option<String>>,
}

impl Boots {
    /// For the test of this name, with no boots yet.
    pub fn new(out: &Path, real: &Path, test: &str) -> Result<Self> {
        let dir = out.join("boots").join(test.replace('/', "-"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("logs"))?;
        let script = dir.join("ukl-run");
        let real = fs::canonicalize(real).with_context(|| real.display().to_string())?;
        let logs = dir.join("logs");
        let text = format!(
            "#!/bin/sh\nexec '{}' --log \"{}/${{{NAME}:-$(date +%s%N)-$$.log}}\" \"$@\"\n",
            real.display(),
            logs.display()
        );
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(Boots {
            dir,
            provoked: Mutex::default(),
        })
    }

    /// The directory of the command and of the logs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A boot whose log has this name, which ends in `.log`.
    pub fn command(&self, log: &str) -> Command {
        let mut command = Command::new(self.dir.join("ukl-run"));
        command.env(NAME, log);
        command
    }

    /// Where the log of that name is.
    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(name)
    }

    /// The logs of all boots so far, in the order of their names.
    pub fn logs(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.dir.join("logs"))?;
        let mut logs = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        logs.sort();
        Ok(logs)
    }

    /// Returns the number of boots. It is an error if no program ran at ring 0 in one of them.
    pub fn count_at_ring_0(&self) -> Result<usize> {
        let logs = self.logs()?;
        for log in &logs {
            ensure!(
                kernel_log::is_at_ring_0(&read(log)?),
                "{}: nothing ran at ring 0",
                log.display()
            );
        }
        Ok(logs.len())
    }

    /// Declares that the test provokes a complaint of the kernel on purpose: a line with this text.
    /// The scan then requires this complaint, and accepts no other.
    pub fn provokes(&self, text: &str) {
        *self.provoked() = Some(text.into());
    }

    fn provoked(&self) -> MutexGuard<'_, Option<String>> {
        self.provoked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of a boot that died of a fault of the emulation, if there was one.
    pub fn emulation_fault(&self) -> Result<Option<PathBuf>> {
        for log in self.logs()? {
            if kernel_log::is_emulation_fault(&read(&log)?) {
                return Ok(Some(log));
            }
        }
        Ok(None)
    }

    /// Checks that no kernel complained, except as [`provoked`](Boots::provokes).
    pub fn scan(&self) -> Result<()> {
        let provoked = self.provoked();
        let mut seen = false;
        for log in self.logs()? {
            let text = read(&log)?;
            let Some(complaint) = kernel_log::first_complaint(&text, &[]) else {
                continue;
            };
            match &*provoked {
                Some(wanted) if complaint.contains(wanted) => seen = true,
                _ => bail!(
                    "{}: the kernel complained:\n{}",
                    log.display(),
                    kernel_log::excerpt(&text, complaint)
                ),
            }
        }
        if let Some(wanted) = &*provoked {
            ensure!(seen, "no kernel logged `{wanted}`");
        }
        Ok(())
    }

    /// Copies the logs to a directory of the test's name in `to`, so that a failure can be examined.
    pub fn keep(&self, to: &Path) {
        let Some(name) = self.dir.file_name() else {
            return;
        };
        let to = to.join(name);
        let _ = fs::create_dir_all(&to);
        for log in self.logs().unwrap_or_default() {
            let _ = fs::copy(&log, to.join(log.file_name().unwrap_or(OsStr::new("log"))));
        }
    }
}

/// A log as text.
pub fn read(log: &Path) -> Result<String> {
    let bytes = fs::read(log).with_context(|| log.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SICK: &str = "[ 1.0] WARNING: CPU: 0 PID: 1 at x.c:1\n";

    /// A `ukl-run` that writes its arguments into the log.
    fn boots(name: &str) -> Boots {
        let out = std::env::temp_dir().join(format!("ukl-boots-{name}-{}", std::process::id()));
        fs::create_dir_all(&out).unwrap();
        let real = out.join("real");
        fs::write(&real, "#!/bin/sh\necho \"$3\" > \"$2\"\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
        Boots::new(&out, &real, "a/b").unwrap()
    }

    fn boot(mut command: Command, log: &str) {
        assert!(command.arg(log).status().unwrap().success());
    }

    #[test]
    fn each_boot_is_scanned() {
        let boots = boots("scan");
        boot(boots.command("one.log"), "[ 1.0] all is well");
        boots.scan().unwrap();
        // As a build system calls it, which knows nothing of logs.
        boot(Command::new(boots.dir().join("ukl-run")), SICK);
        assert_eq!(boots.logs().unwrap().len(), 2);
        let error = boots.scan().unwrap_err().to_string();
        assert!(error.contains("WARNING: CPU: 0"), "{error}");
        fs::remove_dir_all(boots.dir().join("../..")).unwrap();
    }

    #[test]
    fn what_is_provoked_has_to_come_and_nothing_else_may() {
        let boots = boots("provoked");
        boots.provokes("WARNING: CPU: 0");
        boot(boots.command("one.log"), "[ 1.0] all is well");
        assert!(boots.scan().is_err());
        boot(boots.command("two.log"), SICK);
        boots.scan().unwrap();
        boot(boots.command("three.log"), "[ 1.0] BUG: another");
        assert!(boots.scan().is_err());
        fs::remove_dir_all(boots.dir().join("../..")).unwrap();
    }
}
