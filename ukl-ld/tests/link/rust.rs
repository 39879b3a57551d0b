//! rustc with `-C linker=ukl-ld`, which it takes for a raw linker.

use std::process::Command;

use crate::bench::Bench;
use crate::bench::UKL_LD;
use crate::bench::both;
use crate::bench::silent;
use crate::bench::stderr;

const HELLO: &str = r#"fn main() {
    std::panic::set_hook(Box::new(|info| {
        println!("{info}\n{}", std::backtrace::Backtrace::capture());
    }));
    let caught = std::panic::catch_unwind(|| {
        let v: Vec<i32> = vec![];
        v[std::env::args().count()]
    });
    let sum: i32 = (0..4).map(|i| std::thread::spawn(move || i).join().unwrap()).sum();
    println!("{} {sum}", caught.is_err());
    std::process::exit(42)
}
"#;

fn rustc(bench: &Bench) -> Command {
    let mut rustc = bench.rustc();
    rustc.arg("--edition=2021");
    rustc
}

#[test]
fn what_the_linker_says_is_heard() {
    let bench = Bench::new();
    bench.file("x.rs", "fn main() {}");
    let mut rustc = rustc(&bench);
    rustc.args(["x.rs", "-C", "link-arg=--ukl-explain"]);
    let said = stderr(&rustc.output().unwrap());
    assert!(said.contains("ukl-ld: whole"), "{said}");
}

#[test]
fn a_program_however_it_is_linked() {
    for way in [
        "",
        "-C target-feature=+crt-static",
        "-C relocation-model=static",
        "-C target-feature=+crt-static -C relocation-model=static",
        "-C opt-level=3 -C strip=symbols",
    ] {
        let bench = Bench::new();
        bench.file("x.rs", HELLO);
        let output = rustc(&bench)
            .args(["x.rs", "-o", "x"])
            .args(way.split_whitespace())
            .output();
        silent(&output.unwrap());
        let said = bench.same("x");
        assert!(
            said.contains("index out of bounds") && said.contains("true 6"),
            "{way}: {said}"
        );
    }
}

#[test]
fn backtraces_have_the_users_names() {
    let bench = Bench::new();
    bench.file("x.rs", HELLO);
    silent(&rustc(&bench).args(["x.rs", "-o", "x"]).output().unwrap());
    let output = bench
        .command(bench.path("x.ring3"))
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    let said = both(&output);
    assert!(
        said.contains("x::main::{{closure}}") && said.contains("x::main\n"),
        "{said}"
    );
    assert!(!said.contains("_ukl_"), "{said}");
}

#[test]
fn a_procedural_macro_is_a_host_library() {
    let bench = Bench::new();
    bench.file(
        "m.rs",
        "extern crate proc_macro;\nuse proc_macro::TokenStream;\n#[proc_macro]\n\
         pub fn answer(_: TokenStream) -> TokenStream { \"42\".parse().unwrap() }",
    );
    bench.file("x.rs", "fn main() { std::process::exit(m::answer!()) }");
    silent(
        &rustc(&bench)
            .args(["--crate-type=proc-macro", "m.rs"])
            .output()
            .unwrap(),
    );
    assert!(!bench.has("libm.so.ring3"));
    silent(
        &rustc(&bench)
            .args(["x.rs", "--extern", "m=libm.so", "-o", "x"])
            .output()
            .unwrap(),
    );
    bench.same("x");
}

#[test]
fn cargo_with_a_build_script() {
    let bench = Bench::new();
    bench.file(
        "Cargo.toml",
        "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
    );
    bench.file(
        "build.rs",
        "fn main() { println!(\"cargo::rustc-env=ANSWER=42\"); }",
    );
    bench.file(
        "src/main.rs",
        "fn main() { std::process::exit(env!(\"ANSWER\").parse().unwrap()) }",
    );
    let mut cargo = bench.command("cargo");
    cargo.args(["build", "--offline", "-j1"]);
    cargo.env("CARGO_TARGET_DIR", bench.path("target"));
    cargo.env(
        "RUSTFLAGS",
        format!("-C linker={UKL_LD} -W linker-messages"),
    );
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    assert!(!both(&output).contains("warning"), "{}", both(&output));
    bench.same("target/debug/x");
    let scripts = bench.ok("find", "target -name build*script*ring3");
    assert!(scripts.stdout.is_empty());
}

