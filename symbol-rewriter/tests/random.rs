//! Random functions compute the same after rewriting.
//!
//! Each function changes registers, flags, the red zone and the stack at random, makes system calls of
//! every shape in between, and returns a digest of all of it. A program with many such functions has to
//! print the same unchanged and rewritten, with thunks that destroy everything a thunk may.
//!
//! RANDOM_SEEDS=n tries n programs rather than a few; RANDOM_KEEP=file keeps the last one's source.

mod common;

use std::process::Command;

use common::*;

/// A small generator of random numbers, so that a seed reproduces a failure.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.next(choices.len() as u64) as usize]
    }
}

/// Registers that a function may use freely. A system call preserves all of them.
const FREE: [&str; 8] = ["rdx", "rsi", "rdi", "r8", "r9", "r10", "rbx", "r12"];
const CONDITIONS: [&str; 16] = [
    "o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g",
];

/// Functions of few instructions, called from the others. They come first, so that the assembler
/// makes no relocations of the calls.
const HELPERS: [&str; 4] = [
    "mov $39,%eax\nsyscall\nret",
    "mov $110,%eax\nsyscall\njmp helper0",
    "mov $102,%eax\nsyscall\ncall helper1\nadd $5,%rdi\nret",
    "xor %esi,%esi\nmov $104,%eax\nsyscall\ntest %rax,%rax\njs 1f\nmov %rdi,%rsi\n1: ret",
];

/// The lower half of a register.
fn low_half(register: &str) -> String {
    match register.strip_prefix("r") {
        Some(number) if number.parse::<u32>().is_ok() => format!("{register}d"),
        Some(name) => format!("e{name}"),
        None => register.to_string(),
    }
}

struct Function<'r> {
    random: &'r mut Random,
    text: String,
    labels: usize,
    open: Vec<String>,
    id: usize,
    /// How far the stack pointer is below the frame.
    depth: u64,
    leaf: bool,
    /// Whether rbp is the frame pointer.
    framed: bool,
}

