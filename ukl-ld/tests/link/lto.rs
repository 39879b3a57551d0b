//! Link-time optimisation: the program is optimised as a whole, with the compiler's own plugin or
//! linker, before anything is rewritten.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::bench::Bench;
use crate::bench::UKL_LD;
use crate::bench::silent;
use crate::bench::stderr;
use crate::bench::stdout;

/// Two files of which one needs the other, and an object without intermediate code that needs both
/// the one and the C library.
fn sources(bench: &Bench) {
    bench.file("f.c", "int twice(int x) { return x * 2; }\n");
    bench.file(
        "g.c",
        "int twice(int);\nint answer(void) { return twice(21); }\n",
    );
    bench.file(
        "x.c",
        "#include <stdio.h>\nint answer(void);\n\
         int main(void) { printf(\"%d\\n\", answer()); return answer(); }\n",
    );
}

/// The names that are left of the program's symbols. What only intermediate code needs is not.
fn names(bench: &Bench, program: &str) -> Vec<String> {
    let list = stdout(&bench.ok("nm", &format!("--defined-only {program}.ring3")));
    let names = list.lines().filter_map(|line| line.rsplit(' ').next());
    names.map(str::to_owned).collect()
}

fn is_optimised_as_a_whole(bench: &Bench, program: &str) {
    bench.same(program);
    let names = names(bench, program);
    assert!(names.iter().any(|name| name == "printf"));
    assert!(!names.iter().any(|name| name == "twice"));
}

/// What became of the intermediate code of two modules.
#[derive(Clone, Copy, PartialEq)]
enum Made {
    /// Objects, in a number that says nothing.
    Objects,
    /// One object: the modules were made one.
    One,
    /// An object for each, with what it has inlined of the other (thin).
    OneEach,
}

impl Made {
    /// Judges by what `--ukl-explain` says.
    fn check(self, explained: &str) {
        let line = explained.lines().find(|line| line.contains(": lto "));
        let words = line.unwrap_or_default().rsplit(' ');
        let number: Option<u32> = words.into_iter().nth(1).and_then(|word| word.parse().ok());
        let number = number.unwrap_or_else(|| panic!("{explained}"));
        let fine = match self {
            Made::Objects => number >= 1,
            Made::One => number == 1,
            // And maybe one for modules that are made one, and rustc's own for the allocator.
            Made::OneEach => (2..=4).contains(&number),
        };
        assert!(fine, "{explained}");
    }
}

/// Compiles with link-time optimisation, then links objects, and an archive of them.
fn objects_and_archives(compiler: &str, flags: &str, linker: &str, made: Made) {
    let bench = Bench::new();
    sources(&bench);
    let run = |words: String| {
        let mut command = bench.compiler(compiler);
        command.args(["-O2", "-ffunction-sections"]);
        command.args(words.split_whitespace());
        silent(&command.output().unwrap());
    };
    run(format!("{flags} -c f.c g.c"));
    bench.plain_gcc_ok("-O2 -c x.c");
    let link = format!("{flags} {linker} -Wl,--gc-sections");
    run(format!("{link} x.o g.o f.o -o objects"));
    is_optimised_as_a_whole(&bench, "objects");
    // The archive has members of either kind.
    bench.ok("ar", "rc libx.a g.o f.o x.o");
    run(format!("{link} -L. -lx -o archive"));
    is_optimised_as_a_whole(&bench, "archive");
    let mut explaining = bench.compiler(compiler);
    explaining.args(link.split_whitespace());
    explaining.args(["-O2", "-Wl,--ukl-explain", "x.o", "g.o", "f.o", "-o", "y"]);
    made.check(&stderr(&explaining.output().unwrap()));
}

#[test]
fn gcc_flto() {
    objects_and_archives("gcc", "-flto", "", Made::Objects);
}

#[test]
fn gcc_flto_with_machine_code_as_well() {
    objects_and_archives("gcc", "-flto -ffat-lto-objects", "", Made::Objects);
}

#[test]
fn gcc_flto_with_gold() {
    objects_and_archives("gcc", "-flto", "-fuse-ld=gold", Made::Objects);
}

#[test]
fn clang_flto_full_with_lld() {
    objects_and_archives("clang", "-flto=full", "-fuse-ld=lld", Made::One);
}

#[test]
fn clang_flto_thin_with_lld() {
    objects_and_archives("clang", "-flto=thin", "-fuse-ld=lld", Made::OneEach);
}

