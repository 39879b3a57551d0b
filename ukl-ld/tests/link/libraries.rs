//! Libraries: the static counterpart of what the host link takes.

use std::fs;
use std::path::PathBuf;

use crate::bench::Bench;
use crate::bench::stderr;
use crate::bench::stdout;
use crate::skip::skip;

/// libNAME.so and libNAME.a of NAME.c, which has a function of that name.
fn both_kinds(bench: &Bench, name: &str, text: &str, shared_needs: &str) {
    bench.file(&format!("{name}.c"), text);
    bench.plain_gcc_ok(&format!(
        "-shared -fPIC {name}.c -o lib{name}.so {shared_needs}"
    ));
    bench.plain_gcc_ok(&format!("-c {name}.c -o {name}.o"));
    bench.ok("ar", &format!("rc lib{name}.a {name}.o"));
}

fn answer(bench: &Bench) {
    both_kinds(bench, "answer", "int answer(void) { return 42; }", "");
    bench.file(
        "x.c",
        "int answer(void);\nint main(void) { return answer(); }",
    );
}

#[test]
fn the_archive_in_place_of_the_shared_one() {
    let bench = Bench::new();
    answer(&bench);
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -lanswer -o x");
    bench.same("x");
}

#[test]
fn a_shared_library_by_its_path() {
    let bench = Bench::new();
    answer(&bench);
    bench.gcc_ok("x.c ./libanswer.so -o x");
    bench.same("x");
}

#[test]
fn a_versioned_shared_library_by_its_path() {
    let bench = Bench::new();
    answer(&bench);
    bench.ok("mv", "libanswer.so libanswer.so.1.2");
    bench.gcc_ok("x.c ./libanswer.so.1.2 -o x");
    bench.same("x");
}

#[test]
fn a_system_library_by_its_path() {
    let bench = Bench::new();
    bench.file(
        "x.c",
        "#include <math.h>\nint main(int c, char **v) { return (int)pow(6.49 * c, 2); }",
    );
    bench.gcc_ok("x.c /usr/lib/x86_64-linux-gnu/libm.so -o x");
    bench.same("x");
}

#[test]
fn a_library_by_its_exact_name() {
    let bench = Bench::new();
    answer(&bench);
    bench.gcc_ok("x.c -L. -l:libanswer.a -o x");
    bench.same("x");
}

#[test]
fn no_static_counterpart() {
    let bench = Bench::new();
    bench.file("lonely.c", "int lonely(void) { return 42; }");
    bench.plain_gcc_ok("-shared -fPIC lonely.c -o liblonely.so");
    bench.file(
        "x.c",
        "int lonely(void);\nint main(void) { return lonely(); }",
    );
    let output = bench.gcc("x.c -L. -llonely -o x");
    assert!(!output.status.success());
    let said = stderr(&output);
    let expected = "ukl-ld: error: -llonely: the image needs a static liblonely.a (for `lonely')";
    assert!(said.contains(expected), "{said}");
    assert!(!bench.has("x"));
}

/// An installed library whose development package is not, as there are some on every system, and
/// a function of it.
fn shared_only(bench: &Bench) -> Option<(PathBuf, String)> {
    let dir = fs::read_dir("/usr/lib/x86_64-linux-gnu").ok()?;
    dir.flatten().find_map(|entry| {
        let path = entry.path();
        let (stem, version) = path.file_name()?.to_str()?.split_once(".so.")?;
        let has = |kind: &str| path.with_file_name(format!("{stem}.{kind}")).exists();
        if !stem.starts_with("lib") || version.contains('.') || has("so") || has("a") {
            return None;
        }
        let symbols = bench.ok("nm", &format!("-D --defined-only {}", path.display()));
        let symbol = stdout(&symbols).lines().find_map(|line| {
            let (_, name) = line.split_once(" T ")?;
            let name = name.split('@').next()?;
            name.starts_with(|c: char| c.is_ascii_lowercase())
                .then(|| name.to_owned())
        });
        Some((path.clone(), symbol?))
    })
}

