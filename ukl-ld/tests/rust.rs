//! Cargo with `-C linker=ukl-ld`: the packages that people have, built as they build them. What
//! these links make is run in its ring-3 variant, on the host, but for the tests that boot it.

#[path = "../../testsuite/src/kernel_log.rs"]
#[allow(dead_code, reason = "the testsuite needs more of it")]
mod kernel_log;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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

    /// A `ukl-run` that keeps the kernel's log of each boot. They are scanned when the test is over.
    fn ukl_run(&self) -> PathBuf {
        let real = Path::new(UKL_LD).with_file_name("ukl-run");
        assert!(real.exists(), "`cargo build` makes ukl-run");
        let (script, logs) = (self.path("ukl-run"), self.path("boots"));
        fs::create_dir_all(&logs).unwrap();
        let text = format!(
            "#!/bin/sh\nexec '{}' --log '{}'/$$ \"$@\"\n",
            real.display(),
            logs.display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        script
    }

    fn add_to_manifest(&self, text: &str) {
        let manifest = fs::read_to_string(self.path("Cargo.toml")).unwrap();
        self.file("Cargo.toml", &(manifest + text));
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

    /// A command that has to succeed. Its words are separated by white space. Returns what it says.
    fn ok(&self, words: &str) -> String {
        let mut words = words.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        let output = command.args(words).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", said(&output));
        said(&output)
    }

    /// Compiles a C source of this text, without a word.
    fn object(&self, name: &str, text: &str) {
        self.file(&format!("{name}.c"), text);
        let compiled = self.ok(&format!(
            "gcc -O -ffunction-sections -c {name}.c -o {name}.o"
        ));
        assert_eq!(compiled, "");
    }

    /// The same in an archive of its own.
    fn archive(&self, name: &str, text: &str) {
        self.object(name, text);
        self.ok(&format!("ar rc lib{name}.a {name}.o"));
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

impl Drop for Package {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for log in fs::read_dir(self.path("boots")).into_iter().flatten() {
            let log = fs::read(log.unwrap().path()).unwrap();
            let log = String::from_utf8_lossy(&log);
            let complaint = kernel_log::first_complaint(&log, &[]);
            assert_eq!(complaint, None, "{log}");
        }
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
    package.add_to_manifest("[profile.dev]\npanic = \"abort\"\n");
    package.build("");
    let (said, status) = package.same("target/debug/x");
    assert!(said.contains("astray"), "{said}");
    assert_eq!(status, None, "SIGABRT, no exit");
}

fn with_profile(profile: &str) {
    let package = Package::new(MAIN);
    package.add_to_manifest(&format!("[profile.release]\n{profile}\n"));
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
    package.add_to_manifest("[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n");
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
    package.add_to_manifest("[dependencies]\nd = { path = \"d\" }\n[workspace]\n");
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
    package.add_to_manifest("[dependencies]\nm = { path = \"m\" }\n[workspace]\n");
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

/// What readelf tells of a program, line by line.
fn readelf(package: &Package, option: &str, name: &str) -> Vec<String> {
    let text = package.ok(&format!("readelf -W {option} {name}"));
    text.lines().map(str::to_owned).collect()
}

fn any_has(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

/// The program and the image's.
const BOTH: [&str; 2] = ["target/debug/x", "target/debug/x.ring3"];

/// Exports nothing by itself.
const EXPORTING: &str = "#[no_mangle]\npub extern \"C\" fn answer() -> i32 { 42 }\n\
                         fn main() { std::process::exit(answer()) }\n";

#[test]
fn version_script() {
    for script in [true, false] {
        let words = ["--export-dynamic", "--version-script=exports"];
        let package = with_words(&words[..1 + usize::from(script)]);
        package.file("src/main.rs", EXPORTING);
        package.file("exports", "V1 { global: main; local: *; };\n");
        package.build("");
        assert_eq!(package.same("target/debug/x").1, Some(42));
        let versions = readelf(&package, "-V", "target/debug/x");
        assert_eq!(any_has(&versions, "Name: V1"), script, "{versions:?}");
        let exports = package.ok("nm -D target/debug/x");
        assert!(exports.contains(" T main"), "{exports}");
        assert_eq!(exports.contains("main@@V1"), script, "{exports}");
        assert_eq!(exports.contains(" answer"), !script, "{exports}");
    }
}

#[test]
fn dynamic_list() {
    let package = with_words(&["--dynamic-list=exports"]);
    package.file("src/main.rs", EXPORTING);
    package.file("exports", "{ answer; };\n");
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
    let exports = package.ok("nm -D --defined-only target/debug/x");
    assert!(exports.contains(" T answer"), "{exports}");
    assert!(!exports.contains(" T main"), "{exports}");
}

#[test]
fn gc_sections() {
    for (word, kept) in [("--gc-sections", false), ("--no-gc-sections", true)] {
        let package = with_words(&[word, "unused.o"]);
        package.object("unused", "void unused_function(void) {}\n");
        package.build("");
        assert_eq!(package.same("target/debug/x").1, Some(42));
        for name in BOTH {
            let symbols = package.ok(&format!("nm {name}"));
            assert_eq!(symbols.contains("unused_function"), kept, "{name}");
        }
    }
}

#[test]
fn as_needed() {
    for word in ["--as-needed", "--no-as-needed"] {
        let package = with_words(&[word, "-lresolv", "--as-needed"]);
        package.build("");
        assert_eq!(package.same("target/debug/x").1, Some(42));
        let needed = readelf(&package, "-d", "target/debug/x");
        let unneeded = any_has(&needed, "[libresolv.so.2]");
        assert_eq!(unneeded, word == "--no-as-needed", "{needed:?}");
    }
}

#[test]
fn push_state_and_whole_archive() {
    let words = "--push-state --whole-archive libone.a --pop-state libtwo.a";
    let package = with_words(&words.split(' ').collect::<Vec<_>>());
    for name in ["one", "two"] {
        // Nobody asks for it, and whoever runs it notices.
        let text = format!(
            "#include <stdlib.h>\n__attribute__((constructor))\n\
             static void note(void) {{ setenv(\"NOTED_{name}\", \"\", 1); }}\n"
        );
        package.archive(name, &text);
    }
    package.file(
        "src/main.rs",
        "fn main() {\n    let noted = |name| std::env::var_os(name).is_some();\n    \
         println!(\"{} {}\", noted(\"NOTED_one\"), noted(\"NOTED_two\"));\n}\n",
    );
    package.build("");
    assert_eq!(package.same("target/debug/x").0, "true false\n");
}

#[test]
fn z_words() {
    let words = "-z lazy -znorelro -z noseparate-code -z max-page-size=65536 -z execstack \
                 -z stack-size=1048576 -z origin -z start-stop-gc part.o";
    for words in [words, "part.o"] {
        let package = with_words(&words.split_whitespace().collect::<Vec<_>>());
        // The beginning and the end of a section do not keep it, if the linker is told so.
        package.object(
            "part",
            "__attribute__((section(\"part\"), used)) static int here = 1;\n\
             extern int __start_part[] __attribute__((weak)), __stop_part[] __attribute__((weak));\n\
             int parts(void) { return __stop_part - __start_part; }\n",
        );
        package.file(
            "src/main.rs",
            "extern \"C\" { fn parts() -> i32; }\n\
             fn main() { println!(\"{}\", unsafe { parts() }) }\n",
        );
        package.build("");
        // rustc itself asks for the opposite of some of these.
        let said = words.len() > "part.o".len();
        let parts = if said { "0\n" } else { "1\n" };
        assert_eq!(package.same("target/debug/x").0, parts);
        let dynamic = readelf(&package, "-d", "target/debug/x");
        for (flag, wanted) in [("NOW", !said), ("ORIGIN", said)] {
            let flags = |line: &String| line.contains("(FLAGS_1)") && line.contains(flag);
            assert_eq!(dynamic.iter().any(flags), wanted, "{flag}: {dynamic:?}");
        }
        for name in BOTH {
            let segments = readelf(&package, "-l", name);
            let context = format!("{name}: {segments:#?}");
            assert_eq!(any_has(&segments, "GNU_RELRO"), !said, "{context}");
            let loads = || segments.iter().filter(|line| line.contains(" LOAD "));
            assert_eq!(loads().count() > 2, !said, "{context}");
            let align = if said { " 0x10000" } else { " 0x1000" };
            assert!(loads().all(|line| line.ends_with(align)), "{context}");
            let stack = segments.iter().find(|line| line.contains("GNU_STACK"));
            let stack = stack.expect(&context);
            assert_eq!(stack.contains(" RWE "), said, "{context}");
            assert_eq!(stack.contains(" 0x100000 "), said, "{context}");
        }
    }
}

#[test]
fn wrap() {
    let package = with_words(&["--wrap=answer", "answer.o"]);
    package.object(
        "answer",
        "int answer(void) { return 40; }\n\
         int __real_answer(void);\nint __wrap_answer(void) { return __real_answer() + 2; }\n",
    );
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
    let words = "--defsym=an_address=0x1234 --undefined=one -u two libone.a libtwo.a libthree.a";
    let package = with_words(&words.split(' ').collect::<Vec<_>>());
    for name in ["one", "two", "three"] {
        package.archive(name, &format!("void {name}(void) {{}}\n"));
    }
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
    for name in BOTH {
        let symbols = package.ok(&format!("nm {name}"));
        let has = |line: &str| symbols.lines().any(|symbol| symbol.ends_with(line));
        assert!(has("0000000000001234 A an_address"), "{name}");
        assert!(has(" T one") && has(" T two") && !has(" T three"), "{name}");
    }
}

#[test]
fn a_map_and_what_the_program_says_of_itself() {
    let package = with_words(&[
        "-Map=x.map",
        "--cref",
        "--hash-style=sysv",
        "--build-id=0x0123456789abcdef",
    ]);
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
    let map = fs::read_to_string(package.path("x.map")).unwrap();
    assert!(map.contains("Cross Reference Table"));
    assert!(!map.contains("_ukl_"), "the host link's");
    let sections = readelf(&package, "-S", "target/debug/x");
    assert!(any_has(&sections, " .hash ") && !any_has(&sections, " .gnu.hash "));
    for name in BOTH {
        let notes = readelf(&package, "-n", name);
        assert!(any_has(&notes, "Build ID: 0123456789abcdef"), "{notes:?}");
    }
}

#[test]
fn a_drivers_words() {
    let words =
        "-Wl,--no-as-needed,-lresolv -rdynamic -pthread -Xlinker --defsym=an_address=0x1234";
    let package = with_words(&words.split(' ').collect::<Vec<_>>());
    package.build("");
    assert_eq!(package.same("target/debug/x").1, Some(42));
    let needed = readelf(&package, "-d", "target/debug/x");
    assert!(any_has(&needed, "[libresolv.so.2]"), "{needed:?}");
    let exports = package.ok("nm -D --defined-only target/debug/x");
    assert!(exports.contains(" T main"), "{exports}");
    for name in BOTH {
        let symbols = package.ok(&format!("nm {name}"));
        assert!(symbols.contains("0000000000001234 A an_address"), "{name}");
    }
}

/// How many objects there are of those that follow.
const MANY: u32 = 3000;

/// Makes objects of these names, of which each has a number of its own in a section of all, and the
/// program that needs every one of them.
fn many_objects(package: &Package, name: impl Fn(u32) -> PathBuf) {
    let mark = 0x1234_5678_u32;
    package.object(
        "part",
        &format!("__attribute__((section(\"parts\"), used)) static unsigned part = {mark};\n"),
    );
    let object = fs::read(package.path("part.o")).unwrap();
    let at = object
        .windows(4)
        .position(|word| word == mark.to_le_bytes());
    let at = at.unwrap();
    for number in 0..MANY {
        let mut object = object.clone();
        object[at..at + 4].copy_from_slice(&number.to_le_bytes());
        fs::write(name(number), object).unwrap();
    }
    package.file(
        "src/main.rs",
        "extern \"C\" {\n    static __start_parts: u32;\n    static __stop_parts: u32;\n}\n\
         fn main() {\n    let (start, stop) = (&raw const __start_parts, &raw const __stop_parts);\n    \
         let count = unsafe { stop.offset_from(start) } as usize;\n    \
         let parts = unsafe { std::slice::from_raw_parts(start, count) };\n    \
         let all: std::collections::BTreeSet<_> = parts.iter().collect();\n    \
         println!(\"{} {}\", all.len(), all.last().unwrap());\n    std::process::exit(42)\n}\n",
    );
}

/// All of them are in the program, and in the image's.
fn holds_all_objects(package: &Package) {
    let (said, status) = package.same("target/debug/x");
    assert_eq!(said, format!("{MANY} {}\n", MANY - 1));
    assert_eq!(status, Some(42));
}

#[test]
fn response_file_of_thousands_of_objects() {
    let package = with_words(&["@objects"]);
    let name = |number| package.path(&format!("an object with a long name {number}.o"));
    many_objects(&package, name);
    let list = |number| format!("{}\n", name(number).display()).replace(' ', "\\ ");
    package.file("objects", &(0..MANY).map(list).collect::<String>());
    package.build("");
    holds_all_objects(&package);
}

/// Longer than the kernel takes, so rustc puts it into a file: its own way of quoting is to put a
/// backslash in front of blanks and backslashes, and nothing else.
#[test]
fn a_command_line_that_is_too_long() {
    let package = Package::new("");
    let dir = ["a dir'ectory", &"\\ or one \"more\" ".repeat(13)].concat();
    let dir = package.path(&format!("{dir}/{dir}/{dir}/{dir}"));
    fs::create_dir_all(&dir).unwrap();
    let name = |number| dir.join(format!("{number}.o"));
    many_objects(&package, name);
    let words: String = (0..MANY)
        .map(|number| format!("cargo::rustc-link-arg-bins={}\n", name(number).display()))
        .collect();
    package.file("words", &words);
    package.file(
        "build.rs",
        "fn main() { print!(\"{}\", std::fs::read_to_string(\"words\").unwrap()) }\n",
    );
    // It keeps what rustc calls it with.
    let linker = package.path("kept-ld");
    package.file(
        "kept-ld",
        &format!(
            "#!/bin/sh\necho \"$@\" >>{}\nexec {UKL_LD} \"$@\"\n",
            package.path("kept").display()
        ),
    );
    package.ok("chmod +x kept-ld");
    let mut cargo = package.cargo("build");
    cargo.env(
        "RUSTFLAGS",
        rustflags().replace(UKL_LD, linker.to_str().unwrap()),
    );
    silent(cargo);
    let kept = fs::read_to_string(package.path("kept")).unwrap();
    let last = kept.lines().last().unwrap();
    assert!(
        last.starts_with('@') && last.ends_with("/linker-arguments"),
        "{last}"
    );
    holds_all_objects(&package);
}

/// Cargo, whose links make images and whose products are booted.
fn in_the_guest(package: &Package, words: &str) -> Command {
    let mut cargo = package.cargo(words);
    cargo.env_remove("UKL_FLAGS").env(
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
        package.ukl_run(),
    );
    cargo
}

#[test]
fn cargo_run_in_the_guest() {
    let package = Package::new(&format!(
        "fn main() {{\n    let args: Vec<_> = std::env::args().collect();\n    \
             print!(\"{{}} {{args:?}}\", ring());\n    std::process::exit(42)\n}}\n{RING}"
    ));
    let mut cargo = in_the_guest(&package, "run");
    let output = cargo.args(["--", "a b"]).output().unwrap();
    // Called what cargo calls it in the end, not what it was linked as.
    assert_eq!(said(&output), "0 [\"/ukl/x\", \"a b\"]");
    assert_eq!(output.status.code(), Some(42));
}

/// The privilege level that code runs at. No process of this machine is at 0.
const RING: &str = "pub fn ring() -> u16 {\n    let cs: u16;\n    \
                    unsafe { std::arch::asm!(\"mov {0:x}, cs\", out(reg) cs) };\n    cs & 3\n}\n";

/// An example, static on the host as well, for a target that is named.
#[test]
fn a_static_example_in_the_guest() {
    let package = Package::new("fn main() {}\n");
    package.file(
        "examples/y.rs",
        &format!(
            "fn main() {{\n    let sum: u16 = (0..4).map(|i| std::thread::spawn(move || i + \
             ring()).join().unwrap()).sum();\n    \
             print!(\"{{sum}} {{}}\", cfg!(target_feature = \"crt-static\"));\n    \
             std::process::exit(42)\n}}\n{RING}"
        ),
    );
    let mut cargo = in_the_guest(&package, &format!("run --example y --target {HOST}"));
    cargo.env("RUSTFLAGS", rustflags() + " -C target-feature=+crt-static");
    let output = cargo.output().unwrap();
    assert_eq!(said(&output), "6 true");
    assert_eq!(output.status.code(), Some(42));
}

/// Whatever a release may be made smaller by.
#[test]
fn a_small_release_in_the_guest() {
    let package = Package::new("");
    package.file(
        "src/main.rs",
        &format!(
            "fn main() {{\n    println!(\"{{}}\", ring());\n    panic!(\"astray\")\n}}\n{RING}"
        ),
    );
    package.add_to_manifest(
        "[profile.release]\npanic = \"abort\"\nstrip = true\nlto = \"fat\"\nopt-level = \"z\"\n\
         codegen-units = 1\n",
    );
    let output = in_the_guest(&package, "run --release").output().unwrap();
    let text = said(&output);
    assert!(text.starts_with("0\n") && text.contains("astray"), "{text}");
    assert_eq!(output.status.code(), Some(128 + 6), "SIGABRT: {text}");
    let symbols = package.command("nm").arg("target/release/x").output();
    assert!(said(&symbols.unwrap()).contains("no symbols"));
}

/// A program that needs a Rust library and a C library of its workspace, both shared ones.
#[test]
fn shared_libraries_of_a_workspace_in_the_guest() {
    let package = Package::new("");
    package.add_to_manifest(
        "[dependencies]\nd = { path = \"d\" }\n[workspace]\nmembers = [\"half\"]\n",
    );
    for (name, kind, text) in [
        ("d", "dylib", "pub fn twice(x: i32) -> i32 { 2 * x }\n"),
        (
            "half",
            "cdylib",
            "#[no_mangle]\npub extern \"C\" fn half(x: i32) -> i32 { vec![x / 2].remove(0) }\n",
        ),
    ] {
        package.file(
            &format!("{name}/Cargo.toml"),
            &format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                 [lib]\ncrate-type = [\"{kind}\"]\n"
            ),
        );
        package.file(&format!("{name}/src/lib.rs"), text);
    }
    package.file(
        "build.rs",
        &format!(
            "fn main() {{ println!(\"cargo::rustc-link-search={}\") }}\n",
            package.path("target/debug").display()
        ),
    );
    package.file(
        "src/main.rs",
        &format!(
            "#[link(name = \"half\", kind = \"dylib\")]\nextern \"C\" {{ fn half(x: i32) -> i32; }}\n\
             fn main() {{\n    print!(\"{{}}\", ring());\n    \
             std::process::exit(unsafe {{ half(d::twice(42)) }})\n}}\n{RING}"
        ),
    );
    let mut cargo = in_the_guest(&package, "build -p half");
    assert_eq!(said(&cargo.output().unwrap()), "");
    let output = in_the_guest(&package, "run").output().unwrap();
    assert_eq!(said(&output), "0");
    assert_eq!(output.status.code(), Some(42));
}

#[test]
fn cargo_test_in_the_guest() {
    let package = Package::new("fn main() {}\n");
    package.file(
        "src/main.rs",
        &format!(
            "fn main() {{}}\n#[test]\nfn good() {{}}\n#[test]\nfn bad() {{ panic!(\"as told\") }}\n\
             #[test]\nfn alone() {{ assert_eq!(ring(), 0) }}\n#[cfg(test)]\n{RING}"
        ),
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
        &format!("/// ```\n/// assert_eq!(x::ring(), 0);\n/// ```\n{RING}"),
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
    let mut run = package.command(package.ukl_run());
    let output = run.arg("root/bin/x").output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{}", said(&output));
}
