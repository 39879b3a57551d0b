//! What becomes of each kind of `syscall` site.

mod common;

use common::elf::*;
use common::*;
use symbol_rewriter::{Options, Reason, Report, Thunk};

/// Rewrites a function with this body, with frame information.
fn function(body: &str) -> (Report, String) {
    let source = format!(
        ".text\n.globl f\n.type f,@function\nf:\n.cfi_startproc\n{body}\n.cfi_endproc\n.size f,.-f\n"
    );
    let done = rewrite(&assemble(&source));
    links(&done.data);
    (done.report, disassembly(&done.data))
}

fn counts(report: &Report) -> (usize, usize, usize) {
    assert_eq!(
        report.sites,
        report.in_place + report.trampoline + report.left.len()
    );
    (report.in_place, report.trampoline, report.left.len())
}

fn reason(report: &Report) -> Reason {
    assert_eq!(counts(report), (0, 0, 1), "{report}");
    report.left[0].reason
}

#[test]
fn a_call_takes_the_place_of_the_number() {
    let (report, code) = function("mov $39,%eax\nsyscall\nret");
    assert_eq!(counts(&report), (1, 0, 0));
    assert_eq!(
        report.thunks.into_iter().collect::<Vec<_>>(),
        [Thunk::Number(39)]
    );
    assert!(code.contains("call"), "{code}");
    assert!(code.contains("R_X86_64_PLT32\t__ukl_sys_39-0x4"), "{code}");
    assert!(code.contains("syscall"), "{code}");
}

#[test]
fn the_syscall_stays_where_it_was() {
    let done = rewrite(&assemble("f: mov $39,%eax\nsyscall\nret"));
    assert_eq!(
        named(&done.data, ".text"),
        [0xe8, 0, 0, 0, 0, 0x0f, 0x05, 0xc3]
    );
}

#[test]
fn instructions_after_the_load_move_up() {
    let (report, code) = function("mov $39,%eax\nmov %rdi,%rsi\nlea x(%rip),%rdx\nsyscall\nret");
    assert_eq!(counts(&report), (1, 0, 0));
    let lines: Vec<&str> = code.lines().filter(|line| line.contains(":\t")).collect();
    assert!(lines[0].contains("mov    %rdi,%rsi"), "{code}");
    assert!(
        lines[1].contains("lea") && lines[1].contains("_ukl_x-0x4"),
        "{code}"
    );
    assert!(lines[2].contains("call"), "{code}");
    assert!(lines[3].contains("syscall"), "{code}");
}

#[test]
fn a_distance_within_the_section_is_kept_when_an_instruction_moves_up() {
    let (report, code) =
        function("mov $39,%eax\nlea 1f(%rip),%rdx\nsyscall\nadd %rdx,%rax\nnop\n1: ret");
    assert_eq!(counts(&report), (1, 0, 0), "{code}");
    let target = code.lines().find(|line| line.contains("\tret")).unwrap();
    let target = target.trim().split(':').next().unwrap();
    assert!(code.contains(&format!("# {target} <")), "{code}");
}

#[test]
fn a_long_load_is_replaced_and_padded() {
    let (report, code) = function("mov $39,%rax\nsyscall\nret");
    assert_eq!(counts(&report), (1, 0, 0));
    assert!(code.contains("nop"), "{code}");
}

#[test]
fn a_site_with_a_short_load_moves_into_a_trampoline() {
    let (report, code) =
        function("xor %eax,%eax\nsyscall\ntest %rax,%rax\njs 1f\nret\n1: neg %rax\nret");
    assert_eq!(counts(&report), (0, 1, 0));
    assert_eq!(
        report.thunks.into_iter().collect::<Vec<_>>(),
        [Thunk::Number(0)]
    );
    assert!(code.contains("jmp"), "{code}");
}

#[test]
fn an_unknown_number_calls_the_generic_thunk() {
    let (report, _) = function("mov %edi,%eax\nsyscall\ntest %rax,%rax\nret");
    assert_eq!(counts(&report), (0, 1, 0));
    assert_eq!(
        report.thunks.into_iter().collect::<Vec<_>>(),
        [Thunk::Generic]
    );
}

#[test]
fn a_branch_to_the_syscall_keeps_its_own_number() {
    let (report, _) = function(
        "test %edi,%edi\nmov $110,%eax\njne 1f\nmov $39,%eax\n1: syscall\nadd $1,%rax\nret",
    );
    assert_eq!(counts(&report), (1, 0, 0));
}

#[test]
fn a_site_with_a_branch_into_every_neighbour_is_left() {
    let body = "mov %edi,%eax\n1: syscall\n2: dec %eax\njz 1b\njs 2b\njmp 3f\n3: jmp 3b";
    assert_eq!(reason(&function(body).0), Reason::NoRoom);
}

