//! Which sites take the call form, and which registers their thunks preserve.

mod common;

use common::elf::*;
use common::*;
use symbol_rewriter::{Reason, Report, SkipReason, Thunk};

const RDI: u8 = 1;
const RSI: u8 = 2;
const RDX: u8 = 4;
const R10: u8 = 8;
const R8: u8 = 16;
const R9: u8 = 32;
const ALL: u8 = 0x3f;

/// Rewrites a function of this name with this body.
fn named_function(name: &str, body: &str) -> (Report, Vec<u8>) {
    let source = format!(
        ".text\n.globl {name}\n.type {name},@function\n{name}:\n.cfi_startproc\n{body}\n\
         .cfi_endproc\n.size {name},.-{name}\n"
    );
    let done = rewrite_to_calls(&assemble(&source));
    links(&done.data);
    let report = done.report;
    let forms = report.preserved.values().sum::<usize>() + report.skipped.values().sum::<usize>();
    assert_eq!(forms, report.in_place + report.trampoline, "{report}");
    (report, done.data)
}

fn function(body: &str) -> (Report, Vec<u8>) {
    named_function("f", body)
}

/// The argument registers that are live after the only site of an object.
fn only_mask(report: &Report) -> u8 {
    let masks: Vec<_> = report.preserved.iter().collect();
    assert!(matches!(masks[..], [(_, 1)]), "{report}");
    *masks[0].0
}

/// The argument registers that are live after a site, given the code that follows it.
fn live(behind: &str) -> u8 {
    only_mask(&function(&format!("mov $39,%eax\nsyscall\n{behind}")).0)
}

/// The same, apart from what a function may return.
fn live_in_wrapper(behind: &str) -> u8 {
    let body = format!("mov $39,%eax\nsyscall\n{behind}");
    only_mask(&named_function("__wrapper", &body).0)
}

fn skipped(body: &str) -> SkipReason {
    let (report, _) = function(body);
    assert_eq!(report.preserved.values().sum::<usize>(), 0, "{report}");
    let reasons: Vec<_> = report.skipped.into_iter().collect();
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].1, 1);
    reasons[0].0
}

#[test]
fn the_call_takes_the_place_of_number_and_syscall() {
    let (report, data) = named_function("getppid", "mov $110,%eax\nsyscall\nnop\nret");
    assert_eq!(
        named(&data, ".text"),
        [0x2e, 0x2e, 0xe8, 0, 0, 0, 0, 0x90, 0xc3]
    );
    let thunks: Vec<String> = report.thunks.iter().map(Thunk::to_string).collect();
    assert_eq!(thunks, ["__ukl_call_110_00"]);
    let code = disassembly(&data);
    assert!(
        code.contains("R_X86_64_PLT32\t__ukl_call_110_00-0x4"),
        "{code}"
    );
}

#[test]
fn a_return_after_the_site_becomes_the_thunk_s() {
    let (report, data) = named_function("getppid", "mov $110,%eax\nsyscall\nret");
    assert_eq!(named(&data, ".text"), [0x2e, 0x2e, 0xe9, 0, 0, 0, 0, 0xc3]);
    assert_eq!(only_mask(&report), 0);
    // Not if the return pops arguments, nor if the `syscall` stays.
    let (_, data) = named_function("getppid", "mov $110,%eax\nsyscall\nret $8");
    assert_eq!(named(&data, ".text")[2], 0xe8);
    let (_, data) = named_function("fork", "mov $57,%eax\nsyscall\nret");
    assert_eq!(named(&data, ".text")[0], 0xe8);
}

#[test]
fn three_bytes_that_load_the_number_are_enough() {
    let (_, data) = named_function("getppid", "push $110\npop %rax\nsyscall\nnop\nret");
    assert_eq!(named(&data, ".text"), [0xe8, 0, 0, 0, 0, 0x90, 0xc3]);
    let (report, data) = named_function(
        "getppid",
        "mov $110,%r8d\n1: mov %r8d,%eax\nsyscall\ntest %rax,%rax\njs 1b\nret",
    );
    assert_eq!(only_mask(&report), R8);
    assert_eq!(named(&data, ".text")[6..11], [0xe8, 0, 0, 0, 0]);
}

