//! Cargo with `-C linker=ukl-ld`: the packages that people have, built as they build them. What
//! these links make is run in its ring-3 variant, on the host, but for the tests that boot it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use tempfile::TempDir;

const UKL_LD: &str = env!("CARGO_BIN_EXE_ukl-ld");
const HOST: &str = "x86_64-unknown-linux-gnu";

/// Links with ukl-ld, and has rustc tell what that says: by default it does not yet.
fn rustflags() -> String {
    format!("-C linker={UKL_LD} -W linker-messages")
}

/// A package in a directory of its own.
struct Package {
    dir: TempDir,
}

impl Package {
    fn new(main: &str) -> Package {
        let package = Package {
            dir: tempfile::tempdir().unwrap(),
        };
        package.file(
            "Cargo.toml",
            "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
        );
        package.file("src/main.rs", main);
        package
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Cargo, whose links make the ring-3 variant in place of an image.
    fn cargo(&self, words: &str) -> Command {
        let mut cargo = self.command("cargo");
        cargo.args(words.split_whitespace());
        cargo.arg("-q");
        cargo
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO") && name != "CARGO_HOME" || name.starts_with("UKL_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.dir.path())
            .env("CARGO_TARGET_DIR", self.path("target"))
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_BUILD_JOBS", "2")
            .env("RUSTFLAGS", rustflags())
            .env("UKL_LIBDIR", libdir())
            .env("UKL_FLAGS", "--ukl-no-image --ukl-ring3")
            // Libraries are rewritten once for all tests.
            .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
        command
    }

    /// Builds, which has to be done without a word.
    fn build(&self, words: &str) {
        silent(self.cargo(&format!("build {words}")));
    }

    /// The program and its ring-3 variant, which have to say the same. Returns what they say and
    /// how they end.
    fn same(&self, name: &str) -> (String, Option<i32>) {
        let run = |name: String| self.command(self.path(&name)).output().unwrap();
        let (host, guest) = (run(name.into()), run(format!("{name}.ring3")));
        assert_eq!(host.status, guest.status, "{}", said(&guest));
        assert_eq!(host.stdout, guest.stdout, "{}", said(&guest));
        (said(&guest), guest.status.code())
    }
}

/// A package whose build script hands words to the linker.
fn with_words(words: &[&str]) -> Package {
    let package = Package::new(MAIN);
    let print: String = words
        .iter()
        .map(|word| format!("    println!(\"cargo::rustc-link-arg-bins={word}\");\n"))
        .collect();
    package.file("build.rs", &format!("fn main() {{\n{print}}}\n"));
    package
}

fn runs_with_words(words: &[&str]) {
    let package = with_words(words);
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
}

/// The installation that is built in place; only booting needs what is in it.
fn libdir() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("UKL_LIBDIR").map_or_else(|| here.join("../target/lib/ukl"), PathBuf::from)
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn silent(mut command: Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success() && said(&output).is_empty(),
        "{command:?}: {}",
        said(&output)
    );
}

/// Says what it was built as, and ends with 42.
const MAIN: &str = r#"fn main() {
    let caught = std::panic::catch_unwind(|| { vec![0; 0][std::env::args().count()] });
    let sum: i32 = (0..4).map(|i| std::thread::spawn(move || i).join().unwrap()).sum();
    println!("{} {sum} {}", caught.is_err(), cfg!(target_feature = "crt-static"));
    std::process::exit(42)
}
"#;

#[test]
fn what_the_linker_says_is_heard() {
    let package = Package::new(MAIN);
    let mut cargo = package.cargo("build");
    cargo.env("UKL_FLAGS", "--ukl-no-image --ukl-ring3 --ukl-explain");
    let said = said(&cargo.output().unwrap());
    assert!(said.contains("ukl-ld: whole"), "{said}");
}

#[test]
fn with_target() {
    let package = Package::new(MAIN);
    package.build(&format!("--target {HOST}"));
    let name = format!("target/{HOST}/debug/x");
    assert_eq!(package.same(&name).1, Some(42));
}

#[test]
fn crt_static() {
    let package = Package::new(MAIN);
    let flags = rustflags() + " -C target-feature=+crt-static";
    let mut cargo = package.cargo(&format!("build --target {HOST}"));
    cargo.env("RUSTFLAGS", flags);
    silent(cargo);
    let (said, status) = package.same(&format!("target/{HOST}/debug/x"));
    assert!(said.contains("true 6 true"), "{said}");
    assert_eq!(status, Some(42));
}

