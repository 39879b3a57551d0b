//! Boots that died of a fault of QEMU's emulation and are made again. Each is reported and counted,
//! and its log is kept. The log proves the fault ([`kernel_log::is_emulation_fault`]). It kills about
//! one in several hundred boots, of which a run of all suites has about three hundred. If it comes
//! much more often, something else is wrong as well, so the number of repetitions is limited.

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
const MOST: usize = 8;

/// How many of them may be of the same test.
const MOST_OF_A_TEST: usize = 2;

/// Counts a boot of this test that died of the emulation, and keeps its log. An error if there were
/// too many of them in this run or of this test: the boot must not be made again then.
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
    let of_this_test = of_this_test.count();
    if of_this_test > MOST_OF_A_TEST {
        bail!(
            "{of_this_test} guests of this test died of what looks like a fault of their emulation, \
             and {MOST_OF_A_TEST} are accepted (docs/bugs.md); the logs are in {}",
            dir.display()
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
    fn the_number_is_limited_for_a_run_and_for_a_test() {
        let run = std::env::temp_dir().join(format!("ukl-emulation-{}", std::process::id()));
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&run).unwrap();
        let log = run.join("log");
        fs::write(&log, "the end").unwrap();
        for _ in 0..MOST_OF_A_TEST {
            count(&run, "a", &log).unwrap();
        }
        let again = count(&run, "a", &log).unwrap_err().to_string();
        assert!(again.starts_with("3 guests of this test"), "{again}");
        for other in MOST_OF_A_TEST + 1..MOST {
            count(&run, &other.to_string(), &log).unwrap();
        }
        let more = count(&run, "b", &log).unwrap_err().to_string();
        assert!(more.starts_with("9 guests of this run"), "{more}");
        let kept = fs::read_to_string(run.join("emulation/9.log")).unwrap();
        assert_eq!(kept, "the end");
        fs::remove_dir_all(&run).unwrap();
    }
}
