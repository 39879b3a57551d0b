//! musl instead of glibc: `UKL_CC=musl-gcc`, and musl's archive rewritten by `symbol-rewriter`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::guest;
use testsuite::harness;
use testsuite::process;
use testsuite::process::words;
use testsuite::project::Project;
use testsuite::redis::Redis;
use testsuite::server::Server;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "musl",
        &[
            ("archive", archive),
            ("threads", threads),
            ("checks", checks),
            ("redis", redis),
        ],
    )
}

/// musl's archive in Debian.
const ARCHIVE: &str = "/usr/lib/x86_64-linux-musl/libc.a";

/// The accepted reasons for a system call that is not rewritten.
const REASONS: [&str; 4] = [
    "rt_sigreturn",
    "follows a munmap that may have freed the stack",
    "the end of a thread",
    "a signal handler compares the addresses around it",
];

/// Every system call of musl uses a thunk, except for the few that cannot.
fn archive(tools: &Tools) -> Result<()> {
    let output = scratch(tools, "musl-archive")?.join("libc.a");
    let rewrite = |input: &Path| {
        let mut command = Command::new(tools.tool("symbol-rewriter"));
        command.arg(input).arg("--report").arg("-o").arg(&output);
        let report = process::check(&mut command, patient(Duration::from_secs(60)))?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&report).into_owned())
    };
    let report = rewrite(Path::new(ARCHIVE))?;
    let number = |name: &str| {
        let line = report.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().parse::<u32>().ok())
    };
    let (sites, left) = (number("sites"), number("left"));
    ensure!(
        sites.is_some_and(|sites| sites > 400) && left.is_some_and(|left| left < 10),
        "{report}"
    );
    // Each line has a count and a reason. Lines with places follow it.
    let behind = report.split_once("\nleft").map_or("", |(_, rest)| rest);
    let reasons = behind
        .lines()
        .skip(1)
        .filter(|line| !line.contains(".text"));
    for reason in reasons {
        ensure!(REASONS.iter().any(|good| reason.contains(good)), "{reason}");
    }
    // All symbols that it defines and needs have the prefix, except for the linker's.
    let symbols = process::check(
        Command::new("nm")
            .args(["-g", "--format=posix"])
            .arg(&output),
        patient(Duration::from_secs(60)),
    )?;
    let symbols = String::from_utf8_lossy(&symbols);
    let plain: Vec<&str> = symbols
        .lines()
        .filter(|line| !line.ends_with(':') && !line.is_empty())
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.starts_with("_ukl_") && !name.starts_with("__ukl_sys"))
        .collect();
    let linkers = [
        "_DYNAMIC",
        "_GLOBAL_OFFSET_TABLE_",
        "__ehdr_start",
        "__tls_get_addr",
        "_end",
    ];
    let other = plain.iter().find(|name| {
        !linkers.contains(name) && !name.ends_with("_array_start") && !name.ends_with("_array_end")
    });
    ensure!(other.is_none(), "{other:?} has no prefix");
    ensure!(symbols.contains("_ukl_printf T"), "printf is gone");
    Ok(())
}

/// System calls that musl uses in another way than glibc.
fn threads(tools: &Tools) -> Result<()> {
    everywhere(tools, "threads", "2").map(drop)
}

/// musl's checks of the heap and the stack kill the program at ring 0, too.
fn checks(tools: &Tools) -> Result<()> {
    let said = everywhere(tools, "checks", "1")?;
    ensure!(
        said == "nothing: exit 7\nfreed_twice: signal 11\nnot_from_malloc: signal 11\n\
                 written_behind: signal 11\nstack_smashed: signal 11\n",
        "{said}"
    );
    Ok(())
}

/// Runs a program of `musl/` on this machine, at ring 3 and at ring 0. Expects the same output
/// everywhere, and returns it.
fn everywhere(tools: &Tools, name: &str, cpus: &str) -> Result<String> {
    let program = scratch(tools, &format!("musl-{name}"))?.join(name);
    let mut compile = Command::new(tools.tool("ukl-cc"));
    compile
        .env("UKL_CC", "musl-gcc")
        .args(["-O2", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(tools::testsuite().join(format!("musl/{name}.c")));
    let said = process::check(&mut compile, patient(Duration::from_secs(60)))?;
    ensure!(said.is_empty());
    let host = process::run(
        &mut Command::new(&program),
        patient(Duration::from_secs(60)),
    )?;
    ensure!(host.end == Some(End::Exit(42)), "{host:?}");
    for (ring, option) in [("3", "--ring3"), ("0", "--no-tty")] {
        let guest = guest::run(
            tools,
            &format!("musl-{name}-{ring}.log"),
            &words(&[
                &"--cpus",
                &cpus,
                &"-e",
                &format!("WANT_RING={ring}"),
                &option,
                &program,
            ]),
            b"",
        )?;
        ensure!(
            guest.end == Some(End::Exit(42)) && guest.stdout == host.stdout,
            "ring {ring}: {guest:?}"
        );
    }
    Ok(String::from_utf8_lossy(&host.stdout).into_owned())
}

/// A server with threads that forks while it serves.
fn redis(tools: &Tools) -> Result<()> {
    let dir = Project {
        name: "redis-musl",
        package: "redis",
        files: &[],
        // musl-gcc does not search for the kernel's headers, which are not part of musl.
        steps: &[
            "env UKL_CC=musl-gcc CFLAGS=-idirafter\t/usr/include\t-idirafter\t/usr/include/x86_64-linux-gnu \
             make -j2 -C src CC=ukl-cc MALLOC=libc OPTIMIZATION=-O1 redis-server",
        ],
        product: "src/redis-server",
    }
    .build(tools)?;
    let image = dir.join("src/redis-server.ukl");
    let interpreter = process::check(
        Command::new("readelf")
            .arg("-l")
            .arg(dir.join("src/redis-server")),
        patient(Duration::from_secs(60)),
    )?;
    ensure!(String::from_utf8_lossy(&interpreter).contains("ld-musl"));
    let data = scratch(tools, "musl-redis")?;
    let mut server = Server::start(
        tools,
        "musl-redis.log",
        6379,
        &words(&[
            &"--cpus",
            &"2",
            &"-v",
            &volume(&data),
            &image,
            &"--protected-mode",
            &"no",
            &"--dir",
            &"/data",
            &"--save",
            &"",
            &"--io-threads",
            &"2",
        ]),
    )?;
    let mut redis = server.wait_for(Redis::connect)?;
    for i in 0..500 {
        redis.command(&["SET", &format!("key:{i}"), &format!("value {i}")])?;
    }
    redis.command(&["BGSAVE"])?;
    for i in 0..500 {
        let value = redis.command(&["GET", &format!("key:{i}")])?;
        ensure!(value == format!("value {i}"), "key:{i} is {value}");
    }
    // Lua uses longjmp, and FLUSHALL ASYNC frees memory in another thread.
    let sum = redis.command(&[
        "EVAL",
        "local s = 0 for i = 1, 1000 do s = s + i end return s + select('#', pcall(error))",
        "0",
    ])?;
    ensure!(sum == "500502", "{sum}");
    redis.command(&["FLUSHALL", "ASYNC"])?;
    redis.send(&["SHUTDOWN", "NOSAVE"])?;
    server.ends_with(0)?;
    ensure!(fs::metadata(data.join("dump.rdb"))?.len() > 5000);
    Ok(())
}
