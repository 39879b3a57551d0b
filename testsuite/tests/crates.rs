//! Unmodified crates that cargo builds with `RUSTFLAGS="-C linker=ukl-ld"`: ripgrep on a volume, tokio
//! and axum under load, SQLite's C code, rayon on all processors, and panics.

use std::ffi::OsStr;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::guest;
use testsuite::harness;
use testsuite::http;
use testsuite::process;
use testsuite::process::Output;
use testsuite::process::WAIT;
use testsuite::process::words;
use testsuite::project;
use testsuite::project::TELL;
use testsuite::server::Server;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

/// The time limit of a build.
const BUILD: Duration = Duration::from_secs(1200);

fn main() -> ExitCode {
    harness::run(
        "crates",
        &[
            ("ripgrep", ripgrep),
            ("ripgrep_lto", ripgrep_lto),
            ("axum", axum),
            ("sqlite", sqlite),
            ("rayon", rayon),
            ("unwinding", unwinding),
        ],
    )
}

/// Cargo as a user runs it. All tests and runs share the compiled crates.
fn cargo(tools: &Tools, flags: &str, target: &Path) -> Result<Command> {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars() {
        let ours = name.starts_with("CARGO") && name != "CARGO_HOME";
        if ours || name.starts_with("UKL_") && name != "UKL_LIBDIR" || name.starts_with("MAKE") {
            cargo.env_remove(name);
        }
    }
    cargo
        .env("PATH", project::path(tools)?)
        .env("CARGO_TARGET_DIR", target)
        .env("RUSTFLAGS", flags);
    Ok(cargo)
}

/// Makes cargo link a package again if the tools have changed, which it would not do by itself: removes
/// what it has recorded of the package. Returns the file for [`project::key`], which the caller writes
/// after the build, or nothing if the tools are the same.
fn outdated(tools: &Tools, target: &Path, profile: &str, package: &str) -> Result<Option<PathBuf>> {
    let stamp = target.join(format!("{package}.stamp"));
    let key = project::key(tools)?;
    if fs::read_to_string(&stamp).is_ok_and(|old| old == key) {
        return Ok(None);
    }
    let _ = fs::remove_file(&stamp);
    let remembered = target.join(profile).join(".fingerprint");
    for entry in fs::read_dir(remembered).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let hash = name
            .to_str()
            .and_then(|name| name.strip_prefix(package)?.strip_prefix('-'));
        if hash.is_some_and(|hash| !hash.contains('-')) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(Some(stamp))
}

