//! What fails, fails as it does with the real linker: the same words, the same status.

use crate::bench::Bench;
use crate::bench::UKL_LD;
use crate::bench::both;
use crate::bench::stderr;

/// Links with ukl-ld and without; both have to fail alike. Returns what they said.
fn fail_alike(bench: &Bench, args: &str) -> String {
    let ours = bench.gcc(args);
    let theirs = bench.plain_gcc(args);
    assert_eq!(ours.status, theirs.status, "{}", both(&ours));
    assert!(!ours.status.success());
    assert_eq!(both(&ours), both(&theirs));
    stderr(&ours)
}

#[test]
fn an_unknown_option() {
    let bench = Bench::hello();
    bench.plain_gcc_ok("-c hello.c");
    let said = fail_alike(&bench, "hello.o -Wl,--frobnicate -o hello");
    assert!(
        said.contains("unrecognized option '--frobnicate'"),
        "{said}"
    );
    assert!(!bench.has("hello") && !bench.has("hello.ring3"));
}

#[test]
fn an_undefined_symbol() {
    let bench = Bench::new();
    bench.file(
        "x.c",
        "int nowhere(int);\nint main(void) { return nowhere(1); }",
    );
    bench.plain_gcc_ok("-g -c x.c");
    let said = fail_alike(&bench, "x.o -o x");
    assert!(
        said.contains("in function `main'") && said.contains("undefined reference to `nowhere'")
    );
}

#[test]
fn a_missing_library() {
    let bench = Bench::hello();
    bench.plain_gcc_ok("-c hello.c");
    let said = fail_alike(&bench, "hello.o -lnowhere -o hello");
    assert!(said.contains("cannot find -lnowhere"), "{said}");
}

#[test]
fn a_missing_file() {
    let bench = Bench::hello();
    bench.plain_gcc_ok("-c hello.c");
    fail_alike(&bench, "hello.o -Wl,nowhere.o -o hello");
}

#[test]
fn a_duplicate_symbol() {
    let bench = Bench::new();
    bench.file(
        "a.c",
        "int f(void) { return 1; }\nint main(void) { return f(); }",
    );
    bench.file("b.c", "int f(void) { return 2; }");
    bench.plain_gcc_ok("-c a.c b.c");
    let said = fail_alike(&bench, "a.o b.o -o x");
    assert!(said.contains("multiple definition of `f'"), "{said}");
}

#[test]
fn warnings_of_the_host_link_are_the_only_ones() {
    let bench = Bench::new();
    bench.file("a.s", ".globl main\nmain: mov $42,%eax\n ret\n");
    bench.plain_gcc_ok("-c a.s");
    let ours = bench.gcc("a.o -o a");
    let theirs = bench.plain_gcc("a.o -o b");
    assert!(stderr(&ours).contains("missing .note.GNU-stack"));
    assert_eq!(stderr(&ours), stderr(&theirs));
    bench.same("a");
}