#[test]
fn the_red_zone_is_spared() {
    let (report, code) =
        function("mov %rdi,-8(%rsp)\nmov $39,%eax\nsyscall\nadd -8(%rsp),%rax\nret");
    assert_eq!(counts(&report), (0, 1, 0));
    assert!(code.contains("lea    -0x80(%rsp),%rsp"), "{code}");
    assert!(code.contains("lea    0x80(%rsp),%rsp"), "{code}");
}

#[test]
fn a_red_zone_below_a_frame_pointer_is_seen() {
    let (report, code) = function(
        "push %rbp\nmov %rsp,%rbp\nmov %edi,-20(%rbp)\nmov $39,%eax\nsyscall\n\
         add -20(%rbp),%eax\npop %rbp\nret",
    );
    assert_eq!(counts(&report), (0, 1, 0));
    assert!(code.contains("lea    -0x80(%rsp),%rsp"), "{code}");
}

#[test]
fn an_allocated_frame_is_no_red_zone() {
    let (report, _) = function(
        "push %rbp\nmov %rsp,%rbp\nsub $32,%rsp\nmov %edi,-20(%rbp)\nmov $39,%eax\nsyscall\n\
         add -20(%rbp),%eax\nleave\nret",
    );
    assert_eq!(counts(&report), (1, 0, 0));
}

#[test]
fn an_address_below_the_stack_pointer_is_a_use_of_the_red_zone() {
    let (report, _) = function("lea -24(%rsp),%rsi\nmov $228,%eax\nsyscall\nadd $1,%rax\nret");
    assert_eq!(counts(&report), (0, 1, 0));
}

#[test]
fn a_red_zone_used_in_the_cold_part_of_a_function_is_seen() {
    let source = "
        .text
        .globl f
        .type f,@function
        f:  test %edi,%edi
            jne f.cold
            mov $39,%eax
            syscall
            add $1,%rax
            ret
        .size f,.-f
        .section .text.unlikely,\"ax\",@progbits
        .type f.cold,@function
        f.cold:
            mov %rdi,-8(%rsp)
            mov $110,%eax
            syscall
            add -8(%rsp),%rax
            ret
        .size f.cold,.-f.cold";
    let report = rewrite(&assemble(source)).report;
    assert_eq!(counts(&report), (0, 2, 0));
}

#[test]
fn flags_read_after_the_site_keep_the_syscall() {
    let (report, _) =
        function("cmp %rsi,%rdi\nmov $39,%eax\nsyscall\njl 1f\nret\n1: neg %rax\nret");
    assert_eq!(reason(&report), Reason::FlagsLive);
}

#[test]
fn flags_read_after_a_branch_keep_the_syscall() {
    let (report, _) =
        function("cmp %rsi,%rdi\nmov $39,%eax\nsyscall\njmp 1f\nnop\n1: setl %al\nret");
    assert_eq!(reason(&report), Reason::FlagsLive);
}

#[test]
fn flags_that_only_a_system_call_passes_are_dead() {
    let (report, _) =
        function("mov $39,%eax\nsyscall\nmov $110,%eax\nsyscall\ntest %rax,%rax\nret");
    assert_eq!(counts(&report), (2, 0, 0));
}

#[test]
fn a_shift_by_a_register_does_not_overwrite_the_flags() {
    let (report, _) = function(
        "cmp %rsi,%rdi\nmov $39,%eax\nsyscall\nshl %cl,%rax\njl 1f\nret\n1: neg %rax\nret",
    );
    assert_eq!(reason(&report), Reason::FlagsLive);
}

#[test]
fn signal_return_stays() {
    let (report, _) = function("mov $15,%rax\nsyscall\nhlt");
    assert_eq!(reason(&report), Reason::SignalReturn);
}

#[test]
fn a_clone_in_a_function_with_a_red_zone_stays() {
    let (report, _) = function("mov %rdi,-8(%rsp)\nmov $56,%eax\nsyscall\ntest %rax,%rax\nret");
    assert_eq!(reason(&report), Reason::RedZone);
}

#[test]
fn an_unknown_number_with_a_red_zone_is_checked_for_clone() {
    let (report, code) =
        function("mov %rdi,-8(%rsp)\nmov %edi,%eax\nsyscall\nadd -8(%rsp),%rax\nret");
    assert_eq!(counts(&report), (0, 1, 0));
    for number in ["$0xf,%eax", "$0x38,%eax", "$0x1b3,%eax"] {
        assert!(code.contains(number), "{code}");
    }
}

