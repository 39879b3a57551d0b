//! gdb on this machine, attached to a guest as `ukl-run --gdb` says: breakpoints by function and by
//! line, locals, and backtraces that go on from the kernel into the program.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use testsuite::debugger;
use testsuite::debugger::LIMIT;
use testsuite::directives::End;
use testsuite::guest;
use testsuite::harness;
use testsuite::process;
use testsuite::process::words;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "debugging",
        &[
            ("c", c),
            ("c_from_kernel", c_from_kernel),
            ("c_at_ring3", c_at_ring3),
            ("exceptions", exceptions),
            ("trampolines", trampolines),
            ("without_dwarf", without_dwarf),
            ("kill", kill),
            ("rust", rust),
            ("rust_from_kernel", rust_from_kernel),
            ("panics", panics),
        ],
    )
}

/// Breakpoints by function and by line, arguments, locals, the frames above, and the value that a
/// function returns.
fn c(tools: &Tools) -> Result<()> {
    let program = compile_c(tools, "c", &["-g", "-O0"])?;
    let text = Session::of(&program, "c").run(
        tools,
        &[
            "break add",
            "continue",
            "backtrace",
            "finish",
            "delete",
            &format!("break traced.c:{}", mark("traced.c", "write")),
            "continue",
            "info locals",
            "up",
            "print here",
        ],
    )?;
    expect(
        &text,
        &[
            "Breakpoint 1, add (left=40, right=2) at ",
            "#1  0x",
            " in report (point=0x",
            "what=0x",
            "\"the sum\") at ",
            "#2  0x",
            " in main () at ",
            &at("traced.c", "report"),
            "Value returned is $1 = 42",
            "Breakpoint 2, report (point=",
            "total = 42",
            "length = 14",
            " in main () at ",
            &at("traced.c", "report"),
            "= {x = 40, y = 2}",
        ],
    )
}

/// From the kernel's code for a system call into the program that made it, and back.
fn c_from_kernel(tools: &Tools) -> Result<()> {
    let program = compile_c(tools, "c", &["-g", "-O0"])?;
    let text = Session::of(&program, "c_from_kernel").run(tools, &from_kernel("report"))?;
    expect(
        &text,
        &[
            "Breakpoint 2, 0xffffffff",
            " in ksys_write ()",
            "#0  0xffffffff",
            " in ksys_write ()",
            " in __ukl_call_1_",
            " in write ()",
            "\"the sum\") at ",
            &at("traced.c", "write"),
            " in main () at ",
            &at("traced.c", "report"),
            "total = 42",
        ],
    )
}

/// The same for an ordinary process, which enters the kernel in another way.
fn c_at_ring3(tools: &Tools) -> Result<()> {
    let program = compile_c(tools, "c", &["-g", "-O0"])?;
    let session = Session {
        options: &["--ring3"],
        ..Session::of(&program, "c_at_ring3")
    };
    let text = session.run(tools, &from_kernel("report"))?;
    expect(
        &text,
        &[
            "#0  0xffffffff",
            " in ksys_write ()",
            " in entry_SYSCALL_64 ()",
            " in write ()",
            "\"the sum\") at ",
            &at("traced.c", "write"),
            " in main () at ",
            &at("traced.c", "report"),
            "total = 42",
        ],
    )
}

/// Through the frame of a signal, and from the kernel's code for a page fault to the line that
/// touched the page.
fn exceptions(tools: &Tools) -> Result<()> {
    let program = compile_c(tools, "c", &["-g", "-O0"])?;
    let text = Session::of(&program, "exceptions").run(
        tools,
        &[
            // gdb may stop twice at a breakpoint that it steps over.
            "tbreak handler",
            "continue",
            "backtrace",
            &format!("tbreak traced.c:{}", mark("traced.c", "touch")),
            "continue",
            // Another process may have a page fault first.
            "set $page = (long)page",
            "break handle_mm_fault if $rsi == $page",
            "continue",
            "backtrace",
        ],
    )?;
    expect(
        &text,
        &[
            "#0  handler (signal=10) at ",
            "<signal handler called>",
            " in raise ()",
            " in main () at ",
            &at("traced.c", "raise"),
            "main () at ",
            &at("traced.c", "touch"),
            "#0  0xffffffff",
            " in handle_mm_fault ()",
            " in exc_page_fault ()",
            " in asm_exc_page_fault ()",
            " in main () at ",
            &at("traced.c", "touch"),
        ],
    )
}

