//! What Bazel asks a C compiler before it builds anything, as its rules for C do in
//! `unix_cc_configure.bzl`. Its answers decide about the options of every later command.

use std::process::Output;

use crate::bench::Bench;
use crate::bench::both;
use crate::bench::lacks;
use crate::bench::stderr;
use crate::bench::stdout;

/// A bench with the file that Bazel tries compilers with.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.file("tools/cpp/empty.cc", "int main() {}\n");
    bench
}

/// The block of directories that the compiler looks for headers in.
fn include_directories(output: &Output) -> String {
    let text = stderr(output);
    let block = text.split_once("#include <...> search starts here:\n");
    let (_, rest) = block.unwrap_or_else(|| panic!("{text}"));
    let (dirs, _) = rest.split_once("End of search list.").unwrap();
    dirs.to_owned()
}

#[test]
fn include_paths() {
    let bench = bench();
    for language in ["c", "c++"] {
        for more in [
            "",
            "-no-canonical-prefixes",
            "-fno-canonical-system-headers",
        ] {
            let args = format!("-E -x{language} - -v {more}");
            let ours = include_directories(&bench.ok("ukl-cc", &args));
            let theirs = include_directories(&bench.ok("gcc", &args));
            assert_eq!(ours, theirs);
            assert!(ours.contains("/usr/include\n"), "{ours}");
        }
    }
}

/// An option is known if its pattern is not in the messages.
fn known(output: &Output, pattern: &str) -> bool {
    !stderr(output).contains(pattern)
}

#[test]
fn options_of_the_compiler() {
    let bench = bench();
    for (option, good) in [
        ("-fno-canonical-system-headers", true),
        ("-no-canonical-prefixes", true),
        ("-Wthread-safety", false),
        ("-Wself-assign", false),
        ("-Wunused-but-set-parameter", true),
        ("-Wno-free-nonheap-object", true),
        ("-fcolor-diagnostics", false),
        ("-gsplit-dwarf", true),
    ] {
        let output = bench.run(
            "ukl-cc",
            &format!("{option} -o /dev/null -c tools/cpp/empty.cc"),
        );
        assert_eq!(known(&output, option), good, "{}", both(&output));
    }
}

#[test]
fn options_of_the_linker() {
    let bench = bench();
    for (option, good) in [
        ("-Wl,-no-as-needed", true),
        ("-Wl,-z,relro,-z,now", true),
        ("-Wl,--gc-sections", true),
        ("-Wl,--push-state,--as-needed", true),
        ("-pass-exit-codes", true),
        ("-Wl,--no-such-option", false),
    ] {
        let output = bench.run(
            "ukl-cc",
            &format!("{option} -o /dev/null tools/cpp/empty.cc"),
        );
        // Bazel looks for the option in the linker's words.
        let pattern = option.trim_start_matches("-Wl,");
        assert_eq!(known(&output, pattern), good, "{option}: {}", both(&output));
        assert_eq!(output.status.success(), good, "{option}: {}", both(&output));
    }
    assert!(bench.programs().is_empty());
}

#[test]
fn other_linkers() {
    let bench = bench();
    let probe = |linker: &str| {
        let args = "tools/cpp/empty.cc -o /dev/null -Wl,--start-lib -Wl,--end-lib -fuse-ld=";
        bench.run("ukl-cc", &format!("{args}{linker} -v"))
    };
    // The usual one does not know these options, and has to say so.
    assert!(!probe("bfd").status.success());
    for linker in ["gold", "lld"] {
        if lacks(&format!("ld.{linker}")) {
            continue;
        }
        assert!(probe(linker).status.success(), "{}", both(&probe(linker)));
    }
}

#[test]
fn parameter_files() {
    let bench = bench();
    bench.file(
        "main.cc",
        "#include <string>\nint main() { return std::string(42, 'x').size(); }\n",
    );
    bench.ok("ukl-cc", "-c main.cc -o main.pic.o -fPIC");
    // As Bazel has them: an option a line, those with blanks in quotes.
    bench.file(
        "x-2.params",
        "-o\nx\n-Wl,-S\n-Wl,-no-as-needed\n-Wl,-z,relro,-z,now\n-B/usr/bin\n-pass-exit-codes\n\
         '-Wl,-rpath,$ORIGIN/a b'\nmain.pic.o\n-lstdc++\n-lm\n",
    );
    let output = bench.ok("ukl-cc", "@x-2.params");
    assert!(both(&output).is_empty(), "{}", both(&output));
    bench.linked("x");
}

#[test]
fn names_and_places() {
    let bench = bench();
    for args in [
        "--version",
        "-print-search-dirs",
        "-dumpversion",
        "-dumpmachine",
    ] {
        assert!(!stdout(&bench.ok("ukl-cc", args)).is_empty());
    }
    // The kind of the compiler is read off these.
    let version = stdout(&bench.ok("ukl-cc", "--version"));
    assert!(version.starts_with("gcc "), "{version}");
    let version = stderr(&bench.ok("ukl-cc", "-v"));
    assert!(version.contains("gcc version"), "{version}");
}