#[test]
fn no_static_counterpart_of_an_installed_library() {
    let bench = Bench::new();
    let Some((library, symbol)) = shared_only(&bench) else {
        skip("all libraries have static counterparts");
        return;
    };
    bench.file(
        "x.c",
        &format!("int {symbol}();\nint main(void) {{ return {symbol}(); }}"),
    );
    let output = bench.gcc(&format!("x.c {} -o x", library.display()));
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("apt-get install lib"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_library_that_nothing_uses_may_lack_its_counterpart() {
    let bench = Bench::hello();
    answer(&bench);
    bench.ok("rm", "libanswer.a");
    bench.gcc_ok("hello.c -Wl,--no-as-needed -L. -Wl,-rpath,. -lanswer -o x");
    assert_eq!(bench.run("x.ring3").status.code(), Some(42));
}

#[test]
fn archives_in_an_order_that_only_shared_ones_allow() {
    let bench = Bench::new();
    answer(&bench);
    both_kinds(
        &bench,
        "ask",
        "int answer(void);\nint ask(void) { return answer(); }",
        "",
    );
    bench.file("x.c", "int ask(void);\nint main(void) { return ask(); }");
    bench.gcc_ok("x.c -Wl,--no-as-needed -L. -Wl,-rpath,. -lanswer -lask -o x");
    bench.same("x");
}

#[test]
fn what_a_shared_library_needs_comes_along() {
    let bench = Bench::new();
    answer(&bench);
    let ask = "int answer(void);\nint ask(void) { return answer(); }";
    both_kinds(&bench, "ask", ask, "-L. -lanswer -Wl,-rpath,$ORIGIN");
    bench.file("x.c", "int ask(void);\nint main(void) { return ask(); }");
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -Wl,-rpath-link,. -lask -o x");
    bench.same("x");
}

#[test]
fn the_first_directory_wins() {
    let bench = Bench::new();
    for (dir, value) in [("one", 42), ("two", 1)] {
        bench.file(
            &format!("{dir}/f.c"),
            &format!("int f(void) {{ return {value}; }}"),
        );
        bench.plain_gcc_ok(&format!("-c {dir}/f.c -o {dir}/f.o"));
        bench.ok("ar", &format!("rc {dir}/libf.a {dir}/f.o"));
    }
    bench.file("x.c", "int f(void);\nint main(void) { return f(); }");
    bench.gcc_ok("x.c -lf -Lone -Ltwo -o x");
    bench.same("x");
}

#[test]
fn whole_archives() {
    let bench = Bench::new();
    bench.file(
        "hook.c",
        "extern int value;\n__attribute__((constructor)) static void set(void) { value = 42; }",
    );
    bench.plain_gcc_ok("-c hook.c");
    bench.ok("ar", "rc libhook.a hook.o");
    bench.file("x.c", "int value;\nint main(void) { return value; }");
    bench.gcc_ok("x.c -L. -Wl,--whole-archive -lhook -Wl,--no-whole-archive -o x");
    bench.same("x");
}

#[test]
fn thin_archives() {
    let bench = Bench::new();
    bench.file("sub/f.c", "int f(void) { return 42; }");
    bench.plain_gcc_ok("-c sub/f.c -o sub/f.o");
    bench.ok("ar", "rcT libf.a sub/f.o");
    bench.file("x.c", "int f(void);\nint main(void) { return f(); }");
    bench.gcc_ok("x.c libf.a -o x");
    bench.same("x");
    // The archive is the same when its member changes.
    bench.file("sub/f.c", "int f(void) { return 41; }");
    bench.plain_gcc_ok("-c sub/f.c -o sub/f.o");
    bench.gcc_ok("x.c libf.a -o x");
    assert_eq!(bench.run("x.ring3").status.code(), Some(41));
}

#[test]
fn an_empty_archive() {
    let bench = Bench::hello();
    bench.ok("ar", "rc libnone.a");
    bench.gcc_ok("hello.c -L. -lnone -lpthread -ldl -lrt -lutil -o hello");
    bench.same("hello");
}

#[test]
fn a_library_that_is_a_script() {
    let bench = Bench::new();
    answer(&bench);
    bench.ok("mkdir", "lib");
    bench.ok("mv", "libanswer.a lib/libreal.a");
    bench.ok("rm", "libanswer.so");
    bench.file(
        "lib/libanswer.a",
        "/* GNU ld script */\nGROUP ( libreal.a AS_NEEDED ( -lc ) )\n",
    );
    bench.gcc_ok("x.c -Llib -lanswer -o x");
    bench.same("x");
}

#[test]
fn sanitizers_that_need_the_dynamic_linker() {
    let bench = Bench::hello();
    for sanitizer in ["address", "thread"] {
        let output = bench.gcc(&format!("-fsanitize={sanitizer} hello.c -o hello"));
        assert!(!output.status.success());
        assert!(
            stderr(&output).contains("this sanitizer"),
            "{}",
            stderr(&output)
        );
        assert!(!bench.has("hello"));
    }
    bench.gcc_ok("-fsanitize=undefined hello.c -o hello");
    bench.same("hello");
}

/// A shared library through ukl-ld, without an archive beside it.
fn own_shared(bench: &Bench, name: &str, text: &str, more: &str) {
    bench.file(&format!("{name}.c"), text);
    bench.gcc_ok(&format!("-fPIC -c {name}.c -o {name}.o"));
    bench.gcc_ok(&format!("-shared {name}.o -o lib{name}.so {more}"));
}

#[test]
fn a_shared_library_of_the_same_build() {
    let bench = Bench::new();
    own_shared(&bench, "answer", "int answer(void) { return 42; }", "");
    bench.file(
        "x.c",
        "int answer(void);\nint main(void) { return answer(); }",
    );
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -lanswer -o x");
    bench.same("x");
    bench.gcc_ok("x.c ./libanswer.so -o x");
    bench.same("x");
    // Wherever it goes, it is the same.
    bench.ok("mkdir", "sub");
    bench.ok("mv", "libanswer.so sub/libother.so.3");
    bench.gcc_ok("x.c sub/libother.so.3 -Wl,-rpath,sub -o x");
    bench.same("x");
}

#[test]
fn a_shared_library_linked_elsewhere() {
    let bench = Bench::new();
    bench.file("sub/f.c", "int f(void) { return 42; }");
    bench.file("x.c", "int f(void);\nint main(void) { return f(); }");
    let mut gcc = bench.compiler("gcc");
    gcc.current_dir(bench.path("sub"))
        .args(["-fPIC", "-shared", "-o", "libf.so"]);
    gcc.args(["f.c", "-save-temps"]);
    crate::bench::silent(&gcc.output().unwrap());
    bench.gcc_ok("x.c -Lsub -Wl,-rpath,sub -lf -o x");
    bench.same("x");
}

#[test]
fn shared_libraries_that_need_each_other() {
    let bench = Bench::new();
    own_shared(&bench, "one", "int one(void) { return 40; }", "");
    let two = "int one(void);\nint two(void) { return one() + 2; }";
    own_shared(&bench, "two", two, "-L. -lone -lm -Wl,-rpath,$ORIGIN");
    bench.file("x.c", "int two(void);\nint main(void) { return two(); }");
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -Wl,-rpath-link,. -ltwo -o x");
    bench.same("x");
}

#[test]
fn archives_within_a_shared_library() {
    let bench = Bench::new();
    bench.file(
        "part.c",
        "int part(void) { return 42; }\nint unused(void) { return nowhere(); }",
    );
    bench.file("extra.c", "int extra(void) { return 1; }");
    bench.gcc_ok("-w -fPIC -c extra.c");
    bench.gcc_ok("-w -fPIC -c -Dnowhere=part part.c");
    bench.ok("ar", "rc libpart.a part.o extra.o");
    own_shared(
        &bench,
        "answer",
        "int part(void);\nint answer(void) { return part(); }",
        "-L. -lpart",
    );
    bench.file(
        "x.c",
        "int answer(void);\nint main(void) { return answer(); }",
    );
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -lanswer -o x");
    bench.same("x");
}

#[test]
fn what_a_shared_library_hides_stays_hidden() {
    let bench = Bench::new();
    bench.file("map", "{ global: answer; local: *; };");
    own_shared(
        &bench,
        "answer",
        "int helper(void) { return 40; }\nint answer(void) { return helper() + 2; }",
        "-Wl,--version-script=map",
    );
    bench.file(
        "x.c",
        "int answer(void);\nint helper(void) { return 0; }\n\
         int main(void) { return answer() + helper(); }",
    );
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -lanswer -o x");
    bench.same("x");
}

#[test]
fn constructors_of_a_shared_library_run_first() {
    let bench = Bench::new();
    own_shared(
        &bench,
        "state",
        "int state;\n__attribute__((constructor)) static void set(void) { state = 21; }",
        "",
    );
    bench.file(
        "x.c",
        "extern int state;\n\
         __attribute__((constructor)) static void twice(void) { state *= 2; }\n\
         int main(void) { return state; }",
    );
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -lstate -o x");
    bench.same("x");
}

#[test]
fn cxx_classes_across_a_shared_library() {
    let bench = Bench::new();
    bench.file(
        "shape.h",
        "#include <stdexcept>\n#include <string>\n\
         struct Shape { virtual ~Shape() {} virtual int sides() const = 0; };\n\
         inline int &counter() { static int count; return count; }\n\
         struct Bad : std::runtime_error { using std::runtime_error::runtime_error; };\n\
         Shape *make(const std::string &name);\n",
    );
    bench.file(
        "shape.cc",
        "#include \"shape.h\"\n\
         namespace { struct Square : Shape { int sides() const override { return 4; } }; }\n\
         Shape *make(const std::string &name) {\n\
           counter()++;\n\
           if (name != \"square\") throw Bad(name);\n\
           return new Square;\n\
         }\n",
    );
    bench.file(
        "x.cc",
        "#include \"shape.h\"\n\
         int main() {\n\
           int sides = make(\"square\")->sides();\n\
           try { make(\"disc\"); } catch (const Bad &bad) { sides *= 10; }\n\
           return sides + counter();\n\
         }\n",
    );
    bench.gxx_ok("-fPIC -c shape.cc");
    bench.gxx_ok("-shared shape.o -o libshape.so");
    bench.gxx_ok("x.cc -L. -Wl,-rpath,. -lshape -o x");
    bench.same("x");
    bench.gxx_ok("-O2 -fvisibility-inlines-hidden -fPIC -c shape.cc");
    bench.gxx_ok("-shared shape.o -o libshape.so");
    bench.gxx_ok("x.cc -L. -Wl,-rpath,. -lshape -o x");
    assert_eq!(bench.run("x.ring3").status.code(), Some(42));
}

#[test]
fn a_shared_library_whose_parts_are_gone() {
    let bench = Bench::new();
    // Not one that another test makes as well, whose parts would serve.
    let text = "int parts_gone = 42; int answer(void) { return parts_gone; }";
    own_shared(&bench, "answer", text, "");
    bench.ok("rm", "answer.o");
    bench.file(
        "x.c",
        "int answer(void);\nint main(void) { return answer(); }",
    );
    let output = bench.gcc("x.c -L. -lanswer -o x");
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(
        said.contains("answer.o, from which it was linked, no longer exists"),
        "{said}"
    );
}

#[test]
fn a_shared_library_of_ones_own_named_like_an_archive_of_the_system() {
    let bench = Bench::new();
    // The C library's libg.a is empty.
    bench.file("g.c", "int answer(void) { return 42; }\n");
    bench.file(
        "x.c",
        "int answer(void);\nint main(void) { return answer(); }\n",
    );
    bench.plain_gcc_ok("-fPIC -c g.c");
    bench.gcc_ok("-shared g.o -o libg.so");
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -lg -o x");
    bench.same("x");
}

#[test]
fn a_shared_library_of_ones_own_that_was_compiled_and_linked_in_one_step() {
    let bench = Bench::new();
    bench.file(
        "answer.c",
        "static __thread int x = 42;\nint answer(void) { return x; }\n",
    );
    bench.file(
        "x.c",
        "__thread int x;\nint answer(void);\nint main(void) { return x + answer(); }\n",
    );
    bench.gcc_ok("-shared -fPIC answer.c -o libanswer.so");
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -lanswer -o x");
    bench.same("x");
}
