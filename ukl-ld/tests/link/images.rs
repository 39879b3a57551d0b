//! Images, where there is a kernel archive to make them of: `make` puts one into target/lib/ukl.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::bench::Bench;
use crate::bench::both;
use crate::bench::silent;
use crate::bench::stderr;
use crate::bench::stdout;
use crate::skip::skip;

/// gcc with ukl-ld and the archive, or nothing if the kernel is not built.
fn gcc(bench: &Bench) -> Option<Command> {
    let lib = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/lib/ukl");
    if !lib.join("kernel/vmlinux").is_file() || !lib.join("init").is_file() {
        skip(&format!("no kernel archive in {}", lib.display()));
        return None;
    }
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_LIBDIR", lib).env("UKL_FLAGS", "");
    Some(gcc)
}

/// Whether this is a kernel that a boot loader takes.
fn is_bootable(image: &[u8]) -> bool {
    image.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && image.get(0x202..0x206) == Some(b"HdrS")
}

#[test]
fn an_image_beside_the_program() {
    let bench = Bench::hello();
    let Some(mut gcc) = gcc(&bench) else { return };
    silent(&gcc.args(["hello.c", "-o", "hello"]).output().unwrap());
    assert_eq!(bench.run("hello").status.code(), Some(crate::bench::GOOD));
    assert!(is_bootable(
        &std::fs::read(bench.path("hello.ukl")).unwrap()
    ));
    // ukl-run can tell whose image it is.
    let stamp = ukl_image::header::read_stamp(&bench.path("hello.ukl"));
    let stamp = stamp.unwrap().unwrap();
    let id = ukl_common::build_id::of(&bench.path("hello")).unwrap();
    assert!(!id.is_empty() && stamp.is_of(&id));
    assert_eq!(stamp.version, ukl_proto::VERSION);
    let left: Vec<_> = std::fs::read_dir(bench.path(""))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn an_image_elsewhere() {
    let bench = Bench::hello();
    let Some(mut gcc) = gcc(&bench) else { return };
    silent(
        &gcc.args(["hello.c", "-o", "hello", "-Wl,--ukl-image=sub"])
            .output()
            .unwrap(),
    );
    assert!(is_bootable(&std::fs::read(bench.path("sub")).unwrap()));
    assert!(!bench.has("hello.ukl"));
}

#[test]
fn the_same_link_makes_the_same_image() {
    let bench = Bench::hello();
    for image in ["one", "two"] {
        let Some(mut gcc) = gcc(&bench) else { return };
        let place = format!("-Wl,--ukl-image={image}");
        silent(
            &gcc.args(["hello.c", "-o", "hello", &place])
                .output()
                .unwrap(),
        );
    }
    let [one, two] = ["one", "two"].map(|image| std::fs::read(bench.path(image)).unwrap());
    assert!(one == two);
}

#[test]
fn a_file_to_add_that_is_not_there() {
    let bench = Bench::hello();
    let Some(mut gcc) = gcc(&bench) else { return };
    let output = gcc
        .args(["hello.c", "-o", "hello", "-Wl,--ukl-add=nowhere:/x"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(both(&output).contains("nowhere"), "{}", both(&output));
    assert!(!bench.has("hello") && !bench.has("hello.ukl"));
}

#[test]
fn an_image_is_found_wherever_its_program_goes() {
    let bench = Bench::hello();
    let Some(mut gcc) = gcc(&bench) else { return };
    let cache = bench.path("cache");
    gcc.env("XDG_CACHE_HOME", &cache);
    silent(
        &gcc.args(["hello.c", "-Wl,--build-id", "-o", "hello"])
            .output()
            .unwrap(),
    );
    bench.ok("install", "-s -D hello sub/renamed");
    let notes = crate::bench::stdout(&bench.ok("readelf", "-n sub/renamed"));
    let id = notes.split("Build ID: ").nth(1).unwrap();
    let id = id.lines().next().unwrap();
    let link = cache.join("ukl/images").join(id);
    assert_eq!(
        link.canonicalize().unwrap(),
        bench.path("hello.ukl").canonicalize().unwrap()
    );
}

/// The counts that the program writes for gprof are for the addresses of the image's program.
#[test]
fn a_profiled_program_is_kept_for_gprof() {
    let bench = Bench::new();
    let Some(mut gcc) = gcc(&bench) else { return };
    bench.file(
        "x.c",
        "static __attribute__((noinline)) long f(long n) {\n\
           return n < 2 ? n : f(n - 1) + f(n - 2);\n}\n\
         int main(void) { return f(9) == 34 ? 42 : 1; }\n",
    );
    gcc.args(["-pg", "x.c", "-o", "x", "-Wl,--ukl-ring3"]);
    let output = gcc.output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    assert_eq!(
        both(&output),
        "ukl-ld: note: to profile the image's program, run gprof on x.ring0\n"
    );
    // It runs on this machine as in a guest.
    assert_eq!(bench.run("x.ring3").status.code(), Some(crate::bench::GOOD));
    let profile = stdout(&bench.ok("gprof", "-b -q x.ring0 gmon.out"));
    // f(9) makes 108 calls of itself.
    assert!(
        profile
            .lines()
            .any(|line| line.contains("1+108") && line.contains("f [")),
        "{profile}"
    );
}

#[test]
fn an_image_does_not_overwrite_an_input() {
    let bench = Bench::hello();
    bench.plain_gcc_ok("-c hello.c");
    let object = fs::read(bench.path("hello.o")).unwrap();
    fs::hard_link(bench.path("hello.o"), bench.path("same.o")).unwrap();
    for (flags, what) in [
        ("--ukl-image=hello.o", "an input"),
        ("--ukl-image=./same.o", "an input"),
        ("--ukl-image=hello", "the output"),
        ("--ukl-no-image --ukl-program=hello.o", "an input"),
        ("--ukl-no-image --ukl-ring3=hello", "the output"),
        (
            "--ukl-no-image --ukl-ring3=a --ukl-program=a",
            "another product",
        ),
        (
            "--ukl-no-image --ukl-ring3 --ukl-add=hello.ring3:/f",
            "a file of --ukl-add",
        ),
    ] {
        let mut gcc = bench.compiler("gcc");
        let output = gcc
            .env("UKL_FLAGS", flags)
            .args(["hello.o", "-o", "hello"])
            .output()
            .unwrap();
        let said = stderr(&output);
        assert!(!output.status.success(), "{flags}");
        assert!(
            said.contains(&format!("is also {what} of this link")),
            "{said}"
        );
        assert_eq!(fs::read(bench.path("hello.o")).unwrap(), object, "{flags}");
    }
}
