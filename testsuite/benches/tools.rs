//! What the tools take, beside what the host's own take for the same: `make bench-tools`.
//!
//! Both sides of a comparison run in turn, so that whatever else the machine does hits them alike.
//! A number is the median of its runs. Links are warm: the libraries' rewritten forms are in the
//! cache.
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

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tools: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let tools = Tools::find()?;
    let dir = tools.out.join("bench");
    fs::create_dir_all(&dir)?;
    let runs = std::env::var("UKL_BENCH_RUNS").ok();
    let runs = runs.and_then(|runs| runs.parse().ok()).unwrap_or(15);

    println!(
        "{:<38} {:>10} {:>10}   {:>17}   wanted",
        "median of ".to_owned() + &format!("{runs} runs"),
        "host's",
        "UKL's",
        "compared"
    );
    let libc = said("cc", &["-print-file-name=libc.a"])?;
    rewriting(&tools, &dir, runs, "libc.a", &[libc.into()])?;
    let rlibs = rlibs()?;
    let name = format!("libstd's {} rlibs", rlibs.len());
    rewriting(&tools, &dir, runs, &name, &rlibs)?;

    let source = dir.join("hello.c");
    fs::write(&source, HELLO)?;
    let object = dir.join("hello.o");
    let mut compile = Command::new("cc");
    process::check(
        compile.args(["-O2", "-c", "-o"]).arg(&object).arg(&source),
        LIMIT,
    )?;
    let words = vec![object.display().to_string()];
    linking(&tools, &dir, runs, "hello", &dir, &words, 0.5)?;

    let redis = project::REDIS.build(&tools)?.join("src");
    let words = link_of_redis(&redis)?;
    linking(&tools, &dir, runs, "redis-server", &redis, &words, 1.0)
}

/// `symbol-rewriter` against `objcopy --prefix-symbols`, which leaves the system calls alone.
fn rewriting(tools: &Tools, dir: &Path, runs: usize, name: &str, files: &[PathBuf]) -> Result<()> {
    let output = dir.join("rewritten.a");
    let all = |command: &dyn Fn(&Path) -> Command| -> Result<Duration> {
        let mut whole = Duration::ZERO;
        for file in files {
            // Both write beside and rename; over an old file a file system makes that wait.
            let _ = fs::remove_file(&output);
            whole += time(&mut command(file))?;
        }
        Ok(whole)
    };
    let (host, ours) = medians(
        runs,
        || {
            all(&|file| {
                let mut command = Command::new("objcopy");
                command.arg("--prefix-symbols=_ukl_").arg(file).arg(&output);
                command
            })
        },
        || {
            all(&|file| {
                let mut command = Command::new(tools.tool("symbol-rewriter"));
                command.arg("-o").arg(&output).arg(file);
                command
            })
        },
    )?;
    let compared = format!("{:.1} times as fast", host / ours);
    report(name, host, ours, &compared, "5 times");
    Ok(())
}

/// A link that makes an image too against the one that does not.
fn linking(
    tools: &Tools,
    dir: &Path,
    runs: usize,
    name: &str,
    cwd: &Path,
    words: &[String],
    wanted: f64,
) -> Result<()> {
    let output = dir.join(name);
    let image = dir.join(format!("{name}.ukl"));
    let link = |compiler: &Path| -> Result<Duration> {
        let _ = fs::remove_file(&output);
        let _ = fs::remove_file(&image);
        let mut command = Command::new(compiler);
        command.current_dir(cwd).args(words).arg("-o").arg(&output);
        time(command.env_remove("UKL_FLAGS").env("UKL_IMAGE", "1"))
    };
    let ukl_cc = fs::canonicalize(tools.tool("ukl-cc"))?;
    // It fills the cache.
    link(&ukl_cc)?;
    ensure!(image.exists(), "{}: was not made", image.display());
    let (host, ours) = medians(runs, || link(Path::new("cc")), || link(&ukl_cc))?;
    let compared = format!("{:+.3} s", ours - host);
    let wanted = format!("at most {wanted:+.1} s");
    report(&format!("link of {name}"), host, ours, &compared, &wanted);
    Ok(())
}

fn report(name: &str, host: f64, ours: f64, compared: &str, wanted: &str) {
    println!("{name:<38} {host:>8.4} s {ours:>8.4} s   {compared:>17}   {wanted}");
}

/// Runs both in turn and returns the median of each, in seconds.
fn medians(
    runs: usize,
    host: impl Fn() -> Result<Duration>,
    ours: impl Fn() -> Result<Duration>,
) -> Result<(f64, f64)> {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..runs.max(1) {
        times.0.push(host()?);
        times.1.push(ours()?);
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    Ok((median(times.0), median(times.1)))
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

/// What stands behind the compiler when make links the server, but for the output.
fn link_of_redis(dir: &Path) -> Result<Vec<String>> {
    let mut make = Command::new("make");
    // As if an object were new, and nothing done about it.
    make.current_dir(dir)
        .args(["-n", "V=1", "-W", "adlist.o"])
        .args(["CC=cc", "MALLOC=libc", "redis-server"]);
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
    let text = String::from_utf8(process::check(&mut make, LIMIT)?)?;
    let line = text
        .lines()
        .find(|line| line.starts_with("cc ") && line.contains(" -o redis-server "))
        .context("make does not say how it links redis-server")?;
    let words = line.replace(" -o redis-server ", " ");
    Ok(words.split_whitespace().skip(1).map(String::from).collect())
}

/// The one line that a command prints.
fn said(program: &str, args: &[&str]) -> Result<String> {
    let text = process::check(Command::new(program).args(args), LIMIT)?;
    Ok(String::from_utf8(text)?.trim().to_owned())
}
