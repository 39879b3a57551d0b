//! Boots that died of QEMU's emulation and are made again: each is reported, counted, and its log
//! kept. A fault of this kind is rare ([`kernel_log::is_emulation_fault`]), so what comes often is
//! something else and must not be retried away.

use std::fs;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use anyhow::bail;

use crate::boots;
use crate::kernel_log;

/// How many boots of one run of the test suite may be made again.
const MOST: usize = 2;

/// Counts a boot of this test that died of the emulation, and keeps its log. An error if there were
/// too many of them, or if it is not the first of this test: the boot must not be made again then.
pub fn count(run: &Path, test: &str, log: &Path) -> Result<()> {
    let dir = run.join("emulation");
    fs::create_dir_all(&dir)?;
    let text = boots::read(log).unwrap_or_default();
    let place = kernel_log::place_of_oops(&text).unwrap_or_default();
    let (number, kept) = register(&dir, test)?;
    let _ = fs::copy(log, &kept);
    eprintln!(
        "testsuite: {test}: a guest died of a fault of its emulation at {place}: {}",
        kept.display()
    );
    let of_this_test = (1..=number).filter(|&n| {
        fs::read_to_string(dir.join(n.to_string())).is_ok_and(|name| name.trim_end() == test)
    });
    if of_this_test.count() > 1 {
        bail!(
            "for the second time a guest of this test died of what looks like a fault of its \
             emulation; the log is {}",
            kept.display()
        );
    }
    if number > MOST {
        bail!(
            "{number} guests of this run died of what looks like a fault of their emulation, and \
             {MOST} are accepted (docs/bugs.md); the logs are in {}",
            dir.display()
        );
    }
    Ok(())
}

/// Takes the next number, which is the name of a file that holds the test's name. All processes of a
/// run share the directory.
fn register(dir: &Path, test: &str) -> Result<(usize, PathBuf)> {
    for number in 1.. {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(dir.join(number.to_string()));
        match file {
            Ok(mut file) => {
                writeln!(file, "{test}")?;
                return Ok((number, dir.join(format!("{number}.log"))));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("there is always a next number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_accepted_and_none_of_the_same_test() {
        let run = std::env::temp_dir().join(format!("ukl-emulation-{}", std::process::id()));
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&run).unwrap();
        let log = run.join("log");
        fs::write(&log, "the end").unwrap();
        count(&run, "a", &log).unwrap();
        let again = count(&run, "a", &log).unwrap_err().to_string();
        assert!(again.contains("second time"), "{again}");
        let third = count(&run, "b", &log).unwrap_err().to_string();
        assert!(third.starts_with("3 guests"), "{third}");
        let kept = fs::read_to_string(run.join("emulation/3.log")).unwrap();
        assert_eq!(kept, "the end");
        fs::remove_dir_all(&run).unwrap();
    }
}