#[test]
fn clang_flto_full_with_the_plugin() {
    objects_and_archives("clang", "-flto=full", "", Made::One);
}

#[test]
fn clang_flto_thin_with_the_plugin() {
    objects_and_archives("clang", "-flto=thin", "", Made::OneEach);
}

#[test]
fn machine_code_is_taken_where_the_link_asks_for_it() {
    let bench = Bench::new();
    sources(&bench);
    bench.plain_gcc_ok("-O2 -flto -ffat-lto-objects -c f.c g.c x.c");
    bench.gcc_ok("-fno-lto f.o g.o x.o -o x");
    bench.same("x");
    assert!(names(&bench, "x").iter().any(|name| name == "twice"));
}

#[test]
fn a_constructor_of_intermediate_code_runs() {
    let bench = Bench::new();
    bench.file(
        "x.cc",
        "#include <string>\nstatic std::string s(6, 'x');\n\
         int main() { return int(s.size()) * 7; }\n",
    );
    bench.gxx_ok("-O2 -flto x.cc -o x");
    bench.same("x");
}

#[test]
fn objects_of_intermediate_code_that_are_linked_if_needed() {
    let bench = Bench::new();
    sources(&bench);
    bench.file(
        "f.c",
        "static int factor;\nint twice(int x) { return x * factor; }\n\
         __attribute__((constructor)) static void start(void) { factor = 2; }\n",
    );
    bench.ok("clang", "-O2 -flto=thin -c f.c g.c");
    bench.plain_gcc_ok("-O2 -c x.c");
    let mut clang = bench.compiler("clang");
    clang.args(["-flto=thin", "-fuse-ld=lld", "x.o", "-Wl,--start-lib"]);
    clang.args(["f.o", "g.o", "-Wl,--end-lib", "-o", "x"]);
    silent(&clang.output().unwrap());
    bench.same("x");
}

#[test]
fn a_shared_library_of_ones_own_of_intermediate_code() {
    let bench = Bench::new();
    sources(&bench);
    bench.plain_gcc_ok("-O2 -flto -fPIC -c f.c g.c");
    bench.gcc_ok("-O2 -flto -shared f.o g.o -o libanswer.so");
    bench.gcc_ok("-O2 -flto x.c -L. -Wl,-rpath,. -lanswer -o x");
    bench.same("x");
}

/// A library crate and a program that needs it.
fn crates(bench: &Bench) {
    bench.file(
        "twice.rs",
        // rustc itself does not inline what has to be there by its name.
        "#[no_mangle]\npub fn twice_of_it(x: i32) -> i32 { x * 2 }\n",
    );
    bench.file(
        "x.rs",
        "fn main() {\n    let caught = std::panic::catch_unwind(|| vec![0; 0][std::env::args().count()]);\n    \
         let x = std::thread::spawn(|| twice::twice_of_it(21)).join().unwrap();\n    \
         std::process::exit(if caught.is_err() { x } else { 1 })\n}\n",
    );
}

#[test]
fn rustc_with_linker_plugin_lto() {
    for profile in [
        "-C linker-plugin-lto=no",
        "-C linker-plugin-lto",
        "-C linker-plugin-lto -C lto=thin",
        "-C linker-plugin-lto -C lto=fat",
        "-C linker-plugin-lto -C lto=fat -C panic=abort",
    ] {
        let bench = Bench::new();
        crates(&bench);
        let rustc = |words: &str| {
            let mut rustc = bench.rustc();
            rustc.args(["--edition=2021", "-O"]);
            rustc.args(words.split_whitespace().chain(profile.split_whitespace()));
            silent(&rustc.output().unwrap());
        };
        rustc("--crate-type=rlib twice.rs");
        rustc("x.rs --extern twice=libtwice.rlib -o x");
        if profile.ends_with("lto=thin") {
            let mut explaining = bench.rustc();
            explaining.args(["--edition=2021", "-O", "x.rs", "-o", "explained"]);
            explaining.args(["--extern", "twice=libtwice.rlib"]);
            explaining.args(profile.split_whitespace());
            explaining.args(["-C", "codegen-units=1", "-C", "link-arg=--ukl-explain"]);
            Made::OneEach.check(&stderr(&explaining.output().unwrap()));
        }
        if profile.contains("abort") {
            // catch_unwind does not return.
            assert!(!bench.run("x.ring3").status.success());
        } else {
            assert_eq!(bench.run("x").status.code(), Some(42));
            assert_eq!(bench.run("x.ring3").status.code(), Some(42));
        }
        // The other crate's function is part of who calls it, and nobody else needs it.
        let names = names(&bench, "x");
        let kept = names.iter().any(|name| name == "twice_of_it");
        assert_eq!(kept, profile.ends_with("=no"), "{profile}");
    }
}