#[test]
fn panic_abort() {
    let package = Package::new("fn main() { panic!(\"astray\") }\n");
    let manifest = fs::read_to_string(package.path("Cargo.toml")).unwrap();
    package.file(
        "Cargo.toml",
        &(manifest + "[profile.dev]\npanic = \"abort\"\n"),
    );
    package.build("");
    let (said, status) = package.same("target/debug/x");
    assert!(said.contains("astray"), "{said}");
    assert_eq!(status, None, "SIGABRT, no exit");
}

fn with_profile(profile: &str) {
    let package = Package::new(MAIN);
    let manifest = fs::read_to_string(package.path("Cargo.toml")).unwrap();
    package.file(
        "Cargo.toml",
        &format!("{manifest}[profile.release]\n{profile}\n"),
    );
    package.build("--release");
    assert_eq!(package.same("target/release/x").1, Some(42));
}

#[test]
fn fat_lto() {
    with_profile("lto = \"fat\"");
}

#[test]
fn thin_lto() {
    with_profile("lto = \"thin\"");
}

#[test]
fn stripped() {
    with_profile("strip = true");
}

#[test]
fn an_example_has_its_image_beside_it() {
    let package = Package::new(MAIN);
    package.file("examples/y.rs", "fn main() { std::process::exit(7) }\n");
    package.build("--example y");
    assert_eq!(package.same("target/debug/examples/y").1, Some(7));
}

#[test]
fn a_test_harness_ends_with_its_result() {
    let package = Package::new(
        "fn main() {}\n#[test]\nfn good() {}\n#[test]\n#[should_panic]\nfn panics() { panic!() }\n",
    );
    package.file("tests/it.rs", "#[test]\nfn bad() { panic!(\"as told\") }\n");
    let mut cargo = package.cargo("test --no-fail-fast");
    let runner = package.path("run");
    package.file(
        "run",
        "#!/bin/sh\nprog=$1; shift; exec \"$prog.ring3\" \"$@\"\n",
    );
    package
        .command("chmod")
        .args(["+x", "run"])
        .status()
        .unwrap();
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    let output = cargo.output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(101), "{text}");
    assert!(text.contains("2 passed; 0 failed"), "{text}");
    assert!(text.contains("0 passed; 1 failed"), "{text}");
    assert!(text.contains("as told"), "{text}");
}

#[test]
fn a_cdylib_is_a_host_library() {
    let package = Package::new("fn main() {}\n");
    let manifest = fs::read_to_string(package.path("Cargo.toml")).unwrap();
    package.file(
        "Cargo.toml",
        &(manifest + "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n"),
    );
    package.file(
        "src/lib.rs",
        "#[no_mangle]\npub extern \"C\" fn answer() -> i32 { 42 }\n",
    );
    package.build("--lib");
    assert!(!package.path("target/debug/libx.so.ring3").exists());
    package.file(
        "c.c",
        "int answer(void);\nint main(void) { return answer(); }\n",
    );
    let dir = package.path("target/debug");
    let mut gcc = package.command("gcc");
    gcc.args(["c.c", "-o", "c", "-L", "target/debug", "-lx"]);
    silent(gcc);
    let mut run = package.command(package.path("c"));
    run.env("LD_LIBRARY_PATH", dir);
    assert_eq!(run.status().unwrap().code(), Some(42));
}

#[test]
fn a_workspace_with_a_dylib() {
    let package = Package::new(
        "fn main() { println!(\"{}\", d::twice(1)); std::process::exit(d::twice(21)) }\n",
    );
    let manifest = fs::read_to_string(package.path("Cargo.toml")).unwrap();
    package.file(
        "Cargo.toml",
        &(manifest + "[dependencies]\nd = { path = \"d\" }\n[workspace]\n"),
    );
    package.file(
        "d/Cargo.toml",
        "[package]\nname = \"d\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [lib]\ncrate-type = [\"dylib\"]\n",
    );
    package.file("d/src/lib.rs", "pub fn twice(x: i32) -> i32 { 2 * x }\n");
    for (words, name) in [
        ("", "target/debug/x.ring3"),
        ("--release", "target/release/x.ring3"),
    ] {
        package.build(words);
        let output = package.command(package.path(name)).output().unwrap();
        assert_eq!(said(&output), "2\n");
        assert_eq!(output.status.code(), Some(42));
    }
}

