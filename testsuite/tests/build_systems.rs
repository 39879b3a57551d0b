//! Build systems, compiler caches and distributed compilers, each with a project of others and with
//! what `share/` has for it.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
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
use testsuite::dirs::volume;
use testsuite::guest;
use testsuite::harness;
use testsuite::process;
use testsuite::process::words;
use testsuite::project;
use testsuite::project::Project;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "build_systems",
        &[
            ("make", make),
            ("ccache", ccache),
            ("sccache", sccache),
            ("distcc_in_front", distcc_in_front),
            ("distcc_behind", distcc_behind),
            ("autoconf", autoconf),
            ("cmake", cmake),
            ("meson", meson),
            ("meson_cross", meson_cross),
            ("cargo", cargo),
            ("cargo_install", cargo_install),
            ("cargo_cc", cargo_cc),
            ("bazel", bazel),
        ],
    )
}

/// A file for a build system.
fn share(name: &str) -> String {
    let path = tools::workspace().join("share").join(name);
    path.display().to_string()
}

/// Runs a command that has to succeed and returns what it printed.
fn check(command: &mut Command) -> Result<String> {
    let output = process::check(command, patient(Duration::from_secs(600)))?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// bzip2, which has nothing but a makefile: its own sample has to come out as it should.
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
fn make(tools: &Tools) -> Result<()> {
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

/// The number in the last column of a table's line.
fn number(table: &str, line: &str) -> Option<u32> {
    let line = table.lines().find_map(|text| text.strip_prefix(line))?;
    line.trim().parse().ok()
}

fn ccache(tools: &Tools) -> Result<()> {
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

fn sccache(tools: &Tools) -> Result<()> {
    let dir = project::unpack(tools, "bzip2-sccache", "bzip2")?;
    let cache = scratch(tools, "sccache")?;
    let port = free_port()?.to_string();
    let settings = |command: &mut Command| {
        command
            .env("SCCACHE_DIR", &cache)
            .env("SCCACHE_SERVER_PORT", &port)
            .env_remove("SCCACHE_SERVER_UDS");
    };
    // In the foreground, so that it ends with the test.
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

/// `distcc ukl-cc`: the servers have ukl-cc, too.
fn distcc_in_front(tools: &Tools) -> Result<()> {
    distcc(tools, "distcc-in-front", "distcc ukl-cc", None)
}

/// `ukl-cc`, which calls `distcc gcc`: the servers need not know.
fn distcc_behind(tools: &Tools) -> Result<()> {
    distcc(tools, "distcc-behind", "ukl-cc", Some("distcc gcc"))
}

fn distcc(tools: &Tools, name: &str, cc: &str, ukl_cc: Option<&str>) -> Result<()> {
    let dir = project::unpack(tools, &format!("bzip2-{name}"), "bzip2")?;
    // A server that is started by root becomes somebody who may not look into homes.
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

/// A directory that everybody can read, removed in the end.
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

/// A server on this machine, stopped in the end.
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

/// dash: configure takes its compiler from a site file; a shell forks, pipes and catches signals.
fn autoconf(tools: &Tools) -> Result<()> {
    // Make configures once more where the clock says so.
    let site = format!("env CONFIG_SITE={}", share("config.site"));
    let (configure, make) = (format!("{site} ./configure"), format!("{site} make -j2"));
    let dir = Project {
        name: "dash",
        package: "dash",
        files: &[],
        steps: &[&configure, &make],
        product: "src/dash",
    }
    .build(tools)?;
    let script = "trap 'echo caught' USR1; kill -USR1 $$\n\
                  for i in 1 2 3; do echo $i; done | while read n; do echo got $n; done\n\
                  (exit 3) || echo \"status $?\"\n\
                  x=$(cat <<EOF\nhere $((6 * 7))\nEOF\n)\necho \"$x\"\n\
                  (sleep() { read none; }; echo left) & wait $! && echo waited\n\
                  exit 42\n";
    // `cat' is no builtin: the host's is used.
    let output = guest::run(
        tools,
        "dash.log",
        &words(&[&"--host-tools", &dir.join("src/dash.ukl"), &"-s"]),
        script.as_bytes(),
    )?;
    let wanted = "caught\ngot 1\ngot 2\ngot 3\nstatus 3\nhere 42\nleft\nwaited\n";
    ensure!(
        output.end == Some(End::Exit(42)) && output.stdout == wanted.as_bytes(),
        "{output:?}"
    );
    Ok(())
}

/// What CMake tries out runs on this machine and has no image; what it tests runs in a guest.
fn cmake(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "cmake")?;
    fs::write(
        dir.join("CMakeLists.txt"),
        "cmake_minimum_required(VERSION 3.13)\n\
         project(x C)\n\
         include(CheckCSourceRuns)\n\
         include(CheckIPOSupported)\n\
         enable_testing()\n\
         file(WRITE ${CMAKE_BINARY_DIR}/tried.c \"int main(void) { return 3; }\")\n\
         try_run(ENDED BUILT ${CMAKE_BINARY_DIR} ${CMAKE_BINARY_DIR}/tried.c)\n\
         check_c_source_runs(\"int main(void) { return 0; }\" RUNS)\n\
         check_ipo_supported()\n\
         if(NOT ENDED EQUAL 3 OR NOT RUNS)\n\
         message(FATAL_ERROR \"${ENDED} ${RUNS}\")\n\
         endif()\n\
         add_library(part STATIC part.c)\n\
         add_executable(x x.c)\n\
         target_link_libraries(x part)\n\
         set_target_properties(part x PROPERTIES INTERPROCEDURAL_OPTIMIZATION ON)\n\
         install(TARGETS x)\n\
         add_test(NAME ring COMMAND x)\n",
    )?;
    fs::write(
        dir.join("part.c"),
        "int ring(void) { short cs; __asm__(\"mov %%cs, %0\" : \"=r\"(cs)); return cs & 3; }\n",
    )?;
    fs::write(
        dir.join("x.c"),
        "int ring(void);\nint main(void) { return ring(); }\n",
    )?;
    for step in [
        &format!(
            "cmake -B out -DCMAKE_TOOLCHAIN_FILE={} -DUKL_RUN={}/ukl-run -DCMAKE_INSTALL_PREFIX={}",
            share("toolchain.cmake"),
            tools.boots.dir().display(),
            dir.join("to").display()
        ),
        "cmake --build out",
        "cmake --install out",
    ] {
        check(&mut project::command(tools, &dir, step)?)?;
    }
    ensure!(
        tools.boots.count_at_ring_0()? == 0,
        "something was tried in a guest"
    );
    let images = check(Command::new("find").arg(&dir).args(["-name", "*.ukl"]))?;
    let image = dir.join("out/x.ukl");
    ensure!(images.trim_end() == image.display().to_string(), "{images}");
    let report = check(&mut project::command(
        tools,
        &dir.join("out"),
        "ctest --output-on-failure",
    )?)?;
    ensure!(report.contains("0 tests failed out of 1"), "{report}");
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == 1, "{boots} boots");
    Ok(())
}

/// The unit tests of lighttpd, as its build runs them.
fn meson(tools: &Tools) -> Result<()> {
    const TESTS: [&str; 3] = ["test_common", "test_configfile", "test_mod"];
    let setup = format!(
        "meson setup out --native-file {} -Dwith_pcre2=false -Dwith_pcre=disabled \
         -Dwith_zlib=disabled -Dwith_brotli=disabled -Dwith_bzip=disabled -Dwith_zstd=disabled",
        share("native.ini")
    );
    let targets = TESTS.map(|test| format!("src/{test}")).join(" ");
    let dir = Project {
        name: "lighttpd-tests",
        package: "lighttpd",
        files: &[],
        steps: &[&setup, &format!("ninja -C out -j2 {targets}")],
        product: "out/src/test_common",
    }
    .build(tools)?;
    // They read files of the source tree, write into the working directory and run commands.
    let here = dir.display();
    let wrapper = format!("ukl-run --host-tools -v {here}:{here} -w {here}/out");
    let mut test = project::command(tools, &dir, "meson test -C out --no-rebuild -t 10")?;
    test.args(["--wrapper", &wrapper]).args(TESTS);
    let report = check(test.env("PATH", project::path(tools)?))?;
    let passed = number(&report, "Ok:");
    ensure!(passed == Some(TESTS.len() as u32), "{report}");
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == TESTS.len(), "{boots} boots");
    Ok(())
}

/// What is built for the build itself is left to the machine's compiler.
fn meson_cross(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "meson-cross")?;
    fs::write(
        dir.join("meson.build"),
        "project('x', 'c')\n\
         generator = executable('generator', 'generator.c', native: true)\n\
         text = custom_target('text', output: 'text.h', command: [generator], capture: true)\n\
         assert(meson.get_compiler('c').run('int main(void) { return 3; }').returncode() == 3)\n\
         x = executable('x', 'x.c', text)\n\
         test('x', x, should_fail: false)\n",
    )?;
    fs::write(
        dir.join("generator.c"),
        "#include <stdio.h>\nint main(void) { puts(\"#define TEXT \\\"generated\\\"\"); return 0; }\n",
    )?;
    fs::write(
        dir.join("x.c"),
        "#include <stdio.h>\n#include \"text.h\"\nint main(void) { puts(TEXT); return 0; }\n",
    )?;
    let setup = format!("meson setup out --cross-file {}", share("cross.ini"));
    check(&mut project::command(tools, &dir, &setup)?)?;
    check(&mut project::command(tools, &dir, "ninja -C out")?)?;
    ensure!(dir.join("out/x.ukl").exists() && !dir.join("out/generator.ukl").exists());
    let mut test = project::command(
        tools,
        &dir,
        "meson test -C out --no-rebuild -v --wrapper ukl-run",
    )?;
    let report = check(test.env("PATH", project::path(tools)?))?;
    ensure!(report.contains("generated"), "{report}");
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == 1, "{boots} boots");
    Ok(())
}

