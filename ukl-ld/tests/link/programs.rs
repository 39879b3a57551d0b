//! Programs of several kinds: the image's program does what the host output does.

use crate::bench::Bench;

#[test]
fn hello() {
    let bench = Bench::hello();
    bench.gcc_ok("hello.c -o hello");
    assert_eq!(bench.same("hello"), "hello\n");
}

#[test]
fn every_way_to_place_a_program() {
    for way in [
        "-no-pie",
        "-pie",
        "-static",
        "-static-pie",
        "-O2 -fPIC",
        "-rdynamic",
    ] {
        let bench = Bench::hello();
        bench.gcc_ok(&format!("{way} hello.c -o hello"));
        assert_eq!(bench.same("hello"), "hello\n", "{way}");
    }
}

#[test]
fn floating_point_output() {
    let bench = Bench::new();
    bench.file(
        "math.c",
        "#include <math.h>\n#include <stdio.h>\n\
         int main(int c, char **v) {\n\
           printf(\"%.9f %g\\n\", pow(c + 1.5, 2.2), sin(c));\n\
           return 42;\n\
         }",
    );
    bench.gcc_ok("math.c -lm -o math");
    bench.same("math");
}

#[test]
fn threads_and_thread_local_storage() {
    let bench = Bench::new();
    bench.file(
        "threads.c",
        r#"
        #include <pthread.h>
        #include <stdio.h>
        static __thread int mine = 5;
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        static int sum;
        static void *work(void *arg) {
            mine += *(int *)arg;
            pthread_mutex_lock(&lock);
            sum += mine;
            pthread_mutex_unlock(&lock);
            return 0;
        }
        int main(void) {
            pthread_t threads[8];
            int args[8];
            for (int i = 0; i < 8; i++) {
                args[i] = i;
                pthread_create(&threads[i], 0, work, &args[i]);
            }
            for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
            printf("%d %d\n", sum, mine);
            return 42;
        }"#,
    );
    bench.gcc_ok("-pthread threads.c -o threads");
    assert_eq!(bench.same("threads"), "68 5\n");
}

#[test]
fn cxx_exceptions_and_threads() {
    let bench = Bench::new();
    bench.file(
        "throws.cc",
        r#"
        #include <iostream>
        #include <stdexcept>
        #include <string>
        #include <thread>
        #include <vector>
        struct Noisy { ~Noisy() { std::cout << "unwound "; } };
        static int deep(int n) {
            Noisy noisy;
            if (n == 0) throw std::runtime_error("boom");
            return deep(n - 1) + 1;
        }
        int main() {
            std::vector<std::string> said(3);
            std::vector<std::thread> threads;
            for (auto &text : said)
                threads.emplace_back([&text] {
                    try {
                        throw std::out_of_range("range");
                    } catch (std::exception &e) {
                        text = e.what();
                    }
                });
            for (auto &thread : threads) thread.join();
            for (auto &text : said) std::cout << text << ' ';
            try { deep(3); } catch (std::runtime_error &e) { std::cout << e.what() << std::endl; }
            return 42;
        }"#,
    );
    bench.gxx_ok("-O2 throws.cc -o throws");
    assert_eq!(
        bench.same("throws"),
        "range range range unwound unwound unwound unwound boom\n"
    );
}

#[test]
fn constructors_weak_symbols_and_ifuncs() {
    let bench = Bench::new();
    bench.file(
        "start.c",
        r#"
        #include <stdio.h>
        #include <stdlib.h>
        static int order;
        __attribute__((constructor(101))) static void first(void) { order = order * 10 + 1; }
        __attribute__((constructor(102))) static void second(void) { order = order * 10 + 2; }
        __attribute__((destructor)) static void last(void) { puts("last"); }
        static void at_exit(void) { puts("exit"); }
        extern int absent(void) __attribute__((weak));
        static int real(void) { return 7; }
        static void *resolve(void) { return real; }
        int chosen(void) __attribute__((ifunc("resolve")));
        int main(void) {
            atexit(at_exit);
            printf("%d %d %d\n", order, absent ? absent() : 3, chosen());
            return 42;
        }"#,
    );
    bench.gcc_ok("start.c -o start");
    assert_eq!(bench.same("start"), "12 3 7\nexit\nlast\n");
}

#[test]
fn sections_found_by_start_and_stop() {
    let bench = Bench::new();
    bench.file(
        "set.c",
        r#"
        #include <stdio.h>
        static int a __attribute__((section("numbers"), used)) = 40;
        static int b __attribute__((section("numbers"), used)) = 2;
        extern int __start_numbers[], __stop_numbers[];
        int main(void) {
            int sum = 0;
            for (int *p = __start_numbers; p < __stop_numbers; p++) sum += *p;
            return sum;
        }"#,
    );
    bench.gcc_ok("set.c -o set");
    bench.same("set");
}

#[test]
fn names_of_the_kernels_do_not_clash() {
    let bench = Bench::new();
    bench.file(
        "clash.c",
        "int printk(int x) { return x + 2; }\nint entry_SYSCALL_64(void) { return 40; }\n\
         int main(void) { return printk(entry_SYSCALL_64()); }",
    );
    bench.gcc_ok("clash.c -o clash");
    bench.same("clash");
}

#[test]
fn position_dependent_assembly() {
    let bench = Bench::new();
    bench.file(
        "start.s",
        ".globl _start\n_start: mov $60,%eax\n mov $answer,%edi\n mov (%rdi),%edi\n syscall\n\
         .data\nanswer: .long 42\n",
    );
    bench.gcc_ok("-nostdlib -no-pie start.s -o start");
    bench.same("start");
}

#[test]
fn linked_at_once_by_many() {
    let bench = Bench::hello();
    // A cache of its own, so that all of them find it empty.
    let cache = bench.path("cache");
    let links: Vec<_> = (0..4)
        .map(|index| {
            let mut gcc = bench.compiler("gcc");
            gcc.env("XDG_CACHE_HOME", &cache);
            gcc.args(["hello.c", "-o", &format!("hello{index}")])
                .spawn()
                .unwrap()
        })
        .collect();
    for mut link in links {
        assert!(link.wait().unwrap().success());
    }
    for index in 0..4 {
        bench.same(&format!("hello{index}"));
    }
}
