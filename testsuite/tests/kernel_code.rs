//! Kernel code that a program brings along, and the shortcuts that come with UKL.

use std::path::Path;
use std::path::PathBuf;
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
use testsuite::process::Output;
use testsuite::process::words as words_of;
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
            ("routines", routines),
            ("routines_that_nobody_has", routines_that_nobody_has),
            ("rust", rust),
            ("heap", heap),
            ("completion", completion),
        ],
    )
}

/// ukl-run's exit status for a program that was killed by a signal.
const ABORTED: i32 = 128 + 6;

fn source(name: &str) -> PathBuf {
    tools::testsuite().join("kernel-code").join(name)
}

/// Compiles with ukl-cc, which has to print nothing, or to fail with these words.
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
    guest::run(
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

/// On the build host and at ring 3, a call reports where such code runs. The code is in an archive.
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

/// Errors name what cannot be bound.
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
        "start_kernel: it is in an init section, which the kernel frees after boot",
    ] {
        ensure!(said.contains(line), "{said}");
    }
    // The compiler's errors are passed on unchanged.
    let output = compile(
        tools,
        &dir,
        &["--ukl-kernel-code", "-c"],
        &["none.c".into()],
    )?;
    ensure!(output.end == Some(End::Exit(1)), "{output:?}");
    Ok(())
}

/// Creates a file system for the guest. Returns the options of `ukl-run` that make it known to the
/// program.
fn ext4(file: PathBuf) -> Result<[String; 4]> {
    std::fs::File::create(&file)?.set_len(16 << 20)?;
    let mut make = Command::new("/sbin/mkfs.ext4");
    process::check(make.arg("-q").arg(&file), patient(Duration::from_secs(20)))?;
    Ok([
        "--qemu-arg=-drive".into(),
        format!("--qemu-arg=file={},if=virtio,format=raw", file.display()),
        "--env".into(),
        "EXT4=/dev/vda".into(),
    ])
}

/// The shortcuts behave like the system calls that they replace.
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
        let disk = ext4(program.with_file_name(log))?;
        let mut options = vec!["--cpus", "2", ring];
        options.extend(disk.iter().map(String::as_str));
        let guest = run(tools, log, &options, &program)?;
        ends(&guest, 42)?;
        ensure!(guest.stdout == host.stdout, "{guest:?}");
    }
    Ok(())
}

/// With the option that binds the ordinary names to the shortcuts, the same script leaves the same
/// record as at ring 3.
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
        let disk = ext4(program.with_file_name(log).with_extension("ext4"))?;
        let mut words: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&ring];
        disk.iter().for_each(|option| words.push(option));
        words.extend([&program as &dyn AsRef<std::ffi::OsStr>, &"print"]);
        let output = guest::run(tools, log, &words_of(&words), b"")?;
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
    ensure!(ordinary.len() == short.len() && ordinary.len() > 1000);
    Ok(())
}

/// Each shortcut needs at least a fifth fewer instructions than the kernel's function, up to the
/// protocol's code. The emulator counts them, so the numbers are the same every time.
fn before_the_protocol(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "kernel-code-before")?;
    let kernel = ["--ukl-kernel-code", "-c", "-o", "kernel.o"];
    succeeds(compile(tools, &dir, &kernel, &[source("before_kernel.c")])?)?;
    let files = [source("before.c"), "kernel.o".into()];
    succeeds(compile(tools, &dir, &["-o", "before"], &files)?)?;
    let counted = ["--qemu-arg=-icount", "--qemu-arg=shift=0"];
    ends(&run(tools, "before", &counted, &dir.join("before"))?, 42)
}

/// The kernel's functions and variables by name. On the build host and at ring 3, a call reports where
/// they are available.
fn routines(tools: &Tools) -> Result<()> {
    let program = scratch(tools, "kernel-code-routines")?.join("routines");
    let files = [program.clone(), source("routines.c")];
    succeeds(compile(tools, &tools.out, &["-o"], &files)?)?;
    let host = process::run(
        &mut Command::new(&program),
        patient(Duration::from_secs(20)),
    )?;
    ensure!(host.end == Some(End::Signal(6)), "{host:?}");
    let ring3 = run(tools, "routines-3", &["--ring3"], &program)?;
    ends(&ring3, ABORTED)?;
    for said in [host.stderr, ring3.stderr] {
        let said = String::from_utf8_lossy(&said);
        let wanted = "vmalloc: this is kernel code, which runs in the image at ring 0 only";
        ensure!(said.contains(wanted), "{said}");
    }
    for transition in ["--transition=bypass", "--transition=base"] {
        let guest = run(tools, "routines", &[transition, "--console"], &program)?;
        ends(&guest, 42)?;
        ensure!(guest.stdout == b"routines\n", "{guest:?}");
        let log = String::from_utf8_lossy(&guest.stderr);
        ensure!(log.contains("routines: 42 from the program"), "{log}");
    }
    Ok(())
}