#[test]
fn the_kernel_archive_is_missing() {
    let bench = Bench::hello();
    let output = bench
        .compiler("gcc")
        .env("UKL_FLAGS", "")
        .args(["hello.c"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(
        said.contains("kernel/vmlinux is missing") && said.contains("make kernel"),
        "{said}"
    );
}

#[test]
fn a_failed_image_leaves_nothing_behind() {
    let bench = Bench::hello();
    bench.file("hello.ukl", "stale");
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_FLAGS", "").args(["hello.c", "-o", "hello"]);
    assert!(!gcc.output().unwrap().status.success());
    assert!(!bench.has("hello") && !bench.has("hello.ukl"));
}

#[test]
fn a_failed_host_link_leaves_no_stale_image() {
    let bench = Bench::hello();
    bench.file("hello.ukl", "stale");
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_FLAGS", "")
        .args(["hello.c", "-lnowhere", "-o", "hello"]);
    assert!(!gcc.output().unwrap().status.success());
    assert!(!bench.has("hello.ukl"));
}

#[test]
fn what_only_the_image_lacks_is_named_without_the_prefix() {
    let bench = Bench::new();
    // The shared library has more than its archive.
    bench.file("more.c", "int more(void) { return 42; }");
    bench.file("less.c", "int less(void) { return 42; }");
    bench.file("x.c", "int more(void);\nint main(void) { return more(); }");
    bench.plain_gcc_ok("-shared -fPIC more.c -o libm1.so");
    bench.plain_gcc_ok("-c less.c");
    bench.ok("ar", "rc libm1.a less.o");
    bench.plain_gcc_ok("-c x.c");
    let output = bench.gcc("x.o -L. -lm1 -o x");
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("x.o: in function `main'"), "{said}");
    assert!(said.contains("undefined reference to `more'"), "{said}");
    assert!(said.contains("the image of x cannot be linked"), "{said}");
    assert!(
        !said.contains("_ukl_") && !said.contains("ukl-ld."),
        "{said}"
    );
    assert!(!bench.has("x"));
}

#[test]
fn cxx_names_are_demangled_in_the_images_errors() {
    let bench = Bench::new();
    bench.file("more.cc", "namespace a { int more(int x) { return x; } }");
    bench.file("less.cc", "int less() { return 42; }");
    bench.file(
        "x.cc",
        "namespace a { int more(int); }\nint main() { return a::more(1); }",
    );
    bench.ok("g++", "-shared -fPIC more.cc -o libm1.so");
    bench.ok("g++", "-c less.cc x.cc");
    bench.ok("ar", "rc libm1.a less.o");
    let output = bench.gcc("x.o -L. -lm1 -o x");
    assert!(
        stderr(&output).contains("undefined reference to `a::more(int)'"),
        "{}",
        both(&output)
    );
}

#[test]
fn an_unknown_option_of_our_own() {
    let bench = Bench::hello();
    let output = bench.gcc("hello.c -Wl,--ukl-frobnicate");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("ukl-ld: error: unrecognized option '--ukl-frobnicate'"));
}

#[test]
fn a_device_is_never_removed() {
    let bench = Bench::hello();
    std::os::unix::fs::symlink("/dev/null", bench.path("null")).unwrap();
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_FLAGS", "--ukl-image=null")
        .args(["hello.c", "-o", "/dev/null"]);
    assert!(!gcc.output().unwrap().status.success());
    let meta = std::fs::metadata("/dev/null").unwrap();
    assert!(!meta.is_file());
}

#[test]
fn a_link_that_is_interrupted_leaves_nothing_behind() {
    use std::os::unix::process::ExitStatusExt;
    let bench = Bench::new();
    bench.file(
        "start.s",
        ".globl _start\n_start: mov $60,%eax\n xor %edi,%edi\n syscall\n",
    );
    bench.plain_gcc_ok("-c start.s");
    // The image's link takes its time.
    bench.file(
        "bin/ld",
        "#!/bin/sh\ncase \"$*\" in *--no-demangle*) touch slow; sleep 2;; esac\n\
         exec /usr/bin/ld \"$@\"\n",
    );
    bench.ok("chmod", "+x bin/ld");
    bench.ok("mkdir", "tmp");
    let mut ld = bench.command(UKL_LD);
    ld.env("UKL_LD", bench.path("bin/ld"))
        .env("TMPDIR", bench.path("tmp"));
    let mut ld = ld.args(["-o", "x", "start.o"]).spawn().unwrap();
    while !bench.has("slow") && ld.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    bench.ok("kill", &format!("-TERM {}", ld.id()));
    assert_eq!(ld.wait().unwrap().signal(), Some(15));
    assert!(!bench.has("x") && !bench.has("x.ring3"));
    assert_eq!(std::fs::read_dir(bench.path("tmp")).unwrap().count(), 0);
}
