//! Symbols that the program and a library define, references that may remain open, and `--wrap`:
//! the image's program has to resolve them as the dynamic linker does for the host program.

use crate::bench::Bench;
use crate::bench::stderr;

#[test]
fn a_function_of_libc_is_the_programs() {
    let bench = Bench::new();
    // adjtime() needs the member of libc.a that also defines clock_adjtime().
    bench.file(
        "x.c",
        "#define _GNU_SOURCE\n#include <stdio.h>\n#include <time.h>\n#include <sys/time.h>\n\
         #include <sys/timex.h>\n\
         int clock_adjtime(clockid_t id, struct timex *tx) { (void)id; (void)tx; return 40; }\n\
         int main(void) { struct timeval old; int a = adjtime(0, &old); struct timex t = {0};\n\
         printf(\"%d %d\\n\", a, clock_adjtime(0, &t));\n\
         return a + clock_adjtime(0, &t) + 2; }",
    );
    bench.gcc_ok("x.c -o x");
    assert_eq!(bench.same("x"), "0 40\n");
}

/// A program that defines a part of the malloc family and uses libraries that need all of it.
fn allocator(parts: &[&str]) -> String {
    let mut text = String::from(
        "#include <stdlib.h>\n#include <string.h>\n#include <stdio.h>\n#include <malloc.h>\n\
         #include <errno.h>\n\
         static char pool[1 << 22] __attribute__((aligned(4096))); static size_t used; static int calls;\n\
         static void *take(size_t n, size_t align) {\n\
             used = (used + 16 + align - 1) / align * align; char *p = pool + used;\n\
             if (used + n > sizeof pool) abort();\n\
             used += n; ((size_t *)p)[-1] = n; calls++; return p; }\n\
         static int ours(void *p) { return (char *)p >= pool && (char *)p < pool + sizeof pool; }\n",
    );
    for part in parts {
        text.push_str(match *part {
            "malloc" => "void *malloc(size_t n) { return take(n, 16); }\n",
            "calloc" => {
                "void *calloc(size_t n, size_t m) { return memset(take(n * m, 16), 0, n * m); }\n"
            }
            "realloc" => {
                "void *realloc(void *p, size_t n) { void *q = take(n, 16); if (p) { size_t m = \
                 ((size_t *)p)[-1]; memcpy(q, p, m < n ? m : n); } return q; }\n"
            }
            "free" => "void free(void *p) { if (p && !ours(p)) abort(); }\n",
            "posix_memalign" => {
                "int posix_memalign(void **p, size_t a, size_t n) { *p = take(n, a); return 0; }\n"
            }
            "aligned_alloc" => "void *aligned_alloc(size_t a, size_t n) { return take(n, a); }\n",
            "memalign" => "void *memalign(size_t a, size_t n) { return take(n, a); }\n",
            other => panic!("no such function: {other}"),
        });
    }
    // Only pointers of the same allocator are freed, as on the host. `strdup` and `fopen` call malloc
    // within libc. libc's own functions remain where the program has none.
    text.push_str(
        "int main(void) {\n\
         char *copy = strdup(\"copied\"); printf(\"%s %d\\n\", copy, ours(copy)); free(copy);\n\
         FILE *f = fopen(\"/dev/null\", \"r\"); fclose(f);\n\
         void *p = 0; printf(\"%d \", posix_memalign(&p, 64, 100)); printf(\"%d %d\\n\", ours(p), \
         (int)((unsigned long)p % 64));\n\
         p = aligned_alloc(64, 128); printf(\"%d \", ours(p)); p = memalign(64, 128);\n\
         printf(\"%d \", ours(p)); p = calloc(3, 5); printf(\"%d %d \", ours(p), *(char *)p);\n\
         p = realloc(malloc(4), 4000); printf(\"%d %d\\n\", ours(p), calls > 0);\n\
         malloc_usable_size(0); fflush(stdout); return 42; }\n",
    );
    text
}