#[test]
fn a_procedural_macro_runs_on_the_host() {
    let package = Package::new("fn main() { std::process::exit(m::answer!()) }\n");
    let manifest = fs::read_to_string(package.path("Cargo.toml")).unwrap();
    package.file(
        "Cargo.toml",
        &(manifest + "[dependencies]\nm = { path = \"m\" }\n[workspace]\n"),
    );
    package.file(
        "m/Cargo.toml",
        "[package]\nname = \"m\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\nproc-macro = true\n",
    );
    package.file(
        "m/src/lib.rs",
        "use proc_macro::TokenStream;\n#[proc_macro]\n\
         pub fn answer(_: TokenStream) -> TokenStream { \"42\".parse().unwrap() }\n",
    );
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
}

#[test]
fn version_script() {
    let package = with_words(&["--version-script=exports"]);
    package.file("exports", "V1 { global: main; local: *; };\n");
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
}

#[test]
fn dynamic_list() {
    let package = with_words(&["--dynamic-list=exports"]);
    package.file("exports", "{ main; };\n");
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
}

#[test]
fn gc_sections() {
    for (word, kept) in [("--gc-sections", false), ("--no-gc-sections", true)] {
        let package = with_words(&[word, "unused.o"]);
        package.file("unused.c", "void unused_function(void) {}\n");
        let mut gcc = package.command("gcc");
        gcc.args(["-c", "-ffunction-sections", "unused.c", "-o", "unused.o"]);
        silent(gcc);
        package.build("");
        assert_eq!(package.same("target/debug/x").1, Some(42));
        let nm = package.command("nm").arg("target/debug/x.ring3").output();
        assert_eq!(said(&nm.unwrap()).contains("unused_function"), kept);
    }
}

#[test]
fn as_needed() {
    runs_with_words(&["--as-needed", "-lm", "-lresolv", "--no-as-needed"]);
}

#[test]
fn push_state_and_whole_archive() {
    let package = with_words(&["--push-state", "--whole-archive", "libu.a", "--pop-state"]);
    package.file("u.c", "void unused_function(void) {}\n");
    let mut gcc = package.command("gcc");
    gcc.args(["-c", "u.c", "-o", "u.o"]);
    silent(gcc);
    let mut ar = package.command("ar");
    ar.args(["rc", "libu.a", "u.o"]);
    silent(ar);
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
}

#[test]
fn z_words() {
    runs_with_words(&["-z", "nodelete", "-znow", "-z", "separate-code"]);
    runs_with_words(&[
        "-z",
        "max-page-size=4096",
        "-z",
        "noexecstack",
        "-z",
        "norelro",
    ]);
    runs_with_words(&[
        "-z",
        "origin",
        "-z",
        "lazy",
        "-z",
        "nostart-stop-gc",
        "-z",
        "defs",
    ]);
}

#[test]
fn wrap() {
    let package = with_words(&["--wrap=answer", "answer.o"]);
    package.file(
        "answer.c",
        "int answer(void) { return 40; }\n\
         int __real_answer(void);\nint __wrap_answer(void) { return __real_answer() + 2; }\n",
    );
    let mut gcc = package.command("gcc");
    gcc.args(["-c", "answer.c", "-o", "answer.o"]);
    silent(gcc);
    package.file(
        "src/main.rs",
        "extern \"C\" { fn answer() -> i32; }\n\
         fn main() { std::process::exit(unsafe { answer() }) }\n",
    );
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
}

#[test]
fn defsym_and_undefined() {
    runs_with_words(&[
        "--defsym=an_address=0x1234",
        "--undefined=main",
        "-u",
        "exit",
    ]);
}

#[test]
fn a_map_and_statistics() {
    let package = with_words(&[
        "-Map=x.map",
        "--cref",
        "--hash-style=gnu",
        "--build-id=sha1",
    ]);
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
    let map = fs::read_to_string(package.path("x.map")).unwrap();
    assert!(!map.contains("_ukl_"), "the host link's");
}

#[test]
fn a_drivers_words() {
    runs_with_words(&["-Wl,--as-needed,-lm", "-rdynamic", "-pthread", "-Wl,-O1"]);
}

