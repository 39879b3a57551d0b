//! Kernel code of a program's own, and the shortcuts that come with UKL.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::harness;
use testsuite::harness::scratch;
use testsuite::harness::words as words_of;
use testsuite::process;
use testsuite::process::Output;
use testsuite::project;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "kernel_code",
        &[
            ("calls", calls),
            ("outside_of_the_kernel", outside_of_the_kernel),
            ("errors", errors),
            ("shortcuts_by_name", shortcuts_by_name),
            ("shortcuts_by_option", shortcuts_by_option),
            ("before_the_protocol", before_the_protocol),
        ],
    )
}

/// The status of a process that a signal has ended, as ukl-run passes it on.
const ABORTED: i32 = 128 + 6;

fn source(name: &str) -> PathBuf {
    tools::testsuite().join("kernel-code").join(name)
}

/// Compiles with ukl-cc, which has to be silent, or to fail with these words.
fn compile(tools: &Tools, dir: &Path, options: &[&str], files: &[PathBuf]) -> Result<Output> {
    let mut command = Command::new(tools.tool("ukl-cc"));
    command.current_dir(dir).args(["-O2", "-Wall", "-Werror"]);
    command.args(options).args(files);
    process::run(&mut command, patient(Duration::from_secs(120)))
}

fn succeeds(output: Output) -> Result<()> {
    ensure!(
        output.end == Some(End::Exit(0)) && output.stderr.is_empty(),
        "{:?}: {}",
        output.end,
        process::tail(&output.stderr, 4000)
    );
    Ok(())
}

fn run(tools: &Tools, log: &str, options: &[&str], program: &Path) -> Result<Output> {
    let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = Vec::new();
    options.iter().for_each(|option| all.push(option));
    all.push(&program);
    project::run(
        tools,
        &format!("kernel-code-{log}.log"),
        &words_of(&all),
        b"",
    )
}

fn ends(output: &Output, status: i32) -> Result<()> {
    ensure!(
        output.end == Some(End::Exit(status)),
        "{:?}: {}{}",
        output.end,
        process::tail(&output.stdout, 4000),
        process::tail(&output.stderr, 4000)
    );
    Ok(())
}

/// Sleeping, signals at any instruction, threads, faults, static keys, symbols nobody exports.
fn calls(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "kernel-code-calls")?;
    let kernel = ["--ukl-kernel-code", "-c", "-o", "kernel.o"];
    succeeds(compile(tools, &dir, &kernel, &[source("calls_kernel.c")])?)?;
    let linked = ["-pthread", "-o", "calls"];
    let files = [source("calls.c"), "kernel.o".into()];
    succeeds(compile(tools, &dir, &linked, &files)?)?;
    let output = run(tools, "calls", &["--cpus", "2"], &dir.join("calls"))?;
    ends(&output, 42)?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        said == "calls 30313233-3435-3637-3839-616263646566 1\nsignals\nthreads\n",
        "{said}"
    );
    Ok(())
}

/// On the build host, and at ring 3, a call says where such code runs. An archive carries it.
fn outside_of_the_kernel(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "kernel-code-outside")?;
    let kernel = ["--ukl-kernel-code", "-c", "-o", "kernel.o"];
    succeeds(compile(tools, &dir, &kernel, &[source("calls_kernel.c")])?)?;
    let mut archive = Command::new("ar");
    archive
        .current_dir(&dir)
        .args(["rcs", "libkernel.a", "kernel.o"]);
    process::check(&mut archive, patient(Duration::from_secs(20)))?;
    let linked = ["-pthread", "-o", "calls"];
    let files = [source("calls.c"), "libkernel.a".into()];
    succeeds(compile(tools, &dir, &linked, &files)?)?;
    let program = dir.join("calls");
    let host = process::run(
        &mut Command::new(&program),
        patient(Duration::from_secs(20)),
    )?;
    ensure!(host.end == Some(End::Signal(6)), "{host:?}");
    let guest = run(tools, "outside", &["--ring3"], &program)?;
    ends(&guest, ABORTED)?;
    for said in [host.stderr, guest.stderr] {
        let said = String::from_utf8_lossy(&said);
        let wanted = "add: this is kernel code, which runs in the image at ring 0 only (ukl-run)\n";
        ensure!(said == wanted, "{said}");
    }
    ends(&run(tools, "archive", &["--cpus", "2"], &program)?, 42)
}

