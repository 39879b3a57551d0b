//! The command line: options, output, errors and exit status.

mod common;

use std::process::{Command, Output};

use common::elf::*;
use common::*;

fn command(args: &[&str], dir: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_symbol-rewriter"))
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn success_is_silent() {
    let dir = scratch();
    compile(
        dir.path(),
        "f",
        "s",
        &[],
        ".globl f\nf: mov $39,%eax\nsyscall\nret",
    );
    let output = command(&["-o", "out.o", "f.o"], dir.path());
    assert!(output.status.success());
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    let data = std::fs::read(dir.path().join("out.o")).unwrap();
    assert!(symbols(&data).contains(&('T', "_ukl_f".to_string())));
}

#[test]
fn the_report_counts_each_form() {
    let dir = scratch();
    compile(
        dir.path(),
        "f",
        "s",
        &[],
        ".type f,@function\nf: mov $39,%eax\nsyscall\nadd %rdi,%rax\nmov %rax,%rdx\nmov $57,%eax\n\
         syscall\ntest %rax,%rax\nret\n.size f,.-f",
    );
    let output = command(&["--call-form", "--report", "f.o"], dir.path());
    let report = text(&output.stdout);
    for line in [
        "call form        1",
        "     1  01: rdi",
        "skip form        1",
        "     1  the call returns twice, or in another program",
    ] {
        assert!(
            report.lines().any(|found| found == line),
            "{line}: {report}"
        );
    }
}

#[test]
fn the_report_counts_sites() {
    let dir = scratch();
    compile(
        dir.path(),
        "f",
        "s",
        &[],
        ".type f,@function\nf: mov $39,%eax\nsyscall\nret\n.size f,.-f",
    );
    let output = command(&["--report", "f.o"], dir.path());
    let report = text(&output.stdout);
    let line = |name: &str| {
        report
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_string()
    };
    assert!(line("sites").ends_with(" 1"), "{report}");
    assert!(line("in place").ends_with(" 1"), "{report}");
    assert!(line("left").ends_with(" 0"), "{report}");
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "a report alone writes nothing"
    );
}

#[test]
fn the_report_counts_privileged_instructions() {
    let dir = scratch();
    compile(
        dir.path(),
        "f",
        "s",
        &[],
        ".type f,@function\nf: test %edi,%edi\njnz 1f\ntest %rdi,%rdi\njz 1f\nhlt\n1: hlt\nret\n.size f,.-f",
    );
    let output = command(&["--report", "f.o"], dir.path());
    let report = text(&output.stdout);
    for line in [
        "privileged       2",
        "     1  a fault at any ring, in place",
        "     1  a fault at any ring, by trampoline",
    ] {
        assert!(
            report.lines().any(|found| found == line),
            "{line}: {report}"
        );
    }
}

#[test]
fn another_prefix_can_be_given() {
    let dir = scratch();
    compile(dir.path(), "f", "s", &[], ".globl f\nf: ret");
    assert!(
        command(&["--prefix", "my_", "-o", "f.o", "f.o"], dir.path())
            .status
            .success()
    );
    let data = std::fs::read(dir.path().join("f.o")).unwrap();
    assert!(symbols(&data).contains(&('T', "my_f".to_string())));
}

#[test]
fn sites_can_be_left_alone() {
    let dir = scratch();
    compile(
        dir.path(),
        "f",
        "s",
        &[],
        ".globl f\nf: mov $39,%eax\nsyscall\nret",
    );
    assert!(
        command(&["--no-sites", "-o", "f.o", "f.o"], dir.path())
            .status
            .success()
    );
    let data = std::fs::read(dir.path().join("f.o")).unwrap();
    assert_eq!(named(&data, ".text")[0], 0xb8);
}

#[test]
fn an_output_has_to_be_named() {
    let dir = scratch();
    let output = command(&["f.o"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--output"));
}

#[test]
fn a_missing_input_is_named() {
    let dir = scratch();
    let output = command(&["-o", "x", "nope.o"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("symbol-rewriter: error: nope.o: "));
}

#[test]
fn a_failure_leaves_the_output_as_it_was() {
    let dir = scratch();
    std::fs::write(dir.path().join("bad.o"), b"\x7fELF").unwrap();
    std::fs::write(dir.path().join("out.o"), b"before").unwrap();
    let output = command(&["-o", "out.o", "bad.o"], dir.path());
    assert!(!output.status.success());
    assert_eq!(std::fs::read(dir.path().join("out.o")).unwrap(), b"before");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn help_and_version_are_there() {
    let dir = scratch();
    assert!(text(&command(&["--help"], dir.path()).stdout).contains("--report"));
    assert!(text(&command(&["--version"], dir.path()).stdout).starts_with("symbol-rewriter "));
}
