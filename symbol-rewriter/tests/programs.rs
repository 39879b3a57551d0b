//! Whole programs, linked from rewritten objects and the distribution's rewritten static libraries,
//! behave as the unchanged programs, with thunks that destroy everything a thunk may.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(name)
}

/// Builds a program unchanged and rewritten, and expects all builds to behave the same.
fn behaves(file: &str, flags: &[&str]) {
    let dir = scratch();
    let source = std::fs::read_to_string(program(file)).unwrap();
    let (name, extension) = file.split_once('.').unwrap();
    let object = compile(dir.path(), name, extension, flags, &source);
    let ordinary = dir.path().join("ordinary");
    let compiler = if extension == "cc" { "g++" } else { "gcc" };
    run(Command::new(compiler)
        .arg("-static")
        .arg(&object)
        .arg("-o")
        .arg(&ordinary));
    let expected = stdout(Command::new("timeout").arg("60").arg(&ordinary));
    assert!(
        expected.ends_with("ok\n"),
        "{file} itself fails:\n{expected}"
    );

    for (form, kind) in BUILDS {
        let rewritten = dir.path().join(format!("rewritten-{form:?}.o"));
        let report = rewrite_file(form, &object, &rewritten);
        let linked = link(dir.path(), name, (form, kind), &[(rewritten, report)]);
        let output = Command::new("timeout")
            .arg("60")
            .arg(&linked)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text == expected,
            "{file} with {form:?} {kind:?}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn threads_and_locks() {
    behaves("threads.c", &["-O2"]);
}

#[test]
fn cancellation_runs_cleanup_handlers() {
    behaves("cancel.c", &["-O2", "-fexceptions"]);
}

#[test]
fn backtraces_pass_through_sites() {
    behaves("backtrace.c", &["-O2"]);
}

#[test]
fn exceptions_pass_through_sites() {
    behaves(
        "exceptions.cc",
        &["-O2", "-std=c++17", "-fnon-call-exceptions"],
    );
}

#[test]
fn processes_come_and_go() {
    behaves("processes.c", &["-O2"]);
}

#[test]
fn signals_interrupt_and_restart() {
    behaves("signals.c", &["-O1"]);
}

#[test]
fn hlt_kills_at_any_ring() {
    behaves("hlt.c", &["-O2"]);
}

#[test]
fn files_memory_and_time() {
    behaves("files.c", &["-O2"]);
}

#[test]
fn sockets_carry_data() {
    behaves("sockets.c", &["-O2"]);
}

#[test]
fn contexts_and_identities_change() {
    behaves("contexts.c", &["-O2"]);
}

#[test]
fn leaf_functions_keep_their_red_zone() {
    for level in ["-O0", "-O1", "-O2", "-O3", "-Os"] {
        behaves("redzone.c", &[level]);
        behaves("redzone.c", &[level, "-fno-omit-frame-pointer"]);
    }
    behaves("redzone.c", &["-O2", "-fPIC", "-ffunction-sections"]);
}

/// The same with musl, whose signal handler compares addresses around a site.
fn behaves_with_musl(file: &str) {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-musl";
    let dir = scratch();
    let object = dir.path().join("program.o");
    run(Command::new("musl-gcc")
        .args(["-O2", "-c", "-o"])
        .arg(&object)
        .arg(program(file)));
    let ordinary = dir.path().join("ordinary");
    run(Command::new("musl-gcc")
        .arg("-static")
        .arg(&object)
        .arg("-o")
        .arg(&ordinary));
    let expected = stdout(Command::new("timeout").arg("60").arg(&ordinary));
    assert!(
        expected.ends_with("ok\n"),
        "{file} itself fails:\n{expected}"
    );

    let mut thunks = BTreeSet::new();
    let mut rewritten = Vec::new();
    for name in ["crt1.o", "crti.o", "", "libc.a", "libgcc.a", "crtn.o"] {
        let input = match name {
            "" => object.clone(),
            "libgcc.a" => compiler_file(name),
            _ => Path::new(LIBRARY).join(name),
        };
        let output = dir.path().join(format!("rewritten-{name}"));
        thunks.extend(rewrite_file(Form::Call, &input, &output).thunks);
        rewritten.push(output);
    }
    for kind in [Thunks::Ring3, Thunks::FlagsSet, Thunks::Ring0] {
        let source = thunks_source(kind, &thunks);
        let linked = dir.path().join(format!("{kind:?}"));
        run(Command::new("ld")
            .args(["-static", "-e", "_ukl__start", "-o"])
            .arg(&linked)
            .arg(compile(dir.path(), "thunks", "s", &[], &source))
            .args(&rewritten));
        let found = stdout(Command::new("timeout").arg("60").arg(&linked));
        assert_eq!(expected, found, "{file} with {kind:?}");
    }
}

#[test]
fn cancellation_works_with_musl() {
    behaves_with_musl("cancel.c");
}

#[test]
fn threads_and_signals_work_with_musl() {
    behaves_with_musl("threads.c");
    behaves_with_musl("signals.c");
}
