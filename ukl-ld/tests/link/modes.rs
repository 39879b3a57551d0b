//! When there is an image, or its program, and when there is not.

use std::process::Command;

use crate::bench::Bench;
use crate::bench::UKL_LD;
use crate::bench::both;
use crate::bench::silent;
use crate::bench::stderr;
use crate::bench::stdout;
use crate::skip::skip;

/// Nothing but the host output.
fn host_only(bench: &Bench, args: &str, output: &str) {
    bench.gcc_ok(args);
    assert!(bench.has(output));
    for suffix in ["ukl", "ring3"] {
        assert!(!bench.has(&format!("{output}.{suffix}")), "{args}");
    }
}

#[test]
fn shared_libraries() {
    host_only(
        &Bench::hello(),
        "-shared -fPIC hello.c -o libhello.so",
        "libhello.so",
    );
}

#[test]
fn partial_links() {
    host_only(&Bench::hello(), "-r -nostdlib hello.c -o part.o", "part.o");
}

#[test]
fn conftest() {
    host_only(&Bench::hello(), "hello.c -o conftest", "conftest");
}

#[test]
fn conftest_without_an_output_name() {
    let bench = Bench::hello();
    bench.file("conftest.c", crate::bench::HELLO);
    host_only(&bench, "conftest.c", "a.out");
}

#[test]
fn dev_null() {
    let bench = Bench::hello();
    bench.gcc_ok("hello.c -o /dev/null");
    assert!(!std::path::Path::new("/dev/null.ring3").exists());
    assert!(!std::path::Path::new("/dev/null.ukl").exists());
}

#[test]
fn the_environment_says_no() {
    let bench = Bench::hello();
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_FLAGS", "")
        .env("UKL_IMAGE", "0")
        .args(["hello.c", "-o", "hello"]);
    silent(&gcc.output().unwrap());
    assert!(bench.has("hello") && !bench.has("hello.ukl"));
}

#[test]
fn the_environment_says_yes_to_a_probe() {
    let bench = Bench::hello();
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_IMAGE", "1")
        .args(["hello.c", "-o", "conftest"]);
    silent(&gcc.output().unwrap());
    assert!(bench.has("conftest.ring3"));
}

#[test]
fn a_host_only_link_removes_a_stale_image() {
    let bench = Bench::hello();
    bench.file("hello.ukl", "stale");
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_IMAGE", "0").args(["hello.c", "-o", "hello"]);
    silent(&gcc.output().unwrap());
    assert!(!bench.has("hello.ukl"));
}

#[test]
fn version_is_that_of_a_gnu_ld() {
    let bench = Bench::new();
    let output = bench.command(UKL_LD).arg("--version").output().unwrap();
    let first = stdout(&output).lines().next().unwrap().to_owned();
    let expected = format!(
        "ukl-ld {} (compatible with GNU ld",
        env!("CARGO_PKG_VERSION")
    );
    assert!(first.starts_with(&expected), "{first}");
    assert!(stdout(&output).contains("Free Software Foundation"));
    let archive = format!(
        "\nkernel archive: none in {}/kernel ",
        bench.libdir().display()
    );
    assert!(stdout(&output).contains(&archive), "{}", stdout(&output));
}

#[test]
fn version_names_the_kernel_archive() {
    let bench = Bench::new();
    let dir = bench.kernel().canonicalize().unwrap();
    bench.file("kernel/version", "6.12.1-test\n");
    bench.file("kernel/abi", "ukl-abi 7\n");
    let output = bench
        .command(UKL_LD)
        .args(["--version", "--ukl-kernel=kernel"])
        .output()
        .unwrap();
    let archive = format!(
        "\nkernel archive: {} (Linux 6.12.1-test, ABI version 7)\n",
        dir.display()
    );
    assert!(stdout(&output).contains(&archive), "{}", stdout(&output));
}

#[test]
fn version_through_the_compiler() {
    let bench = Bench::new();
    let output = bench.gcc("-Wl,--version");
    assert!(output.status.success());
    assert!(stdout(&output).starts_with("ukl-ld "), "{}", both(&output));
}

