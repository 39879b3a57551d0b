//! Which compiler is the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use crate::bench::Bench;
use crate::bench::both;
use crate::bench::lacks;
use crate::bench::stderr;
use crate::bench::stdout;

fn script(bench: &Bench, name: &str, text: &str) {
    bench.file(name, text);
    fs::set_permissions(bench.path(name), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_variable_names_it() {
    let bench = Bench::new();
    script(&bench, "mine", "#!/bin/sh\necho mine \"$@\"\nexit 7\n");
    let mut command = bench.command("ukl-cc");
    let output = command
        .env("UKL_CC", bench.path("mine"))
        .args(["-c", "x.c"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    let libexec = bench.root().join("lib/ukl/libexec");
    assert_eq!(
        stdout(&output),
        format!("mine -B{}/ -c x.c\n", libexec.display())
    );
}

#[test]
fn cxx_has_a_variable_of_its_own() {
    let bench = Bench::new();
    script(&bench, "mine", "#!/bin/sh\necho mine\n");
    let mut command = bench.command("ukl-c++");
    command
        .env("UKL_CXX", bench.path("mine"))
        .env("UKL_CC", "/nowhere");
    assert_eq!(stdout(&command.output().unwrap()), "mine\n");
}

#[test]
fn a_compiler_that_is_not_there() {
    let bench = Bench::new();
    let output = bench
        .command("ukl-cc")
        .env("UKL_CC", "no-such-compiler")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("ukl-cc: error: cannot find the real compiler `no-such-compiler'")
    );
}

#[test]
fn we_are_not_the_real_one() {
    let bench = Bench::hello();
    // Somebody puts us first under the compiler's own name.
    symlink("ukl-cc", bench.bin("cc")).unwrap();
    bench.ok("cc", "hello.c -o hello");
    bench.linked("hello");
}

#[test]
fn the_variable_must_not_lead_back() {
    let bench = Bench::hello();
    symlink("ukl-cc", bench.bin("mycc")).unwrap();
    let output = bench
        .command("ukl-cc")
        .env("UKL_CC", "mycc")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(!both(&output).is_empty());
}

#[test]
fn a_script_that_leads_back_is_noticed() {
    let bench = Bench::hello();
    script(&bench, "loop", "#!/bin/sh\nexec ukl-cc \"$@\"\n");
    let mut command = bench.command("ukl-cc");
    let output = command
        .env("UKL_CC", bench.path("loop"))
        .arg("hello.c")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("runs ukl-cc again"),
        "{}",
        both(&output)
    );
}

#[test]
fn past_masquerading_links() {
    if lacks("ccache") {
        return;
    }
    let bench = Bench::hello();
    fs::create_dir(bench.path("masquerade")).unwrap();
    for name in ["cc", "ukl-cc"] {
        symlink("/usr/bin/ccache", bench.path("masquerade").join(name)).unwrap();
    }
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        bench.path("masquerade").display(),
        bench.bin("").display()
    );
    let mut command = bench.command(bench.path("masquerade/ukl-cc"));
    let output = command
        .env("PATH", path)
        .args(["hello.c", "-o", "hello"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    bench.linked("hello");
}

#[test]
fn behind_ccache() {
    if lacks("ccache") {
        return;
    }
    let bench = Bench::hello();
    for _ in 0..2 {
        let output = bench.ok("ccache", "ukl-cc -O2 -c hello.c -o hello.o");
        assert!(both(&output).is_empty());
    }
    let statistics = stdout(&bench.ok("ccache", "--print-stats"));
    let hits = statistics
        .lines()
        .find(|line| line.starts_with("direct_cache_hit"));
    assert_eq!(hits, Some("direct_cache_hit\t1"));
    bench.ok("ccache", "ukl-cc hello.o -o hello");
    bench.linked("hello");
}

#[test]
fn in_front_of_ccache() {
    if lacks("ccache") {
        return;
    }
    let bench = Bench::hello();
    let mut command = bench.command("ukl-cc");
    command
        .env("UKL_CC", "ccache gcc")
        .args(["hello.c", "-o", "hello"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    bench.linked("hello");
}

#[test]
fn clang() {
    if lacks("clang") {
        return;
    }
    let bench = Bench::hello();
    let run = |args: &str| {
        let mut command = bench.command("ukl-cc");
        let output = command
            .env("UKL_CC", "clang")
            .args(args.split_whitespace())
            .output()
            .unwrap();
        assert!(
            output.status.success() && both(&output).is_empty(),
            "{args}: {}",
            both(&output)
        );
    };
    run("-Weverything -Wno-missing-prototypes -Werror -c hello.c");
    run("hello.o -o hello");
    bench.linked("hello");
    run("-static hello.o -o hello");
    bench.linked("hello");
}

#[test]
fn the_linker_is_missing() {
    let bench = Bench::hello();
    fs::remove_file(bench.root().join("lib/ukl/libexec/ld")).unwrap();
    let output = bench.run("ukl-cc", "hello.c");
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("libexec/ld is missing"),
        "{}",
        both(&output)
    );
}

#[test]
fn the_installation_may_be_named() {
    let bench = Bench::hello();
    fs::rename(bench.root().join("lib/ukl"), bench.root().join("moved")).unwrap();
    fs::remove_file(bench.root().join("moved/libexec/ld")).unwrap();
    symlink(bench.bin("ukl-ld"), bench.root().join("moved/libexec/ld")).unwrap();
    let mut command = bench.command("ukl-cc");
    command
        .env("UKL_LIBDIR", bench.root().join("moved"))
        .args(["hello.c", "-o", "hello"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    bench.linked("hello");
}
