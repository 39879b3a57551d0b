//! Inputs of other kinds, and ways to name them.

use crate::bench::Bench;
use crate::bench::both;
use crate::bench::silent;
use crate::bench::stderr;

#[test]
fn response_files_within_response_files() {
    let bench = Bench::hello();
    bench.plain_gcc_ok("-c hello.c -o with\\ space.o".replace("\\ ", "_").as_str());
    bench.ok("mv", "with_space.o renamed.o");
    std::fs::rename(bench.path("renamed.o"), bench.path("with space.o")).unwrap();
    bench.file("inner", "'with space.o'");
    bench.file("outer", "@inner -o \"hello\"");
    bench.gcc_ok("@outer");
    bench.same("hello");
}

#[test]
fn a_response_file_for_the_linker_alone() {
    let bench = Bench::hello();
    bench.file(
        "flags",
        "--ukl-no-image --ukl-ring3=elsewhere\n--gc-sections",
    );
    let mut gcc = bench.compiler("gcc");
    gcc.env("UKL_FLAGS", "")
        .args(["hello.c", "-Wl,@flags", "-o", "hello"]);
    silent(&gcc.output().unwrap());
    assert_eq!(bench.run("elsewhere").status.code(), Some(42));
}

#[test]
fn an_unreadable_response_file_is_a_file_that_is_not_there() {
    let bench = Bench::hello();
    bench.plain_gcc_ok("-c hello.c");
    let ours = bench.gcc("hello.o -Wl,@nowhere -o hello");
    let theirs = bench.plain_gcc("hello.o -Wl,@nowhere -o hello");
    assert_eq!(ours.status, theirs.status);
    assert_eq!(both(&ours), both(&theirs));
}

#[test]
fn more_arguments_than_a_command_line_holds() {
    let bench = Bench::new();
    let count = 3000;
    let long = "n".repeat(100);
    let mut main = String::from("int main(void) { return 0");
    let mut list = String::new();
    bench.file("f.c", "int f(void) { return 0; }");
    bench.plain_gcc_ok("-c f.c");
    let object = std::fs::read(bench.path("f.o")).unwrap();
    // The objects are the same, so all but one go into archives.
    for index in 0..count {
        let name = format!("{long}{index}.a");
        list.push_str(&format!("{name}\n"));
        std::fs::write(bench.path(&name), b"!<arch>\n").unwrap();
    }
    std::fs::write(bench.path("g.o"), object).unwrap();
    main.push_str(" + f() + 42; }\nint f(void);");
    bench.file("x.c", &format!("int f(void);\n{main}"));
    bench.file("list", &list);
    bench.gcc_ok("x.c g.o @list -o x");
    bench.same("x");
}

#[test]
fn embedded_binary_files() {
    let bench = Bench::new();
    bench.file("data.txt", "*");
    bench.file(
        "x.c",
        "extern const char _binary_data_txt_start[], _binary_data_txt_end[];\n\
         int main(void) {\n\
           if (_binary_data_txt_end - _binary_data_txt_start != 1) return 1;\n\
           return _binary_data_txt_start[0];\n\
         }",
    );
    bench.gcc_ok("x.c -Wl,-b,binary data.txt -Wl,-b,elf64-x86-64 -z noexecstack -o x");
    bench.same("x");
}

#[test]
fn duplicate_names_of_objects() {
    let bench = Bench::new();
    bench.file("a/f.c", "int f(void) { return 40; }");
    bench.file("b/f.c", "int g(void) { return 2; }");
    bench.file(
        "x.c",
        "int f(void), g(void);\nint main(void) { return f() + g(); }",
    );
    bench.plain_gcc_ok("-c a/f.c -o a/f.o");
    bench.plain_gcc_ok("-c b/f.c -o b/f.o");
    bench.gcc_ok("x.c a/f.o b/f.o -o x");
    bench.same("x");
}

#[test]
fn code_that_nobody_can_compile() {
    let bench = Bench::hello();
    std::fs::write(bench.path("x.bc"), b"BC\xc0\xde0000000000000000").unwrap();
    let output = bench.gcc("hello.c x.bc -o hello");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("x.bc"));
}