impl Function<'_> {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// Tells the unwinder that the stack pointer has moved, if there is no frame pointer.
    fn lowered(&mut self, by: i64) {
        if !self.framed {
            self.line(format!(".cfi_adjust_cfa_offset {by}"));
        }
    }

    fn register(&mut self) -> &'static str {
        self.random.of(&FREE)
    }

    fn label(&mut self) -> String {
        self.labels += 1;
        format!(".L{}_{}", self.id, self.labels)
    }

    /// System calls that take no arguments, so that the registers may hold anything.
    fn site(&mut self) {
        let number = self
            .random
            .of(&["39", "102", "104", "107", "108", "110", "186"]);
        match self.random.next(12) {
            0 | 1 => self.line(format!("mov ${number},%eax\nsyscall")),
            2 => {
                let (a, b) = (self.register(), self.register());
                self.line(format!("mov ${number},%eax\nmov %{a},%{b}\nsyscall"));
            }
            3 => {
                let a = self.register();
                self.line(format!(
                    "mov ${number},%eax\nmov words+16(%rip),%{a}\nlea 5(%{a}),%{a}\nsyscall"
                ));
            }
            4 => {
                let a = self.register();
                self.line(format!("mov ${number},%{a}\nmov %{a},%rax\nsyscall"));
            }
            5 => self.line(format!("mov ${number},%rax\nsyscall")),
            6 => {
                // read(-1, ...): the number is a short zero, the result an error.
                self.line("mov $-1,%rdi\nxor %eax,%eax\nsyscall");
            }
            7 => {
                let a = self.random.of(&["rsi", "rbx", "r9", "r12"]);
                let skip = self.label();
                let condition = self.random.of(&CONDITIONS);
                self.line(format!(
                    "mov ${number},%{a}\nj{condition} {skip}\nneg %rdx\n{skip}: mov %{a},%rax\nsyscall"
                ));
            }
            8 if !self.leaf => {
                self.line(format!("push ${number}"));
                self.lowered(8);
                self.line("pop %rax");
                self.lowered(-8);
                self.line("syscall");
            }
            9 if !self.leaf => {
                // A caller may rely on registers that the function happens not to change.
                let helper = self.random.next(HELPERS.len() as u64);
                self.line(format!("call helper{helper}\nxor %eax,%eax"));
            }
            10 => {
                let a = self.register();
                let half = low_half(a);
                self.line(format!("mov ${number},%eax\nsyscall\nmov %{half},%{half}"));
            }
            _ => {
                let skip = self.label();
                let other = self.random.of(&["39", "110"]);
                let condition = self.random.of(&CONDITIONS);
                self.line(format!(
                    "mov ${other},%eax\nj{condition} {skip}\nmov ${number},%eax\n{skip}: syscall"
                ));
            }
        }
        // Process IDs differ between runs. Only whether the result is plausible goes into the digest.
        let a = self.register();
        match self.random.next(4) {
            0 => self.line(format!(
                "cmp $-4095,%rax\nsetae %al\nmovzbl %al,%eax\nadd %rax,%{a}"
            )),
            1 => self.line(format!("mov %rax,%r11\nshr $63,%r11\nxor %r11,%{a}")),
            2 => self.line(format!(
                "test %rax,%rax\nsets %al\nmovzbl %al,%eax\nadd %rax,%{a}"
            )),
            _ => {}
        }
    }

    fn step(&mut self) {
        let (a, b) = (self.register(), self.register());
        let red = 8 * (1 + self.random.next(15));
        match self.random.next(21) {
            0..5 => self.site(),
            5 => self.line(format!("add %{a},%{b}")),
            6 => self.line(format!("xor %{a},%{b}")),
            7 => self.line(format!("imul $37,%{a},%{b}")),
            8 => self.line(format!("cmp %{a},%{b}")),
            9 => {
                let condition = self.random.of(&CONDITIONS);
                self.line(format!(
                    "set{condition} %r11b\nmovzbl %r11b,%r11d\nadd %r11,%{a}"
                ));
            }
            10 => {
                let label = self.label();
                let condition = self.random.of(&CONDITIONS);
                self.line(format!("j{condition} {label}"));
                self.open.push(label);
            }
            11 | 12 => {
                if let Some(label) = self.open.pop() {
                    self.line(format!("{label}:"));
                }
            }
            13 if self.leaf => self.line(format!("mov %{a},-{red}(%rsp)")),
            14 if self.leaf => self.line(format!("add -{red}(%rsp),%{a}")),
            13 | 14 => self.line(format!("mov words(%rip),%{a}\nadd %{b},words+8(%rip)")),
            15 => self.line(format!("lea {red}(%{a},%{b}),%{a}")),
            16 => self.line(format!("rol $7,%{a}")),
            17 if !self.leaf && self.open.is_empty() => {
                let room = 16 * (1 + self.random.next(4));
                self.line(format!("sub ${room},%rsp"));
                self.lowered(room as i64);
                self.line(format!("xor %eax,%eax\nmov %{a},8(%rsp)"));
                self.depth += room;
            }
            18 if !self.leaf => {
                self.line(format!("push %{a}"));
                self.lowered(8);
                self.line(format!("pop %{b}"));
                self.lowered(-8);
            }
            19 => {
                let label = self.label();
                self.line(format!(
                    "mov $3,%ecx\n{label}: add %{a},%{b}\ndec %ecx\njnz {label}"
                ));
            }
            20 => {
                // A `hlt` that a branch skips, as in the checks of a heap, and an unreachable one.
                let (over, on) = (self.label(), self.label());
                self.line(format!(
                    "cmp %{a},%{a}\nje {over}\nhlt\n{over}: jmp {on}\nhlt\njmp {over}\n{on}:"
                ));
            }
            _ => self.line(format!("neg %{a}")),
        }
    }

    fn build(mut self) -> String {
        let id = self.id;
        self.line(format!(
            ".globl f{id}\n.type f{id},@function\nf{id}:\n.cfi_startproc"
        ));
        if self.framed {
            self.line("push %rbp\n.cfi_adjust_cfa_offset 8\n.cfi_offset %rbp,-16\nmov %rsp,%rbp\n.cfi_def_cfa_register %rbp");
        }
        self.line("mov %rbx,save(%rip)\nmov %r12,save+8(%rip)");
        // The flags are the caller's.
        self.line("xor %eax,%eax");
        // A red zone with known contents.
        if self.leaf {
            for i in 1..16 {
                self.line(format!("movq ${},-{}(%rsp)", i * 3, i * 8));
            }
        }
        for register in FREE {
            let value = self.random.next(1 << 20);
            self.line(format!("mov ${value},%{register}"));
        }
        for _ in 0..self.random.next(30) + 5 {
            self.step();
        }
        while let Some(label) = self.open.pop() {
            self.line(format!("{label}:"));
        }
        self.line("mov %rdx,%rax");
        for register in &FREE[1..] {
            self.line(format!("imul $31,%rax,%rax\nadd %{register},%rax"));
        }
        if self.leaf {
            for i in 1..16 {
                self.line(format!("imul $31,%rax,%rax\nadd -{}(%rsp),%rax", i * 8));
            }
        }
        self.line("mov save(%rip),%rbx\nmov save+8(%rip),%r12");
        // The second half of the result is computed before a site.
        match self.random.next(3) {
            0 => self.line("mov %rax,%rdx\nmov $110,%eax\nsyscall\nmov $7,%eax"),
            1 => self.line("mov %rax,%rdx\nxor %eax,%eax\nmov $-1,%rdi\nsyscall"),
            _ => self.line("mov $1,%edx"),
        }
        if self.framed {
            self.line("leave\n.cfi_def_cfa %rsp,8");
        } else if self.depth > 0 {
            let depth = self.depth;
            self.line(format!(
                "add ${depth},%rsp\n.cfi_adjust_cfa_offset -{depth}"
            ));
        }
        self.line(format!("ret\n.cfi_endproc\n.size f{id},.-f{id}"));
        self.text
    }
}

