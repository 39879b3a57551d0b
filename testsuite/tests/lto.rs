//! Programs with link-time optimisation at ring 0, and a Rust program of shared libraries, which are
//! all linked into the image.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::guest;
use testsuite::harness;
use testsuite::process;
use testsuite::project;
use testsuite::project::TELL;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "lto",
        &[
            ("gcc", gcc),
            ("clang_full", clang_full),
            ("clang_thin", clang_thin),
            ("rustc", rustc),
            ("rustc_dylib", rustc_dylib),
        ],
    )
}

const MAIN: &str = "
#include <pthread.h>
#include <stdio.h>
int twice(int);
static void *run(void *x) { *(int *)x = twice(*(int *)x); return NULL; }
int main(void) {
    int x = 21;
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, &x) || pthread_join(thread, NULL)) return 1;
    printf(\"%d\\n\", x);
    return x;
}
";

const PART: &str = "int twice(int x) { return x * 2; }\n";

fn gcc(tools: &Tools) -> Result<()> {
    c(tools, "lto-gcc", "gcc", &["-flto"], 1)
}

fn clang_full(tools: &Tools) -> Result<()> {
    let options = [
        "-flto=full",
        "-fuse-ld=lld",
        "-Wno-unused-command-line-argument",
    ];
    c(tools, "lto-clang-full", "clang", &options, 1)
}

/// ThinLTO by LLVM's plugin for GNU ld. Each file is compiled on its own, with what it inlines from the
/// other one. There is one more object, which is empty.
fn clang_thin(tools: &Tools) -> Result<()> {
    c(tools, "lto-clang-thin", "clang", &["-flto=thin"], 3)
}

/// `objects` is the number of objects that are made from the two files' intermediate code.
fn c(tools: &Tools, name: &str, compiler: &str, options: &[&str], objects: u32) -> Result<()> {
    let dir = scratch(tools, name)?;
    fs::write(dir.join("main.c"), MAIN)?;
    fs::write(dir.join("part.c"), PART)?;
    let link = |output: &str| -> Result<Command> {
        let mut command = command(tools, &dir, tools.tool("ukl-cc").as_ref())?;
        command
            .env("UKL_CC", compiler)
            .args(["-O2", "-pthread", "main.c", "part.c", "-o", output])
            .args(options);
        Ok(command)
    };
    build(&mut link("prog")?)?;
    let explained = process::run(
        link("explained")?.arg("-Wl,--ukl-explain,--ukl-no-image,--ukl-ring3"),
        patient(Duration::from_secs(120)),
    )?;
    let explained = String::from_utf8_lossy(&explained.stderr);
    ensure!(
        explained.contains(&format!(": {objects} objects\n")),
        "{explained}"
    );
    boots(tools, name, &dir.join("prog"), "42\n")
}

const LIBRARY: &str = "
pub fn twice(list: &[i32], at: usize) -> i32 { list[at] * 2 }
";

const PROGRAM: &str = "
fn main() {
    std::panic::set_hook(Box::new(|info| println!(\"{info}\")));
    let list = vec![21; 4];
    let caught = std::panic::catch_unwind(|| part::twice(&list, 4)).is_err();
    println!(\"{caught}\");
    let x = std::thread::spawn(move || part::twice(&list, 3)).join();
    std::process::exit(x.unwrap());
}
";

fn rustc(tools: &Tools) -> Result<()> {
    let kind = ["--crate-type=rlib"];
    rust(
        tools,
        "lto-rustc",
        &["-Clinker-plugin-lto"],
        &kind,
        "libpart.rlib",
    )
}

fn rustc_dylib(tools: &Tools) -> Result<()> {
    let kind = ["--crate-type=dylib"];
    rust(
        tools,
        "rustc-dylib",
        &["-Cprefer-dynamic"],
        &kind,
        "libpart.so",
    )
}

fn rust(tools: &Tools, name: &str, options: &[&str], kind: &[&str], library: &str) -> Result<()> {
    let dir = scratch(tools, name)?;
    fs::write(dir.join("part.rs"), LIBRARY)?;
    fs::write(dir.join("prog.rs"), PROGRAM)?;
    let with = format!("part={library}");
    for words in [
        [kind, &["part.rs"]].concat(),
        vec!["prog.rs", "--extern", &with],
    ] {
        let mut command = command(tools, &dir, "rustc".as_ref())?;
        command
            .args(["--edition=2021", "-O", "-Clinker=ukl-ld", TELL])
            .args(options)
            .args(words);
        build(&mut command)?;
    }
    ensure!(!dir.join("libpart.so.ukl").exists());
    let said = "\
        panicked at part.rs:2:48:\n\
        index out of bounds: the len is 4 but the index is 4\n\
        true\n";
    boots(tools, name, &dir.join("prog"), said)
}

fn command(tools: &Tools, dir: &Path, program: &OsStr) -> Result<Command> {
    let mut command = Command::new(program);
    command.current_dir(dir).env("PATH", project::path(tools)?);
    for name in ["UKL_FLAGS", "UKL_IMAGE", "UKL_CC"] {
        command.env_remove(name);
    }
    Ok(command)
}

fn build(command: &mut Command) -> Result<()> {
    let output = process::run(command, patient(Duration::from_secs(120)))?;
    ensure!(
        output.end == Some(End::Exit(0)) && output.stdout.is_empty() && output.stderr.is_empty(),
        "{command:?}: {:?}\n{}",
        output.end,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn boots(tools: &Tools, name: &str, program: &Path, said: &str) -> Result<()> {
    let output = guest::run(tools, &format!("{name}.log"), &[program.as_os_str()], b"")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    // A panic's message begins with the thread's name and number.
    let stdout = match stdout.find("panicked") {
        Some(at) => &stdout[at..],
        None => &stdout,
    };
    ensure!(
        output.end == Some(End::Exit(42)) && stdout == said,
        "{:?}: {stdout}{}",
        output.end,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
