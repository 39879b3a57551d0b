//! `--ukl-save-dir`: a link is repeated without the files it was made of.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::bench::Bench;
use crate::bench::UKL_LD;
use crate::bench::both;
use crate::bench::silent;
use crate::bench::stderr;
use crate::bench::stdout;

/// Removes everything on the bench but the saved link, repeats that, and compares what it makes.
fn repeat(bench: &Bench, saved: &str, program: &str) {
    let whole = |name: &str| fs::read(bench.path(name)).unwrap();
    let products = [program.to_owned(), format!("{program}.ring3")];
    let before = products.clone().map(|name| whole(&name));
    let top = saved.split('/').next().unwrap();
    for entry in fs::read_dir(bench.path("")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != top {
            let path = entry.path();
            match path.is_dir() {
                true => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
    }
    // Elsewhere, as a report that was sent.
    bench.ok("mv", &format!("{top} sent"));
    let saved = saved.replacen(top, "sent", 1);
    let script = bench.path(&saved).join("run-with");
    let mut rerun = bench.command(&script);
    rerun.env_remove("UKL_FLAGS").arg(UKL_LD);
    silent(&rerun.output().unwrap());
    for (name, before) in products.iter().zip(before) {
        let after = whole(&format!("{saved}/out/{name}"));
        assert!(before == after, "{name} differs");
    }
    inside(&traced(bench, &script));
}

/// What the host link reads, one name a line.
fn traced(bench: &Bench, script: &Path) -> Output {
    let mut rerun = bench.command(script);
    rerun.args([UKL_LD, "-t"]);
    rerun.output().unwrap()
}

/// The saved link names only files of its own directory, all of which are relative.
fn inside(trace: &Output) {
    assert!(trace.status.success(), "{}", both(trace));
    let text = stdout(trace);
    assert!(text.contains("crt1.o"), "{text}");
    // GCC's plugin makes files of its own.
    let outside: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with('/') && !line.contains(".ltrans"))
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

#[test]
fn a_program_of_many_kinds_of_files() {
    let bench = Bench::new();
    bench.file(
        "src/main.c",
        "#include <math.h>\n#include <stdio.h>\n\
         int thin(void), scripted(void), grouped(void);\n\
         int main(int argc, char **argv) {\n\
           printf(\"%d %.3f\\n\", thin() + scripted() + grouped(), cos(argc));\n\
           return 42;\n}\n",
    );
    bench.file("src/thin.c", "int thin(void) { return 1; }");
    bench.file("src/scripted.c", "int scripted(void) { return 2; }");
    bench.file("src/grouped.c", "int grouped(void) { return 3; }");
    for name in ["main", "thin", "scripted", "grouped"] {
        bench.plain_gcc_ok(&format!("-c src/{name}.c -o src/{name}.o"));
    }
    fs::create_dir(bench.path("lib dir")).unwrap();
    bench.file("thin/placeholder", "");
    bench.ok("ar", "rcT thin/libthin.a src/thin.o");
    bench.ok("ar", "rc libgrouped.a src/grouped.o");
    let absolute = bench.path("src/scripted.o");
    let script = format!("INPUT({} AS_NEEDED(-lgrouped))", absolute.display());
    bench.file("lib dir/libscripted.so", &script);
    bench.file("more", "-Wl,--version-script=src/map -lm");
    bench.file("src/map", "{ global: *; };");
    let mut gcc = bench.compiler("gcc");
    gcc.args([
        "src/main.o",
        "-o",
        "x",
        "-L.",
        "-Llib dir",
        "-Lthin",
        "-lthin",
        "-lscripted",
        "@more",
        "-Wl,--ukl-save-dir=saved",
    ]);
    silent(&gcc.output().unwrap());
    bench.same("x");
    let report = fs::read_to_string(bench.path("saved/report")).unwrap();
    assert!(report.contains("kernel archive: none in "), "{report}");
    assert!(report.contains("GNU ld"), "{report}");
    repeat(&bench, "saved", "x");
}

#[test]
fn intermediate_code() {
    let bench = Bench::hello();
    bench.file("part.c", "int part(void) { return 42; }");
    bench.file(
        "main.c",
        "#include <stdio.h>\nint part(void);\nint main(void) { puts(\"x\"); return part(); }\n",
    );
    bench.plain_gcc_ok("-c -flto -O2 main.c part.c");
    bench.gcc_ok("-flto -O2 main.o part.o -o x -Wl,--ukl-save-dir=saved");
    bench.same("x");
    repeat(&bench, "saved", "x");
}

#[test]
fn a_shared_library_of_the_same_build() {
    let bench = Bench::new();
    bench.file("part.c", "int part(void) { return 42; }");
    bench.file(
        "main.c",
        "int part(void);\nint main(void) { return part(); }\n",
    );
    bench.plain_gcc_ok("-c -fPIC part.c -o part.o");
    bench.gcc_ok("-shared part.o -o libpart.so");
    bench.gcc_ok("main.c -o x -L. -lpart -Wl,-rpath,$ORIGIN -Wl,--ukl-save-dir=saved");
    bench.same("x");
    repeat(&bench, "saved", "x");
}

#[test]
fn links_of_rustc_by_the_environment() {
    let bench = Bench::new();
    bench.file(
        "x.rs",
        "fn main() { println!(\"{}\", std::env::args().count()); std::process::exit(42) }",
    );
    let mut rustc = bench.rustc();
    rustc.env("UKL_SAVE_DIR", "all").arg("x.rs");
    silent(&rustc.output().unwrap());
    bench.same("x");
    repeat(&bench, "all/x", "x");
}

#[test]
fn links_of_one_name_get_directories_of_their_own() {
    let bench = Bench::hello();
    for _ in 0..2 {
        let mut gcc = bench.compiler("gcc");
        gcc.env("UKL_SAVE_DIR", "all")
            .args(["hello.c", "-o", "hello"]);
        silent(&gcc.output().unwrap());
    }
    assert!(bench.has("all/hello/run-with") && bench.has("all/hello-2/run-with"));
}

#[test]
fn a_link_that_fails_is_saved_and_fails_again() {
    let bench = Bench::new();
    bench.file(
        "x.c",
        "int nowhere(void);\nint main(void) { return nowhere(); }\n",
    );
    let failed = bench.gcc("x.c -o x -Wl,--ukl-save-dir=saved");
    assert!(!failed.status.success());
    fs::remove_file(bench.path("x.c")).unwrap();
    let again = bench
        .command(bench.path("saved/run-with"))
        .arg(UKL_LD)
        .output()
        .unwrap();
    assert!(!again.status.success());
    assert!(
        stderr(&again).contains("undefined reference to `nowhere'"),
        "{}",
        both(&again)
    );
    // A saved link may be saved anew.
    bench.gcc("-xc /dev/null -o x -Wl,--ukl-save-dir=saved");
    assert!(bench.has("saved/run-with"));
}

#[test]
fn the_users_directories_are_left_alone() {
    let bench = Bench::hello();
    bench.file("mine/notes", "mine");
    let output = bench.gcc("hello.c -o hello -Wl,--ukl-save-dir=mine");
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("mine is neither empty nor a saved link"),
        "{}",
        stderr(&output)
    );
    assert!(bench.has("mine/notes"));
}
