//! Small projects under build tools that try the compiler out first. None of their trials may be
//! taken for a program, and all of them have to come out as they do with the real compiler.

use crate::bench::Bench;
use crate::bench::HELLO;
use crate::bench::both;
use crate::bench::lacks;
use crate::bench::stdout;

#[test]
fn make() {
    let bench = Bench::hello();
    bench.file("Makefile", "hello: hello.o\n\t$(CC) $(LDFLAGS) -o $@ $^\n");
    bench.ok("make", "CC=ukl-cc");
    bench.linked("hello");
    assert_eq!(bench.programs(), ["./hello.ring3"]);
}

/// What CMake finds out about the compiler, a library that it looks for, and a check by running.
const CMAKE: &str = "\
cmake_minimum_required(VERSION 3.13)
project(x C CXX)
include(CheckCSourceRuns)
include(CheckFunctionExists)
include(CheckLibraryExists)
find_package(Threads REQUIRED)
check_function_exists(strlcpy HAS_STRLCPY)
check_function_exists(getppid HAS_GETPPID)
check_library_exists(m cos \"\" HAS_COS)
check_c_source_runs(\"int main(void) { return 0; }\" RUNS)
if(NOT HAS_GETPPID OR NOT HAS_COS OR NOT RUNS)
  message(FATAL_ERROR \"a check failed\")
endif()
file(WRITE ${CMAKE_BINARY_DIR}/found \"${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION} \
${CMAKE_SIZEOF_VOID_P} ${CMAKE_C_IMPLICIT_LINK_LIBRARIES} ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES} \
${CMAKE_LIBRARY_ARCHITECTURE} ${HAS_STRLCPY} ${CMAKE_USE_PTHREADS_INIT}\")
add_library(part STATIC part.c)
add_executable(prog hello.c)
target_link_libraries(prog part m Threads::Threads)
install(TARGETS prog DESTINATION bin)
";

fn cmake(bench: &Bench, build: &str, compilers: &str) -> String {
    bench.ok("cmake", &format!("-S . -B {build} {compilers}"));
    bench.ok("cmake", &format!("--build {build}"));
    std::fs::read_to_string(bench.path(build).join("found")).unwrap()
}

#[test]
fn cmake_finds_what_it_finds_with_the_real_compiler() {
    if lacks("cmake") {
        return;
    }
    let bench = Bench::new();
    bench.file("CMakeLists.txt", CMAKE);
    bench.file("part.c", "int part(void) { return 42; }");
    bench.file(
        "hello.c",
        "int part(void);\nint main(void) { return part(); }",
    );
    let ours = cmake(
        &bench,
        "ours",
        "-DCMAKE_C_COMPILER=ukl-cc -DCMAKE_CXX_COMPILER=ukl-c++",
    );
    bench.linked("ours/prog");
    assert_eq!(bench.programs(), ["./ours/prog.ring3"]);
    let theirs = cmake(
        &bench,
        "theirs",
        "-DCMAKE_C_COMPILER=cc -DCMAKE_CXX_COMPILER=c++",
    );
    assert_eq!(ours, theirs);
}

#[test]
fn cmake_by_the_environment() {
    if lacks("cmake") {
        return;
    }
    let bench = Bench::hello();
    bench.file(
        "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.13)\nproject(x C)\nadd_executable(prog hello.c)\n",
    );
    let output = bench
        .command("cmake")
        .args(["-B", "b"])
        .env("CC", "ukl-cc")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    bench.ok("cmake", "--build b");
    bench.linked("b/prog");
}

#[test]
fn meson() {
    if lacks("meson") {
        return;
    }
    let bench = Bench::hello();
    bench.file("part.c", "int part(void) { return 1; }");
    bench.file(
        "meson.build",
        "project('x', 'c', 'cpp')\n\
         cc = meson.get_compiler('c')\n\
         assert(cc.has_function('getppid'))\n\
         assert(not cc.has_function('no_such_function'))\n\
         assert(cc.sizeof('long') == 8)\n\
         assert(cc.run('int main(void) { return 3; }').returncode() == 3)\n\
         assert(cc.has_link_argument('-Wl,--as-needed'))\n\
         assert(not cc.has_link_argument('-Wl,--no-such-option'))\n\
         message('linker ' + cc.get_linker_id())\n\
         m = cc.find_library('m')\n\
         static_library('part', 'part.c')\n\
         executable('prog', 'hello.c', dependencies: [m, dependency('threads')])\n",
    );
    let mut command = bench.command("meson");
    command
        .args(["setup", "b"])
        .env("CC", "ukl-cc")
        .env("CXX", "ukl-c++");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    assert!(
        stdout(&output).contains("linker ld.bfd"),
        "{}",
        stdout(&output)
    );
    bench.ok("ninja", "-C b");
    bench.linked("b/prog");
    assert_eq!(bench.programs(), ["./b/prog.ring3"]);
}

#[test]
fn autoconf() {
    if lacks("autoconf") {
        return;
    }
    let bench = Bench::hello();
    bench.file(
        "configure.ac",
        "AC_INIT([x], [1])\nAC_CONFIG_SRCDIR([hello.c])\nAC_PROG_CC\nAC_PROG_CXX\n\
         AC_CHECK_FUNCS([getppid no_such_function])\nAC_SEARCH_LIBS([cos], [m])\n\
         AC_CHECK_SIZEOF([long])\n\
         AC_RUN_IFELSE([AC_LANG_PROGRAM([], [return 0;])], [RUNS=yes], [RUNS=no])\n\
         AC_SUBST([RUNS])\nAC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n",
    );
    bench.file(
        "Makefile.in",
        "# @RUNS@ @LIBS@ @DEFS@ @cross_compiling@\nhello: hello.o\n\t@CC@ -o $@ hello.o @LIBS@\n",
    );
    bench.ok("autoconf", "");
    let output = bench.ok("./configure", "CC=ukl-cc CXX=ukl-c++");
    let text = stdout(&output);
    assert!(
        text.contains("whether we are cross compiling... no"),
        "{text}"
    );
    assert!(
        text.contains("checking for C compiler default output file name... a.out"),
        "{text}"
    );
    let makefile = std::fs::read_to_string(bench.path("Makefile")).unwrap();
    let first = makefile.lines().next().unwrap();
    assert!(
        first.contains("yes -lm") && first.contains("-DHAVE_GETPPID=1"),
        "{first}"
    );
    assert!(
        first.contains("-DSIZEOF_LONG=8") && !first.contains("NO_SUCH"),
        "{first}"
    );
    assert!(bench.programs().is_empty());
    bench.ok("make", "");
    bench.linked("hello");
}

#[test]
fn libtool() {
    if lacks("libtoolize") || lacks("automake") {
        return;
    }
    let bench = Bench::new();
    bench.file(
        "configure.ac",
        "AC_INIT([x], [1])\nAM_INIT_AUTOMAKE([foreign])\nAM_PROG_AR\nAC_PROG_CC\nLT_INIT\n\
         AC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n",
    );
    bench.file(
        "Makefile.am",
        "lib_LTLIBRARIES = libpart.la\nlibpart_la_SOURCES = part.c\n\
         bin_PROGRAMS = prog\nprog_SOURCES = prog.c\nprog_LDADD = libpart.la\n",
    );
    bench.file("part.c", "int part(void) { return 42; }");
    bench.file(
        "prog.c",
        "int part(void);\nint main(void) { return part(); }",
    );
    bench.ok("autoreconf", "-fi");
    let output = bench.ok("./configure", "CC=ukl-cc");
    let text = stdout(&output);
    assert!(text.contains("is GNU ld... yes"), "{text}");
    assert!(text.contains("supports shared libraries... yes"), "{text}");
    bench.ok("make", "");
    // The library is a shared one, its archive beside it.
    assert!(bench.has(".libs/libpart.so") && bench.has(".libs/libpart.a"));
    assert_eq!(
        bench
            .command(bench.path("prog"))
            .output()
            .unwrap()
            .status
            .code(),
        Some(42)
    );
    let guest = bench
        .command(bench.path(".libs/prog.ring3"))
        .output()
        .unwrap();
    assert_eq!(guest.status.code(), Some(42));
}

#[test]
fn a_failing_link_fails_the_build() {
    let bench = Bench::new();
    bench.file("x.c", HELLO.replace("puts", "no_such_function").as_str());
    let output = bench.run("ukl-cc", "-w x.c -o x");
    assert_eq!(output.status.code(), Some(1));
    assert!(both(&output).contains("undefined reference to `no_such_function'"));
    assert!(!bench.has("x"));
}