/// A crate's own tests, its documentation's too, in guests.
fn cargo(tools: &Tools) -> Result<()> {
    let dir = project::crate_source(tools, "semver", "semver", "1.0.26")?;
    let mut test = cargo_command(tools, &dir, &["test", "--locked"])?;
    test.env("PATH", project::path(tools)?);
    let report = check(&mut test)?;
    let good = report.matches("test result: ok. ").count();
    ensure!(good == 6, "{report}");
    ensure!(report.contains("20 passed"), "{report}");
    // Five programs of tests, and four examples of the documentation.
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == 9, "{boots} boots");
    Ok(())
}

/// `cargo install` keeps nothing but the program; the image is found all the same.
fn cargo_install(tools: &Tools) -> Result<()> {
    let root = scratch(tools, "cargo-install")?;
    let dir = project::crate_source(tools, "hexyl", "hexyl", "0.16.0")?;
    let mut install = cargo_command(
        tools,
        &dir,
        &["install", "--debug", "--locked", "--path", "."],
    )?;
    install.arg("--root").arg(&root);
    check(&mut install)?;
    let program = root.join("bin/hexyl");
    ensure!(!root.join("bin/hexyl.ukl").exists());
    let args = ["--border=ascii", "--color=never", "-n", "64", "/data/input"];
    let input = root.join("input");
    fs::write(&input, (0..=255).collect::<Vec<u8>>())?;
    let host = check(Command::new(&program).args(&args[..4]).arg(&input))?;
    let mut all: Vec<&OsStr> = vec![OsStr::new("-v")];
    let volume = volume(&root);
    all.extend([OsStr::new(&volume), program.as_os_str()]);
    all.extend(args.iter().map(OsStr::new));
    let guest = guest::run(tools, "hexyl.log", &all, b"")?;
    ensure!(
        guest.end == Some(End::Exit(0)) && guest.stdout == host.as_bytes(),
        "{guest:?}\n{host}"
    );
    Ok(())
}