#[test]
fn rustc_with_a_compiler_for_its_linker() {
    let bench = Bench::new();
    crates(&bench);
    bench.file(
        "x.rs",
        "fn main() { std::process::exit([40, 2].iter().sum()) }\n",
    );
    // As ukl-cc does. rustc has it use the toolchain's lld, to which gcc names its plugin as well.
    let libexec = bench.libdir().join("libexec");
    let cc = format!("#!/bin/sh\nexec gcc -B{}/ \"$@\"\n", libexec.display());
    bench.file("compiler", &cc);
    bench.ok("chmod", "+x compiler");
    let mut rustc = bench.command("rustc");
    rustc.arg(format!("-Clinker={}", bench.path("compiler").display()));
    rustc.args(["-O", "-Clinker-plugin-lto", "x.rs", "-o", "x"]);
    rustc.arg("-Wlinker-messages");
    silent(&rustc.output().unwrap());
    bench.same("x");
}

#[test]
fn rustc_and_clang_in_one_module() {
    let bench = Bench::new();
    bench.file("twice.c", "int twice(int x) { return x * 2; }\n");
    bench.file(
        "x.rs",
        "extern \"C\" { fn twice(x: i32) -> i32; }\n\
         fn main() { std::process::exit(unsafe { twice(21) }) }\n",
    );
    // lld warns of objects for two targets, if these only differ in who made the compiler.
    let target = "--target=x86_64-unknown-linux-gnu";
    bench.ok(
        "clang",
        &format!("{target} -O2 -flto=thin -fPIC -c twice.c"),
    );
    bench.ok("ar", "rc libtwice.a twice.o");
    let mut rustc = bench.rustc();
    rustc.args(["-O", "x.rs", "-o", "x"]);
    rustc.args(["-C", "linker-plugin-lto", "-L.", "-lstatic=twice"]);
    silent(&rustc.output().unwrap());
    bench.same("x");
    assert!(!names(&bench, "x").iter().any(|name| name == "twice"));
}

/// Bitcode of rustc's LLVM, and what that calls itself.
fn new_bitcode(bench: &Bench) -> String {
    bench.file(
        "new.rs",
        "#[no_mangle]\npub extern \"C\" fn answer() -> i32 { 42 }\n",
    );
    bench.ok(
        "rustc",
        "--crate-type=lib -C panic=abort --emit=llvm-bc=new.o new.rs",
    );
    rustcs_llvm(bench)
}

/// What rustc's LLVM calls itself.
fn rustcs_llvm(bench: &Bench) -> String {
    let said = stdout(&bench.ok("rustc", "-vV"));
    let version = said
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "));
    format!("LLVM{}", version.unwrap())
}

#[test]
fn an_error_names_the_version_of_bitcode_and_that_of_its_reader() {
    let bench = Bench::new();
    sources(&bench);
    let producer = new_bitcode(&bench);
    let clang = stdout(&bench.ok("clang", "-dumpversion"));
    let major = clang.trim().split('.').next().unwrap().to_owned();
    bench.ok("ar", "rc libnew.a new.o");
    bench.ok("ar", "rc libimage.a new.o");
    // Of this only the image needs the archive.
    bench.plain_gcc_ok("-shared -fPIC g.c f.c -o libimage.so");
    for (linker, reader) in [
        ("--ld-path=ld.lld", format!("LLD {major}.")),
        ("-flto -fuse-ld=lld", format!("LLD {major}.")),
        ("-flto", format!("LLVM {major}.")),
    ] {
        for input in ["new.o", "-lnew", "-limage"] {
            let mut command = bench.compiler("clang");
            command.args(["x.c", "-L.", input, "-o", "x"]);
            command.args(linker.split(' '));
            let output = command.output().unwrap();
            let said = stderr(&output);
            assert!(!output.status.success() && !bench.has("x"), "{said}");
            let named = |line: &&str| line.contains("ukl-ld: error:") && line.contains("new.o");
            let error = said.lines().find(named);
            let error = error.unwrap_or_else(|| panic!("{linker} {input}: {said}"));
            assert!(
                error.contains(&producer) && error.contains(&reader),
                "{error}"
            );
        }
    }
}

