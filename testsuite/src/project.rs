//! Whole projects, built from untouched source packages of Debian, and servers running in a guest.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::directives::End;
use crate::emulation;
use crate::harness;
use crate::kernel_log;
use crate::process;
use crate::tools;
use crate::tools::Tools;
use crate::tools::patient;

/// No build takes longer.
const BUILD: Duration = Duration::from_secs(1200);

/// A server answers within this time after its start.
const START: Duration = Duration::from_secs(60);

/// For rustc, which by default does not yet tell what its linker says.
pub const TELL: &str = "-Wlinker-messages";

/// A project to build.
#[derive(Debug)]
pub struct Project<'a> {
    /// The name of its build directory.
    pub name: &'a str,
    /// The source package.
    pub package: &'a str,
    /// Files that its instructions ask the builder to write: path and text.
    pub files: &'a [(&'a str, &'a str)],
    /// The commands, each split at blanks, that build it.
    pub steps: &'a [&'a str],
    /// What has to be there then, image and all.
    pub product: &'a str,
}

/// Redis, with the allocator of libc.
pub const REDIS: Project<'static> = Project {
    name: "redis-libc",
    package: "redis",
    files: &[],
    steps: &["make -j2 CC=ukl-cc MALLOC=libc"],
    product: "src/redis-server",
};

impl Project<'_> {
    /// Builds it with the tools as the compiler, unless it was built with these very tools before.
    /// Returns its directory.
    pub fn build(&self, tools: &Tools) -> Result<PathBuf> {
        let dir = tools.out.join("projects").join(self.name);
        let stamp = dir.with_extension("stamp");
        let key = self.key(tools)?;
        if fs::read_to_string(&stamp).is_ok_and(|old| old == key) {
            return Ok(dir);
        }
        let _ = fs::remove_file(&stamp);
        unpack(tools, self.name, self.package)?;
        for (file, text) in self.files {
            fs::write(dir.join(file), text)?;
        }
        for step in self.steps {
            process::check(&mut command(tools, &dir, step)?, patient(BUILD))
                .with_context(|| format!("{}: `{step}`", self.name))?;
        }
        let image = dir.join(self.product).with_extension("ukl");
        ensure!(
            image.exists(),
            "{}: was built and left no image",
            image.display()
        );
        fs::write(&stamp, key)?;
        Ok(dir)
    }

    fn key(&self, tools: &Tools) -> Result<String> {
        Ok(format!("{self:?}{}", key(tools)?))
    }
}

/// What stands behind the compiler when make links redis-server in this directory, but for the
/// output.
pub fn link_of_redis(dir: &Path) -> Result<Vec<String>> {
    let mut make = Command::new("make");
    // As if an object were new, and nothing done about it.
    make.current_dir(dir)
        .args(["-n", "V=1", "-W", "adlist.o"])
        .args(["CC=cc", "MALLOC=libc", "redis-server"]);
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
    let text = String::from_utf8(process::check(&mut make, BUILD)?)?;
    let line = text
        .lines()
        .find(|line| line.starts_with("cc ") && line.contains(" -o redis-server "))
        .context("make does not say how it links redis-server")?;
    let words = line.replace(" -o redis-server ", " ");
    Ok(words.split_whitespace().skip(1).map(String::from).collect())
}

/// Says which tools these are, for what is not to be built anew with the same ones.
pub fn key(tools: &Tools) -> Result<String> {
    let mut key = String::new();
    for input in tools.inputs() {
        let meta = fs::metadata(&input).with_context(|| input.display().to_string())?;
        key.push_str(&format!(
            "\n{input:?} {} {:?}",
            meta.len(),
            meta.modified()?
        ));
    }
    Ok(key)
}

/// A fresh copy of a package's source in a directory of this name.
pub fn unpack(tools: &Tools, name: &str, package: &str) -> Result<PathBuf> {
    let dir = tools.out.join("projects").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.parent().unwrap_or(&dir))?;
    let mut fetch = Command::new(tools::workspace().join("scripts/debian-source"));
    let source = process::check(fetch.arg(package), BUILD)?;
    let source = String::from_utf8_lossy(&source).trim().to_owned();
    process::check(Command::new("cp").args(["-a", &source]).arg(&dir), BUILD)?;
    Ok(dir)
}

