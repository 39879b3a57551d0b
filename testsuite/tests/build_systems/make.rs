//! make, and compiler caches and distributed compilers with it.

use std::fs;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
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
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::guest;
use testsuite::process;
use testsuite::process::words;
use testsuite::project;
use testsuite::tools::Tools;
use testsuite::tools::patient;

use crate::check;
use crate::number;

/// Checks bzip2, whose build system is a plain makefile, with its own samples.
fn packs(tools: &Tools, dir: &Path, log: &str) -> Result<()> {
    let packed = guest::run(
        tools,
        log,
        &words(&[&dir.join("bzip2.ukl"), &"-2c"]),
        &fs::read(dir.join("sample2.ref"))?,
    )?;
    ensure!(
        packed.end == Some(End::Exit(0)) && packed.stdout == fs::read(dir.join("sample2.bz2"))?,
        "{:?}, {} bytes, {}",
        packed.end,
        packed.stdout.len(),
        process::tail(&packed.stderr, 1000)
    );
    Ok(())
}

/// Plain make.
pub fn alone(tools: &Tools) -> Result<()> {
    let dir = project::unpack(tools, "bzip2", "bzip2")?;
    check(&mut project::command(
        tools,
        &dir,
        "make -j2 CC=ukl-cc bzip2",
    )?)?;
    packs(tools, &dir, "bzip2.log")
}

/// Builds bzip2 twice with `CC` and what `prepare` does to the command.
fn make_twice(tools: &Tools, dir: &Path, cc: &str, prepare: &dyn Fn(&mut Command)) -> Result<()> {
    for _ in 0..2 {
        check(&mut project::command(tools, dir, "make clean")?)?;
        let image = dir.join("bzip2.ukl");
        if image.exists() {
            fs::remove_file(&image)?;
        }
        let mut make = project::command(tools, dir, "make -j2 bzip2")?;
        make.arg(format!("CC={cc}"));
        prepare(&mut make);
        check(&mut make)?;
        ensure!(image.exists(), "no image with CC={cc}");
    }
    Ok(())
}

pub fn ccache(tools: &Tools) -> Result<()> {
    let dir = project::unpack(tools, "bzip2-ccache", "bzip2")?;
    let cache = scratch(tools, "ccache")?;
    make_twice(tools, &dir, "ccache ukl-cc", &|make| {
        make.env("CCACHE_DIR", &cache);
    })?;
    let statistics = check(
        Command::new("ccache")
            .arg("--print-stats")
            .env("CCACHE_DIR", &cache),
    )?;
    let hits = number(&statistics, "direct_cache_hit");
    ensure!(hits == Some(8), "{statistics}");
    packs(tools, &dir, "bzip2-ccache.log")
}

pub fn sccache(tools: &Tools) -> Result<()> {
    let dir = project::unpack(tools, "bzip2-sccache", "bzip2")?;
    let cache = scratch(tools, "sccache")?;
    let port = free_port()?.to_string();
    let settings = |command: &mut Command| {
        command
            .env("SCCACHE_DIR", &cache)
            .env("SCCACHE_SERVER_PORT", &port)
            .env_remove("SCCACHE_SERVER_UDS");
    };
    // The server runs in the foreground, so that it ends with the test.
    let mut server = Command::new("sccache");
    settings(&mut server);
    server
        .env("SCCACHE_START_SERVER", "1")
        .env("SCCACHE_NO_DAEMON", "1");
    let _server = Daemon::start(&mut server, &port, &tools.out.join("logs/sccache.log"))?;
    make_twice(tools, &dir, "sccache ukl-cc", &settings)?;
    let mut show = Command::new("sccache");
    settings(&mut show);
    let statistics = check(show.arg("--show-stats"))?;
    let hits = number(&statistics, "Cache hits (C/C++)");
    ensure!(hits == Some(8), "{statistics}");
    packs(tools, &dir, "bzip2-sccache.log")
}

/// `distcc ukl-cc`, for servers that have ukl-cc.
pub fn distcc_in_front(tools: &Tools) -> Result<()> {
    distcc(tools, "distcc-in-front", "distcc ukl-cc", None)
}

/// `ukl-cc` calls `distcc gcc`, for servers that do not have ukl-cc.
pub fn distcc_behind(tools: &Tools) -> Result<()> {
    distcc(tools, "distcc-behind", "ukl-cc", Some("distcc gcc"))
}

fn distcc(tools: &Tools, name: &str, cc: &str, ukl_cc: Option<&str>) -> Result<()> {
    let dir = project::unpack(tools, &format!("bzip2-{name}"), "bzip2")?;
    // A server that root starts switches to a user who may not read home directories.
    let elsewhere = Elsewhere::new(name)?;
    for folder in ["bin", "lib/ukl/libexec", "client"] {
        fs::create_dir_all(elsewhere.0.join(folder))?;
    }
    for (tool, place) in [("ukl-cc", "bin/ukl-cc"), ("ukl-ld", "lib/ukl/libexec/ld")] {
        fs::copy(tools.tool(tool), elsewhere.0.join(place))?;
    }
    let log = elsewhere.0.join("log");
    fs::write(&log, "")?;
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666))?;
    let port = free_port()?.to_string();
    let mut server = Command::new("distccd");
    server
        .args(["--no-detach", "--daemon", "--enable-tcp-insecure"])
        .args(["--allow", "127.0.0.1", "--listen", "127.0.0.1"])
        .args(["--port", &port, "--jobs", "2", "--user", "nobody"])
        .args(["--log-level", "info", "--log-file"])
        .arg(&log)
        .current_dir("/")
        .env(
            "DISTCCD_PATH",
            format!("{}/bin:/usr/bin:/bin", elsewhere.0.display()),
        );
    let _server = Daemon::start(&mut server, &port, &tools.out.join("logs/distccd.log"))?;
    make_twice(tools, &dir, cc, &|make| {
        make.env("DISTCC_HOSTS", format!("127.0.0.1:{port}"))
            .env("DISTCC_DIR", elsewhere.0.join("client"))
            .env("DISTCC_FALLBACK", "0");
        if let Some(ukl_cc) = ukl_cc {
            make.env("UKL_CC", ukl_cc);
        }
    })?;
    let jobs = fs::read_to_string(&log)?;
    let done = jobs.matches("COMPILE_OK").count();
    ensure!(
        done == 16,
        "{done} of 16 files were compiled there:\n{jobs}"
    );
    packs(tools, &dir, &format!("bzip2-{name}.log"))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A directory that everybody can read. It is removed at the end.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn new(name: &str) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("ukl-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        Ok(Elsewhere(dir))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server on this machine. It is stopped at the end.
struct Daemon(Child);

impl Daemon {
    /// Starts it and waits until it listens.
    fn start(command: &mut Command, port: &str, log: &Path) -> Result<Self> {
        fs::create_dir_all(log.parent().unwrap_or(log))?;
        let file = fs::File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut daemon = Daemon(child);
        let deadline = Instant::now() + patient(Duration::from_secs(30));
        while TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            if let Some(status) = daemon.0.try_wait()? {
                bail!("{command:?}: {status}\n{}", fs::read_to_string(log)?);
            }
            ensure!(Instant::now() < deadline, "{command:?} does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        process::kill_group(self.0.id());
        let _ = self.0.wait();
    }
}