#[test]
fn a_site_after_the_unmapping_of_the_stack_stays() {
    let (report, _) = function("mov $11,%eax\nsyscall\nxor %edi,%edi\nmov $60,%eax\nsyscall\nhlt");
    assert_eq!(counts(&report), (1, 0, 1));
    assert_eq!(report.left[0].reason, Reason::StackGone);
}

#[test]
fn the_bytes_of_a_syscall_within_an_instruction_are_no_site() {
    let (report, _) = function("mov $0x050f,%eax\nret");
    assert_eq!(report.sites, 0);
}

#[test]
fn data_within_the_code_is_no_site() {
    let source = "
        .text
        .globl f
        .type f,@function
        f:  mov $39,%eax
            syscall
            ret
        .size f,.-f
        .type table,@object
        table: .byte 0xb8,39,0,0,0,0x0f,0x05,0xc3
        .size table,.-table";
    let done = rewrite(&assemble(source));
    assert_eq!(done.report.sites, 1);
    assert!(named(&done.data, ".text").ends_with(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]));
}

#[test]
fn code_that_does_not_decode_is_left() {
    let source = "
        .text
        .globl f
        f:  mov $39,%eax
            syscall
            ret
            .byte 0x06,0x06,0x06";
    assert_eq!(reason(&rewrite(&assemble(source)).report), Reason::NotCode);
}

#[test]
fn a_moved_branch_keeps_its_target() {
    let body = "mov %edi,%eax\nsyscall\n js 1f\nadd $1,%rax\n1: ret";
    let (report, _) = function(body);
    assert_eq!(reason(&report), Reason::FlagsLive);
    let body = "xor %eax,%eax\nsyscall\njmp 1f\nnop\nnop\n1: test %rax,%rax\nret";
    let (report, code) = function(body);
    assert_eq!(counts(&report), (0, 1, 0), "{code}");
    let target = code.lines().find(|line| line.contains("test ")).unwrap();
    let target = target.trim().split(':').next().unwrap();
    let jumps = code
        .lines()
        .filter(|line| line.contains("jmp") && line.split_whitespace().any(|word| word == target));
    assert_eq!(jumps.count(), 1, "{code}");
}

#[test]
fn an_address_loaded_from_the_got_is_an_entry() {
    // The relocation's addend points four bytes before it, to an instruction that has to move here.
    let source = "
        .text
        .type f,@function
        f:  xor %eax,%eax
            syscall
            test %rax,%rax
            ret
        .size f,.-f
        .globl g
        .type g,@function
        g:  mov g@GOTPCREL(%rip),%rax
            ret
        .size g,.-g";
    let report = rewrite(&assemble(source)).report;
    assert_eq!(counts(&report), (0, 1, 0), "{report}");
}

#[test]
fn a_target_of_a_jump_table_does_not_move() {
    let source = "
        .text
        .globl f
        .type f,@function
        f:  lea table(%rip),%rdx
            movslq (%rdx,%rdi,4),%rax
            add %rdx,%rax
            jmp *%rax
        .Lone: xor %eax,%eax
        .Ltwo: syscall
        .Lthree: inc %rdi
        .Lfour: ret
        .size f,.-f
        .section .rodata
        table: .long .Lone-table, .Ltwo-table, .Lthree-table, .Lfour-table";
    assert_eq!(reason(&rewrite(&assemble(source)).report), Reason::NoRoom);
}

#[test]
fn a_function_that_jumps_to_computed_addresses_does_not_move() {
    let (report, _) = function(
        "lea 1f(%rip),%rdx\nadd %rdi,%rdx\njmp *%rdx\n1: xor %eax,%eax\nsyscall\ntest %rax,%rax\nret",
    );
    assert_eq!(reason(&report), Reason::ComputedJump);
}

#[test]
fn a_section_that_falls_through_does_not_grow() {
    let source = "
        .section .init,\"ax\",@progbits
        xor %eax,%eax
        syscall
        test %rax,%rax";
    let done = rewrite(&assemble(&format!(".globl f\n.type f,@function\n{source}")));
    assert!(done.report.trampoline == 0, "{}", done.report);
}

#[test]
fn a_cancellation_range_does_not_move() {
    let source = "
        .text
        .globl __syscall_cancel_arch, __syscall_cancel_arch_start, __syscall_cancel_arch_end
        .type __syscall_cancel_arch,@function
        __syscall_cancel_arch:
        __syscall_cancel_arch_start:
            mov %rdi,%rax
            mov %rsi,%rdi
            syscall
        __syscall_cancel_arch_end:
            ret
        .size __syscall_cancel_arch,.-__syscall_cancel_arch";
    assert_eq!(
        reason(&rewrite(&assemble(source)).report),
        Reason::CancellationRange
    );
}

