//! How many tests boot and build at the same time, over all processes of a run: as many as there are
//! processors. `testsuite/run` starts the suites side by side; each test waits for its turn.

use std::fs;
use std::fs::File;
use std::io::Error;
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// A test's turn, which lasts until it is dropped.
#[derive(Debug)]
pub struct Turn {
    /// Locked; nothing where locks cannot be had.
    _file: Option<File>,
}

/// Waits for a turn. The directory is the one that the run's processes share.
pub fn take(run: &Path) -> Turn {
    let dir = run.join("turns");
    let _ = fs::create_dir_all(&dir);
    let most = thread::available_parallelism().map_or(2, usize::from);
    loop {
        for number in 0..most {
            match lock(&dir.join(number.to_string())) {
                Ok(file) => return Turn { _file: Some(file) },
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Turn { _file: None },
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Locks a file for as long as it is open.
fn lock(path: &Path) -> Result<File, Error> {
    let file = File::create(path)?;
    // SAFETY: no memory is involved. `File::try_lock()` came with Rust 1.89.
    match unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } {
        0 => Ok(file),
        _ => Err(Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    #[test]
    fn there_are_as_many_turns_as_processors() {
        let run = std::env::temp_dir().join(format!("ukl-turns-{}", std::process::id()));
        let most = thread::available_parallelism().map_or(2, usize::from);
        let (now, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..2 * most {
                scope.spawn(|| {
                    let _turn = take(&run);
                    peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        let peak = peak.load(Ordering::SeqCst);
        assert!((1..=most).contains(&peak), "{peak} of {most}");
        let _ = fs::remove_dir_all(&run);
    }
}
