//! What a link leaves in the folder for temporary files.

use std::fs;

use crate::bench::Bench;
use crate::bench::UKL_LD;
use crate::bench::silent;

/// A bench with a folder for temporary files of its own.
fn bench() -> Bench {
    let bench = Bench::hello();
    fs::create_dir(bench.path("tmp")).unwrap();
    bench.plain_gcc_ok("-c hello.c");
    bench
}

/// Links under this real linker, with these options of ukl-ld. Returns whether that succeeded.
fn link(bench: &Bench, real: &str, flags: &str) -> bool {
    let mut gcc = bench.compiler("gcc");
    gcc.env("TMPDIR", bench.path("tmp"))
        .env("UKL_LD", real)
        .env("UKL_FLAGS", format!("--ukl-no-image --ukl-ring3 {flags}"))
        .args(["hello.o", "-o", "hello"]);
    gcc.output().unwrap().status.success()
}

/// What is in the folder.
fn left(bench: &Bench) -> Vec<String> {
    let names = fs::read_dir(bench.path("tmp")).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn the_next_link_removes_what_a_killed_one_left() {
    let bench = bench();
    // The image's link, whose inputs are in the temporary directory, kills ukl-ld.
    bench.file(
        "killer",
        "#!/bin/sh\ncase $* in *ukl-ld-temp.*) kill -9 $PPID; exit 1 ;; esac\nexec ld \"$@\"\n",
    );
    bench.ok("chmod", "+x killer");
    let killer = bench.path("killer");
    assert!(!link(&bench, killer.to_str().unwrap(), ""));
    let names = left(&bench);
    assert!(
        names.iter().any(|name| name.starts_with("ukl-ld-temp.")),
        "{names:?}"
    );
    assert!(link(&bench, "/usr/bin/ld", ""));
    let names = left(&bench);
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn kept_files_stay() {
    let bench = bench();
    assert!(link(&bench, "/usr/bin/ld", "--ukl-keep-temps"));
    assert!(link(&bench, "/usr/bin/ld", ""));
    let names = left(&bench);
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(
        fs::read_dir(bench.path("tmp").join(&names[0]))
            .unwrap()
            .count()
            > 0
    );
}

#[test]
fn long_command_lines_leave_nothing() {
    let bench = bench();
    let mut ld = bench.command(UKL_LD);
    ld.env("TMPDIR", bench.path("tmp"));
    // More than goes onto a command line that ukl-ld starts a linker with.
    for number in 0..4000 {
        ld.arg(format!("-L/nowhere/{number}/with/a/name/of/some/length"));
    }
    silent(&ld.args(["-r", "hello.o", "-o", "part.o"]).output().unwrap());
    let names = left(&bench);
    assert!(names.is_empty(), "{names:?}");
}