#[test]
fn a_function_with_landing_pads_does_not_move() {
    let source = "
        extern void may_throw(void);
        extern long write(int, const void *, unsigned long);
        static void note(int *p) { write(1, p, 0); }
        long f(long n)
        {
            __attribute__((cleanup(note))) int x = 0;
            long r;
            asm volatile(\"syscall\" : \"=a\"(r) : \"0\"(n) : \"rcx\", \"r11\", \"memory\");
            may_throw();
            return r;
        }";
    let dir = scratch();
    let object = compile(dir.path(), "f", "c", &["-O2", "-fexceptions"], source);
    let report = rewrite(&std::fs::read(object).unwrap()).report;
    assert_eq!(reason(&report), Reason::LandingPads);
}

#[test]
fn trampolines_have_frame_descriptions() {
    let source = ".text\n.globl f\n.type f,@function\nf:\n.cfi_startproc\npush %rbx\n\
        .cfi_adjust_cfa_offset 8\n.cfi_offset %rbx,-16\nmov %rdi,-8(%rsp)\nmov %edi,%eax\nsyscall\n\
        add -8(%rsp),%rax\npop %rbx\n.cfi_adjust_cfa_offset -8\n.cfi_restore %rbx\nret\n\
        .cfi_endproc\n.size f,.-f\n";
    let input = assemble(source);
    let done = rewrite(&input);
    assert_eq!(counts(&done.report), (0, 1, 0));
    assert_eq!(done.report.undescribed, 0);
    let frames = |data: &[u8]| tool("readelf", &["--debug-dump=frames-interp", "-W"], data);
    assert_eq!(frames(&input).matches(" FDE ").count(), 1);
    let after = frames(&done.data);
    assert_eq!(after.matches(" FDE ").count(), 2, "{after}");
    let new = after.rsplit(" FDE ").next().unwrap();
    for state in ["rsp+16", "rsp+144", "c-16"] {
        assert!(new.contains(state), "{state}: {after}");
    }
}

#[test]
fn a_trampoline_of_a_function_without_description_is_counted() {
    let source = ".text\n.globl f\n.type f,@function\nf: mov %edi,%eax\nsyscall\ntest %rax,%rax\nret\n\
        .size f,.-f\n";
    let report = rewrite(&assemble(source)).report;
    assert_eq!((report.trampoline, report.undescribed), (1, 1));
}

#[test]
fn without_sites_nothing_is_rewritten() {
    let input = assemble("f: mov $39,%eax\nsyscall\nret");
    let options = Options {
        rewrite_sites: false,
        ..Options::default()
    };
    let done = symbol_rewriter::rewrite("input", None, &input, &options).unwrap();
    assert_eq!(done.report.sites, 0);
    assert_eq!(named(&done.data, ".text"), named(&input, ".text"));
}

#[test]
fn nearly_all_sites_of_the_c_library_are_rewritten() {
    let report = &libraries(Form::Skip).libc;
    let rewritten = report.in_place + report.trampoline;
    assert!(report.sites > 400, "{report}");
    assert!(rewritten * 100 >= report.sites * 95, "{report}");
}

#[test]
fn a_rewritten_site_is_not_found_again() {
    let once = rewrite(&assemble(
        ".globl f\nf: mov $39,%eax\nsyscall\nxor %eax,%eax\nsyscall\ntest %rax,%rax\nret",
    ));
    assert_eq!(counts(&once.report), (1, 1, 0));
    let twice = rewrite(&once.data);
    assert_eq!(twice.report.sites, 0);
    assert_eq!(named(&twice.data, ".text"), named(&once.data, ".text"));
}

#[test]
fn the_last_function_covers_its_trampolines() {
    let function = |name: &str, body: &str| {
        format!(".globl {name}\n.type {name},@function\n{name}: {body}\n.size {name},.-{name}\n")
    };
    let moves = "mov %edi,%eax\nsyscall\ntest %rax,%rax\nret";
    let sizes = |source: &str| -> Vec<(String, u64)> {
        let done = rewrite(&assemble(source));
        let end = named(&done.data, ".text").len() as u64;
        tool("nm", &["-f", "posix"], &done.data)
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let number = |word: &str| u64::from_str_radix(word, 16).unwrap_or(0);
                (words[1] == "T").then(|| {
                    (
                        words[0].to_string(),
                        end - number(words[2]) - number(words[3]),
                    )
                })
            })
            .collect()
    };
    // The rest between the end of the function and that of the section.
    let own = sizes(&(function("a", "ret") + &function("b", moves)));
    assert_eq!(own[1], ("_ukl_b".to_string(), 0));
    let foreign = sizes(&(function("a", moves) + &function("b", "ret")));
    assert!(foreign[1].1 > 0, "{foreign:?}");
}
