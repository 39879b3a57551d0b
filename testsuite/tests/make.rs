//! The README's first commands: `make run`, `make install`, `KERNEL_TARBALL=`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::harness;
use testsuite::process;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

/// The time limit of a make. Everything is built before the tests run.
const LIMIT: Duration = Duration::from_secs(300);

const GREETING: &str = "Hello from an unmodified C program at ring 0!\n";

fn main() -> ExitCode {
    harness::run(
        "make",
        &[
            ("run", run),
            ("install", install),
            ("no_tarball", no_tarball),
            ("kernel_progress", kernel_progress),
        ],
    )
}

/// The project's make as a user runs it, without the environment of the make and the cargo that run the
/// tests.
fn make(words: &[&str]) -> Command {
    let mut command = Command::new("make");
    command
        .arg("-C")
        .arg(tools::workspace())
        .arg("--no-print-directory");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_cargos = text.starts_with("CARGO") && text != "CARGO_HOME";
        let is_makes = matches!(
            &*text,
            "MAKEFLAGS" | "MFLAGS" | "MAKELEVEL" | "MAKEOVERRIDES"
        );
        if is_cargos || is_makes || text.starts_with("UKL_") {
            command.env_remove(&name);
        }
    }
    command.args(words);
    command
}

/// The example prints its greeting, and that it ran at ring 0.
fn run(tools: &Tools) -> Result<()> {
    let log = format!("RUN_FLAGS=--log={}", tools.boots.log("run.log").display());
    let said = process::check(&mut make(&["run", &log]), patient(LIMIT))?;
    let said = String::from_utf8_lossy(&said);
    ensure!(said.ends_with(GREETING), "{said}");
    Ok(())
}

/// The installed tools link and boot a program without the source tree.
fn install(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "make-install")?;
    let prefix = "/opt/ukl";
    process::check(
        &mut make(&[
            "install",
            &format!("PREFIX={prefix}"),
            &format!("DESTDIR={}", dir.display()),
        ]),
        patient(LIMIT),
    )?;
    let installed = dir.join("opt/ukl");
    for file in [
        "bin/symbol-rewriter",
        "share/ukl/toolchain.cmake",
        "share/ukl/cmake-run.sh",
        "share/ukl/rust/ukl/Cargo.toml",
        "share/man/man1/ukl-c++.1",
        "share/bash-completion/completions/ukl-c++",
        "share/fish/vendor_completions.d/ukl-c++.fish",
        "lib/ukl/kernel/abi",
        "lib/ukl/include/ukl.h",
    ] {
        ensure!(installed.join(file).is_file(), "{file} is not installed");
    }
    for tool in ["ukl-cc", "ukl-ld", "ukl-run", "symbol-rewriter"] {
        for file in [
            format!("bin/{tool}"),
            format!("share/man/man1/{tool}.1"),
            format!("share/bash-completion/completions/{tool}"),
            format!("share/zsh/site-functions/_{tool}"),
            format!("share/fish/vendor_completions.d/{tool}.fish"),
        ] {
            ensure!(installed.join(&file).is_file(), "{file} is not installed");
        }
    }
    let kernel = installed.join("lib/ukl/kernel").canonicalize()?;
    // Everything is below DESTDIR, and no file refers to the directory in which it was built.
    let top: Vec<_> = fs::read_dir(&dir)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<_>>()?;
    ensure!(top == ["opt"], "{top:?}");
    let links = process::check(
        Command::new("find")
            .arg(&dir)
            .args(["-type", "l", "-printf", "%l\n"]),
        patient(LIMIT),
    )?;
    let links = String::from_utf8_lossy(&links);
    ensure!(!links.lines().any(|link| link.starts_with('/')), "{links}");

    let work = dir.join("work");
    fs::create_dir(&work)?;
    // The installed crate is complete: cargo runs its build script and checks it outside the workspace.
    process::check(
        Command::new("cargo")
            .args(["check", "--manifest-path"])
            .arg(installed.join("share/ukl/rust/ukl/Cargo.toml"))
            .current_dir(&work)
            .env("CARGO_TARGET_DIR", work.join("target"))
            .env_remove("UKL_LIBDIR"),
        patient(LIMIT),
    )?;
    let archive = format!("kernel archive: {} (Linux 6.", kernel.display());
    for words in [
        "ukl-ld --version",
        "ukl-run --version",
        "symbol-rewriter --version",
        "ukl-cc --ukl-version",
    ] {
        let said = process::check(&mut in_path(&installed, &work, words), patient(LIMIT))?;
        let said = String::from_utf8_lossy(&said);
        let line = said.lines().find(|line| line.starts_with(&archive));
        ensure!(
            line.is_some_and(|line| line.contains("ABI version 2")),
            "{words}: {said}"
        );
    }
    fs::copy(
        tools::workspace().join("examples/hello/hello.c"),
        work.join("hello.c"),
    )?;
    let link = || in_path(&installed, &work, "ukl-cc -O2 hello.c -o hello");
    // The linker uses only files of its own installation.
    let away = work.join("init");
    let init = installed.join("lib/ukl/init");
    fs::rename(&init, &away)?;
    let output = process::run(&mut link(), patient(LIMIT))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.end != Some(End::Exit(0)) && said.contains("/opt/ukl/lib/ukl/init is missing"),
        "without its init: {said}"
    );
    fs::rename(&away, &init)?;
    process::check(&mut link(), patient(LIMIT))?;
    let log = tools.boots.log("installed.log");
    let log = log.display();
    let ran = process::run(
        &mut in_path(
            &installed,
            &work,
            &format!("ukl-run --timeout 1000 --log {log} hello"),
        ),
        patient(LIMIT),
    )?;
    ensure!(
        ran.end == Some(End::Exit(0)) && ran.stdout == GREETING.as_bytes(),
        "{ran:?}"
    );

    process::check(
        &mut make(&[
            "uninstall",
            &format!("PREFIX={prefix}"),
            &format!("DESTDIR={}", dir.display()),
        ]),
        patient(LIMIT),
    )?;
    let left = process::check(
        Command::new("find")
            .arg(&installed)
            .args(["(", "-type", "f", "-o", "-type", "l", ")"]),
        patient(LIMIT),
    )?;
    ensure!(left.is_empty(), "{}", String::from_utf8_lossy(&left));
    fs::remove_dir_all(&dir)?;
    Ok(())
}

