//! What becomes of `hlt` and of other instructions that only ring 3 refuses.

mod common;

use std::path::Path;

use common::elf::*;
use common::*;
use symbol_rewriter::{Options, Report};

/// `movabs %al,0x8000000000000000`
const STORE: [u8; 9] = [0xa2, 0, 0, 0, 0, 0, 0, 0, 0x80];
/// `udb`
const UNDEFINED: u8 = 0xd6;

/// An object with one function of this body, and nothing after it.
fn object(body: &str) -> Vec<u8> {
    assemble(&format!(
        ".text\n.globl f\n.type f,@function\nf:\n.cfi_startproc\n{body}\n.cfi_endproc\n.size f,.-f\n"
    ))
}

/// Rewrites such an object.
fn function(body: &str) -> (Report, Vec<u8>) {
    let done = rewrite(&object(body));
    links(&done.data);
    (done.report, named(&done.data, ".text").to_vec())
}

/// How many are rewritten in place, by trampoline, to one byte, and left.
fn counts(report: &Report) -> [usize; 4] {
    let privileged = &report.privileged;
    let counts = [
        privileged.in_place,
        privileged.trampoline,
        privileged.one_byte,
        privileged.left.len(),
    ];
    assert_eq!(privileged.found, counts.iter().sum::<usize>(), "{report}");
    counts
}

#[test]
fn unreachable_code_makes_room_for_a_store() {
    let (report, code) = function("test %edi,%edi\njnz 1f\nhlt\nmov $1,%eax\nmov $2,%ecx\n1: ret");
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    assert_eq!(code[4..13], STORE);
    assert_eq!(code[13..], [0xcc, 0xcc, 0xc3]);
}

#[test]
fn a_section_that_ends_in_hlt_grows() {
    let (report, code) = function("hlt");
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    assert_eq!(code, STORE);
    let (report, code) = function("hlt\nret");
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    assert_eq!(code, STORE);
}

#[test]
fn a_hlt_after_a_branch_moves_out_with_it() {
    let (report, code) = function("mov $7,%eax\ntest %rdi,%rdi\njnz 1f\nhlt\n1: ret");
    assert_eq!(counts(&report), [0, 1, 0, 0]);
    // mov; jmp to the trampoline; padding; ret; trampoline: test; jnz back; store
    assert_eq!(code[5..12], [0xe9, 6, 0, 0, 0, 0xcc, 0xc3]);
    let back = (11i32 - 25).to_le_bytes();
    let trampoline = [&[0x48, 0x85, 0xff, 0x0f, 0x85][..], &back, &STORE].concat();
    assert_eq!(code[16..], trampoline);
}

#[test]
fn a_hlt_moves_with_as_few_instructions_as_possible() {
    let (_, code) = function("mov $7,%eax\nmov $8,%ecx\ntest %rdi,%rdi\njnz 1f\nhlt\n1: ret");
    assert_eq!(code[..10], [0xb8, 7, 0, 0, 0, 0xb9, 8, 0, 0, 0]);
}

#[test]
fn a_hlt_without_room_becomes_an_undefined_instruction() {
    // It is an entry, and the next instruction is one, too.
    let (report, code) =
        function("test %edi,%edi\njz 1f\nmov $1,%eax\n1: hlt\n2: dec %edi\njnz 2b\nret");
    assert_eq!(counts(&report), [0, 0, 1, 0]);
    assert_eq!(code[9], UNDEFINED);
    assert_eq!(code.len(), 15);
}

#[test]
fn targets_of_a_jump_table_stay() {
    let source = "
        .text
        .globl f
        .type f,@function
        f:  lea table(%rip),%rdx
            movslq (%rdx,%rdi,4),%rax
            add %rdx,%rax
            jmp *%rax
        .Lone: hlt
        .Ltwo: mov $1,%eax
            ret
        .size f,.-f
        .section .rodata
        table: .long .Lone-table, .Ltwo-table";
    let done = rewrite(&assemble(source));
    assert_eq!(counts(&done.report), [0, 0, 1, 0]);
    assert!(named(&done.data, ".text").ends_with(&[UNDEFINED, 0xb8, 1, 0, 0, 0, 0xc3]));
}