const ANSWER: &str = r#"#[no_mangle]
pub extern "C" fn answer() -> i32 {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = std::panic::catch_unwind(|| vec![0; 0][std::env::args().count()]);
    let sum: i32 = (0..4).map(|i| std::thread::spawn(move || i).join().unwrap()).sum();
    println!("{} {sum}", caught.is_err());
    21
}
"#;

#[test]
fn a_dylib_and_a_shared_standard_library() {
    let bench = Bench::new();
    bench.file("d.rs", ANSWER);
    bench.file(
        "x.rs",
        "fn main() { let v = vec![d::answer(); 2]; std::process::exit(v.iter().sum()) }",
    );
    let rustc = |words: &str| {
        let mut rustc = rustc(&bench);
        rustc.args(["-C", "prefer-dynamic", "-C", "rpath"]);
        silent(&rustc.args(words.split_whitespace()).output().unwrap());
    };
    rustc("--crate-type=dylib d.rs");
    assert!(!bench.has("libd.so.ring3"));
    rustc("x.rs --extern d=libd.so -o x");
    assert!(bench.same("x").contains("true 6"));
}

#[test]
fn a_program_in_c_and_two_cdylibs() {
    let bench = Bench::new();
    bench.file("one.rs", ANSWER);
    bench.file("two.rs", &ANSWER.replace("answer", "again"));
    bench.file(
        "x.c",
        "int answer(void), again(void);\nint main(void) { return answer() + again(); }\n",
    );
    for words in ["one.rs", "two.rs -C linker-plugin-lto"] {
        let mut rustc = rustc(&bench);
        rustc.arg("--crate-type=cdylib");
        rustc.args(words.split(' '));
        silent(&rustc.output().unwrap());
    }
    // Each has a standard library of its own.
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -lone -ltwo -o x");
    bench.same("x");
    let headers = bench.ok("readelf", "-lW x.ring3");
    let headers = String::from_utf8(headers.stdout).unwrap();
    let stack = headers.lines().find(|line| line.contains("GNU_STACK"));
    assert!(stack.unwrap().contains("RW "), "{headers}");
}

/// Makes its system calls itself.
const FREESTANDING: &str = r#"#![no_std]
#![no_main]
use core::arch::{asm, global_asm};
global_asm!(".globl _start", "_start: and rsp, -16", "call start");
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
#[no_mangle]
extern "C" fn start() -> ! {
    let text = b"bare\n";
    unsafe {
        asm!("syscall", inlateout("rax") 1 => _, in("rdi") 1, in("rsi") text.as_ptr(),
            in("rdx") text.len(), out("rcx") _, out("r11") _);
        asm!("syscall", in("rax") 231, in("rdi") 42, options(noreturn));
    }
}
"#;

#[test]
fn a_program_without_std_and_libc() {
    for way in [
        "",
        "-C link-arg=-nostartfiles",
        "-C relocation-model=static",
        "-C target-feature=+crt-static",
        "-C linker-plugin-lto",
    ] {
        let bench = Bench::new();
        bench.file("x.rs", FREESTANDING);
        let mut rustc = rustc(&bench);
        rustc.args(["-O", "-C", "panic=abort", "x.rs", "-o", "x"]);
        silent(&rustc.args(way.split_whitespace()).output().unwrap());
        assert_eq!(bench.same("x"), "bare\n", "{way}");
    }
}

#[test]
fn a_program_with_libc_alone() {
    for way in ["", "-C target-feature=+crt-static"] {
        let bench = Bench::new();
        bench.file(
            "x.rs",
            "#![no_std]\n#![no_main]\n#[panic_handler]\n\
             fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }\n\
             #[link(name = \"c\")]\nextern \"C\" { fn puts(text: *const u8) -> i32; }\n\
             #[no_mangle]\nextern \"C\" fn main() -> i32 {\n    \
             unsafe { puts(b\"hello\\0\".as_ptr()) };\n    42\n}\n",
        );
        let mut rustc = rustc(&bench);
        rustc.args(["-O", "-C", "panic=abort", "x.rs", "-o", "x"]);
        silent(&rustc.args(way.split_whitespace()).output().unwrap());
        assert_eq!(bench.same("x"), "hello\n", "{way}");
    }
}
