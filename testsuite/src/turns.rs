//! How many tests boot and build at the same time, over all processes of a run: as many as there are
//! processors. `testsuite/run` starts the suites side by side, and each test waits for its turn.
//!
//! The turns are given in the order in which they were asked for, so that a suite with many tests does
//! not keep the others waiting. Each test draws a ticket: a file with the next number as its name,
//! which is locked until the turn is over. A ticket has its turn when fewer tickets with lower numbers
//! are left than there are turns. The lock tells a ticket from one that a killed process has left.

use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// The file that is locked while tickets are drawn or counted.
const GATE: &str = "gate";

/// A test's turn, which lasts until it is dropped.
#[derive(Debug)]
pub struct Turn {
    /// Nothing where locks cannot be had.
    _ticket: Option<Ticket>,
}

/// Waits for a turn. The directory is the one that the run's processes share.
pub fn take(run: &Path) -> Turn {
    let most = thread::available_parallelism().map_or(2, usize::from);
    Turn {
        _ticket: wait(&run.join("turns"), most).ok(),
    }
}

fn wait(dir: &Path, most: usize) -> io::Result<Ticket> {
    fs::create_dir_all(dir)?;
    let ticket = Ticket::draw(dir)?;
    while ticket.before(dir)? >= most {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(ticket)
}

/// A place in the queue. The test that holds it waits or has its turn.
#[derive(Debug)]
struct Ticket {
    number: u64,
    path: PathBuf,
    /// Locked.
    _file: File,
}

impl Ticket {
    /// Draws the next one.
    fn draw(dir: &Path) -> io::Result<Ticket> {
        let _gate = lock(&dir.join(GATE), libc::LOCK_EX)?;
        let number = numbers(dir)?.into_iter().max().map_or(0, |last| last + 1);
        let path = dir.join(number.to_string());
        let file = lock(&path, libc::LOCK_EX)?;
        Ok(Ticket {
            number,
            path,
            _file: file,
        })
    }

    /// How many tickets come before this one.
    fn before(&self, dir: &Path) -> io::Result<usize> {
        let _gate = lock(&dir.join(GATE), libc::LOCK_EX)?;
        let mut count = 0;
        let numbers = numbers(dir)?.into_iter();
        for number in numbers.filter(|&number| number < self.number) {
            let path = dir.join(number.to_string());
            match lock(&path, libc::LOCK_EX | libc::LOCK_NB) {
                // Its process was killed, or its turn has just ended.
                Ok(_) => {
                    let _ = fs::remove_file(&path);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => count += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The lock goes after this. If it went before, the file could belong to another ticket by now.
        let _ = fs::remove_file(&self.path);
    }
}

/// The numbers of all tickets.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        numbers.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u64>().ok()),
        );
    }
    Ok(numbers)
}

/// Opens a file and locks it for as long as it is open. The kind of lock is one of flock(2).
fn lock(path: &Path, kind: libc::c_int) -> io::Result<File> {
    let file = File::create(path)?;
    loop {
        // SAFETY: no memory is involved. `File::lock()` came with Rust 1.89.
        if unsafe { libc::flock(file.as_raw_fd(), kind) } == 0 {
            return Ok(file);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ukl-turns-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn there_are_as_many_turns_as_processors() {
        let run = dir("number");
        let most = thread::available_parallelism().map_or(2, usize::from);
        let (now, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 * most {
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
        let left = numbers(&run.join("turns")).unwrap();
        assert!(left.is_empty(), "{left:?}");
        fs::remove_dir_all(&run).unwrap();
    }

    #[test]
    fn turns_come_in_the_order_of_the_questions() {
        let dir = dir("order");
        let order = Mutex::new(Vec::new());
        let first = wait(&dir, 1).unwrap();
        thread::scope(|scope| {
            for number in 1..=5 {
                scope.spawn({
                    let (dir, order) = (&dir, &order);
                    move || {
                        let _ticket = wait(dir, 1).unwrap();
                        order.lock().unwrap().push(number);
                    }
                });
                // The next one asks when this one is in the queue.
                while numbers(&dir).unwrap().len() <= number {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            assert_eq!(order.lock().unwrap().len(), 0);
            // Whoever asks again at once comes last.
            let (sender, receiver) = mpsc::channel();
            scope.spawn({
                let (dir, order) = (&dir, &order);
                move || {
                    let again = Ticket::draw(dir).unwrap();
                    sender.send(()).unwrap();
                    while again.before(dir).unwrap() > 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                    order.lock().unwrap().push(6);
                }
            });
            receiver.recv().unwrap();
            drop(first);
        });
        assert_eq!(order.into_inner().unwrap(), [1, 2, 3, 4, 5, 6]);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_ticket_of_a_killed_process_does_not_count() {
        let dir = dir("killed");
        fs::create_dir_all(&dir).unwrap();
        for number in 0..3 {
            fs::write(dir.join(number.to_string()), "").unwrap();
        }
        let ticket = wait(&dir, 1).unwrap();
        assert_eq!(numbers(&dir).unwrap(), [ticket.number]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