/// A system call that was moved out of its function is still shown in it.
fn trampolines(tools: &Tools) -> Result<()> {
    let program = compile_c(tools, "raw", &["-g", "-O0"])?;
    let text = Session::of(&program, "trampolines").run(
        tools,
        &[
            "break main",
            "continue",
            "break ksys_write if $rdi == 1",
            "continue",
            "backtrace",
            "frame function call",
            "finish",
        ],
    )?;
    expect(
        &text,
        &[
            " in ksys_write ()",
            " in entry_UKL_SYSCALL_64 ()",
            " in call (number=1, a=1, b=",
            " in main (argc=1, argv=",
            &at("raw.c", "call"),
            "main (argc=1, argv=",
            &at("raw.c", "call"),
            "Value returned is $1 = 4",
        ],
    )
}

/// A program that was compiled without `-g` still has the names of its functions.
fn without_dwarf(tools: &Tools) -> Result<()> {
    let program = compile_c(tools, "plain", &["-O0"])?;
    let text = Session::of(&program, "without_dwarf").run(tools, &from_kernel("report"))?;
    expect(
        &text,
        &[
            "#0  0xffffffff",
            " in ksys_write ()",
            " in __ukl_call_1_",
            " in write ()",
            " in report ()",
            " in main ()",
        ],
    )
}

/// gdb's `kill` ends the machine without an error.
fn kill(tools: &Tools) -> Result<()> {
    let program = compile_c(tools, "c", &["-g", "-O0"])?;
    let session = Session {
        status: 255,
        ..Session::of(&program, "kill")
    };
    let text = session.run(tools, &["break add", "continue", "kill"])?;
    expect(&text, &["Breakpoint 1, add (", "gdb has ended the machine"])?;
    ensure!(!text.contains("kernel's log"), "{text}");
    Ok(())
}

fn rust(tools: &Tools) -> Result<()> {
    let program = compile_rust(tools, "rust", "")?;
    let text = Session::of(&program, "rust").run(
        tools,
        &[
            "break traced::add",
            "continue",
            "backtrace",
            "finish",
            "delete",
            &format!("break traced.rs:{}", mark("traced.rs", "write")),
            "continue",
            "info locals",
            "up",
            "print here",
        ],
    )?;
    expect(
        &text,
        &[
            "Breakpoint 1, traced::add (left=40, right=2) at ",
            " in traced::report (point=0x",
            " in traced::main () at ",
            &at("traced.rs", "report"),
            "Value returned is $1 = 42",
            "Breakpoint 2, traced::report (point=",
            "total = 42",
            " in traced::main () at ",
            &at("traced.rs", "report"),
            "= traced::Point {x: 40, y: 2}",
        ],
    )
}

fn rust_from_kernel(tools: &Tools) -> Result<()> {
    let program = compile_rust(tools, "rust", "")?;
    let session = Session::of(&program, "rust_from_kernel");
    let text = session.run(tools, &from_kernel("traced::report"))?;
    expect(
        &text,
        &[
            "#0  0xffffffff",
            " in ksys_write ()",
            " in __ukl_call_1_",
            " in write ()",
            // The standard library has line tables.
            "library/std/src/",
            " in traced::report (point=0x",
            "at ",
            &at("traced.rs", "write"),
            " in traced::main () at ",
            &at("traced.rs", "report"),
            "total = 42",
        ],
    )
}

/// A panic's backtrace names functions, and also lines if the image was linked with DWARF.
fn panics(tools: &Tools) -> Result<()> {
    let place = format!("traced.rs:{}:", mark("traced.rs", "panic"));
    for (name, flags) in [("rust", ""), ("rust-debug", "--ukl-debug")] {
        let program = compile_rust(tools, name, flags)?;
        let options: [&dyn AsRef<OsStr>; 4] = [&"-e", &"RUST_BACKTRACE=1", &program, &"7"];
        let log = format!("panics-{name}.log");
        let output = guest::run(tools, &log, &words(&options), b"")?;
        ensure!(output.end == Some(End::Exit(101)), "{name}: {output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        expect(&text, &["panicked at ", "stack backtrace:", "traced::main"])?;
        let backtrace = text.split("stack backtrace:").nth(1).unwrap_or_default();
        ensure!(
            backtrace.contains(&place) != flags.is_empty(),
            "{name}: {text}"
        );
    }
    Ok(())
}

/// Stops in the kernel's `write`, for what the program's function `report` writes.
fn from_kernel(report: &str) -> Vec<String> {
    [
        &format!("break {report}"),
        "continue",
        "break ksys_write if $rdi == 1",
        "continue",
        "backtrace",
        &format!("frame function {report}"),
        "info locals",
    ]
    .map(String::from)
    .to_vec()
}

/// gdb attached to one run of a program.
struct Session<'a> {
    program: &'a Path,
    name: &'a str,
    options: &'a [&'a str],
    /// The exit status of ukl-run.
    status: i32,
}