#[test]
fn a_number_that_differs_between_paths_is_unknown() {
    let body = "mov $110,%r8d\ntest %edi,%edi\nje 1f\nmov $39,%r8d\n1: mov %r8d,%eax\nsyscall\n\
                test %rax,%rax\nret";
    assert_eq!(skipped(body), SkipReason::UnknownNumber);
    // The value that a call leaves in a register is unknown.
    let body = "mov $110,%r8d\ncall g\nmov %r8d,%eax\nsyscall\ntest %rax,%rax\nret";
    assert_eq!(skipped(body), SkipReason::UnknownNumber);
    let body = "mov $110,%r12d\ncall g\nmov %r12d,%eax\nsyscall\ntest %rax,%rax\nret";
    assert_eq!(only_mask(&function(body).0), RDX);
}

#[test]
fn a_call_fills_a_long_load_with_prefixes() {
    let (_, data) = named_function("getppid", "mov $110,%rax\nsyscall\nnop\nret");
    assert_eq!(
        named(&data, ".text"),
        [0x2e, 0x2e, 0x2e, 0x2e, 0xe8, 0, 0, 0, 0, 0x90, 0xc3]
    );
}

#[test]
fn a_moved_site_has_no_syscall_either() {
    let (report, data) = named_function("read", "xor %eax,%eax\nsyscall\ncmp $-4096,%rax\nret");
    assert_eq!((report.trampoline, only_mask(&report)), (1, 0));
    let code = disassembly(&data);
    assert!(!code.contains("\tsyscall"), "{code}");
    assert!(!code.contains("\txor "), "{code}");
    let (report, data) =
        function("mov %rdi,-8(%rsp)\nmov $39,%eax\nsyscall\nadd -8(%rsp),%rax\nret");
    assert_eq!((report.trampoline, only_mask(&report)), (1, RDX));
    let code = disassembly(&data);
    assert!(!code.contains("\tsyscall"), "{code}");
    assert!(code.contains("lea    -0x80(%rsp),%rsp"), "{code}");
}

#[test]
fn a_xor_whose_flags_are_read_stays() {
    let (_, data) = function("xor %eax,%eax\nsete %sil\nsyscall\ncmp $-4096,%rax\nret");
    let code = disassembly(&data);
    assert!(code.contains("\txor "), "{code}");
}

#[test]
fn wrappers_of_the_c_library_preserve_nothing() {
    for name in ["getppid", "__getppid", "__libc_read"] {
        assert_eq!(
            only_mask(&named_function(name, "mov $39,%eax\nsyscall\nret").0),
            0
        );
    }
}

#[test]
fn other_functions_may_return_a_pair() {
    assert_eq!(live("ret"), RDX);
    assert_eq!(live("xor %edx,%edx\nret"), 0);
    assert_eq!(live("mov $1,%dl\nret"), RDX);
}

#[test]
fn a_register_that_is_read_is_preserved() {
    for (register, bit) in ARGUMENTS.into_iter().zip([RDI, RSI, RDX, R10, R8, R9]) {
        assert_eq!(live_in_wrapper(&format!("add %{register},%rax\nret")), bit);
        assert_eq!(
            live_in_wrapper(&format!("mov (%{register}),%rax\nret")),
            bit
        );
        assert_eq!(
            live_in_wrapper(&format!("push %{register}\npop %rax\nret")),
            bit
        );
        assert_eq!(live_in_wrapper(&format!("mov $1,%{register}\nret")), 0);
        assert_eq!(
            live_in_wrapper(&format!(
                "xor %{register},%{register}\nadd %{register},%rax\nret"
            )),
            0
        );
        assert_eq!(
            live_in_wrapper(&format!(
                "test %eax,%eax\ncmovs %rax,%{register}\nadd %{register},%rax\nret"
            )),
            bit
        );
    }
}

#[test]
fn only_a_write_of_the_whole_register_kills_it() {
    assert_eq!(live_in_wrapper("mov $1,%edi\nadd %rdi,%rax\nret"), 0);
    assert_eq!(live_in_wrapper("mov $1,%di\nadd %rdi,%rax\nret"), RDI);
    assert_eq!(live_in_wrapper("mov $1,%dil\nadd %rdi,%rax\nret"), RDI);
    assert_eq!(live_in_wrapper("mov $1,%dh\nadd %edx,%eax\nret"), RDX);
}

#[test]
fn branches_are_followed() {
    assert_eq!(
        live_in_wrapper("test %eax,%eax\njs 1f\nret\n1: mov %rsi,%rax\nret"),
        RSI
    );
    assert_eq!(
        live_in_wrapper("1: dec %rax\nmov %r9,%rcx\nmov $2,%r9d\njnz 1b\nret"),
        R9
    );
    assert_eq!(live_in_wrapper("jmp 1f\nadd %rdi,%rax\n1: ret"), 0);
}

