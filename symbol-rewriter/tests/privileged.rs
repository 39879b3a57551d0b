//! What becomes of each kind of `hlt`.

mod common;

use std::path::Path;

use common::elf::*;
use common::*;
use symbol_rewriter::{Options, Report};

/// `movabs %al,0x8000000000000000`
const STORE: [u8; 9] = [0xa2, 0, 0, 0, 0, 0, 0, 0, 0x80];
/// `udb`
const UNDEFINED: u8 = 0xd6;

/// An object with one function of this body, without anything behind it.
fn object(body: &str) -> Vec<u8> {
    assemble(&format!(
        ".text\n.globl f\n.type f,@function\nf:\n.cfi_startproc\n{body}\n.cfi_endproc\n.size f,.-f\n"
    ))
}

/// Rewrites that.
fn function(body: &str) -> (Report, Vec<u8>) {
    let done = rewrite(&object(body));
    links(&done.data);
    (done.report, named(&done.data, ".text").to_vec())
}

/// In place, by trampoline, of one byte, left.
fn counts(report: &Report) -> [usize; 4] {
    let traps = &report.privileged;
    let counts = [
        traps.in_place,
        traps.trampoline,
        traps.one_byte,
        traps.left.len(),
    ];
    assert_eq!(traps.found, counts.iter().sum::<usize>(), "{report}");
    counts
}

#[test]
fn what_is_never_reached_makes_room_for_a_store() {
    let (report, code) = function("test %edi,%edi\njnz 1f\nhlt\nmov $1,%eax\nmov $2,%ecx\n1: ret");
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    assert_eq!(code[4..13], STORE);
    assert_eq!(code[13..], [0xcc, 0xcc, 0xc3]);
}

#[test]
fn a_section_that_ends_in_a_trap_grows() {
    let (report, code) = function("hlt");
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    assert_eq!(code, STORE);
    let (report, code) = function("hlt\nret");
    assert_eq!(counts(&report), [1, 0, 0, 0]);
    assert_eq!(code, STORE);
}

#[test]
fn a_trap_behind_a_branch_moves_out_with_it() {
    let (report, code) = function("mov $7,%eax\ntest %rdi,%rdi\njnz 1f\nhlt\n1: ret");
    assert_eq!(counts(&report), [0, 1, 0, 0]);
    // mov; jmp to behind the end; filling; ret; trampoline: test; jnz back; store
    assert_eq!(code[5..12], [0xe9, 6, 0, 0, 0, 0xcc, 0xc3]);
    let back = (11i32 - 25).to_le_bytes();
    let trampoline = [&[0x48, 0x85, 0xff, 0x0f, 0x85][..], &back, &STORE].concat();
    assert_eq!(code[16..], trampoline);
}

#[test]
fn a_trap_moves_with_what_stands_in_front_and_not_with_more() {
    let (_, code) = function("mov $7,%eax\nmov $8,%ecx\ntest %rdi,%rdi\njnz 1f\nhlt\n1: ret");
    assert_eq!(code[..10], [0xb8, 7, 0, 0, 0, 0xb9, 8, 0, 0, 0]);
}

#[test]
fn a_trap_without_room_is_an_instruction_that_no_processor_knows() {
    // Entered by a jump, with an entry behind it.
    let (report, code) =
        function("test %edi,%edi\njz 1f\nmov $1,%eax\n1: hlt\n2: dec %edi\njnz 2b\nret");
    assert_eq!(counts(&report), [0, 0, 1, 0]);
    assert_eq!(code[9], UNDEFINED);
    assert_eq!(code.len(), 15);
}