#[test]
fn parts_of_the_malloc_family_are_the_programs() {
    let four = ["malloc", "calloc", "realloc", "free"];
    let subsets: [&[&str]; 4] = [
        &four,
        &[&four[..], &["posix_memalign"]].concat(),
        &[&four[..], &["aligned_alloc", "memalign"]].concat(),
        &[&four[..], &["posix_memalign", "aligned_alloc", "memalign"]].concat(),
    ];
    let bench = Bench::new();
    for (index, parts) in subsets.iter().enumerate() {
        let name = format!("x{index}");
        bench.file(&format!("{name}.c"), &allocator(parts));
        bench.gcc_ok(&format!("-O1 -fno-builtin -w {name}.c -o {name}"));
        let said = bench.same(&name);
        assert!(said.starts_with("copied 1\n"), "{said}");
    }
}

#[test]
fn an_allocator_from_an_archive_is_the_programs() {
    let bench = Bench::new();
    let text = allocator(&["malloc", "calloc", "realloc", "free"]);
    let (library, main) = text.split_at(text.find("int main").unwrap());
    bench.file(
        "a.c",
        &library
            .replace("static int ours", "int ours")
            .replace("static int calls", "int calls"),
    );
    bench.file(
        "x.c",
        &format!(
            "#include <stdlib.h>\n#include <string.h>\n#include <stdio.h>\n#include <malloc.h>\n\
             int ours(void *); extern int calls;\n{main}"
        ),
    );
    bench.plain_gcc_ok("-O1 -fno-builtin -w -c a.c -o a.o");
    bench.ok("ar", "rc liba.a a.o");
    bench.gcc_ok("-O1 -fno-builtin -w x.c -L. -la -o x");
    assert!(bench.same("x").starts_with("copied 1\n"));
}

#[test]
fn operator_new_is_the_programs() {
    let bench = Bench::new();
    bench.file(
        "x.cc",
        "#include <cstdio>\n#include <cstdlib>\n#include <new>\n#include <string>\n#include <vector>\n\
         static int news, deletes;\n\
         void *operator new(std::size_t n) { news++; return std::malloc(n); }\n\
         void operator delete(void *p) noexcept { deletes++; std::free(p); }\n\
         void operator delete(void *p, std::size_t) noexcept { deletes++; std::free(p); }\n\
         int main() { { std::vector<std::string> v; for (int i = 0; i < 50; i++)\n\
             v.push_back(std::string(100, 'a')); }\n\
             int *array = new int[10]; delete[] array;\n\
             int *quiet = new (std::nothrow) int; delete quiet;\n\
             std::printf(\"%d %d\\n\", news, deletes); return news > 50 ? 42 : 1; }",
    );
    bench.gxx_ok("-O1 x.cc -o x");
    bench.same("x");
}

#[test]
fn variables_of_libc_are_the_programs() {
    let bench = Bench::new();
    // A program with a getopt() of its own. getopt_long() is libc's.
    bench.file(
        "x.c",
        "#include <stdio.h>\n#include <string.h>\n\
         struct option { const char *name; int has_arg; int *flag; int val; };\n\
         int getopt_long(int, char **, const char *, const struct option *, int *);\n\
         int optind = 1, opterr = 1, optopt; char *optarg;\n\
         int getopt(int c, char **v, const char *s) { (void)c; (void)v; (void)s; return 'z'; }\n\
         int main(void) { char *v[] = {\"x\", \"--long=5\", \"rest\", 0}; int which;\n\
             struct option o[] = {{\"long\", 1, 0, 'l'}, {0, 0, 0, 0}};\n\
             int c = getopt_long(3, v, \"\", o, &which);\n\
             printf(\"%c %c %s %d\\n\", c, getopt(0, 0, 0), optarg, optind);\n\
             return optarg && strcmp(optarg, \"5\") == 0 ? 42 : 1; }",
    );
    bench.gcc_ok("x.c -o x");
    assert_eq!(bench.same("x"), "l z 5 2\n");
}