#[test]
fn response_file_of_thousands_of_objects() {
    let package = with_words(&["@objects"]);
    package.file("one.c", "__attribute__((used)) static int one = 1;\n");
    let mut gcc = package.command("gcc");
    gcc.args(["-c", "one.c", "-o", "one.o"]);
    silent(gcc);
    fs::create_dir(package.path("o")).unwrap();
    let mut list = String::new();
    for n in 0..3000 {
        let path = package.path(&format!("o/an object with a long name {n}.o"));
        fs::hard_link(package.path("one.o"), &path).unwrap();
        list += &path.to_str().unwrap().replace(' ', "\\ ");
        list.push('\n');
    }
    package.file("objects", &list);
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
}

/// Cargo, whose links make images and whose products are booted.
fn in_the_guest(package: &Package, words: &str) -> Command {
    let runner = Path::new(UKL_LD).with_file_name("ukl-run");
    assert!(runner.exists(), "`cargo build` makes ukl-run");
    let mut cargo = package.cargo(words);
    cargo
        .env_remove("UKL_FLAGS")
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    cargo
}

#[test]
fn cargo_run_in_the_guest() {
    let package = Package::new(
        "fn main() {\n    print!(\"{:?}\", std::env::args().collect::<Vec<_>>());\n    \
         std::process::exit(42)\n}\n",
    );
    let mut cargo = in_the_guest(&package, "run");
    let output = cargo.args(["--", "a b"]).output().unwrap();
    // Called what cargo calls it in the end, not what it was linked as.
    assert_eq!(said(&output), "[\"/ukl/x\", \"a b\"]");
    assert_eq!(output.status.code(), Some(42));
}

#[test]
fn cargo_test_in_the_guest() {
    let package = Package::new("fn main() {}\n");
    package.file(
        "src/main.rs",
        "fn main() {}\n#[test]\nfn good() {}\n#[test]\nfn bad() { panic!(\"as told\") }\n\
         #[test]\nfn alone() { assert_eq!(std::fs::read_to_string(\"/proc/1/comm\").unwrap(), \
         \"init\\n\") }\n",
    );
    let output = in_the_guest(&package, "test").output().unwrap();
    let text = said(&output);
    assert!(text.contains("2 passed; 1 failed"), "{text}");
    assert!(text.contains("as told"), "{text}");
    assert_eq!(output.status.code(), Some(101), "{text}");
}

#[test]
fn documentation_tests_in_the_guest() {
    let package = Package::new("fn main() {}\n");
    package.file(
        "src/lib.rs",
        "/// ```\n/// assert_eq!(x::two(), 2);\n/// assert_eq!(std::fs::read_to_string(\
         \"/proc/1/comm\").unwrap(), \"init\\n\");\n/// ```\npub fn two() -> i32 { 2 }\n",
    );
    let mut cargo = in_the_guest(&package, "test --doc");
    // rustdoc does not see RUSTFLAGS.
    cargo
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", UKL_LD);
    let output = cargo.output().unwrap();
    let text = said(&output);
    assert!(text.contains("1 passed; 0 failed"), "{text}");
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn documentation_tests_know_rustflags_of_their_own() {
    let package = Package::new("fn main() {}\n");
    package.file(
        "src/lib.rs",
        "/// ```\n/// assert_eq!(x::two(), 2);\n/// ```\npub fn two() -> i32 { 2 }\n",
    );
    // With RUSTFLAGS alone rustdoc links as ever: there is no image, and the runner says so.
    let output = in_the_guest(&package, "test --doc").output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(101), "{text}");
    assert!(text.contains("RUSTDOCFLAGS"), "{text}");
    let mut cargo = in_the_guest(&package, "test --doc");
    cargo.env("RUSTDOCFLAGS", format!("-C linker={UKL_LD}"));
    let output = cargo.output().unwrap();
    let text = said(&output);
    assert!(text.contains("1 passed; 0 failed"), "{text}");
}

#[test]
fn cargo_install() {
    let package = Package::new("fn main() { std::process::exit(42) }\n");
    let mut cargo = in_the_guest(&package, "install --path . --root root --offline");
    // It builds in a directory that does not stay.
    cargo.env_remove("CARGO_TARGET_DIR");
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(!package.path("root/bin/x.ukl").exists());
    let mut run = package.command(Path::new(UKL_LD).with_file_name("ukl-run"));
    let output = run.arg("root/bin/x").output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{}", said(&output));
}