fn program(seed: u64, count: usize) -> String {
    let mut random = Random(seed);
    let mut source = String::from(".section .note.GNU-stack,\"\",@progbits\n.text\n");
    for (id, body) in HELPERS.iter().enumerate() {
        source.push_str(&format!(
            ".type helper{id},@function\nhelper{id}:\n.cfi_startproc\n{body}\n.cfi_endproc\n\
             .size helper{id},.-helper{id}\n"
        ));
    }
    for id in 0..count {
        let leaf = random.next(2) == 0;
        let framed = random.next(2) == 0;
        let function = Function {
            random: &mut random,
            text: String::new(),
            labels: 0,
            open: Vec::new(),
            id,
            depth: 0,
            leaf,
            framed,
        };
        source.push_str(&function.build());
    }
    source.push_str(".data\n.globl words\nwords: .quad 11,22,33,44\n.local save\n.comm save,16\n");
    source.push_str(".section .rodata\n.globl functions\nfunctions:\n");
    for id in 0..count {
        source.push_str(&format!(".quad f{id}\n"));
    }
    source.push_str(".quad 0\n");
    source
}

const MAIN: &str = "
    #include <stdio.h>
    extern struct pair { long one, other; } (*const functions[])(void);
    int main(void)
    {
        for (int i = 0; functions[i]; i++) {
            struct pair result = functions[i]();
            printf(\"%d: %lx %lx\\n\", i, result.one, result.other);
        }
        return 0;
    }";

fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("RANDOM_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    1..count + 1
}

#[test]
fn random_functions_compute_the_same() {
    for seed in seeds() {
        let dir = scratch();
        let object = compile(dir.path(), "random", "s", &[], &program(seed, 200));
        let main = compile(dir.path(), "main", "c", &["-O1"], MAIN);
        let ordinary = dir.path().join("ordinary");
        run(Command::new("gcc")
            .arg("-static")
            .arg(&object)
            .arg(&main)
            .arg("-o")
            .arg(&ordinary));
        let expected = stdout(&mut Command::new(&ordinary));
        if let Ok(keep) = std::env::var("RANDOM_KEEP") {
            std::fs::copy(dir.path().join("random.s"), keep).unwrap();
        }
        assert_eq!(
            expected,
            stdout(&mut Command::new(&ordinary)),
            "the same each time"
        );
        for (form, kind) in BUILDS {
            let objects: Vec<_> = [&object, &main]
                .into_iter()
                .map(|path| {
                    let output = path.with_extension(format!("{form:?}.o"));
                    let report = rewrite_file(form, path, &output);
                    (output, report)
                })
                .collect();
            let report = &objects[0].1;
            assert!(report.in_place > 50 && report.trampoline > 50, "{report}");
            assert!(report.privileged.trampoline > 20, "{report}");
            let linked = link(dir.path(), "random", (form, kind), &objects);
            let found = Command::new(linked).output().unwrap();
            let found = String::from_utf8_lossy(&found.stdout).into_owned();
            for (one, other) in expected.lines().zip(found.lines()) {
                assert_eq!(one, other, "seed {seed}, {form:?} {kind:?}");
            }
            assert_eq!(
                expected.lines().count(),
                found.lines().count(),
                "seed {seed}, {form:?} {kind:?}"
            );
        }
    }
}

/// Runs the functions step by step, and at each instruction unwinds to `main`.
const STEPPING_MAIN: &str = "
    #define _GNU_SOURCE
    #include <signal.h>
    #include <stdio.h>
    #include <ucontext.h>
    #include <unwind.h>
    extern long (*const functions[])(void);
    static long steps, lost;
    static void *main_frame;
    int main(void);
    struct walk { int found; };
    static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *arg)
    {
        if (_Unwind_FindEnclosingFunction((void *)(_Unwind_GetIP(context) - 1)) == (void *)main
            && (void *)_Unwind_GetCFA(context) == main_frame)
            ((struct walk *)arg)->found = 1;
        return _URC_NO_REASON;
    }
    static void trap(int n, siginfo_t *info, void *state)
    {
        struct walk walk = { 0 };
        void *ip = (void *)((ucontext_t *)state)->uc_mcontext.gregs[REG_RIP];
        (void)n, (void)info;
        if (_Unwind_FindEnclosingFunction(ip) == (void *)main)
            return;
        _Unwind_Backtrace(frame, &walk);
        steps++;
        if (!walk.found && lost++ < 20)
            printf(\"lost at %p\\n\", ip);
    }
    static _Unwind_Reason_Code find(struct _Unwind_Context *context, void *arg)
    {
        (void)arg;
        if (_Unwind_FindEnclosingFunction((void *)(_Unwind_GetIP(context) - 1)) == (void *)main)
            main_frame = (void *)_Unwind_GetCFA(context);
        return _URC_NO_REASON;
    }
    int main(void)
    {
        struct sigaction action = { .sa_sigaction = trap, .sa_flags = SA_SIGINFO };
        sigaction(SIGTRAP, &action, NULL);
        _Unwind_Backtrace(find, NULL);
        for (int i = 0; functions[i]; i++) {
            asm volatile(\"pushfq; orl $0x100, (%%rsp); popfq\" ::: \"memory\", \"cc\");
            functions[i]();
            asm volatile(\"pushfq; andl $~0x100, (%%rsp); popfq\" ::: \"memory\", \"cc\");
        }
        printf(\"steps %d lost %ld\\n\", steps > 1000, lost);
        return 0;
    }";

#[test]
fn every_instruction_of_moved_code_can_be_unwound() {
    let dir = scratch();
    let object = compile(dir.path(), "random", "s", &[], &program(7, 100));
    // No red zone in main, whose flags are pushed.
    let main = compile(
        dir.path(),
        "main",
        "c",
        &["-O1", "-mno-red-zone"],
        STEPPING_MAIN,
    );
    let ordinary = dir.path().join("ordinary");
    run(Command::new("gcc")
        .arg("-static")
        .arg(&object)
        .arg(&main)
        .arg("-o")
        .arg(&ordinary));
    assert_eq!(stdout(&mut Command::new(&ordinary)), "steps 1 lost 0\n");
    for form in [Form::Skip, Form::Call] {
        let objects: Vec<_> = [&object, &main]
            .into_iter()
            .map(|path| {
                let output = path.with_extension(format!("{form:?}.o"));
                let report = rewrite_file(form, path, &output);
                (output, report)
            })
            .collect();
        // The other thunks overwrite the flags, and with them the trap flag.
        let linked = link(dir.path(), "random", (form, Thunks::Ring3), &objects);
        assert_eq!(
            stdout(&mut Command::new(&linked)),
            "steps 1 lost 0\n",
            "{form:?}"
        );
    }
}