#[test]
fn code_that_a_table_leads_to_stays() {
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
fn nothing_around_a_trap_changes_where_jumps_go_anywhere() {
    let (report, code) = function(
        "lea 1f(%rip),%rdx\nadd %rdi,%rdx\njmp *%rdx\n1: hlt\nmov $1,%eax\nmov $2,%ecx\nret",
    );
    assert_eq!(counts(&report), [0, 0, 1, 0]);
    assert!(code.ends_with(&[UNDEFINED, 0xb8, 1, 0, 0, 0, 0xb9, 2, 0, 0, 0, 0xc3]));
}

#[test]
fn nothing_around_a_trap_changes_where_there_are_landing_pads() {
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
fn a_section_that_the_linker_makes_part_of_a_function_does_not_grow() {
    let source = ".section .init,\"ax\",@progbits\n.globl f\n.type f,@function\nf: hlt";
    let done = rewrite(&assemble(source));
    assert_eq!(counts(&done.report), [0, 0, 1, 0]);
    assert_eq!(named(&done.data, ".init"), [UNDEFINED]);
}

#[test]
fn relocations_of_what_is_never_reached_go_with_it() {
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
fn a_tls_sequence_behind_a_trap_stays_whole() {
    // As compilers write it.
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
fn a_system_call_behind_a_trap_is_a_site() {
    let (report, code) = function("hlt\nmov $39,%eax\nsyscall\ntest %rax,%rax\nret");
    assert_eq!((report.in_place, report.left.len()), (1, 0));
    // The site was asked first.
    assert_eq!(counts(&report), [0, 0, 1, 0]);
    assert_eq!(code[..8], [UNDEFINED, 0xe8, 0, 0, 0, 0, 0x0f, 0x05]);
}

#[test]
fn a_site_does_not_take_a_trap_along() {
    let (report, code) =
        function("xor %eax,%eax\nsyscall\nhlt\nmov $1,%ecx\n1: dec %edi\njnz 1b\nret");
    assert_eq!(counts(&report), [0, 1, 0, 0]);
    assert!(!code.contains(&0xf4), "{code:x?}");
}

#[test]
fn traps_in_a_row_are_one() {
    let (report, code) = function("test %edi,%edi\njnz 1f\nhlt\nhlt\nhlt\n1: ret");
    assert_eq!(counts(&report), [0, 3, 0, 0]);
    assert!(!code.contains(&0xf4), "{code:x?}");
    assert_eq!(code.iter().filter(|&&byte| byte == STORE[0]).count(), 1);
}

#[test]
fn the_bytes_of_a_trap_within_an_instruction_are_none() {
    let input = object("mov $0xf4f4f4f4,%eax\nmov -12(%rbp),%ecx\nret");
    let done = rewrite(&input);
    assert_eq!(done.report.privileged.found, 0);
    assert_eq!(named(&done.data, ".text"), named(&input, ".text"));
}

#[test]
fn what_is_not_certainly_code_is_left_and_named() {
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
fn a_table_within_the_code_has_no_traps() {
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
fn trampolines_of_traps_have_frame_descriptions() {
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
fn traps_stay_where_sites_are_not_asked_for() {
    let input = object("hlt\nret");
    let options = Options {
        rewrite_sites: false,
        ..Options::default()
    };
    let done = symbol_rewriter::rewrite("input", None, &input, &options).unwrap();
    assert_eq!(done.report.privileged.found, 0);
    assert_eq!(named(&done.data, ".text"), named(&input, ".text"));
}

/// The traps of a library, none of which is left.
fn none_is_left_of(library: &Path, at_least: usize) {
    let dir = scratch();
    let output = dir.path().join("library.a");
    let report = rewrite_file(Form::Call, library, &output);
    let [in_place, trampoline, _, left] = counts(&report);
    assert!(report.privileged.found >= at_least && left == 0, "{report}");
    // One byte is for what cannot be helped.
    assert!(in_place + trampoline > at_least / 2, "{report}");
    let code = stdout(std::process::Command::new("objdump").arg("-d").arg(output));
    assert!(!code.contains("\thlt"));
}

#[test]
fn no_trap_of_the_c_library_is_left() {
    none_is_left_of(&compiler_file("libc.a"), 3);
}

#[test]
fn no_trap_of_musl_is_left() {
    none_is_left_of(Path::new("/usr/lib/x86_64-linux-musl/libc.a"), 80);
}