#[test]
fn dash_v_alone_prints_one_line() {
    let bench = Bench::new();
    let output = bench.command(UKL_LD).arg("-v").output().unwrap();
    assert!(output.status.success());
    assert_eq!(stdout(&output).lines().count(), 1);
    assert!(stdout(&output).contains("GNU ld"));
}

#[test]
fn help_has_both_kinds_of_options() {
    let bench = Bench::new();
    let text = stdout(&bench.command(UKL_LD).arg("--help").output().unwrap());
    assert!(text.contains("--gc-sections") && text.contains("--ukl-explain"));
    // libtool looks at this line.
    assert!(text.contains(": supported targets:"));
}

#[test]
fn help_of_our_own_options_alone() {
    let bench = Bench::new();
    let output = bench.command(UKL_LD).arg("--ukl-help").output().unwrap();
    assert!(output.status.success() && stderr(&output).is_empty());
    let text = stdout(&output);
    assert!(!text.contains("--gc-sections"), "{text}");
    for option in ukl_common::options::OPTIONS {
        let usage = format!("  {}", option.usage());
        assert!(text.contains(&usage), "{usage}: {text}");
    }
    // It is behind the options of ld, too.
    let all = stdout(&bench.command(UKL_LD).arg("--help").output().unwrap());
    assert!(all.contains(&text), "{all}");
}

#[test]
fn no_input_fails_as_with_the_real_linker() {
    let bench = Bench::new();
    let ours = bench.command(UKL_LD).output().unwrap();
    let theirs = bench.command("/usr/bin/ld").output().unwrap();
    assert_eq!(ours.status, theirs.status);
    assert_eq!(
        stderr(&ours),
        stderr(&theirs)
            .replace("ld: ", "/usr/bin/ld: ")
            .replace("/usr/bin//usr/bin/", "/usr/bin/")
    );
}

#[test]
fn the_compiler_finds_us_as_its_linker() {
    let bench = Bench::new();
    let output = bench.gcc("-print-prog-name=ld");
    assert_eq!(
        stdout(&output).trim_end(),
        format!("{}/libexec/ld", bench.libdir().display())
    );
}