/// A package with C and C++ code of its own, which the crate `cc` compiles. It looks the compiler
/// over and tries its flags, and lets it preprocess and compile.
const CARGO_CC: [(&str, &str); 5] = [
    (
        "Cargo.toml",
        "[package]\nname = \"with-c\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
         [build-dependencies]\ncc = \"1\"\n[workspace]\n",
    ),
    (
        "build.rs",
        "fn main() {\n\
             let mut c = cc::Build::new();\n\
             let tool = c.get_compiler();\n\
             assert!(tool.is_like_gnu() && !tool.is_like_clang(), \"{tool:?}\");\n\
             assert!(c.is_flag_supported(\"-fno-strict-aliasing\").unwrap());\n\
             assert!(!c.is_flag_supported(\"-fno-such-flag\").unwrap());\n\
             let text = cc::Build::new().file(\"part.c\").expand();\n\
             assert!(String::from_utf8(text).unwrap().contains(\"ring\"));\n\
             c.warnings_into_errors(true).file(\"part.c\").compile(\"part\");\n\
             cc::Build::new().cpp(true).file(\"more.cc\").compile(\"more\");\n\
         }\n",
    ),
    (
        "part.c",
        "int ring(void) {\n\
             unsigned short cs;\n\
             __asm__(\"mov %%cs, %0\" : \"=r\"(cs));\n\
             return cs & 3;\n\
         }\n",
    ),
    (
        "more.cc",
        "#include <string>\n\
         extern \"C\" int thrown(int n) {\n\
             try { throw std::string(n, 'x'); } catch (std::string &s) { return s.size(); }\n\
         }\n",
    ),
    (
        "src/main.rs",
        "extern \"C\" { fn ring() -> i32; fn thrown(n: i32) -> i32; }\n\
         fn main() {\n\
             println!(\"{} from ring {}\", unsafe { thrown(17) }, unsafe { ring() });\n\
         }\n",
    ),
];