/// A symbol that neither the libraries nor the kernel define is an error of the linker, and configure's
/// probes have the same results as with the host's compiler.
fn routines_that_nobody_has(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "kernel-code-nobody")?;
    let text = "void there_is_no_such(void);\nvoid *vmalloc(unsigned long);\n\
                int main(void) { vmalloc(1); there_is_no_such(); }\n";
    std::fs::write(dir.join("p.c"), text)?;
    let all = "--ukl-kernel-symbols=all";
    let output = compile(tools, &dir, &[all, "-o", "p"], &["p.c".into()])?;
    ensure!(output.end == Some(End::Exit(1)), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        said.contains("undefined reference to `there_is_no_such'"),
        "{said}"
    );
    // What only the kernel defines is an error, too, unless the program or an option asks for it.
    // `-z defs` forbids it.
    let text = "void panic(const char *, ...);\n\
                int main(int c, char **v) { (void)v; if (c > 1) panic(\"\"); return 42; }\n";
    std::fs::write(dir.join("pan.c"), text)?;
    let named = "--ukl-kernel-symbols=printk_ratelimit,panic";
    let refused: [&[&str]; 3] = [&[], &[named, "-Wl,-z,defs"], &[named, "-Wl,--no-undefined"]];
    for flags in refused {
        let words = [flags, &["-o", "pan"]].concat();
        let output = compile(tools, &dir, &words, &["pan.c".into()])?;
        ensure!(output.end == Some(End::Exit(1)), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(said.contains("undefined reference to `panic'"), "{said}");
        let advice = said.contains("--ukl-kernel-symbols=panic");
        ensure!(advice == flags.is_empty(), "{said}");
        ensure!(!dir.join("pan.ukl").exists(), "there is an image");
    }
    for allowed in [all, named] {
        let output = compile(tools, &dir, &[allowed, "-o", "pan"], &["pan.c".into()])?;
        succeeds(output)?;
    }
    std::fs::write(
        dir.join("conftest.c"),
        "char vmalloc();\nint main() { return vmalloc(); }\n",
    )?;
    let plain = ["-w", "-o", "conftest"];
    let output = compile(tools, &dir, &plain, &["conftest.c".into()])?;
    ensure!(output.end == Some(End::Exit(1)), "{output:?}");
    // The kernel's functions do not replace those of a missing library.
    let text = "char *strlcpy();\nint main(void) { return !strlcpy(0, 0, 0); }\n";
    std::fs::write(dir.join("q.c"), text)?;
    let output = compile(tools, &dir, &["-w", all, "-o", "q"], &["q.c".into()])?;
    ensure!(output.end == Some(End::Exit(1)), "{output:?}");
    Ok(())
}

/// The same from Rust, with the crate's shortcuts.
fn rust(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "kernel-code-rust")?;
    let crate_dir = tools::testsuite().join("../ukl").canonicalize()?;
    let manifest = format!(
        "[package]\nname = \"routines\"\nedition = \"2024\"\n\n[dependencies]\nukl = {{ path = \"{}\" }}\n\n\
         [workspace]\n",
        crate_dir.display()
    );
    std::fs::create_dir_all(dir.join("src"))?;
    std::fs::write(dir.join("Cargo.toml"), manifest)?;
    std::fs::copy(source("routines.rs"), dir.join("src/main.rs"))?;
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&dir)
        .args(["build", "--offline", "--quiet"])
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .env(
            "RUSTFLAGS",
            format!("-C linker={}", tools.tool("ukl-ld").display()),
        );
    process::check(&mut cargo, patient(Duration::from_secs(180)))?;
    let program = dir.join("target/debug/routines");
    let guest = run(tools, "rust-0", &["--no-tty"], &program)?;
    ends(&guest, 42)?;
    ensure!(guest.stdout == b"shortcuts\nkernel routines\n", "{guest:?}");
    // Elsewhere the shortcuts are system calls, and the kernel's functions report that they are missing.
    let ring3 = run(tools, "rust-3", &["--ring3"], &program)?;
    ends(&ring3, ABORTED)?;
    ensure!(ring3.stdout == b"shortcuts\n", "{ring3:?}");
    let host = process::run(
        &mut Command::new(&program),
        patient(Duration::from_secs(20)),
    )?;
    ensure!(
        host.end == Some(End::Signal(6)) && host.stdout == b"shortcuts\n",
        "{host:?}"
    );
    Ok(())
}

/// With `--ukl-malloc=kernel`, malloc's memory works as ever, with a fraction of the page faults.
fn heap(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "kernel-code-heap")?;
    let mut faults = Vec::new();
    for kind in ["libc", "kernel"] {
        let program = dir.join(kind);
        let option = format!("--ukl-malloc={kind}");
        let files = [program.clone(), source("heap.c")];
        succeeds(compile(tools, &tools.out, &[&option, "-o"], &files)?)?;
        let output = run(tools, &format!("heap-{kind}"), &["--no-tty"], &program)?;
        ends(&output, 42)?;
        faults.push(
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse::<u64>()?,
        );
        ends(&run(tools, "heap-3", &["--ring3"], &program)?, 42)?;
    }
    ensure!(faults[1] * 4 < faults[0], "{faults:?}");
    Ok(())
}

/// A thread in the run-to-completion mode is not preempted until it blocks. A watchdog lets other threads
/// run.
fn completion(tools: &Tools) -> Result<()> {
    let program = scratch(tools, "kernel-code-completion")?.join("completion");
    let files = [program.clone(), source("completion.c")];
    succeeds(compile(tools, &tools.out, &["-pthread", "-o"], &files)?)?;
    for (log, ring) in [("completion-0", "--no-tty"), ("completion-3", "--ring3")] {
        let output = run(tools, log, &[ring], &program)?;
        ends(&output, 42)?;
        let wanted = "not preempted\nnot while it blocks\nbut bounded\nand over\n";
        ensure!(output.stdout == wanted.as_bytes(), "{output:?}");
    }
    Ok(())
}
