//! What build tools ask a compiler, answered by the compiler.

use std::fs;
use std::fs::File;
use std::io::Write;
use std::process::Output;
use std::process::Stdio;

use crate::bench::Bench;
use crate::bench::both;
use crate::bench::stderr;
use crate::bench::stdout;

/// ukl-cc and the real compiler answer alike.
fn alike(args: &str) -> Output {
    alike_of("", args)
}

/// The same, with this source on standard input, and in lib.c. Both leave the same files, but for
/// what is the image's.
fn alike_of(source: &str, args: &str) -> Output {
    let (ours, left) = answer("ukl-cc", source, args);
    let (theirs, expected) = answer("gcc", source, args);
    assert_eq!(ours.status, theirs.status, "{args}: {}", both(&ours));
    assert_eq!(stdout(&ours), stdout(&theirs), "{args}");
    assert_eq!(stderr(&ours), stderr(&theirs), "{args}");
    assert_eq!(left, expected, "{args}");
    ours
}

/// What a compiler says, and the names of the files that are there then.
fn answer(compiler: &str, source: &str, args: &str) -> (Output, Vec<String>) {
    let bench = Bench::hello();
    bench.file("lib.c", source);
    let input = File::open(bench.path("lib.c")).unwrap();
    let output = bench
        .command(compiler)
        .args(args.split_whitespace())
        .stdin(input)
        .output()
        .unwrap();
    let entries = fs::read_dir(bench.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.ends_with(".ring3")).collect();
    names.sort();
    (output, names)
}

/// The lines of a text that say nothing of where the linker is looked for, nor of temporary files.
fn plain(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| {
        !["COLLECT_GCC", "COMPILER_PATH=", "LIBRARY_PATH="]
            .iter()
            .any(|word| line.starts_with(word))
            && !line.contains("/tmp/")
    });
    lines.collect()
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
fn preprocessing_standard_input() {
    let output = alike_of("#define X 42\nint x = X;\n", "-E -P -");
    assert_eq!(stdout(&output), "int x = 42;\n");
    assert!(!alike_of("#error no\n", "-E -").status.success());
}

#[test]
fn compiling_to_standard_output() {
    assert!(stdout(&alike_of("int x;\n", "-x c - -S -o -")).contains("x:"));
}

#[test]
fn checking_syntax_alone() {
    assert!(alike("-fsyntax-only hello.c").status.success());
}

#[test]
fn what_it_would_run() {
    for (args, left) in [
        ("-### hello.c -o hello", false),
        ("-v -c hello.c", true),
        ("-v", false),
    ] {
        let (ours, names) = answer("ukl-cc", "", args);
        let (theirs, expected) = answer("gcc", "", args);
        assert_eq!(ours.status, theirs.status, "{args}");
        assert_eq!(stdout(&ours), stdout(&theirs), "{args}");
        let (ours, theirs) = (stderr(&ours), stderr(&theirs));
        // CMake and libtool read the target, the version and the words for the linker.
        assert!(ours.contains("\nTarget: x86_64-linux-gnu\n"), "{ours}");
        let wanted = plain(&theirs);
        assert!(
            wanted.iter().all(|line| ours.contains(line)),
            "{args}:\n{ours}\nand\n{theirs}"
        );
        assert_eq!((names.len() > 2, names), (left, expected), "{args}");
    }
}

#[test]
fn links_that_make_no_program() {
    for args in [
        "-r hello.c -o x.o",
        "-r -nostdlib hello.c lib.c -o x.o",
        "-shared -fPIC lib.c -o libx.so",
        "-shared -fPIC -nostdlib -Wl,-soname,libx.so.1 lib.c -o libx.so",
        "-shared -nostartfiles -x c - -fPIC -o libx.so",
    ] {
        let output = alike_of("int f(int x) { return x + 1; }\n", args);
        assert!(output.status.success(), "{args}: {}", both(&output));
        assert!(both(&output).is_empty(), "{args}: {}", both(&output));
    }
}

#[test]
fn static_and_position_independent() {
    for args in ["-static-pie", "-static", "-pie", "-no-pie", "-fPIE -pie -s"] {
        let bench = Bench::hello();
        let output = bench.ok("ukl-cc", &format!("{args} hello.c -o hello"));
        assert!(both(&output).is_empty(), "{args}: {}", both(&output));
        bench.linked("hello");
    }
}

#[test]
fn without_a_libc() {
    let bench = Bench::new();
    bench.file(
        "start.c",
        "void _start(void) { __asm__ volatile(\"syscall\" :: \"a\"(60L), \"D\"(42L)); }",
    );
    for args in ["-nostdlib", "-nostdlib -static", "-nostartfiles -nolibc"] {
        let output = bench.ok("ukl-cc", &format!("{args} start.c -o start"));
        assert!(both(&output).is_empty(), "{args}: {}", both(&output));
        bench.linked("start");
    }
}

#[test]
fn links_that_fail() {
    for args in [
        "-lno_such_library hello.c",
        "-Wl,--no-such-option hello.c",
        "lib.c",
        "hello.c no_such_file.o",
        "hello.c -o no/such/directory/x",
        "@no_such_file",
        "-T no_such_script hello.c",
    ] {
        let source = "int f(void) { return 1; }\n";
        let (ours, left) = answer("ukl-cc", source, args);
        let (theirs, expected) = answer("gcc", source, args);
        assert!(!ours.status.success(), "{args}");
        assert_eq!(ours.status, theirs.status, "{args}");
        assert_eq!(left, expected, "{args}");
        assert_eq!(plain(&stderr(&ours)), plain(&stderr(&theirs)), "{args}");
    }
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
fn values_behind_the_linkers_own_options() {
    let bench = Bench::hello();
    bench.ok(
        "ukl-cc",
        "--ukl-transition base --ukl-stack own --ukl-return iret --ukl-stack-size 128K \
         --ukl-bypass-limit 9 --ukl-malloc libc hello.c -o hello",
    );
    bench.linked("hello");
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
