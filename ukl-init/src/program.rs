//! Starts the program and waits for its end, and starts processes beside it.

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
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

use ukl_proto::image_conf::ImageConf;
use ukl_proto::image_conf::Start;
use ukl_proto::policy::Policy;
use ukl_proto::ring3;
use ukl_proto::ring3::ThunkTable;
use ukl_proto::run::Ring;
use ukl_proto::run::Run;
use ukl_proto::status::Report;

use crate::error::Error;
use crate::error::Result;
use crate::failed;
use crate::say;
use crate::sys;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/ukl";

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with a status.
    Exited(i32),
    /// A signal killed it.
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

    /// The report for `ukl-run`.
    pub fn report(self) -> Report {
        // An exit status has 8 bits, and there are 64 signals.
        let number = |number| u8::try_from(number).unwrap_or(u8::MAX);
        match self {
            Ended::Exited(status) => Report::Exit(number(status)),
            Ended::Killed(signal) => Report::Signal(number(signal)),
        }
    }

    /// Prints an unsuccessful end on the console.
    pub fn tell(self) {
        if self != Ended::Exited(0) {
            say(format_args!("the program ended: {}", self.report()));
        }
    }
}

/// Prepares the image's marked programs for a ring and returns the path of the program.
///
/// For ring 3, a changed copy is mounted over each. So the copy has the same path, and a process
/// that executes the program again gets the same copy.
pub fn for_ring(image: &ImageConf, ring: Ring) -> Result<PathBuf> {
    let path = PathBuf::from(&image.program);
    if ring == Ring::Three {
        let same = |other: &&String| fs::canonicalize(other).ok() == fs::canonicalize(&path).ok();
        let others = image.ring0.iter().filter(|other| !same(other));
        mount_ordinary(&path, &image.thunks, "")?;
        for (number, other) in others.enumerate() {
            mount_ordinary(Path::new(other), &[], &format!("{number}-"))?;
        }
    }
    Ok(path)
}

/// The image's programs that are marked for ring 0.
pub fn marked(image: &ImageConf) -> Vec<PathBuf> {
    let programs = image.ring0.iter().chain([&image.program]);
    let marked = programs.filter(|path| is_marked(Path::new(path)));
    marked.map(PathBuf::from).collect()
}

/// Fails if one of these programs is not marked any more, because a volume has another file at its
/// path. That file would run at ring 3.
pub fn check_marks(programs: &[PathBuf]) -> Result<()> {
    match programs.iter().find(|path| !is_marked(path)) {
        None => Ok(()),
        Some(path) => Err(Error(format!(
            "{}: a volume hides the image's program, which is marked for ring 0; mount the volume \
             elsewhere (--host-tools has volumes, too)",
            path.display()
        ))),
    }
}

fn is_marked(path: &Path) -> bool {
    let mut header = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut header));
    read.is_ok() && ring3::is_marked(&header)
}

/// Mounts the ring-3 variant of a program over it. The copy's name begins with `prefix`.
fn mount_ordinary(path: &Path, thunks: &[ThunkTable], prefix: &str) -> Result<()> {
    let mut data = fs::read(path).map_err(failed(path.display()))?;
    ring3::make_ordinary(&mut data, thunks).map_err(|_| {
        Error(format!(
            "{}: image.conf places its thunks outside the file",
            path.display()
        ))
    })?;
    let mode = fs::metadata(path).map_err(failed(path.display()))?.mode() & 0o7777;
    let mut name = OsString::from(prefix);
    name.push(path.file_name().unwrap_or_default());
    let copy = Path::new("/run/ukl").join(name);
    fs::write(&copy, data).map_err(failed(copy.display()))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).map_err(failed(copy.display()))?;
    sys::mount(&copy.to_string_lossy(), path, "", libc::MS_BIND, "").map_err(failed(path.display()))
}

/// The running program.
#[derive(Debug)]
pub struct Program {
    /// Its process ID, until it has been reaped.
    pid: Mutex<Option<libc::pid_t>>,
}

