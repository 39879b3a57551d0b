//! Every archive becomes an ordinary archive with an index.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use symbol_rewriter::{Note, Options};

fn object(dir: &Path, name: &str, source: &str) -> PathBuf {
    compile(dir, name, "s", &[], source)
}

fn archive(dir: &Path, flags: &str, members: &[PathBuf]) -> PathBuf {
    let path = dir.join("lib.a");
    let mut ar = Command::new("ar");
    ar.current_dir(dir).arg(flags).arg(&path);
    // Relative, as a thin archive records the paths.
    ar.args(
        members
            .iter()
            .map(|member| member.strip_prefix(dir).unwrap()),
    );
    run(&mut ar);
    path
}

fn index(path: &Path) -> Vec<String> {
    let text = stdout(Command::new("nm").arg("--print-armap").arg(path));
    text.lines()
        .skip_while(|line| !line.starts_with("Archive index"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(str::to_string)
        .collect()
}

#[test]
fn an_empty_index_stays() {
    let dir = scratch();
    let members = [object(dir.path(), "asks", "call g")];
    let path = archive(dir.path(), "rcs", &members);
    rewrite_file(Form::Call, &path, &path);
    assert_eq!(index(&path), [""; 0]);
    // GNU ld refuses an archive without one.
    let main = object(dir.path(), "main", ".globl _start\n_start: ret");
    run(Command::new("ld")
        .arg("-o")
        .arg(dir.path().join("linked"))
        .args([&main, &path]));
}

#[test]
fn the_index_holds_the_new_names() {
    let dir = scratch();
    let members = [
        object(dir.path(), "one", ".globl f\nf: call g\nret"),
        object(
            dir.path(),
            "a_name_of_more_than_fifteen_letters",
            ".globl g\ng: ret\n.weak w\nw: nop",
        ),
        object(dir.path(), "common", ".comm shared,8"),
    ];
    let path = archive(dir.path(), "rcs", &members);
    rewrite_file(Form::Call, &path, &path);
    assert_eq!(
        index(&path),
        [
            "_ukl_f in one.o",
            "_ukl_g in a_name_of_more_than_fifteen_letters.o",
            "_ukl_w in a_name_of_more_than_fifteen_letters.o",
            "_ukl_shared in common.o",
        ]
    );
    assert_eq!(
        elf::members(&path),
        ["one.o", "a_name_of_more_than_fifteen_letters.o", "common.o"]
    );
}

#[test]
fn the_linker_finds_members_by_the_new_index() {
    let dir = scratch();
    let members = [object(dir.path(), "one", ".globl f\nf: ret")];
    let path = archive(dir.path(), "rcs", &members);
    rewrite_file(Form::Call, &path, &path);
    let output = dir.path().join("out");
    run(Command::new("ld")
        .args(["-u", "_ukl_f", "-e", "_ukl_f", "-o"])
        .arg(output)
        .arg(path));
}

#[test]
fn members_of_the_same_name_stay_apart() {
    let dir = scratch();
    for sub in ["a", "b"] {
        std::fs::create_dir(dir.path().join(sub)).unwrap();
    }
    let members = [
        object(&dir.path().join("a"), "same", ".globl f\nf: ret"),
        object(&dir.path().join("b"), "same", ".globl g\ng: ret"),
    ];
    let path = archive(dir.path(), "qcs", &members);
    rewrite_file(Form::Call, &path, &path);
    assert_eq!(elf::members(&path), ["same.o", "same.o"]);
    assert_eq!(index(&path), ["_ukl_f in same.o", "_ukl_g in same.o"]);
}

#[test]
fn a_thin_archive_becomes_an_ordinary_one() {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let members = [object(
        &dir.path().join("sub"),
        "one",
        ".globl f\nf: mov $39,%eax\nsyscall\nret",
    )];
    let path = archive(dir.path(), "rcsT", &members);
    assert!(std::fs::read(&path).unwrap().starts_with(b"!<thin>\n"));
    let output = dir.path().join("out.a");
    let report = rewrite_file(Form::Call, &path, &output);
    assert_eq!(report.in_place, 1);
    assert!(std::fs::read(&output).unwrap().starts_with(b"!<arch>\n"));
    assert_eq!(elf::members(&output), ["one.o"]);
    assert_eq!(index(&output), ["_ukl_f in one.o"]);
}

#[test]
fn a_missing_member_of_a_thin_archive_is_named() {
    let dir = scratch();
    let members = [object(dir.path(), "gone", "nop")];
    let path = archive(dir.path(), "rcsT", &members);
    std::fs::remove_file(&members[0]).unwrap();
    let data = std::fs::read(&path).unwrap();
    let error = symbol_rewriter::rewrite("lib.a", path.parent(), &data, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("lib.a(gone.o): cannot read"), "{error}");
}

#[test]
fn an_empty_archive_stays_empty() {
    let done = rewrite(b"!<arch>\n");
    assert_eq!(done.data, b"!<arch>\n");
}

#[test]
fn members_other_than_objects_are_copied() {
    let dir = scratch();
    let text = dir.path().join("lib.rmeta");
    std::fs::write(&text, b"rust metadata, of odd len").unwrap();
    let bitcode = dir.path().join("code.bc");
    std::fs::write(&bitcode, b"BC\xc0\xde1234").unwrap();
    let one = object(dir.path(), "one", ".globl f\nf: ret");
    let path = archive(dir.path(), "rcs", &[text, bitcode, one]);
    let report = rewrite_file(Form::Call, &path, &path);
    assert_eq!((report.objects, report.copied), (1, 2));
    assert!(matches!(&report.notes[..], [Note::Bitcode(place)] if place.ends_with("(code.bc)")));
    assert_eq!(elf::members(&path), ["lib.rmeta", "code.bc", "one.o"]);
    let text = stdout(Command::new("ar").arg("p").arg(&path).arg("lib.rmeta"));
    assert_eq!(text, "rust metadata, of odd len");
}

#[test]
fn a_broken_member_is_named() {
    let dir = scratch();
    let bad = dir.path().join("bad.o");
    std::fs::write(&bad, b"\x7fELF\x02\x01\x01 and no more").unwrap();
    let path = archive(dir.path(), "rcS", &[bad]);
    let data = std::fs::read(&path).unwrap();
    let error = symbol_rewriter::rewrite("lib.a", None, &data, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("lib.a(bad.o): malformed: "), "{error}");
}

#[test]
fn a_linker_script_becomes_an_archive_of_all_it_names() {
    let dir = scratch();
    let one = [object(dir.path(), "one", ".globl f\nf: ret")];
    let first = archive(dir.path(), "rcs", &one);
    std::fs::rename(first, dir.path().join("libfirst.a")).unwrap();
    let two = [object(dir.path(), "one", ".globl g\ng: ret")];
    archive(dir.path(), "rcs", &two);
    object(dir.path(), "alone", ".globl h\nh: ret");
    let script = dir.path().join("libscript.a");
    std::fs::write(
        &script,
        "/* GNU ld script */\nGROUP ( -lfirst lib.a AS_NEEDED ( alone.o ) )\n",
    )
    .unwrap();
    let output = dir.path().join("out.a");
    let report = rewrite_file(Form::Call, &script, &output);
    assert_eq!(report.objects, 3);
    assert_eq!(elf::members(&output), ["one.o", "one.o", "alone.o"]);
    assert_eq!(
        index(&output),
        ["_ukl_f in one.o", "_ukl_g in one.o", "_ukl_h in alone.o"]
    );
}

#[test]
fn a_missing_file_of_a_linker_script_is_named() {
    let error = symbol_rewriter::rewrite(
        "libx.a",
        Some(Path::new("/nonexistent")),
        b"GROUP ( gone.a )",
        &Options::default(),
    )
    .unwrap_err()
    .to_string();
    assert!(error.starts_with("libx.a(gone.a): cannot read"), "{error}");
}

#[test]
fn every_library_of_the_compiler_passes() {
    let libraries = libraries(Form::Call);
    for name in libs() {
        let input = compiler_file(&name);
        let before = elf::members(&input);
        assert_eq!(elf::members(&libraries.path(&name)), before, "{name}");
    }
}