impl<'a> Session<'a> {
    fn of(program: &'a Path, name: &'a str) -> Self {
        Session {
            program,
            name,
            options: &[],
            status: 42,
        }
    }

    /// Gives gdb these commands, lets the program run to its end, and returns the output.
    fn run(&self, tools: &Tools, commands: &[impl AsRef<str>]) -> Result<String> {
        let mut words: Vec<&OsStr> = self.options.iter().map(OsStr::new).collect();
        words.push(self.program.as_os_str());
        let log = format!("{}.log", self.name);
        let session = debugger::session(tools, &log, &words, commands, true)?;
        // The debugger has not changed what the program does.
        let (status, text) = (session.status, session.text);
        let code = status.and_then(|status| status.code());
        ensure!(code == Some(self.status), "ukl-run: {status:?}\n{text}");
        Ok(text)
    }
}

fn source(file: &str) -> PathBuf {
    tools::testsuite().join("debugging").join(file)
}

/// The directory for the programs of one test.
fn place(tools: &Tools, name: &str) -> Result<PathBuf> {
    let dir = tools.out.join("debugging").join(name);
    fs::create_dir_all(&dir)?;
    Ok(dir.join("traced"))
}

fn compile_c(tools: &Tools, name: &str, flags: &[&str]) -> Result<PathBuf> {
    let output = place(tools, name)?;
    let mut command = Command::new(tools.tool("ukl-cc"));
    command.env("UKL_IMAGE", "1").args(flags).arg("-o");
    let file = if name == "raw" { "raw.c" } else { "traced.c" };
    link(command, &output, &source(file))
}

fn compile_rust(tools: &Tools, name: &str, flags: &str) -> Result<PathBuf> {
    let output = place(tools, name)?;
    let linker = format!("linker={}", tools.tool("ukl-ld").display());
    let mut command = Command::new("rustc");
    command.env("UKL_FLAGS", flags).env("UKL_IMAGE", "1").args([
        "-g",
        "--edition",
        "2024",
        "-C",
        &linker,
        "-o",
    ]);
    link(command, &output, &source("traced.rs"))
}

/// Tests run at the same time and share programs, so only one of them may compile.
fn link(mut command: Command, output: &Path, source: &Path) -> Result<PathBuf> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = ONE.lock().unwrap_or_else(|error| error.into_inner());
    static MADE: std::sync::Mutex<Vec<PathBuf>> = std::sync::Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(|error| error.into_inner());
    if !made.iter().any(|path| path == output) {
        process::check(command.arg(output).arg(source), patient(LIMIT))?;
        made.push(output.to_owned());
    }
    Ok(output.to_owned())
}

/// The number of the line that has this mark.
fn mark(file: &str, name: &str) -> usize {
    let text = fs::read_to_string(source(file)).unwrap_or_default();
    let mark = format!("mark: {name}");
    let found = text
        .lines()
        .position(|line| line.trim_end_matches(" */").ends_with(&mark));
    found.map_or(0, |index| index + 1)
}

/// The name of that line in gdb's output.
fn at(file: &str, name: &str) -> String {
    format!("debugging/{file}:{}\n", mark(file, name))
}

/// Checks that the text contains these pieces in this order.
fn expect(text: &str, pieces: &[impl AsRef<OsStr>]) -> Result<()> {
    let mut rest = text;
    for piece in pieces {
        let piece = piece.as_ref().to_string_lossy();
        match rest.split_once(&*piece) {
            Some((_, behind)) => rest = behind,
            None => bail!("`{piece}` is not there, or not in its place:\n{text}"),
        }
    }
    Ok(())
}