/// A fresh copy of a crate, as crates.io has it, in a directory of this name.
pub fn crate_source(tools: &Tools, name: &str, package: &str, version: &str) -> Result<PathBuf> {
    let dir = harness::scratch(tools, &format!("crate-{name}"))?;
    fs::create_dir(dir.join("src"))?;
    fs::write(dir.join("src/lib.rs"), "")?;
    fs::write(
        dir.join("Cargo.toml"),
        format!(
            "[package]\nname = \"wants-{package}\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
             [dependencies]\n{package} = \"={version}\"\n"
        ),
    )?;
    let mut vendor = command(tools, &dir, "cargo vendor -q vendor")?;
    process::check(&mut vendor, patient(BUILD))?;
    // Alone, where no project around it and no vendored dependencies have a say.
    let crates = tools.out.join("crates.io");
    fs::create_dir_all(&crates)?;
    let place = crates.join(name);
    let _ = fs::remove_dir_all(&place);
    fs::rename(dir.join("vendor").join(package), &place)?;
    fs::remove_dir_all(&dir)?;
    Ok(place)
}

/// A command, its words split at blanks, that finds the tools in `PATH`.
pub fn command(tools: &Tools, dir: &Path, words: &str) -> Result<Command> {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .current_dir(dir)
        .env("PATH", path(tools)?);
    // The image is made beside the program by default; nothing of ours may reach in.
    for name in [
        "UKL_FLAGS",
        "UKL_IMAGE",
        "CFLAGS",
        "LDFLAGS",
        "MAKEFLAGS",
        "MFLAGS",
    ] {
        command.env_remove(name);
    }
    Ok(command)
}

/// `PATH` with the tools in front.
pub fn path(tools: &Tools) -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let bin = fs::canonicalize(&tools.bin)?;
    Ok(std::env::join_paths(
        std::iter::once(bin).chain(std::env::split_paths(&old)),
    )?)
}

/// Runs an image to its end and returns its output; the kernel's log has to be clean.
pub fn run(tools: &Tools, log: &str, words: &[&OsStr], stdin: &[u8]) -> Result<process::Output> {
    let log = tools.out.join("logs").join(log);
    if let Some(dir) = log.parent() {
        fs::create_dir_all(dir)?;
    }
    let input = tools.out.join(format!(
        "{}.stdin",
        log.file_stem().unwrap_or_default().to_string_lossy()
    ));
    fs::write(&input, stdin)?;
    let mut command = Command::new("sh");
    // process::run closes standard input; the shell opens it again.
    command
        .args(["-c", "exec \"$@\" <\"$0\""])
        .arg(&input)
        .arg(tools.tool("ukl-run"))
        .args(["--timeout", "240", "--log"])
        .arg(&log)
        .args(words);
    let output = process::run(&mut command, patient(Duration::from_secs(300)))?;
    healthy(&log)?;
    at_its_ring(&log, words)?;
    Ok(output)
}

/// There was a guest, and the program ran at ring 0, unless `ukl-run` was told otherwise.
fn at_its_ring(log: &Path, words: &[&OsStr]) -> Result<()> {
    let text = fs::read(log).with_context(|| log.display().to_string())?;
    let text = String::from_utf8_lossy(&text);
    match words.contains(&OsStr::new("--ring3")) {
        true => ensure!(
            text.contains("Linux version "),
            "{}: no boot",
            log.display()
        ),
        false => ensure!(
            kernel_log::is_at_ring_0(&text),
            "{}: nothing ran at ring 0",
            log.display()
        ),
    }
    Ok(())
}

/// A machine that died of a fault of its emulation, which a test may try again after.
#[derive(Debug)]
pub struct EmulationsFault;

impl std::fmt::Display for EmulationsFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the machine died of a fault of its emulation")
    }
}

impl std::error::Error for EmulationsFault {}

