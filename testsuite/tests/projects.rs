//! Untouched projects, built with `ukl-cc` as their compiler and run in guests: redis with make,
//! gawk with autoconf, zstd with CMake, lighttpd with meson. None of them says at which ring it is,
//! so gdb looks at each in a function that it works in.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::ensure;
use testsuite::debugger;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::guest;
use testsuite::harness;
use testsuite::http::get;
use testsuite::process;
use testsuite::process::words;
use testsuite::project;
use testsuite::project::Project;
use testsuite::redis::Redis;
use testsuite::server::Server;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "projects",
        &[
            ("redis_libc", redis_libc),
            ("redis_jemalloc", redis_jemalloc),
            ("gawk", gawk),
            ("zstd", zstd),
            ("lighttpd", lighttpd),
        ],
    )
}

fn redis_libc(tools: &Tools) -> Result<()> {
    let dir = project::REDIS.build(tools)?;
    let image = dir.join("src/redis-server.ukl");
    at_ring0(tools, "redis", "aeMain", &words(&[&image]))?;
    serve_redis(tools, &dir, "redis-libc")?;
    keep_everything(tools, &dir, "redis-aof")
}

fn redis_jemalloc(tools: &Tools) -> Result<()> {
    let dir = Project {
        name: "redis-jemalloc",
        package: "redis",
        files: &[],
        // Debian's patch for another jemalloc asks the preprocessor whether this word is `yes`.
        // That is no number, so without the word the answer is always that it is, and the bundled
        // one is built but not used.
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

/// The program that `words` start is at ring 0 when it comes to one of its functions.
fn at_ring0(tools: &Tools, name: &str, function: &str, words: &[&OsStr]) -> Result<()> {
    let ring = debugger::ring_at(tools, name, function, words)?;
    ensure!(ring == 0, "{name} runs at ring {ring}");
    Ok(())
}

/// Redis answers redis-cli and redis-benchmark on this machine, and saves in the background while
/// it is being written to. Returns what it says of itself.
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
            Duration::from_secs(60),
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
    // It has answered all of them, whatever the client reports.
    let stats = redis.command(&["INFO", "commandstats"])?;
    for call in ["cmdstat_set:calls=5000,", "cmdstat_get:calls=5000,"] {
        ensure!(stats.contains(call), "no {call} in\n{stats}");
    }
    copy_on_write(&mut redis, &server)?;
    let checker = process::check(
        Command::new(dir.join("src/redis-check-rdb")).arg(data.join("dump.rdb")),
        Duration::from_secs(60),
    )?;
    let checker = String::from_utf8_lossy(&checker);
    ensure!(checker.contains("RDB looks OK"), "{checker}");
    let about = redis.command(&["INFO", "memory"])?;
    redis.send(&["SHUTDOWN", "NOSAVE"])?;
    server.ends_with(0)?;
    Ok(about)
}

/// A background save is a fork: what is written meanwhile must not get into it, nor stop.
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
    let deadline = Instant::now() + patient(Duration::from_secs(60));
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
            Instant::now() < deadline,
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

/// What redis has acknowledged is there after the power was cut, and after an orderly restart.
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

/// gawk: configure runs its probes, the program reads standard input, files and pipes, and runs
/// commands.
fn gawk(tools: &Tools) -> Result<()> {
    let dir = Project {
        name: "gawk",
        package: "gawk",
        files: &[],
        steps: &[
            "./configure CC=ukl-cc --disable-extensions --disable-nls",
            // The documentation's sources are not free enough for Debian, so `all` cannot be made.
            "make -j2 -C support",
            "make -j2 gawk",
        ],
        product: "gawk",
    }
    .build(tools)?;
    let image = dir.join("gawk.ukl");
    at_ring0(
        tools,
        "gawk",
        "do_print",
        &words(&[&image, &"BEGIN { print 1 }"]),
    )?;
    // That look tells the rings apart.
    let ring = debugger::ring_at(
        tools,
        "gawk-ring3",
        "do_print",
        &words(&[&"--ring3", &image, &"BEGIN { print 1 }"]),
    )?;
    ensure!(ring == 3, "with --ring3 gawk runs at ring {ring}");
    let data = scratch(tools, "gawk")?;
    let text: String = (1..=5000)
        .map(|i| format!("{i} {} word{}\n", i * i, i % 97))
        .collect();
    fs::write(data.join("numbers"), &text)?;
    let program = "{ sum += $1; square += $2; count[$3]++ } /99/ { hits++ } END { printf \"%d %d %d %d %.6f\\n\", \
                   sum, square, length(count), hits, sqrt(square); exit 7 }";
    let on_host = process::run(
        Command::new(dir.join("gawk"))
            .arg(program)
            .arg(data.join("numbers")),
        Duration::from_secs(60),
    )?;
    ensure!(
        on_host.end == Some(End::Exit(7)),
        "gawk on this machine: {on_host:?}"
    );
    for (transition, input, place) in [
        ("bypass", text.as_bytes(), "-"),
        ("bypass", b"".as_slice(), "/data/numbers"),
        ("base", b"".as_slice(), "/data/numbers"),
    ] {
        let in_guest = guest::run(
            tools,
            "gawk.log",
            &words(&[
                &format!("--transition={transition}"),
                &"-v",
                &volume(&data),
                &image,
                &program,
                &place,
            ]),
            input,
        )?;
        ensure!(
            in_guest.end == Some(End::Exit(7)),
            "gawk in the guest: {in_guest:?}"
        );
        ensure!(
            in_guest.stdout == on_host.stdout,
            "gawk in the guest: {in_guest:?}"
        );
    }
    // Ordinary programs of the host's file system as children of a ring-0 one.
    let program = "BEGIN { while ((\"seq 1 100 | sort -n -r | head -3\" | getline line) > 0) print line; \
                   print \"to tr\" | \"tr a-z A-Z\"; close(\"tr a-z A-Z\"); exit system(\"exit 5\") }";
    let pipes = guest::run(
        tools,
        "gawk-pipes.log",
        &words(&[&"--host-tools", &image, &program]),
        b"",
    )?;
    ensure!(pipes.end == Some(End::Exit(5)), "{pipes:?}");
    ensure!(pipes.stdout == b"100\n99\n98\nTO TR\n", "{pipes:?}");
    Ok(())
}

/// zstd: CMake takes the compiler for what it is; the guest packs with two threads what this
/// machine unpacks.
fn zstd(tools: &Tools) -> Result<()> {
    let dir = Project {
        name: "zstd",
        package: "libzstd",
        files: &[],
        steps: &[
            "cmake -S build/cmake -B out -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER=ukl-cc \
             -DCMAKE_CXX_COMPILER=ukl-c++ -DZSTD_BUILD_SHARED=OFF -DZSTD_BUILD_TESTS=OFF",
            "cmake --build out -j2",
        ],
        product: "out/programs/zstd",
    }
    .build(tools)?;
    let image = dir.join("out/programs/zstd.ukl");
    at_ring0(
        tools,
        "zstd",
        "ZSTD_createCCtx",
        &words(&[&image, &"-b1", &"-i0"]),
    )?;
    let data = scratch(tools, "zstd")?;
    let mut text = Vec::new();
    let mut seed = 1u32;
    while text.len() < 6 << 20 {
        seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
        text.extend_from_slice(format!("line {} of {}\n", seed >> 20, seed % 1000).as_bytes());
    }
    fs::write(data.join("text"), &text)?;
    let packed = guest::run(
        tools,
        "zstd.log",
        &words(&[
            &"--cpus",
            &"2",
            &"-v",
            &volume(&data),
            &image,
            &"-q",
            &"-T2",
            &"-5",
            &"/data/text",
        ]),
        b"",
    )?;
    ensure!(packed.end == Some(End::Exit(0)), "{packed:?}");
    let back = process::run(
        Command::new(dir.join("out/programs/zstd"))
            .arg("-dc")
            .arg(data.join("text.zst")),
        Duration::from_secs(60),
    )?;
    ensure!(
        back.stdout == text,
        "what the guest packed is not what comes out here"
    );
    fs::remove_file(data.join("text"))?;
    let unpacked = guest::run(
        tools,
        "zstd-d.log",
        &words(&[
            &"-v",
            &volume(&data),
            &image,
            &"-q",
            &"-d",
            &"/data/text.zst",
        ]),
        b"",
    )?;
    ensure!(unpacked.end == Some(End::Exit(0)), "{unpacked:?}");
    ensure!(
        fs::read(data.join("text"))? == text,
        "what the guest unpacked differs"
    );
    Ok(())
}

/// lighttpd: a second server, with meson; two workers serve files of a volume.
fn lighttpd(tools: &Tools) -> Result<()> {
    let dir = Project {
        name: "lighttpd",
        package: "lighttpd",
        // A static build takes its modules from a list of the builder's.
        files: &[(
            "src/plugin-static.h",
            "PLUGIN_INIT(mod_access)\nPLUGIN_INIT(mod_alias)\nPLUGIN_INIT(mod_indexfile)\n\
             PLUGIN_INIT(mod_rewrite)\nPLUGIN_INIT(mod_setenv)\nPLUGIN_INIT(mod_staticfile)\n",
        )],
        steps: &[
            "env CC=ukl-cc meson setup out -Dbuild_static=true -Dwith_pcre2=false -Dwith_pcre=disabled -Dwith_zlib=disabled \
             -Dwith_brotli=disabled -Dwith_bzip=disabled -Dwith_zstd=disabled",
            "ninja -C out -j2 src/lighttpd",
        ],
        product: "out/src/lighttpd",
    }
    .build(tools)?;
    let data = scratch(tools, "lighttpd")?;
    let page: String = (0..3000).map(|i| format!("line {i}\n")).collect();
    fs::write(data.join("page.html"), &page)?;
    fs::write(
        data.join("lighttpd.conf"),
        "server.document-root = \"/data\"\nserver.port = 80\nserver.max-worker = 2\n\
         index-file.names = ( \"page.html\" )\nmimetype.assign = ( \".html\" => \"text/html\" )\n",
    )?;
    let image = dir.join("out/src/lighttpd.ukl");
    at_ring0(
        tools,
        "lighttpd",
        "network_init",
        &words(&[
            &"-v",
            &volume(&data),
            &image,
            &"-D",
            &"-f",
            &"/data/lighttpd.conf",
        ]),
    )?;
    let mut server = Server::start(
        tools,
        "lighttpd.log",
        80,
        &words(&[
            &"--cpus",
            &"2",
            &"-v",
            &volume(&data),
            &image,
            &"-D",
            &"-f",
            &"/data/lighttpd.conf",
        ]),
    )?;
    server.wait_for(|port| get(port, "/"))?;
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let port = server.port;
            thread::spawn(move || {
                (0..20)
                    .map(|_| get(port, "/page.html"))
                    .collect::<Result<Vec<_>>>()
            })
        })
        .collect();
    for client in clients {
        for (status, body) in client.join().unwrap_or_else(|_| Ok(Vec::new()))? {
            ensure!(
                status == 200 && body == page,
                "{status}, {} bytes",
                body.len()
            );
        }
    }
    let (status, _) = get(server.port, "/missing")?;
    ensure!(status == 404, "{status} for a file that is not there");
    server.cut()
}