#[test]
fn an_error_for_bitcode_that_does_not_tell_its_version() {
    let bench = Bench::new();
    sources(&bench);
    fs::write(bench.path("odd.o"), [b'B', b'C', 0xc0, 0xde, 0, 0, 0, 0]).unwrap();
    let clang = stdout(&bench.ok("clang", "-dumpversion"));
    let major = clang.trim().split('.').next().unwrap();
    let mut command = bench.compiler("clang");
    command.args(["x.c", "odd.o", "-o", "x", "--ld-path=ld.lld"]);
    let said = stderr(&command.output().unwrap());
    assert!(
        said.contains("ukl-ld: error: odd.o: LLVM bitcode of unknown version"),
        "{said}"
    );
    assert!(said.contains(&format!("LLD {major}.")), "{said}");
}

#[test]
fn an_error_names_the_version_of_gccs_code_and_that_of_its_reader() {
    let bench = Bench::new();
    sources(&bench);
    bench.plain_gcc_ok("-O2 -flto -c f.c g.c x.c");
    // The version comes first in this section. Make it one that no gcc has.
    let sections = stdout(&bench.ok("objdump", "-hw f.o"));
    let mut names = sections.split_whitespace();
    let section = names.find(|name| name.starts_with(".gnu.lto_.lto."));
    let section = section.unwrap();
    bench.ok("objcopy", &format!("--dump-section {section}=section f.o"));
    let mut content = fs::read(bench.path("section")).unwrap();
    content[0] = 99;
    fs::write(bench.path("section"), content).unwrap();
    let update = format!("--update-section {section}=section f.o");
    bench.ok("objcopy", &update);
    let said = stderr(&bench.gcc("-O2 -flto f.o g.o x.o -o x"));
    assert!(said.contains("f.o") && said.contains("99."), "{said}");
    let own = stdout(&bench.ok("gcc", "-dumpversion"));
    let own = own.trim().split('.').next().unwrap();
    assert!(said.contains(&format!("{own}.")), "{said}");
    assert!(!bench.has("x.ring3"));
}

#[test]
fn an_error_for_bitcode_that_nobody_reads() {
    let bench = Bench::new();
    sources(&bench);
    let producer = new_bitcode(&bench);
    bench.ok("ar", "rc libimage.a new.o");
    bench.plain_gcc_ok("-shared -fPIC g.c f.c -o libimage.so");
    for input in ["new.o", "-limage"] {
        let output = bench.gcc(&format!("x.c -L. {input} -o x"));
        let said = stderr(&output);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains(&producer), "{input}: {said}");
        assert!(said.contains("UKL_CC=clang"), "{input}: {said}");
    }
}

#[test]
fn an_error_for_a_toolchain_without_a_linker_for_its_bitcode() {
    let bench = Bench::new();
    crates(&bench);
    // What there is besides is older.
    let bin = bench.path("bin");
    fs::create_dir(&bin).unwrap();
    for tool in ["cc", "ld", "ld.lld"] {
        symlink(format!("/usr/bin/{tool}"), bin.join(tool)).unwrap();
    }
    bench.file("x.rs", "fn main() {}\n");
    let words = bench.command("rustc").args(["--print", "sysroot"]).output();
    let sysroot = stdout(&words.unwrap());
    // Its libraries under another name, from which its linker cannot be found.
    let libraries = format!(
        "{}/lib/rustlib/x86_64-unknown-linux-gnu/lib",
        sysroot.trim()
    );
    symlink(libraries, bench.path("libraries")).unwrap();
    bench.ok("rustc", "-C linker-plugin-lto --emit=obj -o x.rcgu.o x.rs");
    let std = fs::read_dir(bench.path("libraries")).unwrap().flatten();
    let mut link = Command::new(UKL_LD);
    link.current_dir(bench.path("")).env("PATH", &bin);
    link.args(["x.rcgu.o", "-plugin-opt=O0", "-lc", "-o", "x"]);
    let rlibs: Vec<_> = std
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "rlib"))
        .collect();
    assert!(!rlibs.is_empty());
    link.args(rlibs);
    let said = stderr(&link.output().unwrap());
    let made = format!("x.rcgu.o: LLVM bitcode made by {}", rustcs_llvm(&bench));
    assert!(said.contains(&made), "{said}");
    let lld = stdout(&bench.ok("ld.lld", "--version"));
    let lld = lld.split("LLD ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(said.contains(&format!("only LLD {lld} (")), "{said}");
}