/// Build scripts find `ukl-cc` in `CC`, by itself and behind ccache.
fn cargo_cc(tools: &Tools) -> Result<()> {
    for (name, cc, cxx) in [
        ("plain", "ukl-cc", "ukl-c++"),
        ("ccache", "ccache ukl-cc", "ccache ukl-c++"),
    ] {
        let dir = scratch(tools, &format!("cargo-cc-{name}"))?;
        for (path, text) in CARGO_CC {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&dir))?;
            fs::write(path, text)?;
        }
        let mut build = cargo_command(tools, &dir, &["build", "-q"])?;
        build
            .env("CC", cc)
            .env("CXX", cxx)
            .env("CCACHE_DIR", dir.join("ccache"));
        check(&mut build)?;
        let image = dir.join("target/debug/with-c.ukl");
        let guest = guest::run(
            tools,
            &format!("cargo-cc-{name}.log"),
            &words(&[&image]),
            b"",
        )?;
        ensure!(
            guest.end == Some(End::Exit(0)) && guest.stdout == b"17 from ring 0\n",
            "{cc}: {guest:?}"
        );
    }
    Ok(())
}

fn cargo_command(tools: &Tools, dir: &Path, args: &[&str]) -> Result<Command> {
    let mut command = project::command(tools, dir, "cargo --config")?;
    command.arg(share("cargo.toml")).args(args);
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// What Bazel would download before it builds anything. Debian's own rules for C are too new for its
/// Bazel, so these are the ones within it.
const REPOSITORIES: [(&str, &str, &str); 3] = [
    (
        "rules_cc",
        "cc/defs.bzl",
        "cc_binary = native.cc_binary\ncc_import = native.cc_import\n\
         cc_library = native.cc_library\ncc_proto_library = native.cc_proto_library\n\
         cc_test = native.cc_test\ncc_toolchain = native.cc_toolchain\n\
         cc_toolchain_suite = native.cc_toolchain_suite\nobjc_library = native.objc_library\n",
    ),
    ("rules_cc", "cc/BUILD", ""),
    (
        "remote_coverage_tools",
        "BUILD",
        "package(default_visibility = [\"//visibility:public\"])\n\
         filegroup(name = \"coverage_report_generator\", srcs = [\"BUILD\"])\n\
         filegroup(name = \"lcov_merger\", srcs = [\"BUILD\"])\n",
    ),
];

/// Those that Debian has.
const DEBIANS: [&str; 3] = [
    "platforms=/usr/share/bazel/platforms",
    "rules_java=/usr/share/bazel/rules/java",
    "rules_proto=/usr/share/bazel/rules/proto",
];

/// double-conversion: Bazel looks the compiler over and clears the environment; `bazel test` runs
/// the tests in a guest.
fn bazel(tools: &Tools) -> Result<()> {
    let dir = project::unpack(tools, "double-conversion", "double-conversion")?;
    let repositories = scratch(tools, "bazel-repositories")?;
    let mut options: Vec<String> = DEBIANS
        .iter()
        .map(|place| format!("--override_repository={place}"))
        .collect();
    for (name, path, text) in REPOSITORIES {
        let root = repositories.join(name);
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&root))?;
        fs::write(path, text)?;
        fs::write(root.join("WORKSPACE"), "")?;
        options.push(format!("--override_repository={name}={}", root.display()));
    }
    let mut bazel = project::command(tools, &dir, "bazel --batch --nohome_rc")?;
    bazel
        .arg(format!("--bazelrc={}", share("bazelrc")))
        .arg(format!(
            "--output_user_root={}",
            tools.out.join("bazel").display()
        ))
        .args(["test", "--jobs=2", "--nocache_test_results"])
        .args(["--test_output=errors", "--verbose_failures"])
        // Bazel keeps what it has built, and does not know what stands behind ukl-cc.
        .arg(format!(
            "--action_env=TOOLS={}",
            project::key(tools)?.replace('\n', " ")
        ))
        .args(options)
        .arg("//:cctest");
    bazel.env("PATH", project::path(tools)?).arg(format!(
        "--sandbox_writable_path={}",
        tools.boots.dir().display()
    ));
    let output = process::run(&mut bazel, patient(Duration::from_secs(600)))?;
    let report = [output.stdout, output.stderr].concat();
    let report = String::from_utf8_lossy(&report);
    ensure!(
        output.end == Some(End::Exit(0)) && report.contains("1 test passes"),
        "{:?}\n{report}",
        output.end
    );
    ensure!(
        dir.join("bazel-bin/cctest.ukl").exists(),
        "no image:\n{report}"
    );
    let log = fs::read_to_string(dir.join("bazel-testlogs/cctest/test.log"))?;
    ensure!(log.contains("Ran 84 tests."), "{log}");
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == 1, "{boots} boots");
    Ok(())
}