/// The kernel had nothing to complain about.
pub fn healthy(log: &Path) -> Result<()> {
    if emulation::has_failed(log) {
        return Err(EmulationsFault.into());
    }
    let log = fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    match kernel_log::first_complaint(&log, &[]) {
        Some(complaint) => bail!(
            "the kernel complained:\n{}",
            kernel_log::excerpt(&log, complaint)
        ),
        None => Ok(()),
    }
}

/// A server in a guest, its port forwarded to one of this machine.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// The port on this machine.
    pub port: u16,
    log: PathBuf,
    output: PathBuf,
    words: Vec<OsString>,
}

impl Server {
    /// Starts one: `words` are the options and the image for `ukl-run` and the server's arguments.
    pub fn start(tools: &Tools, log: &str, guest_port: u16, words: &[&OsStr]) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = tools.out.join("logs");
        fs::create_dir_all(&dir)?;
        let log = dir.join(log);
        let output = log.with_extension("out");
        let file = fs::File::create(&output)?;
        let child = Command::new(tools.tool("ukl-run"))
            .args([
                "--timeout",
                "600",
                "-p",
                &format!("{port}:{guest_port}"),
                "--log",
            ])
            .arg(&log)
            .args(words)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        Ok(Server {
            child,
            port,
            log,
            output,
            words: words.iter().map(OsString::from).collect(),
        })
    }

    /// Tries until it answers.
    pub fn wait_for<T>(&mut self, mut answer: impl FnMut(u16) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + patient(START);
        loop {
            match answer(self.port) {
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("never answered:\n{}", self.said())));
                }
                Err(_) => thread::sleep(Duration::from_millis(200)),
            }
            if let Some(status) = self.child.try_wait()? {
                healthy(&self.log)?;
                bail!("ended with {status}:\n{}", self.said());
            }
        }
    }

    /// What it has printed.
    pub fn said(&self) -> String {
        process::tail(&fs::read(&self.output).unwrap_or_default(), 4000)
    }

    /// Waits for its own end, which has to be that one, with a clean log.
    pub fn ends_with(mut self, code: i32) -> Result<()> {
        let deadline = Instant::now() + patient(START);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(
                    process::end_of(status) == End::Exit(code),
                    "ended with {status}:\n{}",
                    self.said()
                );
                return self.looked_well();
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("did not end:\n{}", self.said());
    }

    /// Cuts the power.
    pub fn cut(mut self) -> Result<()> {
        self.kill();
        self.looked_well()
    }

    /// It was at its ring, and the kernel had nothing to complain about.
    fn looked_well(&self) -> Result<()> {
        healthy(&self.log)?;
        let words: Vec<&OsStr> = self.words.iter().map(OsString::as_os_str).collect();
        at_its_ring(&self.log, &words)
    }

    fn kill(&mut self) {
        process::kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A connection to a redis server.
#[derive(Debug)]
pub struct Redis {
    lines: BufReader<TcpStream>,
}

impl Redis {
    /// Connects, and makes sure that somebody is there.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(patient(Duration::from_secs(60))))?;
        stream.set_nodelay(true)?;
        let mut redis = Redis {
            lines: BufReader::new(stream),
        };
        let pong = redis.command(&["PING"])?;
        ensure!(pong == "PONG", "PING: {pong}");
        Ok(redis)
    }

    /// Sends one command and returns its reply, `(nil)` for none.
    pub fn command(&mut self, words: &[&str]) -> Result<String> {
        self.send(words)?;
        self.reply()
    }

    /// Sends one command.
    pub fn send(&mut self, words: &[&str]) -> Result<()> {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.lines.get_ref().write_all(text.as_bytes())?;
        Ok(())
    }

    /// Reads the next reply.
    pub fn reply(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "redis hung up");
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+" | ":", text)) => Ok(text.to_owned()),
            Some(("-", text)) => bail!("redis: {text}"),
            Some(("$", "-1")) => Ok("(nil)".into()),
            Some(("$", length)) => {
                let mut data = vec![0; length.parse::<usize>()? + 2];
                self.lines.read_exact(&mut data)?;
                data.truncate(data.len() - 2);
                Ok(String::from_utf8(data)?)
            }
            _ => bail!("redis: reply `{line}` is not understood here"),
        }
    }
}
