//! What build tools ask a compiler, answered by the compiler.

use std::io::Write;
use std::process::Output;
use std::process::Stdio;

use crate::bench::Bench;
use crate::bench::both;
use crate::bench::stderr;
use crate::bench::stdout;

/// ukl-cc and the real compiler answer alike.
fn alike(args: &str) -> Output {
    let bench = Bench::hello();
    let ours = bench.run("ukl-cc", args);
    let theirs = bench.run("gcc", args);
    assert_eq!(ours.status, theirs.status, "{}", both(&ours));
    assert_eq!(stdout(&ours), stdout(&theirs));
    assert_eq!(stderr(&ours), stderr(&theirs));
    ours
}

#[test]
fn version() {
    assert!(stdout(&alike("--version")).contains("Free Software Foundation"));
}

#[test]
fn target() {
    assert!(alike("-dumpmachine").status.success());
}

#[test]
fn predefined_macros() {
    assert!(stdout(&alike("-E -dM -xc /dev/null")).contains("__linux__"));
}

#[test]
fn nothing_at_all() {
    assert!(!alike("").status.success());
}

#[test]
fn the_question_mark_that_tells_msvc() {
    assert!(!alike("-?").status.success());
}

#[test]
fn unknown_flags() {
    assert!(
        !alike("-fno-such-flag -c hello.c -o /dev/null")
            .status
            .success()
    );
}

#[test]
fn errors_in_the_source() {
    let bench = Bench::new();
    bench.file("x.c", "int main(void) { return x; }");
    let ours = bench.run("ukl-cc", "-c x.c");
    let theirs = bench.run("gcc", "-c x.c");
    assert_eq!(ours.status, theirs.status);
    assert_eq!(both(&ours), both(&theirs));
}

#[test]
fn compiling_is_silent() {
    let bench = Bench::hello();
    assert!(both(&bench.ok("ukl-cc", "-Wall -Werror -c hello.c -o hello.o")).is_empty());
}

#[test]
fn linking_is_silent() {
    let bench = Bench::hello();
    assert!(both(&bench.ok("ukl-cc", "-Wall -Werror hello.c -o hello")).is_empty());
    bench.linked("hello");
}

#[test]
fn the_name_of_the_linker() {
    let bench = Bench::new();
    let output = bench.ok("ukl-cc", "-print-prog-name=ld");
    let expected = bench.root().join("lib/ukl/libexec/ld");
    assert_eq!(stdout(&output).trim_end(), expected.to_str().unwrap());
    assert!(stderr(&output).is_empty());
}

#[test]
fn the_version_of_the_linker() {
    let bench = Bench::new();
    let output = bench.run("ukl-cc", "-Wl,--version");
    assert!(output.status.success());
    assert!(
        stdout(&output)
            .lines()
            .next()
            .unwrap()
            .contains("compatible with GNU ld")
    );
}

#[test]
fn the_source_from_standard_input() {
    let bench = Bench::new();
    let mut child = bench
        .command("ukl-cc")
        .args(["-xc", "-", "-o", "x"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"int main(void) { return 42; }")
        .unwrap();
    assert!(child.wait().unwrap().success());
    bench.linked("x");
}

#[test]
fn output_to_dev_null() {
    let bench = Bench::hello();
    assert!(both(&bench.ok("ukl-cc", "hello.c -o /dev/null")).is_empty());
    assert!(bench.programs().is_empty());
}

#[test]
fn response_files() {
    let bench = Bench::hello();
    bench.file("args", "hello.c -o hello\n");
    bench.ok("ukl-cc", "@args");
    bench.linked("hello");
}

#[test]
fn spaces_in_names() {
    let bench = Bench::new();
    bench.file("a b/x y.c", crate::bench::HELLO);
    let output = bench
        .command("ukl-cc")
        .args(["a b/x y.c", "-o", "a b/x y"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    bench.linked("a b/x y");
}

#[test]
fn cxx_by_the_name() {
    let bench = Bench::new();
    bench.file(
        "x.cc",
        "#include <string>\nint main() {\n\
           try { throw std::string(42, 'x'); } catch (std::string &s) { return s.size(); }\n}",
    );
    assert!(both(&bench.ok("ukl-c++", "x.cc -o x")).is_empty());
    bench.linked("x");
}

#[test]
fn the_linkers_own_options() {
    let bench = Bench::hello();
    let mut command = bench.command("ukl-cc");
    command.env_remove("UKL_FLAGS");
    command.args([
        "--ukl-no-image",
        "--ukl-ring3=a,b",
        "--ukl-explain",
        "hello.c",
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    assert!(stderr(&output).contains("ukl-ld: program "));
    assert!(bench.has("a,b"));
}

#[test]
fn our_own_version() {
    let bench = Bench::new();
    let text = stdout(&bench.ok("ukl-cc", "--ukl-version"));
    let first = format!("ukl-cc {}\n", env!("CARGO_PKG_VERSION"));
    assert!(
        text.starts_with(&first) && text.contains("compiler: /"),
        "{text}"
    );
    assert!(stdout(&bench.ok("ukl-cc", "--ukl-help")).contains("--ukl-explain"));
}