#[test]
fn explain_goes_phase_by_phase() {
    let bench = Bench::hello();
    let output = bench.gcc("hello.c -o hello -Wl,--ukl-explain");
    assert!(output.status.success());
    for phase in ["mode", "host", "inputs", "rewrite", "program", "whole"] {
        let line = format!("ukl-ld: {phase} ");
        assert!(
            stderr(&output).contains(&line),
            "{phase}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn the_program_is_marked_for_ring_0() {
    let bench = Bench::hello();
    let kernel = bench.kernel();
    let flags = format!(
        "--ukl-no-image --ukl-program --ukl-ring3 --ukl-kernel={}",
        kernel.display()
    );
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_FLAGS", flags).args(["hello.c", "-o", "hello"]);
    silent(&gcc.output().unwrap());
    let flags = |name: &str| std::fs::read(bench.path(name)).unwrap()[48..52].to_vec();
    assert_eq!(flags("hello.ring0"), 0x554b_4c30u32.to_le_bytes());
    assert_eq!(flags("hello.ring3"), [0; 4]);
    bench.same("hello");
    // Thunks call the kernel's function, behind the jump to it, and jump to its entry.
    let dump = stdout(&bench.ok("objdump", "-d --no-show-raw-insn hello.ring0"));
    let stub = dump.split("<__ukl_call_1_00>:").nth(2).unwrap();
    let stub = stub.split(">:").next().unwrap();
    for (instruction, target) in [("call", "ffffffff81300100"), ("jmp", "ffffffff81234580")] {
        let found = |line: &str| line.contains(instruction) && line.contains(target);
        assert!(stub.lines().any(found), "{target}: {stub}");
    }
}

#[test]
fn a_kernel_archive_of_another_version_is_refused() {
    let bench = Bench::hello();
    let kernel = bench.kernel();
    let link = || {
        let flags = format!(
            "--ukl-no-image --ukl-program --ukl-kernel={}",
            kernel.display()
        );
        let mut gcc = bench.compiler("gcc");
        gcc.env("UKL_FLAGS", flags).args(["hello.c", "-o", "hello"]);
        gcc.output().unwrap()
    };
    let abi = std::fs::read_to_string(kernel.join("abi")).unwrap();
    for (text, what) in [
        (
            abi.replace("ukl-abi 2", "ukl-abi 3"),
            "has ABI version 3; this ukl-ld needs 2",
        ),
        (
            abi.replace("UKL_THUNK_POP", "POP"),
            "does not define UKL_THUNK_POP",
        ),
        (
            abi.replace("UKL_THUNK_SWITCH 0x21", "UKL_THUNK_SWITCH 9"),
            "UKL_THUNK_SWITCH leaves",
        ),
    ] {
        bench.file("kernel/abi", &text);
        let output = link();
        let said = stderr(&output);
        assert!(!output.status.success());
        assert!(
            said.contains("ukl-ld: error: ") && said.contains(what),
            "{said}"
        );
        assert!(said.contains("make kernel"), "{said}");
        assert!(!bench.has("hello") && !bench.has("hello.ring0"), "{what}");
    }
    std::fs::remove_file(kernel.join("abi")).unwrap();
    assert!(stderr(&link()).contains("kernel/abi: "));
}

#[test]
fn other_linkers_make_the_host_output() {
    for (name, mark) in [("gold", "Version: gold"), ("lld", "LLD")] {
        if Command::new(format!("ld.{name}"))
            .arg("--version")
            .output()
            .is_err()
        {
            skip(&format!("no ld.{name}"));
            continue;
        }
        let bench = Bench::hello();
        bench.gcc_ok(&format!("-fuse-ld={name} hello.c -o hello"));
        bench.same("hello");
        let notes = stdout(&bench.ok("readelf", "-p .comment -n hello"));
        assert!(notes.contains(mark), "{name}: {notes}");
    }
}

/// Bazel links so where gold or lld is installed.
#[test]
fn libraries_of_loose_objects() {
    for name in ["gold", "lld"] {
        let bench = Bench::new();
        bench.file(
            "main.c",
            "int part(void); int main(void) { return part(); }",
        );
        bench.file("a/part.c", "int part(void) { return 42; }");
        // Nobody needs it, so nobody minds what it needs itself, nor that it has that name.
        let unused = "int missing(void); int unused(void) { return missing(); }";
        bench.file("b/part.c", unused);
        for dir in [".", "a", "b"] {
            let source = if dir == "." { "main" } else { "part" };
            bench.gcc_ok(&format!("-c {dir}/{source}.c -o {dir}/{source}.o"));
        }
        bench.gcc_ok(&format!(
            "-fuse-ld={name} -o x main.o -Wl,--start-lib b/part.o a/part.o -Wl,--end-lib"
        ));
        bench.same("x");
        let symbols = stdout(&bench.ok("nm", "x.ring3"));
        assert!(
            symbols.contains(" T part\n") && !symbols.contains(" unused\n"),
            "{symbols}"
        );
    }
}

#[test]
fn the_real_linker_may_be_named() {
    let bench = Bench::hello();
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_LD", "/nowhere/ld")
        .args(["hello.c", "-o", "hello"]);
    let output = gcc.output().unwrap();
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("cannot run /nowhere/ld"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_linker_that_leads_back_is_noticed() {
    let bench = Bench::hello();
    let script = format!("#!/bin/sh\nexec {UKL_LD} \"$@\"\n");
    bench.file("bin/ld", &script);
    bench.ok("chmod", "+x bin/ld");
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_LD", bench.path("bin/ld"))
        .args(["hello.c", "-o", "hello"]);
    let output = gcc.output().unwrap();
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("runs ukl-ld again"),
        "{}",
        stderr(&output)
    );
}