/// A command, split at blanks. `PATH` has only the installed tools and the system's.
fn in_path(installed: &Path, dir: &Path, words: &str) -> Command {
    let mut command = Command::new("env");
    command
        .arg(format!("PATH={}/bin:/usr/bin:/bin", installed.display()))
        .args(words.split(' '))
        .current_dir(dir);
    for name in ["UKL_LIBDIR", "UKL_FLAGS", "UKL_IMAGE", "UKL_CC", "UKL_BIN"] {
        command.env_remove(name);
    }
    command
}

/// The error names a tarball that does not exist, and the existing kernel stays in use.
fn no_tarball(_: &Tools) -> Result<()> {
    let kernel = tools::workspace().join("target/lib/ukl/kernel");
    let before = fs::read_link(&kernel)?;
    let output = process::run(
        &mut make(&["kernel", "KERNEL_TARBALL=/no/such/linux-6.12.tar.xz"]),
        patient(LIMIT),
    )?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.end == Some(End::Exit(2)), "{output:?}");
    ensure!(
        said.contains("kernel: error: /no/such/linux-6.12.tar.xz does not exist"),
        "{said}"
    );
    ensure!(fs::read_link(&kernel)? == before);
    Ok(())
}

/// A kernel build reports its progress: in lines, or on a terminal in one line that is rewritten. A
/// `make` that only creates object files replaces Kbuild. It waits for each report, so that the test
/// does not depend on a clock.
fn kernel_progress(tools: &Tools) -> Result<()> {
    const MAKE: &str = r#"#!/bin/bash
        set -eu
        mkdir -p "$XDG_CACHE_HOME/ukl/kernel/work/build"
        cd "$XDG_CACHE_HOME/ukl/kernel/work/build"
        objects() { seq "$1" | sed 's/$/.o/' | xargs touch; }
        reported() { until grep -aqF "$1" "$LOG"; do sleep 0.1; done; }
        objects 1234
        reported 'kernel: 1,234 of about 2,900 files compiled (42 %)'
        objects 3100
        reported 'kernel: 3,100 of about 2,900 files compiled (99 %)'
        touch vmlinux.o
        reported 'kernel: 3,101 files compiled, linking'
    "#;
    const BUILD: &str = r#"
        set -eu
        . "$KERNEL/lib.sh"
        lock_work
        configuration=sample
        build_targets bzImage
    "#;
    let dir = scratch(tools, "kernel-progress")?;
    fs::create_dir_all(dir.join("kernel/config"))?;
    fs::create_dir(dir.join("bin"))?;
    for name in ["lib.sh", "progress.sh"] {
        let from = tools::workspace().join("kernel").join(name);
        fs::copy(from, dir.join("kernel").join(name))?;
    }
    fs::write(dir.join("kernel/config/objects"), "sample 2900\n")?;
    fs::write(dir.join("build"), BUILD)?;
    let make = dir.join("bin/make");
    fs::write(&make, MAKE)?;
    fs::set_permissions(&make, fs::Permissions::from_mode(0o755))?;

    for (terminal, command) in [
        (false, "bash build 2>\"$LOG\""),
        (true, "script -qefc 'bash build' \"$LOG\""),
    ] {
        let log = dir.join("log");
        fs::write(&log, "")?;
        let _ = fs::remove_dir_all(dir.join("cache"));
        let path = std::env::var("PATH").unwrap_or_default();
        process::check(
            Command::new("sh")
                .args(["-c", command])
                .current_dir(&dir)
                .env("PATH", format!("{}:{path}", dir.join("bin").display()))
                .env("XDG_CACHE_HOME", dir.join("cache"))
                .env("KERNEL", dir.join("kernel"))
                .env("KERNEL_PROGRESS", "1")
                .env("LOG", &log),
            patient(LIMIT),
        )?;
        let said = fs::read_to_string(&log)?;
        ensure!(!said.contains("100 %"), "{said}");
        ensure!(
            said.contains("kernel: compiled 3101 files: record `sample 3101`"),
            "{said}"
        );
        let rewritten = said.contains("\rkernel: 1,234 of about 2,900 files compiled (42 %)\x1b[K");
        ensure!(rewritten == terminal, "{said:?}");
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}