/// Runs a command that has to succeed and to print nothing.
fn silent(command: &mut Command) -> Result<()> {
    let output = process::run(command, patient(BUILD))?;
    ensure!(
        output.end == Some(End::Exit(0)) && output.stdout.is_empty() && output.stderr.is_empty(),
        "{command:?}: {:?}\n{}{}",
        output.end,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Builds one of the programs in `testsuite/crates`.
fn build(tools: &Tools, program: &str) -> Result<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let target = tools.out.join("crates");
    let dir = target.join("debug");
    if let Some(stamp) = outdated(tools, &target, "debug", "crates")? {
        let mut cargo = cargo(tools, &format!("-C linker=ukl-ld {TELL}"), &target)?;
        cargo.args(["build", "-q", "-j2", "--locked"]);
        silent(cargo.current_dir(tools::testsuite().join("crates")))?;
        // Build scripts run on this machine and get no image.
        let scripts = fs::read_dir(dir.join("build"))?.flatten();
        for file in scripts.flat_map(|script| fs::read_dir(script.path()).into_iter().flatten()) {
            let path = file?.path();
            ensure!(
                path.extension().is_none_or(|e| e != "ukl"),
                "{}: nobody asked for it",
                path.display()
            );
        }
        fs::write(stamp, project::key(tools)?)?;
    }
    Ok(dir.join(program))
}

/// Runs a program on this machine. In the guest it has to do the same.
fn on_host(program: &Path, args: &[&OsStr]) -> Result<Output> {
    process::run(
        Command::new(program).args(args),
        patient(Duration::from_secs(120)),
    )
}

/// Runs it in the guest at ring 0 and at ring 3, and expects the same as on this machine.
fn same_everywhere(
    tools: &Tools,
    name: &str,
    options: &[&OsStr],
    program: &Path,
    args: &[&OsStr],
    host: &Output,
) -> Result<()> {
    for ring in ["0", "3"] {
        let ring3 = OsStr::new("--ring3");
        let mut all = options.to_vec();
        all.extend((ring == "3").then_some(ring3));
        all.push(program.as_os_str());
        all.extend(args);
        let guest = guest::run(tools, &format!("{name}-ring{ring}.log"), &all, b"")?;
        ensure!(
            guest.end == host.end && guest.stdout == host.stdout,
            "at ring {ring}: {:?} instead of {:?}\n{}{}\ninstead of\n{}",
            guest.end,
            host.end,
            process::tail(&guest.stdout, 4000),
            process::tail(&guest.stderr, 4000),
            process::tail(&host.stdout, 4000),
        );
    }
    Ok(())
}

/// ripgrep's source in a directory of this name, to be built as the user's own package: cargo hides
/// rustc's messages about other packages, and with them the linker's.
fn source_of_ripgrep(tools: &Tools, name: &str) -> Result<PathBuf> {
    project::crate_source(tools, name, "ripgrep", "15.2.0")
}

/// Plain `cargo build`.
fn ripgrep(tools: &Tools) -> Result<()> {
    let target = tools.out.join("crates-plain");
    let rg = target.join("debug/rg");
    if let Some(stamp) = outdated(tools, &target, "debug", "ripgrep")? {
        let source = source_of_ripgrep(tools, "ripgrep")?;
        let mut cargo = cargo(tools, &format!("-C linker=ukl-ld {TELL}"), &target)?;
        cargo.args(["build", "-q", "-j2", "--locked"]);
        silent(cargo.current_dir(source))?;
        ensure!(rg.with_extension("ukl").exists());
        fs::write(stamp, project::key(tools)?)?;
    }
    searches(tools, "ripgrep", &rg)
}

/// `cargo install`, with link-time optimisation. Cargo moves the program elsewhere and does not know
/// about the image.
fn ripgrep_lto(tools: &Tools) -> Result<()> {
    let target = tools.out.join("crates-lto");
    let root = target.join("root");
    let rg = root.join("bin/rg");
    let found = || {
        let mut run = Command::new(tools.tool("ukl-run"));
        run.arg("--dry-run").arg(&rg).output()
    };
    let stamp = outdated(tools, &target, "release", "ripgrep")?;
    if stamp.is_some() || !found()?.status.success() {
        let source = source_of_ripgrep(tools, "ripgrep-lto")?;
        let flags = format!("-C linker=ukl-ld -C linker-plugin-lto {TELL}");
        let mut cargo = cargo(tools, &flags, &target)?;
        cargo
            .args(["install", "-q", "-j2", "--locked", "--force", "--path", "."])
            .arg("--root")
            .arg(&root)
            .current_dir(source)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1");
        let output = process::run(&mut cargo, patient(BUILD))?;
        ensure!(
            output.end == Some(End::Exit(0)) && output.stdout.is_empty(),
            "{cargo:?}: {output:?}"
        );
        // Cargo may only say that the directory is not in PATH.
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            said.lines().count() <= 1 && !said.contains("linker"),
            "{said}"
        );
        ensure!(!rg.with_extension("ukl").exists());
        if let Some(stamp) = stamp {
            fs::write(stamp, project::key(tools)?)?;
        }
    }
    searches(tools, "ripgrep-lto", &rg)
}

/// Searches on a volume find the same as on this machine.
fn searches(tools: &Tools, name: &str, rg: &Path) -> Result<()> {
    let tree = tools::testsuite();
    let guest_tree = format!("{}:{}:ro", tree.display(), tree.display());
    let options: [&dyn AsRef<OsStr>; 4] = [&"--cpus", &"2", &"-v", &guest_tree];
    for (what, args, end) in [
        (
            "something",
            &["-n", "--sort=path", r"\bsched_\w+\(", "--type=c"][..],
            0,
        ),
        ("nothing", &["-uuu", "no such\u{20}word"], 1),
    ] {
        let mut args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        let dir = tree.join("programs");
        args.push(dir.as_os_str());
        let host = on_host(rg, &args)?;
        ensure!(host.end == Some(End::Exit(end)), "{host:?}");
        ensure!(host.stdout.is_empty() == (end == 1), "{host:?}");
        let name = format!("{name}-{what}");
        same_everywhere(tools, &name, &words(&options), rg, &args, &host)?;
    }
    Ok(())
}