#[test]
fn nothing_around_a_hlt_changes_in_a_function_with_computed_jumps() {
    let (report, code) = function(
        "lea 1f(%rip),%rdx\nadd %rdi,%rdx\njmp *%rdx\n1: hlt\nmov $1,%eax\nmov $2,%ecx\nret",
    );
    assert_eq!(counts(&report), [0, 0, 1, 0]);
    assert!(code.ends_with(&[UNDEFINED, 0xb8, 1, 0, 0, 0, 0xb9, 2, 0, 0, 0, 0xc3]));
}

#[test]
fn nothing_around_a_hlt_changes_in_a_function_with_landing_pads() {
    let source = "
        extern void may_throw(void);
        static void note(int *p) { asm volatile(\"\" : : \"r\"(p) : \"memory\"); }
        void f(int n)
        {
            __attribute__((cleanup(note))) int x = 0;
            if (n) asm volatile(\"hlt; mov $1,%%eax; mov $2,%%eax\" : : : \"eax\");
            may_throw();
        }";
    let dir = scratch();
    let object = compile(dir.path(), "f", "c", &["-O2", "-fexceptions"], source);
    let input = std::fs::read(object).unwrap();
    let done = rewrite(&input);
    assert_eq!(counts(&done.report), [0, 0, 1, 0]);
    let expected: Vec<u8> = named(&input, ".text")
        .iter()
        .map(|&byte| if byte == 0xf4 { UNDEFINED } else { byte })
        .collect();
    assert_eq!(named(&done.data, ".text"), expected);
}

#[test]
fn a_section_that_falls_through_does_not_grow() {
    let source = ".section .init,\"ax\",@progbits\n.globl f\n.type f,@function\nf: hlt";
    let done = rewrite(&assemble(source));
    assert_eq!(counts(&done.report), [0, 0, 1, 0]);
    assert_eq!(named(&done.data, ".init"), [UNDEFINED]);
}

#[test]
fn relocations_of_unreachable_code_are_dropped() {
    let input = object("call g\nhlt\nlea x(%rip),%rdi\ncall h\nret");
    let done = rewrite(&input);
    assert_eq!(counts(&done.report), [1, 0, 0, 0]);
    let code = disassembly(&done.data);
    assert!(code.contains("_ukl_g-0x4"), "{code}");
    assert!(
        !code.contains("_ukl_x") && !code.contains("_ukl_h"),
        "{code}"
    );
    assert_eq!(named(&done.data, ".text")[5..14], STORE);
    links(&done.data);
}

#[test]
fn a_tls_sequence_after_a_hlt_stays_whole() {
    // The sequence that compilers emit.
    let sequence = ".byte 0x66\nlea x@tlsgd(%rip),%rdi\n.value 0x6666\nrex64\n\
                    call __tls_get_addr@PLT\nret";
    let done = rewrite(&object(&format!("call g\nhlt\n{sequence}")));
    assert_eq!(counts(&done.report), [0, 0, 1, 0]);
    let code = disassembly(&done.data);
    assert!(
        code.contains("R_X86_64_TLSGD") && code.contains("__tls_get_addr"),
        "{code}"
    );
}

#[test]
fn a_system_call_after_a_hlt_is_a_site() {
    let (report, code) = function("hlt\nmov $39,%eax\nsyscall\ntest %rax,%rax\nret");
    assert_eq!((report.in_place, report.left.len()), (1, 0));
    // Sites are rewritten first.
    assert_eq!(counts(&report), [0, 0, 1, 0]);
    assert_eq!(code[..8], [UNDEFINED, 0xe8, 0, 0, 0, 0, 0x0f, 0x05]);
}

#[test]
fn a_site_does_not_move_a_hlt() {
    let (report, code) =
        function("xor %eax,%eax\nsyscall\nhlt\nmov $1,%ecx\n1: dec %edi\njnz 1b\nret");
    assert_eq!(counts(&report), [0, 1, 0, 0]);
    assert!(!code.contains(&0xf4), "{code:x?}");
}

#[test]
fn several_hlt_in_a_row_are_one_fault() {
    let (report, code) = function("test %edi,%edi\njnz 1f\nhlt\nhlt\nhlt\n1: ret");
    assert_eq!(counts(&report), [0, 3, 0, 0]);
    assert!(!code.contains(&0xf4), "{code:x?}");
    assert_eq!(code.iter().filter(|&&byte| byte == STORE[0]).count(), 1);
}

#[test]
fn the_byte_of_a_hlt_within_an_instruction_does_not_count() {
    let input = object("mov $0xf4f4f4f4,%eax\nmov -12(%rbp),%ecx\nret");
    let done = rewrite(&input);
    assert_eq!(done.report.privileged.found, 0);
    assert_eq!(named(&done.data, ".text"), named(&input, ".text"));
}

#[test]
fn what_may_not_be_code_is_left_and_named() {
    let source = "
        .text
        .globl f
        f:  hlt
            ret
            .byte 0x06,0x06,0x06";
    let input = assemble(source);
    let done = rewrite(&input);
    assert_eq!(counts(&done.report), [0, 0, 0, 1]);
    assert_eq!(done.report.privileged.left, ["input:.text+0x0"]);
    assert_eq!(named(&done.data, ".text"), named(&input, ".text"));
}

#[test]
fn data_within_the_code_is_left() {
    let source = "
        .text
        .globl f
        .type f,@function
        f:  mov $39,%eax
            syscall
            ret
        .size f,.-f
        .type table,@object
        table: .byte 0xf4,0xf4,0xf4,0xf4
        .size table,.-table";
    let done = rewrite(&assemble(source));
    assert_eq!(done.report.privileged.found, 0);
    assert!(named(&done.data, ".text").ends_with(&[0xf4; 4]));
}

#[test]
fn trampolines_of_hlt_have_frame_descriptions() {
    let input = object(
        "push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_offset %rbx,-16\ntest %rdi,%rdi\njnz 1f\nhlt\n\
         1: pop %rbx\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbx\nret",
    );
    let done = rewrite(&input);
    assert_eq!(counts(&done.report), [0, 1, 0, 0]);
    assert_eq!(done.report.undescribed, 0);
    let after = tool("readelf", &["--debug-dump=frames-interp", "-W"], &done.data);
    assert_eq!(after.matches(" FDE ").count(), 2, "{after}");
    let new = after.rsplit(" FDE ").next().unwrap();
    assert!(new.contains("rsp+16") && new.contains("c-16"), "{after}");
}

#[test]
fn without_sites_hlt_stays() {
    let input = object("hlt\nret");
    let options = Options {
        rewrite_sites: false,
        ..Options::default()
    };
    let done = symbol_rewriter::rewrite("input", None, &input, &options).unwrap();
    assert_eq!(done.report.privileged.found, 0);
    assert_eq!(named(&done.data, ".text"), named(&input, ".text"));
}

/// Instructions that are a general protection fault at ring 3, but not at ring 0.
const PROTECTED: [&str; 28] = [
    "hlt",
    "int $0x80",
    "int $0x81",
    "int $4",
    "int $8",
    "int $14",
    "clts",
    "lmsw %ax",
    "lgdt (%rdi)",
    "lidt (%rdi)",
    "lldt %ax",
    "ltr %ax",
    "invd",
    "wbinvd",
    "invlpg (%rdi)",
    "invpcid (%rdi),%rax",
    "rdmsr",
    "wrmsr",
    "xsetbv",
    "xsaves (%rdi)",
    "xrstors64 (%rdi)",
    "swapgs",
    "sysretq",
    "sysexitq",
    "mov %cr3,%rax",
    "mov %rax,%cr0",
    "mov %rax,%cr8",
    "mov %dr7,%rax",
];

#[test]
fn each_protected_instruction_becomes_a_store() {
    for instruction in PROTECTED {
        let (report, code) = function(&format!("{instruction}\nret"));
        assert_eq!(counts(&report), [1, 0, 0, 0], "{instruction}");
        assert_eq!(code, STORE, "{instruction}");
    }
}

#[test]
fn cli_and_sti_become_a_store_beside_another_privileged_instruction() {
    for instruction in ["cli", "sti"] {
        let rest = "1: dec %edi\njnz 1b\nhlt";
        let (report, code) = function(&format!("{instruction}\nmov $1,%eax\nmov $2,%ecx\n{rest}"));
        assert_eq!(counts(&report), [2, 0, 0, 0], "{instruction}");
        assert_eq!(code[..9], STORE, "{instruction}");
    }
}

#[test]
fn an_instruction_that_is_undefined_at_ring_3_becomes_another_one() {
    for instruction in ["monitor", "mwait", "stac", "clac"] {
        let (report, code) = function(&format!("{instruction}\nret"));
        assert_eq!(counts(&report), [1, 0, 0, 0], "{instruction}");
        assert_eq!(code, [UNDEFINED, 0xcc, 0xcc, 0xc3], "{instruction}");
    }
}

#[test]
fn instructions_that_ring_3_may_execute_stay() {
    for instruction in [
        "int3",
        "int $3",
        "int1",
        "in $0x60,%al",
        "out %al,%dx",
        "rdpmc",
        "rdtsc",
        "popfq",
        "iretq",
        "sgdt (%rdi)",
        "smsw %eax",
        "mov %eax,%ss",
        "wrgsbase %rax",
        "vmcall",
        "sysenter",
        "umwait %eax",
    ] {
        let input = object(&format!("{instruction}\nret"));
        let done = rewrite(&input);
        assert_eq!(done.report.privileged.found, 0, "{instruction}");
        assert_eq!(
            named(&done.data, ".text"),
            named(&input, ".text"),
            "{instruction}"
        );
    }
}

#[test]
fn a_system_call_of_32_bits_after_a_branch_moves_out() {
    let (report, code) = function("mov $7,%eax\ntest %rdi,%rdi\njnz 1f\nint $0x80\n1: ret");
    assert_eq!(counts(&report), [0, 1, 0, 0]);
    assert!(code.ends_with(&STORE));
    assert!(!code.contains(&0xcd), "{code:x?}");
}

#[test]
fn an_instruction_before_the_padding_of_a_function_moves_out() {
    // The padding has no frame description, and the next function has another one.
    let done = rewrite(&assemble(
        ".text\n.globl f\n.type f,@function\nf:\n.cfi_startproc\npush %rbp\n\
         .cfi_def_cfa_offset 16\nmov $20,%eax\nmov $1,%edi\nint $0x80\n.cfi_endproc\n.size f,.-f\n\
         .p2align 4\n.globl g\n.type g,@function\ng:\n.cfi_startproc\nret\n\
         .cfi_endproc\n.size g,.-g\n",
    ));
    links(&done.data);
    assert_eq!(counts(&done.report), [0, 1, 0, 0], "{}", done.report);
    assert_eq!(done.report.undescribed, 0);
    let code = named(&done.data, ".text");
    assert!(code.ends_with(&STORE), "{code:x?}");
    assert!(!code.contains(&UNDEFINED), "{code:x?}");
}

#[test]
fn no_library_of_the_compiler_holds_another_privileged_instruction_than_hlt() {
    for name in libs() {
        let library = compiler_file(&name);
        let dir = scratch();
        let report = rewrite_file(Form::Call, &library, &dir.path().join("out.a"));
        let code = stdout(
            std::process::Command::new("objdump")
                .arg("-d")
                .arg(&library),
        );
        let hlt = code.matches("\thlt").count();
        assert_eq!(report.privileged.found, hlt, "{name}");
    }
}

/// Asserts that no `hlt` of a library is left.
fn none_is_left_of(library: &Path, at_least: usize) {
    let dir = scratch();
    let output = dir.path().join("library.a");
    let report = rewrite_file(Form::Call, library, &output);
    let [in_place, trampoline, _, left] = counts(&report);
    assert!(report.privileged.found >= at_least && left == 0, "{report}");
    // One byte is the exception.
    assert!(in_place + trampoline > at_least / 2, "{report}");
    let code = stdout(std::process::Command::new("objdump").arg("-d").arg(output));
    assert!(!code.contains("\thlt"));
}

#[test]
fn no_hlt_of_the_c_library_is_left() {
    none_is_left_of(&compiler_file("libc.a"), 3);
}

#[test]
fn no_hlt_of_musl_is_left() {
    none_is_left_of(Path::new("/usr/lib/x86_64-linux-musl/libc.a"), 80);
}
