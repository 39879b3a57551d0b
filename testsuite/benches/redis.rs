//! What a redis server spends on a request at ring 3 and in each way at ring 0: `make bench-redis`.
//!
//! Each image is booted twice, and in each boot a client at ring 3 (`redis.c`) starts the server at
//! ring 3 and in the image's ways in turn, and asks each the same. In the first boot the machine
//! counts instructions: the server's processor time is the instructions that it and the kernel
//! spend on its account, whatever else this machine does. In the second, time passes as the
//! emulator (or KVM) works. Of several rounds the best counts. Ratios are to ring 3 in the same
//! boot. The exit status tells whether every step spends fewer instructions than the one before.
//!
//! `UKL_BENCH_ROUNDS` and `UKL_BENCH_REQUESTS` say how many there are of each, 3 and 5000 if not
//! set.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::process;
use testsuite::project;
use testsuite::project::Project;
use testsuite::tools;
use testsuite::tools::Tools;

const LIMIT: Duration = Duration::from_secs(900);

const RING3: &str = "ring 3";

/// Of the emulated machine's commands, in the order of the table.
const COMMANDS: [&str; 2] = ["SET", "GET"];

/// An image, and the ways of its server: each a name and what is added to the personality.
struct Variant {
    name: &'static str,
    patched: bool,
    options: &'static [&'static str],
    ways: &'static [(&'static str, &'static str)],
}

const BYPASS: &str = "10000000";

const VARIANTS: [Variant; 3] = [
    Variant {
        name: "plain",
        patched: false,
        options: &[],
        ways: &[("base", "0"), ("bypass", BYPASS)],
    },
    Variant {
        name: "shortcuts",
        patched: false,
        options: &["--ukl-shortcuts=all"],
        ways: &[("shortcuts", BYPASS)],
    },
    Variant {
        name: "patched",
        patched: true,
        options: &["--ukl-shortcuts=all"],
        ways: &[("patch", BYPASS)],
    },
];

