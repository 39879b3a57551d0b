//! Redis with either allocator: clients, a benchmark, background saves, power cuts.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::process;
use testsuite::process::words;
use testsuite::project;
use testsuite::project::Project;
use testsuite::redis::Redis;
use testsuite::server::Server;
use testsuite::tools::Tools;
use testsuite::tools::patient;

use crate::at_ring0;

pub fn libc(tools: &Tools) -> Result<()> {
    let dir = project::REDIS.build(tools)?;
    let image = dir.join("src/redis-server.ukl");
    at_ring0(tools, "redis", "aeMain", &words(&[&image]))?;
    serve_redis(tools, &dir, "redis-libc")?;
    keep_everything(tools, &dir, "redis-aof")
}

pub fn jemalloc(tools: &Tools) -> Result<()> {
    let dir = Project {
        name: "redis-jemalloc",
        package: "redis",
        files: &[],
        // Debian's patch compares this macro with `yes` in an `#if`. Both are 0 there unless the macro
        // is defined, so the bundled jemalloc would be built but not used.
        steps: &["make -j2 CC=ukl-cc REDIS_CFLAGS=-DUSE_SYSTEM_JEMALLOC=1"],
        product: "src/redis-server",
    }
    .build(tools)?;
    let redis = serve_redis(tools, &dir, "redis-jemalloc")?;
    ensure!(
        redis.contains("mem_allocator:jemalloc"),
        "this is not jemalloc:\n{redis}"
    );
    keep_everything(tools, &dir, "redis-jemalloc-aof")
}

/// Redis answers redis-cli and redis-benchmark on this machine, and saves in the background while keys
/// are written. Returns its own report on its memory.
fn serve_redis(tools: &Tools, dir: &Path, name: &str) -> Result<String> {
    let data = scratch(tools, name)?;
    let image = dir.join("src/redis-server.ukl");
    let mut server = Server::start(
        tools,
        &format!("{name}.log"),
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
        ]),
    )?;
    let mut redis = server.wait_for(Redis::connect)?;
    let port = server.port.to_string();
    let cli = |args: &[&str]| {
        let mut command = Command::new(dir.join("src/redis-cli"));
        process::check(
            command.args(["-p", &port]).args(args),
            patient(Duration::from_secs(60)),
        )
    };
    ensure!(cli(&["SET", "greeting", "hello"])? == b"OK\n");
    ensure!(cli(&["GET", "greeting"])? == b"hello\n");
    let benchmark = |tests: &str, requests: &str, clients: &str| -> Result<String> {
        let mut command = Command::new(dir.join("src/redis-benchmark"));
        command.args([
            "-p", &port, "-t", tests, "-n", requests, "-c", clients, "--csv",
        ]);
        let report = process::check(&mut command, patient(Duration::from_secs(300)))?;
        Ok(String::from_utf8_lossy(&report).into_owned())
    };
    let report = benchmark("ping,set,get,incr,lpush", "500", "4")?;
    ensure!(
        ["SET", "GET", "INCR", "LPUSH"]
            .iter()
            .all(|test| report.contains(&format!("\"{test}\","))),
        "redis-benchmark reports\n{report}"
    );
    redis.command(&["CONFIG", "RESETSTAT"])?;
    benchmark("set,get", "5000", "20")?;
    // The server counts the requests, too, so the test does not depend on the client's report.
    let stats = redis.command(&["INFO", "commandstats"])?;
    for call in ["cmdstat_set:calls=5000,", "cmdstat_get:calls=5000,"] {
        ensure!(stats.contains(call), "no {call} in\n{stats}");
    }
    copy_on_write(&mut redis, &server)?;
    let checker = process::check(
        Command::new(dir.join("src/redis-check-rdb")).arg(data.join("dump.rdb")),
        patient(Duration::from_secs(60)),
    )?;
    let checker = String::from_utf8_lossy(&checker);
    ensure!(checker.contains("RDB looks OK"), "{checker}");
    let about = redis.command(&["INFO", "memory"])?;
    redis.send(&["SHUTDOWN", "NOSAVE"])?;
    server.ends_with(0)?;
    Ok(about)
}

/// A background save forks. Keys that are written meanwhile must not get into it, and writing must not
/// stop.
fn copy_on_write(redis: &mut Redis, server: &Server) -> Result<()> {
    const KEYS: usize = 4000;
    let old = "o".repeat(200);
    let new = "n".repeat(200);
    redis.command(&["FLUSHALL"])?;
    for chunk in 0..KEYS / 100 {
        for i in 0..100 {
            redis.send(&["SET", &format!("key:{}", chunk * 100 + i), &old])?;
        }
        for _ in 0..100 {
            redis.reply()?;
        }
    }
    let begun = redis.command(&["BGSAVE"])?;
    ensure!(
        begun.contains("Background saving started"),
        "BGSAVE: {begun}"
    );
    let mut patience = server.patience(Duration::from_secs(60));
    let mut written = 0;
    loop {
        for _ in 0..50 {
            redis.command(&["SET", &format!("key:{}", written % KEYS), &new])?;
            written += 1;
        }
        let info = redis.command(&["INFO", "persistence"])?;
        if info.contains("rdb_bgsave_in_progress:0") {
            ensure!(
                info.contains("rdb_last_bgsave_status:ok"),
                "{info}\n{}",
                server.said()
            );
            break;
        }
        ensure!(
            !patience.is_over(|| true),
            "the background save does not end:\n{info}"
        );
    }
    for i in [0, 17, written.min(KEYS) - 1, KEYS - 1] {
        let value = redis.command(&["GET", &format!("key:{i}")])?;
        ensure!(
            value == if i < written { &*new } else { &*old },
            "key:{i} is {value}"
        );
    }
    Ok(())
}

/// Every key that redis has acknowledged exists after a power cut and after an orderly restart.
fn keep_everything(tools: &Tools, dir: &Path, name: &str) -> Result<()> {
    let data = scratch(tools, name)?;
    let image = dir.join("src/redis-server.ukl");
    let start = |turn: u32| {
        Server::start(
            tools,
            &format!("{name}-{turn}.log"),
            6379,
            &words(&[
                &"-v",
                &volume(&data),
                &image,
                &"--protected-mode",
                &"no",
                &"--dir",
                &"/data",
                &"--save",
                &"",
                &"--appendonly",
                &"yes",
                &"--appendfsync",
                &"always",
            ]),
        )
    };
    let mut server = start(0)?;
    let mut redis = server.wait_for(Redis::connect)?;
    for i in 0..300 {
        redis.command(&["SET", &format!("kept:{i}"), &format!("value {i}")])?;
    }
    server.cut()?;
    for turn in 1..3 {
        let mut server = start(turn)?;
        let mut redis = server.wait_for(Redis::connect)?;
        let expected = 300 + (turn - 1) * 100;
        let size = redis.command(&["DBSIZE"])?;
        ensure!(
            size == expected.to_string(),
            "{size} keys of {expected} are there in turn {turn}"
        );
        for i in 0..expected {
            let value = redis.command(&["GET", &format!("kept:{i}")])?;
            ensure!(value == format!("value {i}"), "kept:{i} is `{value}`");
        }
        for i in expected..expected + 100 {
            redis.command(&["SET", &format!("kept:{i}"), &format!("value {i}")])?;
        }
        redis.send(&["SHUTDOWN"])?;
        server.ends_with(0)?;
    }
    Ok(())
}
