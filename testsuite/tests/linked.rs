//! Programs and libraries that were linked without UKL, at ring 0: this machine's own C library and
//! interpreter are rewritten, and dynamic programs run on them.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::compile;
use testsuite::directives::Mode;
use testsuite::directives::Place;
use testsuite::dirs;
use testsuite::guest;
use testsuite::harness;
use testsuite::process;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "linked",
        &[
            ("programs", programs),
            ("shell", shell),
            ("python", python),
            ("go", go),
        ],
    )
}

/// The time limit of a compiler or of a rewrite.
const LIMIT: Duration = Duration::from_secs(120);

/// The directory of libraries on this machine and in the guest.
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// Programs of the battery, linked dynamically: unwinding through system calls from signal handlers
/// and by cancellation, exceptions, signals, threads and processes.
const PROGRAMS: [&str; 16] = [
    "hello.c",
    "backtrace.c",
    "cancel.c",
    "cancel_cxx.cc",
    "cxx_threads.cc",
    "exceptions.cc",
    "exec_self.c",
    "fork_threads.c",
    "setjmp.c",
    "signal_altstack.c",
    "signal_handlers.c",
    "signal_restart.c",
    "threads_exit.c",
    "threads_futex.c",
    "ucontext.c",
    "wait_pipes.c",
];

/// Files of this machine and their paths in the guest.
type Files = Vec<(PathBuf, String)>;

/// Rewrites a linked file.
fn rewrite(tools: &Tools, file: &Path, output: &Path) -> Result<()> {
    let mut ukl_ld = Command::new(tools.tool("ukl-ld"));
    ukl_ld
        .arg(format!("--ukl-rewrite={}", file.display()))
        .arg("-o")
        .arg(output);
    process::check(&mut ukl_ld, patient(LIMIT)).map(drop)
}

/// The rewritten C library and interpreter, and these other libraries as they are.
fn system(tools: &Tools, dir: &Path, others: &[&str]) -> Result<Files> {
    let mut files = Files::new();
    for (file, guest) in [
        ("/lib/x86_64-linux-gnu/libc.so.6", "libc.so.6"),
        ("/lib64/ld-linux-x86-64.so.2", "ld-linux.so.2"),
    ] {
        let output = dir.join(guest);
        rewrite(tools, Path::new(file), &output)?;
        files.push((output, format!("/usr/lib/ukl/{guest}")));
    }
    for name in others {
        let path = format!("{LIBRARIES}/{name}");
        files.push((fs::canonicalize(&path)?, path));
    }
    Ok(files)
}

/// Adds a rewritten program, and returns its path in the guest.
fn program(tools: &Tools, dir: &Path, file: &Path, files: &mut Files) -> Result<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let output = dir.join(format!("{name}.ring0"));
    rewrite(tools, file, &output)?;
    let guest = format!("/test/{name}");
    files.push((output, guest.clone()));
    Ok(guest)
}