#[test]
fn implicit_operands_count() {
    let all = [
        ("div %rcx", RDX),
        ("mul %rcx\nadd %rdx,%rax", 0),
        ("cqo\nadd %rdx,%rax", 0),
        ("lock cmpxchg16b (%rsp)", RDX),
        ("maskmovdqu %xmm0,%xmm1", RDI),
        ("xsave (%rsp)", RDX),
        ("wrpkru", RDX),
        ("rdtsc\nadd %rdx,%rax", 0),
        ("cpuid\nadd %rdx,%rax", 0),
        ("xchg %rsi,%rax", RSI),
        ("lea 1(%r8,%r9,2),%rax", R8 | R9),
        ("nopw (%r8,%r9,2)", 0),
        ("prefetcht0 (%r8)", R8),
        // If no bit is set, these leave the register unchanged. The last does not.
        ("bsf %rax,%rdi\nadd %rdi,%rax", RDI),
        ("bsr %rax,%rdi\nadd %rdi,%rax", RDI),
        ("tzcnt %rax,%rdi\nadd %rdi,%rax", 0),
        ("lsl %eax,%edi\nadd %rdi,%rax", RDI),
        ("sbb %edi,%edi\nadd %rdi,%rax", RDI),
        ("sub %edi,%edi\nadd %rdi,%rax", 0),
        ("pop %rdi\nadd %rdi,%rax\npush %rdi", 0),
        ("movzbl %dil,%edi\nadd %rdi,%rax", RDI),
        ("pinsrd $1,%r10d,%xmm0", R10),
        ("movq %xmm0,%r10\nadd %r10,%rax", 0),
    ];
    for (behind, mask) in all {
        let behind = format!("test %rax,%rax\n{behind}\nret");
        assert_eq!(live_in_wrapper(&behind), mask, "{behind}");
    }
}

#[test]
fn string_instructions_read_their_registers() {
    assert_eq!(live_in_wrapper("movsb\nret"), RDI | RSI);
    assert_eq!(live_in_wrapper("stosq\nret"), RDI);
    assert_eq!(live_in_wrapper("lodsb\nret"), RSI);
    assert_eq!(live_in_wrapper("mov $3,%ecx\nrep movsb\nret"), RDI | RSI);
}

#[test]
fn calls_read_all_argument_registers() {
    assert_eq!(live("call g\nret"), ALL);
    assert_eq!(
        live("mov $1,%edi\nxor %r10d,%r10d\ncall g\nret"),
        ALL & !RDI & !R10
    );
    assert_eq!(live("call *%rax\nret"), ALL);
    assert_eq!(live("jmp g"), ALL);
    let body = "mov $39,%eax\nsyscall\ntest %eax,%eax\njmp *%rax";
    assert_eq!(skipped(body), SkipReason::Entered);
}

#[test]
fn a_known_callee_reads_only_its_arguments() {
    assert_eq!(live("call __stack_chk_fail"), 0);
    assert_eq!(live("jmp __syscall_ret"), RDI);
    assert_eq!(live("call __errno_location\nret"), 0);
    // A function of that name in the same object may read any register.
    assert_eq!(
        live("call __stack_chk_fail\nret\n__stack_chk_fail: ret"),
        ALL
    );
}

#[test]
fn unknown_paths_read_all_argument_registers() {
    assert_eq!(live("test %eax,%eax\nint $0x80\nret"), ALL);
    assert_eq!(live("test %rax,%rax\nxbegin 1f\n1: ret"), ALL);
    assert_eq!(live("test %rax,%rax\nnop"), ALL);
    assert_eq!(live("ud2"), 0);
}

#[test]
fn callers_in_the_same_object_are_followed() {
    let program = |caller: &str| {
        let source = format!(
            ".text\n.type __f,@function\n__f: mov $39,%eax\nsyscall\nret\n.size __f,.-__f\n\
             .type g,@function\ng: jmp __f\n.size g,.-g\n\
             .globl h\n.type h,@function\nh: {caller}\n.size h,.-h\n"
        );
        only_mask(&rewrite_to_calls(&assemble(&source)).report)
    };
    assert_eq!(program("nop\nret"), 0);
    assert_eq!(program("call __f\nadd %r8,%rax\nret"), R8 | RDX);
    assert_eq!(program("call g\nadd %r9,%rax\nret"), R9 | RDX);
    assert_eq!(program("call g\nmov %rax,%rdx\nret"), 0);
}

