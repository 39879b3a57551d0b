//! The program: its ring, its start, its end, and the processes beside it.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio as Handle;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::config::Config;
use crate::config::Image;
use crate::config::Ring;
use crate::config::Slots;
use crate::config::Stdio;
use crate::error::Error;
use crate::error::Result;
use crate::failed;
use crate::policy::Policy;
use crate::say;
use crate::streams::Streams;
use crate::sys;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/ukl";

/// Where an ELF file of 64 bits has its flags: the mark for ring 0.
const E_FLAGS: usize = 0x30;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with a status.
    Exited(i32),
    /// By a signal.
    Killed(i32),
}

impl Ended {
    fn from_wait(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Ended::Killed(libc::WTERMSIG(status))
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        }
    }

    /// Tells of an end that is not a success on the console.
    pub fn tell(&self) {
        if *self != Ended::Exited(0) {
            say(format_args!("the program ended: {self}"));
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exited(status) => write!(f, "exit {status}"),
            Ended::Killed(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// The path of the program for that ring.
///
/// At ring 3 a changed copy takes the place of the program, so that it has the same name there and
/// whatever starts it again starts the same.
pub fn for_ring(image: &Image, ring: Ring) -> Result<PathBuf> {
    let path = &image.program;
    if ring == Ring::Three {
        let mut data = fs::read(path).map_err(failed(path.display()))?;
        make_ordinary(&mut data, &image.slots).ok_or_else(|| {
            Error(format!(
                "{}: its slots are not where they should be",
                path.display()
            ))
        })?;
        let name = path.file_name().unwrap_or_default();
        let copy = Path::new("/run/ukl").join(name);
        fs::write(&copy, data).map_err(failed(copy.display()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))
            .map_err(failed(copy.display()))?;
        sys::mount(&copy.to_string_lossy(), path, "", libc::MS_BIND, "")
            .map_err(failed(path.display()))?;
    }
    Ok(path.clone())
}

/// Takes the mark off, and makes every slot what it is at ring 3.
fn make_ordinary(program: &mut [u8], slots: &[Slots]) -> Option<()> {
    /// How many bytes of a slot make the difference.
    const RING3: usize = 8;

    if program.get(..5)? == b"\x7fELF\x02" {
        program.get_mut(E_FLAGS..E_FLAGS + 4)?.fill(0);
    }
    for of in slots {
        for index in 0..of.count {
            let at = index.checked_mul(of.stride)?.checked_add(of.offset)?;
            let slot = program.get_mut(at..at.checked_add(of.stride)?)?;
            let bytes: [u8; RING3] = *slot.get(of.ring3..)?.first_chunk()?;
            *slot.get_mut(of.entry..)?.first_chunk_mut()? = bytes;
        }
    }
    Some(())
}

/// The running program.
#[derive(Debug)]
pub struct Program {
    /// Its process, until it has been reaped.
    pid: Mutex<Option<libc::pid_t>>,
}

impl Program {
    /// Starts it.
    pub fn start(
        path: &Path,
        config: &Config,
        policy: Policy,
        streams: &mut Streams,
    ) -> Result<Self> {
        let mut words: Vec<OsString> = config.wrap.clone();
        words.push(path.into());
        words.extend(config.args.iter().cloned());
        let [stdin, stdout, stderr] = streams.take()?;
        let mut command = command(&words, config);
        command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .current_dir(&config.cwd);
        let tty = config.stdio != Stdio::Ports;
        // SAFETY: it only makes system calls.
        unsafe {
            command.pre_exec(move || {
                // A console need not be a terminal that can be had.
                sys::new_session(tty).or_else(|error| if tty { Ok(()) } else { Err(error) })?;
                sys::add_personality(policy.personality())
            })
        };
        let pid = spawn(command, &words[0], &config.cwd)?;
        Ok(Program {
            pid: Mutex::new(Some(pid)),
        })
    }

    /// Sends it a signal, as a terminal would: an interrupt is for the whole group.
    pub fn signal(&self, signal: i32) {
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid {
            sys::kill(if signal == libc::SIGINT { -pid } else { pid }, signal);
        }
    }

    /// Waits until it has ended. Init is everybody's parent in the end: all others that end
    /// meanwhile are reaped as well.
    pub fn wait(&self) -> Ended {
        loop {
            let Some(dead) = sys::next_dead() else {
                // It was our child and has not been reaped, so this does not happen.
                return Ended::Exited(125);
            };
            // Nobody may signal it between the reaping and our knowing of it.
            let mut pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok((_, status)) = sys::reap(dead, 0)
                && *pid == Some(dead)
            {
                *pid = None;
                return Ended::from_wait(status);
            }
        }
    }
}

/// Starts an ordinary process beside the program, with the console as its streams.
pub fn start_beside(words: &[OsString], config: &Config, program: &Path) -> Result<()> {
    let console = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/console")
            .map_err(failed("/dev/console"))
    };
    let mut command = command(words, config);
    command.env("UKL_PROGRAM", program);
    command
        .stdin(Handle::null())
        .stdout(console()?)
        .stderr(console()?)
        .current_dir(&config.cwd);
    // SAFETY: it only makes system calls.
    unsafe { command.pre_exec(|| sys::new_session(false)) };
    spawn(command, &words[0], &config.cwd).map(drop)
}

fn command(words: &[OsString], config: &Config) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command.env_clear();
    command
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("TERM", "linux");
    command.envs(config.env.iter().map(|(name, value)| (name, value)));
    command
}

fn spawn(mut command: Command, name: &OsString, cwd: &Path) -> Result<libc::pid_t> {
    if !cwd.is_dir() {
        return Err(Error(format!(
            "{}: no such directory to work in",
            cwd.display()
        )));
    }
    let child = command.spawn().map_err(failed(format_args!(
        "cannot start {}",
        Path::new(name).display()
    )))?;
    Ok(child.id() as libc::pid_t)
}

/// Kills whatever still runs, and reaps it.
pub fn kill_everything() {
    let start = Instant::now();
    // A process that is stuck in the kernel must not keep the machine from ending.
    while start.elapsed() < Duration::from_secs(5) {
        sys::kill(-1, libc::SIGKILL);
        match sys::reap(-1, libc::WNOHANG) {
            Ok((0, _)) => thread::sleep(Duration::from_millis(1)),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_ring_3_slots_are_entered_elsewhere() {
        let mut program = b"\x7fELF\x02".to_vec();
        program.resize(256, 0x90);
        let slots = Slots {
            offset: 128,
            count: 2,
            stride: 64,
            ring3: 32,
            entry: 8,
        };
        for at in [128, 192] {
            program[at + 32..at + 40].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        }
        make_ordinary(&mut program, &[slots]).unwrap();
        assert_eq!(program[E_FLAGS..E_FLAGS + 4], [0; 4]);
        for at in [128, 192] {
            let entered = &program[at + 7..at + 17];
            assert_eq!(entered, [0x90, 1, 2, 3, 4, 5, 6, 7, 8, 0x90]);
        }
    }

    #[test]
    fn slots_outside_of_the_program_are_an_error() {
        let mut program = vec![0; 64];
        let inside = Slots {
            offset: 0,
            count: 2,
            stride: 32,
            ring3: 0,
            entry: 8,
        };
        assert_eq!(make_ordinary(&mut program, &[inside]), Some(()));
        for (offset, count, ring3, entry) in [
            (64, 1, 0, 8),
            (0, 3, 0, 8),
            (usize::MAX, 1, 0, 8),
            (0, usize::MAX, 0, 8),
            (0, 1, 25, 8),
            (0, 1, 0, usize::MAX),
        ] {
            let outside = Slots {
                offset,
                count,
                ring3,
                entry,
                ..inside
            };
            assert_eq!(make_ordinary(&mut program, &[outside]), None, "{outside:?}");
        }
    }

    #[test]
    fn the_end_is_told_in_words() {
        assert_eq!(Ended::from_wait(42 << 8).to_string(), "exit 42");
        assert_eq!(Ended::from_wait(11).to_string(), "signal 11");
        assert_eq!(Ended::from_wait(11 | 0x80).to_string(), "signal 11");
    }
}
