//! Options that name symbols, or that mean something else to the image's link.

use crate::bench::Bench;
use crate::bench::stdout;

#[test]
fn wrap() {
    let bench = Bench::new();
    bench.file("f.c", "int f(void) { return 40; }");
    bench.file(
        "x.c",
        "int f(void);\nint __real_f(void);\nint __wrap_f(void) { return __real_f() + 2; }\n\
         int main(void) { return f(); }",
    );
    bench.plain_gcc_ok("-c f.c");
    bench.gcc_ok("x.c f.o -Wl,--wrap=f -o x");
    bench.same("x");
}

#[test]
fn wrap_of_a_function_in_an_archive() {
    let bench = Bench::new();
    bench.file(
        "x.c",
        "#include <stdlib.h>\nvoid *__real_malloc(size_t);\nstatic int calls;\n\
         void *__wrap_malloc(size_t n) { calls++; return __real_malloc(n); }\n\
         int main(void) { char *volatile p = malloc(3); free(p); return calls ? 42 : 1; }",
    );
    bench.gcc_ok("x.c -Wl,--wrap,malloc -o x");
    bench.same("x");
}

#[test]
fn wrap_without_the_real_one() {
    let bench = Bench::new();
    bench.file(
        "x.c",
        "int f(void);\nint __wrap_f(void) { return 42; }\nint main(void) { return f(); }",
    );
    bench.gcc_ok("x.c -Wl,--wrap=f -o x");
    bench.same("x");
}

#[test]
fn wrap_that_nothing_calls() {
    let bench = Bench::hello();
    bench.gcc_ok("hello.c -Wl,--wrap=nobody -o hello");
    bench.same("hello");
}

#[test]
fn defsym() {
    let bench = Bench::new();
    bench.file(
        "x.c",
        "int one(void) { return 42; }\nint two(void);\nextern char number[];\n\
         int main(void) { return (long)number == 0x1234 ? two() : 1; }",
    );
    bench.gcc_ok("-no-pie x.c -Wl,--defsym,two=one -Wl,--defsym=number=0x1230+4 -o x");
    bench.same("x");
}

#[test]
fn entry() {
    let bench = Bench::new();
    bench.file(
        "x.s",
        ".globl here\nhere: mov $60,%eax\n mov $42,%edi\n syscall\n.section .note.GNU-stack\n",
    );
    bench.gcc_ok("-nostdlib x.s -Wl,-e,here -o x");
    bench.same("x");
}

#[test]
fn undefined_pulls_a_member() {
    let bench = Bench::new();
    bench.file(
        "f.c",
        "extern int value;\n__attribute__((constructor)) void f(void) { value = 42; }",
    );
    bench.plain_gcc_ok("-c f.c");
    bench.ok("ar", "rc libf.a f.o");
    bench.file("x.c", "int value;\nint main(void) { return value; }");
    for option in ["-u,f", "--undefined=f", "--require-defined=f"] {
        bench.gcc_ok(&format!("x.c -L. -Wl,{option} -lf -o x"));
        bench.same("x");
    }
}

#[test]
fn garbage_collection_drops_what_is_unused() {
    let bench = Bench::new();
    bench.file(
        "x.c",
        "int unused(void) { return 7; }\nint main(void) { return 42; }",
    );
    bench.gcc_ok("-ffunction-sections x.c -Wl,--gc-sections -o x");
    bench.same("x");
    let symbols = stdout(&bench.ok("nm", "x.ring3"));
    assert!(symbols.contains(" T main\n") && !symbols.contains("unused"));
}

#[test]
fn stripped_programs_keep_their_stubs() {
    let bench = Bench::hello();
    bench.gcc_ok("-s hello.c -o hello");
    bench.same("hello");
}

#[test]
fn debugging_sections_stay_out_of_the_image() {
    let bench = Bench::hello();
    bench.gcc_ok("-g hello.c -o hello");
    let sections = stdout(&bench.ok("readelf", "-WS hello.ring3"));
    assert!(!sections.contains(".debug_info"));
    bench.gcc_ok("-g hello.c -o hello -Wl,--ukl-debug");
    let sections = stdout(&bench.ok("readelf", "-WS hello.ring3"));
    assert!(sections.contains(".debug_info"));
}

#[test]
fn options_for_shared_libraries_are_left_out() {
    let bench = Bench::hello();
    bench.file("map", "{ global: main; local: *; };");
    bench.file("list", "{ main; };");
    bench.gcc_ok(
        "hello.c -Wl,--version-script=map -Wl,--dynamic-list=list -Wl,-rpath,/x -Wl,-soname,y \
         -Wl,--export-dynamic -Wl,-z,now -Wl,-z,defs -Wl,-z,origin -Wl,--hash-style=both \
         -Wl,--as-needed -Wl,--no-undefined -Wl,--enable-new-dtags -Wl,-Bsymbolic -o hello",
    );
    bench.same("hello");
}

#[test]
fn side_outputs_are_the_host_links() {
    let bench = Bench::hello();
    bench.gcc_ok("hello.c -Wl,-Map=map -Wl,--dependency-file=deps -o hello");
    let map = std::fs::read_to_string(bench.path("map")).unwrap();
    assert!(map.contains("Scrt1.o") && !map.contains("_ukl_"));
}

#[test]
fn a_script_that_inserts_a_section() {
    let bench = Bench::new();
    bench.file(
        "x.c",
        "__attribute__((section(\".mine\"), used)) static int here = 42;\n\
         extern int mine_start[], mine_end[];\n\
         int main(void) { return mine_end - mine_start == 1 ? mine_start[0] : 1; }",
    );
    bench.file(
        "x.ld",
        "SECTIONS { .mine : { mine_start = .; KEEP(*(.mine)) mine_end = .; } } INSERT AFTER .data;",
    );
    bench.gcc_ok("x.c -Wl,-T,x.ld -o x");
    bench.same("x");
}

#[test]
fn a_script_among_the_inputs() {
    let bench = Bench::new();
    bench.file(
        "x.c",
        "int one(void) { return 42; }\nint two(void);\nint main(void) { return two(); }",
    );
    bench.file("x.ld", "two = one;\n");
    bench.gcc_ok("x.c x.ld -o x");
    bench.same("x");
}

#[test]
fn abbreviated_options() {
    let bench = Bench::hello();
    bench.gcc_ok("hello.c -Wl,--gc-sect,--no-print-gc -o hello");
    bench.same("hello");
}

#[test]
fn the_place_of_the_program_is_the_images_own() {
    let bench = Bench::hello();
    bench.gcc_ok("-no-pie hello.c -Wl,-Ttext-segment=0x40000000 -o hello");
    bench.same("hello");
    let headers = stdout(&bench.ok("readelf", "-lW hello.ring3"));
    assert!(headers.contains(" 0x0000000000400000 "), "{headers}");
}