/// Several clients keep their connections and get their answers, while timers and threads run and a
/// task panics.
fn axum(tools: &Tools) -> Result<()> {
    let program = build(tools, "http")?;
    let mut server = Server::start(tools, "axum.log", 80, &words(&[&"--cpus", &"2", &program]))?;
    server.wait_for(|port| http::get(port, "/blocking"))?;
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let port = server.port;
            thread::spawn(move || {
                let mut client = Client::new(port, number)?;
                (0..100).try_for_each(|turn| client.ask(turn))
            })
        })
        .collect();
    for client in clients {
        client
            .join()
            .unwrap_or(Ok(()))
            .with_context(|| server.said())?;
    }
    let large = "0123456789abcdef".repeat(1 << 16);
    let (status, echo) = http::post(server.port, "/echo", &large)?;
    ensure!(status == 200 && echo == large, "{} bytes", echo.len());
    ensure!(http::get(server.port, "/panics")? == (200, "true".into()));
    ensure!(http::get(server.port, "/absent")?.0 == 404);
    http::get(server.port, "/quit")?;
    server.ends_with(42)
}

/// A client that asks many things on one connection.
struct Client {
    number: usize,
    stream: BufReader<TcpStream>,
}

impl Client {
    fn new(port: u16, number: usize) -> Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(patient(Duration::from_secs(60)) * WAIT))?;
        stream.set_nodelay(true)?;
        let stream = BufReader::new(stream);
        Ok(Client { number, stream })
    }

    /// Sends one request and checks the answer.
    fn ask(&mut self, turn: usize) -> Result<()> {
        let number = self.number * 1000 + turn;
        let square = number * number;
        let (path, wanted) = match turn % 10 {
            0 => ("/blocking".to_owned(), "done".to_owned()),
            _ => (
                format!("/item/{number}"),
                format!("{{\"name\":\"item {number}\",\"square\":{square}}}"),
            ),
        };
        let body = self
            .answer(&path)
            .with_context(|| format!("client {}, question {turn}", self.number))?;
        ensure!(body == wanted, "{path}: {body}");
        Ok(())
    }

    fn answer(&mut self, path: &str) -> Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: guest\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "it hung up");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(String::from_utf8(body)?)
    }
}

/// A build script compiles C; the database is on a file system in memory, then on a volume.
fn sqlite(tools: &Tools) -> Result<()> {
    let program = build(tools, "sqlite")?;
    let dir = scratch(tools, "crates-sqlite")?;
    let here = dir.join("host.db");
    let host = on_host(&program, &words(&[&here, &"wal"]))?;
    ensure!(host.end == Some(End::Exit(0)), "{host:?}");
    let args = words(&[&"/tmp/guest.db", &"wal"]);
    same_everywhere(tools, "sqlite", &[], &program, &args, &host)?;
    // This journal mode maps a file as shared, which a volume does not support.
    let volume = volume(&dir);
    let options: [&dyn AsRef<OsStr>; 5] =
        [&"-v", &volume, &program, &"/data/guest.db", &"truncate"];
    let guest = guest::run(tools, "sqlite-volume.log", &words(&options), b"")?;
    ensure!(guest.stdout == host.stdout, "{guest:?}");
    ensure!(fs::read(dir.join("guest.db"))?.starts_with(b"SQLite format 3\0"));
    Ok(())
}

fn rayon(tools: &Tools) -> Result<()> {
    let program = build(tools, "parallel")?;
    let options: [&dyn AsRef<OsStr>; 3] = [&"--cpus", &"3", &program];
    let output = guest::run(tools, "rayon.log", &words(&options), b"")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let host = on_host(&program, &[])?;
    let wanted = String::from_utf8_lossy(&host.stdout);
    let behind_first = |text: &str| text.split_once('\n').map(|(_, rest)| rest.to_owned());
    ensure!(
        output.end == Some(End::Exit(0))
            && said.starts_with("3 threads on 3 processors\n")
            && behind_first(&said) == behind_first(&wanted),
        "{said}instead of\n{wanted}{}",
        process::tail(&output.stderr, 4000)
    );
    Ok(())
}

fn unwinding(tools: &Tools) -> Result<()> {
    let program = build(tools, "unwinding")?;
    let host = on_host(&program, &[])?;
    ensure!(host.end == Some(End::Exit(101)), "{host:?}");
    let said = String::from_utf8_lossy(&host.stdout);
    let order = [
        "innermost",
        "between",
        "main",
        "drops innermost",
        "drops main",
    ];
    let mut rest = &*said;
    for name in order {
        let at = rest.find(name).with_context(|| said.to_string())?;
        rest = &rest[at..];
    }
    same_everywhere(tools, "unwinding", &[], &program, &[], &host)
}