#[test]
fn a_function_of_a_library_that_was_replaced_by_its_objects_is_the_programs() {
    let bench = Bench::new();
    bench.file(
        "lib.c",
        "int which(void) { return 1; }\nint asks(void) { return which(); }",
    );
    bench.file(
        "x.c",
        "int which(void) { return 42; }\nint asks(void);\nint main(void) { return asks(); }",
    );
    bench.gcc_ok("-shared -fPIC lib.c -o libl.so");
    bench.gcc_ok("x.c -L. -Wl,-rpath,. -ll -o x");
    bench.same("x");
}

#[test]
fn what_the_programs_own_objects_define_twice_is_an_error() {
    let bench = Bench::new();
    bench.file(
        "a.c",
        "int f(void) { return 1; }\nint g(void) { return 2; }",
    );
    bench.file(
        "x.c",
        "int f(void) { return 3; }\nint g(void);\nint main(void) { return g() + f(); }",
    );
    bench.plain_gcc_ok("-c a.c");
    bench.ok("ar", "rc liba.a a.o");
    let output = bench.gcc("x.c liba.a -o x");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("multiple definition of `f'"));
}

#[test]
fn a_wrapped_function_is_wrapped_in_the_program_only() {
    let bench = Bench::new();
    // printf() calls malloc() within libc, which would call the wrapper again and again.
    bench.file(
        "x.c",
        "#include <stdio.h>\n#include <stdlib.h>\n\
         void *__real_malloc(size_t); void __real_free(void *);\n\
         void *__wrap_malloc(size_t n) { void *p = __real_malloc(n); printf(\"malloc(%zu)\\n\", n); return p; }\n\
         void __wrap_free(void *p) { printf(\"free\\n\"); __real_free(p); }\n\
         int main(void) { void *p = malloc(10); free(p); return 42; }\n",
    );
    bench.gcc_ok("-O1 -fno-builtin -Wl,--wrap=malloc,--wrap=free x.c -o x");
    assert_eq!(bench.same("x"), "malloc(10)\nfree\n");
}

#[test]
fn an_archive_of_the_host_link_is_wrapped() {
    let bench = Bench::new();
    bench.file("a.c", "int f(void);\nint g(void) { return f(); }");
    bench.file("b.c", "int f(void) { return 40; }");
    bench.file(
        "x.c",
        "int g(void); int __real_f(void);\nint __wrap_f(void) { return __real_f() + 2; }\n\
         int main(void) { return g(); }",
    );
    bench.plain_gcc_ok("-c a.c b.c");
    bench.ok("ar", "rc liba.a a.o b.o");
    bench.gcc_ok("-Wl,--wrap=f x.c liba.a -o x");
    bench.same("x");
}

#[test]
fn a_weak_reference_is_resolved_if_a_library_has_the_symbol() {
    let bench = Bench::new();
    // What gcc's libraries do to find out whether the program has threads.
    bench.file(
        "x.c",
        "#include <stdio.h>\n#include <pthread.h>\n\
         static int w_key(pthread_key_t *, void (*)(void *)) __attribute__((weakref(\"__pthread_key_create\")));\n\
         static int w_destroy(pthread_mutex_t *) __attribute__((weakref(\"pthread_mutex_destroy\")));\n\
         extern int nowhere(void) __attribute__((weak));\n\
         static void *t(void *a) { return a; }\n\
         int main(void) { pthread_t p; pthread_key_t k; pthread_create(&p, 0, t, 0); pthread_join(p, 0);\n\
             pthread_key_create(&k, 0); pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;\n\
             if (w_key) printf(\"destroy %d\\n\", w_destroy(&m)); else puts(\"no threads\");\n\
             return nowhere ? nowhere() : 42; }\n",
    );
    bench.gcc_ok("-O1 x.c -pthread -o x");
    assert_eq!(bench.same("x"), "destroy 0\n");
}