#[test]
fn a_system_call_reads_its_own_arguments_and_preserves_the_rest() {
    let masks = |next: &str| {
        let body = format!("mov $39,%eax\nsyscall\n{next}\nsyscall\nadd %r9,%rax\nret");
        named_function("__wrapper", &body).0.preserved
    };
    assert_eq!(
        masks("mov $110,%eax").into_iter().collect::<Vec<_>>(),
        [(R9, 2)]
    );
    let closing: Vec<_> = masks("mov $3,%eax").into_iter().collect();
    assert_eq!(closing, [(R9, 1), (RDI | R9, 1)]);
    // openat2, whose number follows the gap in the numbers of x86-64.
    let opening: Vec<_> = masks("mov $437,%eax").into_iter().collect();
    assert_eq!(opening, [(R9, 1), (RDI | RSI | RDX | R10 | R9, 1)]);
    let known = named_function(
        "__wrapper",
        "mov $39,%eax\nsyscall\nmov %rbx,%rax\nsyscall\ntest %rax,%rax\nret",
    );
    assert_eq!(
        known.0.preserved.into_iter().collect::<Vec<_>>(),
        [(ALL, 1)]
    );
}

#[test]
fn a_call_of_a_thunk_reads_what_a_system_call_does() {
    let once = rewrite(&assemble(
        ".globl __f\n.type __f,@function\n__f: mov $110,%eax\nsyscall\nmov %rbx,%rax\nnop\nret",
    ));
    assert_eq!(once.report.in_place, 1);
    let (report, _) = function("mov $39,%eax\nsyscall\ncall __ukl_call_1_00\nxor %edx,%edx\nret");
    assert_eq!(only_mask(&report), ALL);
}

#[test]
fn no_register_is_live_after_the_end_of_a_process() {
    for behind in ["add %rdi,%rax\nret", "nop"] {
        let body = format!("mov $231,%eax\nsyscall\n{behind}");
        assert_eq!(only_mask(&function(&body).0), 0);
    }
}

#[test]
fn the_end_of_a_thread_stays() {
    let (report, _) = function("mov $60,%eax\nsyscall\nhlt");
    assert_eq!(report.left[0].reason, Reason::ThreadExit);
}

#[test]
fn freeing_the_stack_keeps_the_syscall() {
    let body = "mov $11,%eax\nsyscall\nxor %edi,%edi\nmov $60,%eax\nsyscall\nhlt";
    assert_eq!(skipped(body), SkipReason::StackGone);
    for behind in [
        "neg %rax\nret",
        "mov %rax,%rdi\njmp __syscall_ret",
        "jmp 1f\nnop\n1: ret",
    ] {
        let body = format!("mov $11,%eax\nsyscall\n{behind}");
        assert_eq!(only_mask(&named_function("munmap", &body).0), 0, "{behind}");
    }
}

#[test]
fn a_branch_to_the_syscall_keeps_it() {
    let body = "test %edi,%edi\nmov $110,%eax\njne 1f\nmov $39,%eax\n1: syscall\nadd $1,%rax\nret";
    assert_eq!(skipped(body), SkipReason::Entered);
}

#[test]
fn calls_that_take_the_whole_frame_keep_the_syscall() {
    for number in [56, 57, 58, 59, 322, 435] {
        let body = format!("mov ${number},%eax\nsyscall\ntest %rax,%rax\nret");
        assert_eq!(skipped(&body), SkipReason::WholeFrame, "{number}");
    }
    let (report, _) = function("mov $15,%eax\nsyscall\nhlt");
    assert_eq!(report.left[0].reason, Reason::SignalReturn);
}

#[test]
fn a_function_that_changes_flags_keeps_the_syscall() {
    let site = "mov $39,%eax\nsyscall\ntest %rax,%rax";
    assert_eq!(
        skipped(&format!("std\n{site}\ncld\nret")),
        SkipReason::Direction
    );
    let body = format!("push %rdi\npopfq\n{site}\nret");
    assert_eq!(skipped(&body), SkipReason::Direction);
}