/// What cannot be bound is said by name.
fn errors(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "kernel-code-errors")?;
    let text = "void there_is_no_such(void);\nvoid start_kernel(void);\nvoid f(void);\n\
                void f(void) { there_is_no_such(); start_kernel(); }\n";
    std::fs::write(dir.join("k.c"), text)?;
    std::fs::write(
        dir.join("p.c"),
        "void f(void);\nint main(void) { f(); return 0; }\n",
    )?;
    let kernel = ["--ukl-kernel-code", "-c"];
    succeeds(compile(tools, &dir, &kernel, &["k.c".into()])?)?;
    let files = ["p.c".into(), "k.o".into()];
    let output = compile(tools, &dir, &["-o", "p"], &files)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.end == Some(End::Exit(1)), "{output:?}");
    for line in [
        "there_is_no_such: the kernel has no such symbol",
        "start_kernel: the kernel has it only while it boots",
    ] {
        ensure!(said.contains(line), "{said}");
    }
    // The compiler's own errors are its own.
    let output = compile(
        tools,
        &dir,
        &["--ukl-kernel-code", "-c"],
        &["none.c".into()],
    )?;
    ensure!(output.end == Some(End::Exit(1)), "{output:?}");
    Ok(())
}

/// The shortcuts behave as the calls that they stand for.
fn shortcuts_by_name(tools: &Tools) -> Result<()> {
    let program = scratch(tools, "kernel-code-shortcuts")?.join("shortcuts");
    let dir = tools.out.clone();
    let options = ["-pthread", "-Wno-address", "-o"];
    let files = [program.clone(), source("shortcuts.c")];
    succeeds(compile(tools, &dir, &options, &files)?)?;
    let host = process::run(
        &mut Command::new(&program),
        patient(Duration::from_secs(60)),
    )?;
    ends(&host, 42)?;
    for (log, ring) in [("name-3", "--ring3"), ("name-0", "--no-tty")] {
        let guest = run(tools, log, &["--cpus", "2", ring], &program)?;
        ends(&guest, 42)?;
        ensure!(guest.stdout == host.stdout, "{guest:?}");
    }
    Ok(())
}

/// The same script by the ordinary names, which an option has taken to the shortcuts, leaves the
/// record that it leaves at ring 3.
fn shortcuts_by_option(tools: &Tools) -> Result<()> {
    let program = scratch(tools, "kernel-code-option")?.join("shortcuts");
    let options = [
        "-pthread",
        "-Wno-address",
        "--ukl-shortcuts=all",
        "--ukl-transition=bypass",
        "-o",
    ];
    let files = [program.clone(), source("shortcuts.c")];
    succeeds(compile(tools, &tools.out, &options, &files)?)?;
    let record = |log: &str, ring: &str| {
        let words: &[&dyn AsRef<std::ffi::OsStr>] = &[&ring, &program, &"print"];
        let output = project::run(tools, log, &words_of(words), b"")?;
        ends(&output, 42)?;
        Ok::<_, anyhow::Error>(output.stdout)
    };
    let ordinary = record("kernel-code-option-3.log", "--ring3")?;
    let short = record("kernel-code-option-0.log", "--no-tty")?;
    let lines = |record: &[u8]| {
        let text = String::from_utf8_lossy(record).into_owned();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (ordinary, short) = (lines(&ordinary), lines(&short));
    let other = ordinary.iter().zip(&short).find(|(a, b)| a != b);
    ensure!(other.is_none(), "{other:?}");
    ensure!(ordinary.len() == short.len() && ordinary.len() > 900);
    Ok(())
}

/// Each shortcut spends at least a fifth fewer instructions than the kernel's function before the
/// protocol has the word. The emulator counts, so the figures are the same every time.
fn before_the_protocol(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "kernel-code-before")?;
    let kernel = ["--ukl-kernel-code", "-c", "-o", "kernel.o"];
    succeeds(compile(tools, &dir, &kernel, &[source("before_kernel.c")])?)?;
    let files = [source("before.c"), "kernel.o".into()];
    succeeds(compile(tools, &dir, &["-o", "before"], &files)?)?;
    let counted = ["--qemu-arg=-icount", "--qemu-arg=shift=0"];
    ends(&run(tools, "before", &counted, &dir.join("before"))?, 42)
}