impl Program {
    /// Starts the program. With `tty`, its standard input becomes its controlling terminal.
    pub fn start(
        path: &Path,
        run: &Run,
        start: &Start,
        policy: Policy,
        [stdin, stdout, stderr]: [Handle; 3],
        tty: bool,
    ) -> Result<Self> {
        let mut words: Vec<OsString> = run.wrap.clone();
        words.push(path.into());
        words.extend(start.args.iter().map(OsString::from));
        if run.args.is_empty() {
            words.extend(start.default_args.iter().map(OsString::from));
        }
        words.extend(run.args.iter().cloned());
        let mut command = command(&words, run, start);
        let cwd = working_directory(run, start);
        command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .current_dir(cwd);
        let user = start.user.clone();
        // SAFETY: the closure only makes system calls.
        unsafe {
            command.pre_exec(move || {
                // Not every console can be a controlling terminal.
                sys::new_session(tty).or_else(|error| if tty { Ok(()) } else { Err(error) })?;
                sys::add_personality(policy.personality())?;
                user.as_ref().map_or(Ok(()), sys::become_user)
            })
        };
        let pid = spawn(command, &words[0], cwd)?;
        Ok(Program {
            pid: Mutex::new(Some(pid)),
        })
    }

    /// Sends the program a signal, as a terminal does: SIGINT goes to its whole process group.
    pub fn signal(&self, signal: i32) {
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid {
            sys::kill(if signal == libc::SIGINT { -pid } else { pid }, signal);
        }
    }

    /// Waits until the program has ended. Init is the parent of all orphans, and also reaps those
    /// that end in the meantime.
    pub fn wait(&self) -> Ended {
        loop {
            let Some(dead) = sys::next_dead() else {
                // The program is a child that has not been reaped, so this does not happen.
                return Ended::Exited(125);
            };
            // While the lock is held, no other thread sends a signal to the process ID, which is
            // free for reuse after reaping.
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
pub fn start_beside(words: &[OsString], run: &Run, start: &Start, program: &Path) -> Result<()> {
    let console = || {
        fs::OpenOptions::new()
            .write(true)
            .open("/dev/console")
            .map_err(failed("/dev/console"))
    };
    let mut command = command(words, run, start);
    let cwd = working_directory(run, start);
    command.env("UKL_PROGRAM", program);
    command
        .stdin(Handle::null())
        .stdout(console()?)
        .stderr(console()?)
        .current_dir(cwd);
    // SAFETY: the closure only makes system calls.
    unsafe { command.pre_exec(|| sys::new_session(false)) };
    spawn(command, &words[0], cwd).map(drop)
}

/// The working directory: that of `ukl-run`, or else the image's.
fn working_directory<'a>(run: &'a Run, start: &'a Start) -> &'a Path {
    let own = start.workdir.as_deref().unwrap_or("/");
    run.cwd.as_deref().unwrap_or(Path::new(own))
}

fn command(words: &[OsString], run: &Run, start: &Start) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command.env_clear();
    command
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("TERM", "linux");
    command.envs(start.env.iter().map(|(name, value)| (name, value)));
    command.envs(run.env.iter().map(|(name, value)| (name, value)));
    command
}

fn spawn(mut command: Command, name: &OsString, cwd: &Path) -> Result<libc::pid_t> {
    if !cwd.is_dir() {
        return Err(Error(format!(
            "the working directory {} does not exist",
            cwd.display()
        )));
    }
    let child = command.spawn().map_err(failed(format_args!(
        "cannot start {}",
        Path::new(name).display()
    )))?;
    Ok(child.id() as libc::pid_t)
}

/// Kills all processes except init, and reaps them.
pub fn kill_everything() {
    let start = Instant::now();
    // A process that hangs in the kernel must not prevent the machine from stopping.
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
    fn the_end_is_reported() {
        let report = |status| Ended::from_wait(status).report().to_string();
        assert_eq!(report(42 << 8), "exit 42");
        assert_eq!(report(11), "signal 11");
        assert_eq!(report(11 | 0x80), "signal 11");
    }
}