#[test]
fn a_symbol_after_the_site_keeps_the_syscall() {
    let body = "mov $39,%eax\nsyscall\nend: test %rax,%rax\nret";
    assert_eq!(skipped(body), SkipReason::AddressTaken);
    let body = "mov $39,%eax\nsyscall\n1: lea 1b(%rip),%rdx\nret";
    assert_eq!(skipped(body), SkipReason::AddressTaken);
    let body = "__cp_begin: test %edi,%edi\njne 1f\nmov $39,%eax\nsyscall\nnop\n\
                __cp_end: ret\n1: mov $1,%eax\nret";
    assert_eq!(skipped(body), SkipReason::AddressTaken);
}

#[test]
fn an_unknown_number_keeps_the_syscall() {
    assert_eq!(
        skipped("mov %edi,%eax\nsyscall\ntest %rax,%rax\nret"),
        SkipReason::UnknownNumber
    );
}

#[test]
fn results_of_go_functions_are_in_any_register() {
    let mask = |name: &str| {
        let source = format!(
            ".section .gopclntab,\"a\"\n.byte 1\n.text\n.type {name},@function\n\
             {name}: mov $39,%eax\nsyscall\nret\nint3\n.size {name},.-{name}\n"
        );
        only_mask(&rewrite_to_calls(&assemble(&source)).report)
    };
    assert_eq!(mask("runtime.getpid"), ALL);
    assert_eq!(mask("runtime.getpid.abi0"), 0);
}

#[test]
fn the_table_of_a_switch_keeps_no_site_from_moving() {
    let cases: String = (0..40)
        .map(|i| format!("case {i}: r = call({}, n + {i}); break;\n", i * 7))
        .collect();
    let source = format!(
        "extern void note(const char *, long);
        static inline long call(long nr, long a)
        {{
            long r;
            asm volatile(\"syscall\" : \"=a\"(r) : \"a\"(nr), \"D\"(a) : \"rcx\", \"r11\", \"memory\");
            return r;
        }}
        long f(long n)
        {{
            long r = 0;
            switch (n) {{ {cases} }}
            note(\"done\", r);
            return r + n;
        }}"
    );
    for flags in [["-O2", "-fPIE"], ["-O2", "-fno-pie"]] {
        let dir = scratch();
        let object = compile(dir.path(), "f", "c", &flags, &source);
        let report = rewrite_to_calls(&std::fs::read(object).unwrap()).report;
        assert!(report.sites >= 35, "{flags:?} {report}");
        // Only rt_sigreturn may be among them.
        assert!(report.left.len() <= 1, "{flags:?} {report}");
    }
}

#[test]
fn padding_between_functions_uses_no_red_zone() {
    let (report, _) = function("mov $39,%eax\nsyscall\nret\nint3\nint3");
    assert_eq!(report.in_place, 1);
}

#[test]
fn a_rewritten_site_is_not_found_again() {
    let once = rewrite_to_calls(&assemble(
        ".globl f\nf: mov $39,%eax\nsyscall\nxor %eax,%eax\nsyscall\ntest %rax,%rax\nret",
    ));
    assert_eq!(once.report.preserved.values().sum::<usize>(), 2);
    let twice = rewrite_to_calls(&once.data);
    assert_eq!(twice.report.sites, 0);
    assert_eq!(named(&twice.data, ".text"), named(&once.data, ".text"));
}

#[test]
fn a_thunk_is_parsed_from_its_name() {
    let call = Thunk::Call {
        number: 202,
        preserved: 0x2a,
    };
    for thunk in [Thunk::Number(39), Thunk::Generic, call] {
        assert_eq!(Thunk::from_name(&thunk.to_string()), Some(thunk));
    }
    for name in [
        "",
        "__ukl_sys_",
        "__ukl_sys_039",
        "__ukl_call_1_2A",
        "__ukl_call_1_2",
        "f",
    ] {
        assert_eq!(Thunk::from_name(name), None, "{name}");
    }
}

#[test]
fn nearly_all_sites_of_the_c_library_take_the_call_form() {
    let report = &libraries(Form::Call).libc;
    let calls: usize = report.preserved.values().sum();
    assert!(calls * 100 >= report.sites * 95, "{report}");
    // Most of them preserve no register.
    assert!(report.preserved[&0] * 100 >= report.sites * 60, "{report}");
    for number in [0, 1, 3, 8, 9, 39, 110] {
        let thunk = Thunk::Call {
            number,
            preserved: 0,
        };
        assert!(report.thunks.contains(&thunk), "{thunk}");
    }
    let text = report.to_string();
    assert!(text.contains("call form"), "{text}");
    assert!(text.contains("00: no register"), "{text}");
}