fn main() -> ExitCode {
    match run() {
        Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
        Ok(missed) => {
            eprintln!("bench-redis: no improvement: {}", missed.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-redis: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures everything. Returns the steps that are none.
fn run() -> Result<Vec<String>> {
    let bench = Bench::new()?;
    let (mut counted, mut timed) = (Vec::new(), Vec::new());
    for variant in &VARIANTS {
        let image = bench.link(variant)?;
        counted.push(bench.boot(variant, &image, &["--icount"])?);
        timed.push(bench.boot(variant, &image, &[])?);
    }
    let steps: Vec<(usize, &str)> = VARIANTS
        .iter()
        .enumerate()
        .flat_map(|(boot, variant)| variant.ways.iter().map(move |(way, _)| (boot, *way)))
        .collect();
    let spent = |figures: &Figures| figures.spent;
    let rate = |figures: &Figures| figures.rate;
    table(
        "server's instructions a request",
        &counted,
        &steps,
        spent,
        0,
    );
    table(
        "requests a second of 10^9 instructions",
        &counted,
        &steps,
        rate,
        0,
    );
    table("requests a second", &timed, &steps, rate, 0);
    table(
        "server's microseconds a request",
        &timed,
        &steps,
        |figures| figures.spent / 1000.0,
        1,
    );

    let mut missed = Vec::new();
    for command in COMMANDS {
        let mut before = 1.0;
        for &(boot, way) in &steps {
            let ratio = ratio(&counted[boot], way, command, spent);
            if ratio >= before {
                missed.push(format!("{way}, {command}"));
            }
            before = ratio;
        }
    }
    Ok(missed)
}

/// The best of a way's rounds.
#[derive(Debug, Clone, Copy)]
struct Figures {
    /// The server's processor time a request, in nanoseconds.
    spent: f64,
    /// Requests a second.
    rate: f64,
}

/// The figures of a boot, by way and command.
type Boot = BTreeMap<(String, String), Figures>;

fn of(boot: &Boot, way: &str, command: &str, figure: impl Fn(&Figures) -> f64) -> f64 {
    figure(&boot[&(way.to_owned(), command.to_owned())])
}

fn ratio(boot: &Boot, way: &str, command: &str, figure: impl Fn(&Figures) -> f64 + Copy) -> f64 {
    of(boot, way, command, figure) / of(boot, RING3, command, figure)
}

fn table(
    title: &str,
    boots: &[Boot],
    steps: &[(usize, &str)],
    figure: impl Fn(&Figures) -> f64 + Copy,
    digits: usize,
) {
    let line = |boot: usize, way: &str| {
        let mut line = format!("{way:<38}");
        for command in COMMANDS {
            let value = of(&boots[boot], way, command, figure);
            let percent = 100.0 * ratio(&boots[boot], way, command, figure);
            line += &format!(" {value:>10.digits$} {percent:>6.1}%");
        }
        println!("{line}");
    };
    println!("{title:<38} {:>10} {:>7} {:>10}", "SET", "", "GET");
    line(0, RING3);
    for &(boot, way) in steps {
        line(boot, way);
    }
    // What the ratios of the other boots are to.
    for boot in 1..boots.len() {
        line(boot, RING3);
    }
    println!();
}

struct Bench {
    tools: Tools,
    dir: PathBuf,
    client: PathBuf,
    /// Redis as an ordinary program.
    ring3: PathBuf,
    /// The directories of the sources: as they are, and patched.
    sources: [PathBuf; 2],
    rounds: u32,
    requests: u32,
}

impl Bench {
    fn new() -> Result<Self> {
        let tools = Tools::find()?;
        let dir = tools.out.join("bench-redis");
        fs::create_dir_all(&dir)?;
        let client = dir.join("client");
        let mut compile = Command::new("cc");
        compile.args(["-O2", "-static", "-o"]).arg(&client);
        compile.arg(tools::testsuite().join("benches/redis.c"));
        process::check(&mut compile, LIMIT)?;

        let plain = project::REDIS.build(&tools)?;
        let patch = tools::workspace().join("examples/redis/shortcuts.patch");
        let patch = format!("patch -p1 -i {}", patch.display());
        let patched = Project {
            name: "redis-shortcuts",
            steps: &[&patch, project::REDIS.steps[0]],
            ..project::REDIS
        };
        let sources = [plain.join("src"), patched.build(&tools)?.join("src")];
        let number = |name, default| {
            let value = std::env::var(name).ok();
            value
                .and_then(|value| value.parse().ok())
                .unwrap_or(default)
        };
        let bench = Bench {
            ring3: dir.join("ring3"),
            tools,
            dir,
            client,
            sources,
            rounds: number("UKL_BENCH_ROUNDS", 3),
            requests: number("UKL_BENCH_REQUESTS", 5000),
        };
        let ring3 = format!("--ukl-ring3={}", bench.ring3.display());
        bench.compiler(false, &["--ukl-no-image", &ring3])?;
        Ok(bench)
    }

    /// Links a server, with options of ours.
    fn compiler(&self, patched: bool, options: &[&str]) -> Result<()> {
        let source = &self.sources[usize::from(patched)];
        let mut link = Command::new(fs::canonicalize(self.tools.tool("ukl-cc"))?);
        link.current_dir(source)
            .args(project::link_of_redis(source)?)
            .args(options)
            .arg("-o")
            .arg(self.dir.join("redis-server"))
            .env_remove("UKL_FLAGS");
        process::check(&mut link, LIMIT)?;
        Ok(())
    }

    /// Links the image of a variant, in which are the client and the server for ring 3, too.
    fn link(&self, variant: &Variant) -> Result<PathBuf> {
        let image = self.dir.join(format!("{}.ukl", variant.name));
        let written = format!("--ukl-image={}", image.display());
        let add = |file: &Path, name| format!("--ukl-add={}:/bench/{name}", file.display());
        let (client, ring3) = (add(&self.client, "client"), add(&self.ring3, "ring3"));
        let mut options = vec![written.as_str(), &client, &ring3];
        options.extend(variant.options);
        self.compiler(variant.patched, &options)?;
        Ok(image)
    }

    fn boot(&self, variant: &Variant, image: &Path, options: &[&str]) -> Result<Boot> {
        let ways: Vec<String> = variant
            .ways
            .iter()
            .map(|(way, policy)| format!("{way}={policy}"))
            .collect();
        let (rounds, requests) = (self.rounds, self.requests);
        let wrap = format!(
            "/bench/client {rounds} {requests} /bench/ring3 {}",
            ways.join(",")
        );
        let mut run = Command::new(self.tools.tool("ukl-run"));
        run.args(["-m", "256M", "--no-net", "--timeout", "800"])
            .args(options)
            .args(["--wrap", &wrap])
            .arg(image);
        let output = process::run(&mut run, LIMIT)?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.end == Some(End::Exit(0)),
            "{}: {:?}\n{text}{}",
            variant.name,
            output.end,
            process::tail(&output.stderr, 4000)
        );
        figures(&text)
    }
}

/// Reads what the client has printed: the best of each way and command.
fn figures(text: &str) -> Result<Boot> {
    let mut boot = Boot::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.split('|').collect();
        let [way, command, spent, rate] = parts[..] else {
            anyhow::bail!("the client says `{line}'");
        };
        let new = Figures {
            spent: spent.parse().with_context(|| line.to_owned())?,
            rate: rate.parse().with_context(|| line.to_owned())?,
        };
        boot.entry((way.to_owned(), command.to_owned()))
            .and_modify(|best| {
                best.spent = best.spent.min(new.spent);
                best.rate = best.rate.max(new.rate);
            })
            .or_insert(new);
    }
    Ok(boot)
}