/// Runs commands in a guest with these files, and returns what they print.
fn run(tools: &Tools, name: &str, files: &Files, commands: &[&[&str]]) -> Result<String> {
    let place = Place::Ring0(Mode {
        bypass: true,
        ..Mode::default()
    });
    let image = compile::driver(tools, place, "launch", &format!("linked-{name}"), files)?;
    let memory = tools::roomy("768M");
    let words = ["-m", &memory, "--cpus", "2"].map(OsStr::new);
    let mut words = words.to_vec();
    words.push(image.as_os_str());
    let args = commands.join(&"--");
    words.extend(args.iter().map(OsStr::new));
    let output = guest::run(tools, name, &words, b"")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn programs(tools: &Tools) -> Result<()> {
    let dir = dirs::scratch(tools, "programs")?;
    let mut files = system(
        tools,
        &dir,
        &["libstdc++.so.6", "libgcc_s.so.1", "libm.so.6"],
    )?;
    let mut guests = Vec::new();
    for name in PROGRAMS {
        let source = tools::testsuite().join("programs").join(name);
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let host = dir.join(stem);
        let mut compiler = Command::new(if extension == "cc" { "g++" } else { "gcc" });
        compiler
            .args(["-O2", "-g", "-fno-omit-frame-pointer", "-rdynamic"])
            // Programs throw exceptions from signal handlers.
            .args([
                "-fnon-call-exceptions",
                "-fasynchronous-unwind-tables",
                "-o",
            ])
            .arg(&host)
            .arg(&source)
            .arg("-pthread");
        process::check(&mut compiler, patient(LIMIT))?;
        guests.push(program(tools, &dir, &host, &mut files)?);
    }
    let commands: Vec<Vec<&str>> = guests.iter().map(|guest| vec![guest.as_str()]).collect();
    let commands: Vec<&[&str]> = commands.iter().map(Vec::as_slice).collect();
    let text = run(tools, "programs", &files, &commands)?;
    for guest in &guests {
        let line = format!("{guest}: exit 42");
        ensure!(text.lines().any(|l| l == line), "{guest}:\n{text}");
    }
    Ok(())
}

fn shell(tools: &Tools) -> Result<()> {
    let dir = dirs::scratch(tools, "shell")?;
    let mut files = system(tools, &dir, &["libtinfo.so.6"])?;
    let bash = program(tools, &dir, Path::new("/bin/bash"), &mut files)?;
    let script = "echo one | { read -r word; echo \"$word two\"; }; \
                  trap 'echo trapped' USR1; kill -USR1 $$; (exit 7); echo $?; \
                  while read -r line; do case $line in *ukl/libc.so.6) echo rewritten; break;; \
                  esac; done </proc/$$/maps";
    let text = run(tools, "shell", &files, &[&[&bash, "-c", script]])?;
    let expected = format!("one two\ntrapped\n7\nrewritten\n{bash}: exit 0\n");
    ensure!(text == expected, "{text}");
    Ok(())
}

fn python(tools: &Tools) -> Result<()> {
    let dir = dirs::scratch(tools, "python")?;
    let mut files = system(tools, &dir, &["libm.so.6", "libz.so.1", "libexpat.so.1"])?;
    let python = fs::canonicalize("/usr/bin/python3")?;
    let name = python.file_name().unwrap_or_default().to_string_lossy();
    let library = Path::new("/usr/lib").join(&*name);
    // The whole library would take long to compress.
    for entry in fs::read_dir(&library)? {
        let path = entry?.path();
        let is_module = path.extension().is_some_and(|extension| extension == "py");
        let is_package = ["collections", "encodings", "importlib", "lib-dynload", "re"]
            .iter()
            .any(|name| path.ends_with(name));
        if is_module || is_package {
            let guest = path.display().to_string();
            files.push((path, guest));
        }
    }
    let guest = program(tools, &dir, &python, &mut files)?;
    let script = "\
import os, queue, threading, time
q = queue.Queue()
def work(n):
    time.sleep(0.01)
    with open('/proc/self/comm') as f:
        q.put((n, f.read()))
threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
for t in threads: t.start()
for t in threads: t.join()
print(sum(q.get()[0] for t in threads))
child = os.fork()
if child == 0: os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";
    let text = run(tools, "python", &files, &[&[&guest, "-c", script]])?;
    let expected = format!("190\n7\n{guest}: exit 0\n");
    ensure!(text == expected, "{text}");
    Ok(())
}

fn go(tools: &Tools) -> Result<()> {
    let dir = dirs::scratch(tools, "go")?;
    let source = dir.join("main.go");
    fs::write(
        &source,
        "package main\n\
         import (\"fmt\"; \"os\"; \"runtime\"; \"sync\"; \"time\")\n\
         func main() {\n\
         var wg sync.WaitGroup\n\
         for i := 0; i < 50; i++ {\n\
         wg.Add(1)\n\
         go func() { defer wg.Done(); for k := 0; k < 20; k++ {\n\
         f, _ := os.Open(\"/proc/self/comm\"); f.Read(make([]byte, 10)); f.Close()\n\
         time.Sleep(time.Millisecond); runtime.GC() } }()\n\
         }\n\
         wg.Wait()\n\
         fmt.Println(\"done\")\n\
         }\n",
    )?;
    let mut files = Files::new();
    let mut guests = Vec::new();
    for (name, flags) in [("plain", "-ldflags="), ("stripped", "-ldflags=-s -w")] {
        let host = dir.join(name);
        let mut build = Command::new("go");
        build
            .args(["build", flags, "-o"])
            .args([&host, &source])
            .env("CGO_ENABLED", "0")
            .env("GOCACHE", dir.join("cache"));
        process::check(&mut build, patient(LIMIT))?;
        guests.push(program(tools, &dir, &host, &mut files)?);
    }
    let text = run(tools, "go", &files, &[&[&guests[0]], &[&guests[1]]])?;
    let expected = format!("done\n{}: exit 0\ndone\n{}: exit 0\n", guests[0], guests[1]);
    ensure!(text == expected, "{text}");
    Ok(())
}
