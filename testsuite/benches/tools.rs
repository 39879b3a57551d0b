//! What the tools take, beside what the host's own take for the same: `make bench-tools`.
//!
//! Both sides of a comparison run in turn, so that whatever else the machine does hits them alike.
//! A number is the median of its runs. Links are warm: the libraries' rewritten forms are in the
//! cache. The exit status tells whether all is as wanted.
//!
//! `UKL_BENCH_RUNS` says how often each side runs, 15 times if not set.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use testsuite::process;
use testsuite::project;
use testsuite::tools::Tools;

const LIMIT: Duration = Duration::from_secs(300);

const HELLO: &str = "#include <stdio.h>\nint main(void) { return puts(\"hello\") < 0; }\n";

const RUST_HELLO: &str = "fn main() { println!(\"hello\") }\n";

fn main() -> ExitCode {
    match run() {
        Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
        Ok(missed) => {
            eprintln!("bench-tools: not as wanted: {}", missed.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-tools: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures everything. Returns the names of what was not as wanted.
fn run() -> Result<Vec<String>> {
    let tools = Tools::find()?;
    let dir = tools.out.join("bench");
    fs::create_dir_all(&dir)?;
    let runs = std::env::var("UKL_BENCH_RUNS").ok();
    let runs = runs.and_then(|runs| runs.parse().ok()).unwrap_or(15);
    let mut bench = Bench {
        tools,
        dir,
        runs,
        missed: Vec::new(),
    };

    println!(
        "{:<38} {:>10} {:>10}   {:>17}   wanted",
        format!("median of {runs} runs"),
        "host's",
        "UKL's",
        "compared"
    );
    let libc = said("cc", &["-print-file-name=libc.a"])?;
    bench.rewriting("libc.a", &[libc.into()])?;
    let rlibs = rlibs()?;
    let name = format!("libstd's {} rlibs", rlibs.len());
    bench.rewriting(&name, &rlibs)?;
    bench.hello()?;
    bench.rust_hello()?;
    bench.redis()?;
    Ok(bench.missed)
}

/// One of the commands that are compared.
type Timed<'t> = &'t dyn Fn() -> Result<Duration>;

struct Bench {
    tools: Tools,
    /// Where products go.
    dir: PathBuf,
    /// How often each side runs.
    runs: usize,
    /// The names of what was not as wanted.
    missed: Vec<String>,
}

impl Bench {
    /// `symbol-rewriter` against `objcopy --prefix-symbols`, which leaves the system calls alone:
    /// as `ukl-ld` has it rewrite them, and in the simpler form.
    fn rewriting(&mut self, name: &str, files: &[PathBuf]) -> Result<()> {
        const WANTED: f64 = 5.0;
        let output = self.dir.join("rewritten.a");
        let all = |command: &dyn Fn(&Path) -> Command| -> Result<Duration> {
            let mut whole = Duration::ZERO;
            for file in files {
                // Both write beside and rename; over an old file a file system makes that wait.
                let _ = fs::remove_file(&output);
                whole += time(&mut command(file))?;
            }
            Ok(whole)
        };
        let objcopy = |file: &Path| {
            let mut command = Command::new("objcopy");
            command.arg("--prefix-symbols=_ukl_").arg(file).arg(&output);
            command
        };
        let skipping = |file: &Path| {
            let mut command = Command::new(self.tools.tool("symbol-rewriter"));
            command.arg("-o").arg(&output).arg(file);
            command
        };
        let calling = |file: &Path| {
            let mut command = skipping(file);
            command.arg("--call-form");
            command
        };
        let [host, call, skip] = medians(
            self.runs,
            [&|| all(&objcopy), &|| all(&calling), &|| all(&skipping)],
        )?;
        for (form, ours, wanted) in [("", call, Some(WANTED)), (", skip form", skip, None)] {
            let times = host / ours;
            let met = wanted.is_none_or(|wanted| times >= wanted);
            let wanted = wanted.map_or_else(String::new, |wanted| format!("{wanted} times"));
            let compared = format!("{times:.1} times as fast");
            self.report(
                &format!("{name}{form}"),
                [host, ours],
                &compared,
                &wanted,
                met,
            );
        }
        Ok(())
    }

    fn hello(&mut self) -> Result<()> {
        let source = self.dir.join("hello.c");
        fs::write(&source, HELLO)?;
        let object = self.dir.join("hello.o");
        let mut compile = Command::new("cc");
        process::check(
            compile.args(["-O2", "-c", "-o"]).arg(&object).arg(&source),
            LIMIT,
        )?;
        let ukl_cc = fs::canonicalize(self.tools.tool("ukl-cc"))?;
        let link = |compiler: &Path| {
            let mut command = Command::new(compiler);
            command.arg(&object);
            command
        };
        let (host, ours) = (|| link(Path::new("cc")), || link(&ukl_cc));
        self.linking("link of hello", "hello", &host, &ours, 0.5)
    }

    /// rustc knows how to link, so both sides compile, too.
    fn rust_hello(&mut self) -> Result<()> {
        let source = self.dir.join("hello.rs");
        fs::write(&source, RUST_HELLO)?;
        let ukl_ld = fs::canonicalize(self.tools.tool("ukl-ld"))?;
        let host = || {
            let mut command = Command::new("rustc");
            command.args(["--edition=2024", "-O"]).arg(&source);
            command
        };
        let ours = || {
            let mut command = host();
            command.arg(format!("-Clinker={}", ukl_ld.display()));
            command
        };
        self.linking("rustc of hello", "rust-hello", &host, &ours, 0.5)
    }

    fn redis(&mut self) -> Result<()> {
        let source = project::REDIS.build(&self.tools)?.join("src");
        let words = project::link_of_redis(&source)?;
        let ukl_cc = fs::canonicalize(self.tools.tool("ukl-cc"))?;
        let link = |compiler: &Path| {
            let mut command = Command::new(compiler);
            command.current_dir(&source).args(&words);
            command
        };
        let (host, ours) = (|| link(Path::new("cc")), || link(&ukl_cc));
        self.linking("link of redis-server", "redis-server", &host, &ours, 1.0)
    }

    /// A link that makes an image too against the one that does not; it may take so many seconds
    /// more.
    fn linking(
        &mut self,
        name: &str,
        product: &str,
        host: &dyn Fn() -> Command,
        ours: &dyn Fn() -> Command,
        wanted: f64,
    ) -> Result<()> {
        let output = self.dir.join(product);
        let image = self.dir.join(format!("{product}.ukl"));
        let link = |command: &dyn Fn() -> Command| -> Result<Duration> {
            let _ = fs::remove_file(&output);
            let _ = fs::remove_file(&image);
            let mut command = command();
            command.arg("-o").arg(&output);
            time(command.env_remove("UKL_FLAGS").env("UKL_IMAGE", "1"))
        };
        // It fills the cache.
        link(ours)?;
        ensure!(image.exists(), "{}: was not made", image.display());
        let [host, ours] = medians(self.runs, [&|| link(host), &|| link(ours)])?;
        let compared = format!("{:+.3} s", ours - host);
        let met = ours - host <= wanted;
        let wanted = format!("at most {wanted:+.1} s");
        self.report(name, [host, ours], &compared, &wanted, met);
        Ok(())
    }

    fn report(&mut self, name: &str, times: [f64; 2], compared: &str, wanted: &str, met: bool) {
        let [host, ours] = times;
        let mark = if met { "" } else { ": missed" };
        println!("{name:<38} {host:>8.4} s {ours:>8.4} s   {compared:>17}   {wanted}{mark}");
        if !met {
            self.missed.push(name.to_owned());
        }
    }
}

/// Runs them in turn and returns the median of each, in seconds.
fn medians<const N: usize>(runs: usize, timed: [Timed<'_>; N]) -> Result<[f64; N]> {
    let mut times = [const { Vec::new() }; N];
    for _ in 0..runs.max(1) {
        for (times, timed) in times.iter_mut().zip(timed) {
            times.push(timed()?);
        }
    }
    Ok(times.map(|mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    }))
}

/// How long a command takes.
fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    let took = start.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took)
}

/// The libraries of Rust's standard library.
fn rlibs() -> Result<Vec<PathBuf>> {
    let dir = said("rustc", &["--print", "target-libdir"])?;
    let mut rlibs = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| dir.clone())? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "rlib")
        {
            rlibs.push(path);
        }
    }
    ensure!(!rlibs.is_empty(), "{dir}: no rlibs");
    rlibs.sort();
    Ok(rlibs)
}

/// The one line that a command prints.
fn said(program: &str, args: &[&str]) -> Result<String> {
    let text = process::check(Command::new(program).args(args), LIMIT)?;
    Ok(String::from_utf8(text)?.trim().to_owned())
}
