//! Properties of every input.

mod common;

use std::sync::OnceLock;

use common::elf::*;
use common::*;
use proptest::prelude::*;
use symbol_rewriter::{Options, keeps_name, prefixed, unprefixed};

/// How many kinds of instructions there are, and which of them are `hlt`.
const KINDS: u8 = 18;
const HLT: u8 = 15;
const HLT_AFTER_BRANCH: u8 = 16;

/// A function of random instructions around sites and `hlt` of random kinds.
fn function(number: usize, pieces: &[u8]) -> String {
    let mut body = String::new();
    for (i, piece) in pieces.iter().enumerate() {
        let line = match piece % KINDS {
            0 => "mov $39,%eax\nsyscall".to_string(),
            1 => "xor %eax,%eax\nsyscall".to_string(),
            2 => "mov %edi,%eax\nsyscall".to_string(),
            3 => "mov $102,%eax\nmov %rdi,%rsi\nsyscall".to_string(),
            4 => format!("mov $104,%eax\nlea data+{i}(%rip),%rdx\nsyscall"),
            5 => "test %rax,%rax".to_string(),
            6 => "mov %rdi,-16(%rsp)".to_string(),
            7 => format!("call other{}", i % 3),
            8 => "push %rbx\npop %rbx".to_string(),
            9 => format!("jz .L{number}_{}", pieces.len() - 1),
            10 => "cmp $-4095,%rax".to_string(),
            11 => format!("mov data+{i}(%rip),%r8"),
            12 => "nop".to_string(),
            13 => "mov $1,%edi".to_string(),
            14 => format!("jmp .L{number}_{i}"),
            HLT => "hlt".to_string(),
            HLT_AFTER_BRANCH => format!("jnz .L{number}_{i}\nhlt"),
            _ => "add $1,%rbx".to_string(),
        };
        body.push_str(&format!("{line}\n.L{number}_{i}:\n"));
    }
    format!(
        ".globl f{number}\n.type f{number},@function\nf{number}:\n.cfi_startproc\n{body}ret\n\
         .cfi_endproc\n.size f{number},.-f{number}\n"
    )
}

fn source(functions: &[Vec<u8>]) -> String {
    let mut source = String::from(".text\n");
    for (number, pieces) in functions.iter().enumerate() {
        source.push_str(&function(number, pieces));
    }
    source.push_str(".data\n.globl data\ndata: .quad f0, .text+1\n.bss\n.skip 8\n");
    source
}

fn functions() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 1..5)
}

/// The same without `hlt`, which drops the relocations of unreachable code.
fn functions_without_hlt() -> impl Strategy<Value = Vec<Vec<u8>>> {
    functions().prop_map(|mut functions| {
        for piece in functions.iter_mut().flatten() {
            if matches!(*piece % KINDS, HLT | HLT_AFTER_BRANCH) {
                *piece = 0;
            }
        }
        functions
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_site_is_accounted_for(functions in functions()) {
        let input = assemble(&source(&functions));
        let report = rewrite_to_calls(&input).report;
        let forms = report.preserved.values().sum::<usize>() + report.skipped.values().sum::<usize>();
        prop_assert_eq!(report.sites, forms + report.left.len());
        prop_assert_eq!(forms, report.in_place + report.trampoline);
        prop_assert_eq!(&rewrite(&input).report.preserved, &Default::default());
        let mnemonics = disassembly(&input).matches("\tsyscall").count();
        prop_assert_eq!(report.sites, mnemonics);
    }

    #[test]
    fn every_hlt_is_accounted_for(functions in functions()) {
        let input = assemble(&source(&functions));
        let done = rewrite_to_calls(&input);
        let traps = &done.report.privileged;
        prop_assert_eq!(traps.found, disassembly(&input).matches("\thlt").count());
        prop_assert_eq!(traps.found, traps.in_place + traps.trampoline + traps.one_byte + traps.left.len());
        prop_assert_eq!(&rewrite(&input).report.privileged.left, &traps.left);
    }

    #[test]
    fn each_rewritten_site_adds_one_relocation_and_loses_none(functions in functions_without_hlt()) {
        let input = assemble(&source(&functions));
        let done = rewrite_to_calls(&input);
        let text = |data: &[u8]| {
            let index = sections(data).iter().position(|section| section.name == ".text").unwrap();
            reloc_counts(data).get(&index).copied().unwrap_or(0)
        };
        // A site with an unknown number and a red zone has one call, too.
        let added = done.report.in_place + done.report.trampoline;
        prop_assert_eq!(text(&done.data), text(&input) + added);
        links(&done.data);
    }

    #[test]
    fn sections_without_a_change_are_identical(functions in functions()) {
        let input = assemble(&source(&functions));
        let output = rewrite(&input).data;
        let changing = [".text", ".rela.text", ".eh_frame", ".rela.eh_frame", ".symtab", ".strtab", ".shstrtab"];
        for (old, new) in sections(&input).iter().zip(&sections(&output)) {
            prop_assert_eq!(&old.name, &new.name);
            if !changing.contains(&old.name.as_str()) {
                prop_assert_eq!(content(&input, old), content(&output, new));
            }
        }
    }

    #[test]
    fn the_syscalls_of_the_output_are_those_of_the_input(functions in functions()) {
        let input = assemble(&source(&functions));
        let done = rewrite(&input);
        let after = disassembly(&done.data).matches("\tsyscall").count();
        let calls = rewrite_to_calls(&input);
        let with_calls = disassembly(&calls.data).matches("\tsyscall").count();
        let kept = calls.report.sites - calls.report.preserved.values().sum::<usize>();
        prop_assert!(with_calls >= kept && with_calls <= kept + calls.report.trampoline);
        // A moved site may have two: one with a lowered stack pointer, and one without.
        prop_assert!(after >= done.report.sites && after <= done.report.sites + done.report.trampoline);
    }

    #[test]
    fn a_prefix_can_be_removed_again(name in "(__wrap_|__real_|_ukl_|__start_)?[a-zA-Z_.$][a-zA-Z0-9_.$@]{0,40}") {
        let options = Options::default();
        let name = name.as_bytes();
        let new = prefixed(name, &options);
        prop_assert_eq!(&unprefixed(&new, &options)[..], name);
        prop_assert_eq!(keeps_name(name), new == name);
    }

    #[test]
    fn different_names_stay_different(a in "[a-zA-Z_.$]{1,12}", b in "[a-zA-Z_.$]{1,12}") {
        let options = Options::default();
        prop_assert_eq!(
            a == b,
            prefixed(a.as_bytes(), &options) == prefixed(b.as_bytes(), &options)
        );
    }
}

/// An object with something of every kind.
fn specimen() -> &'static [u8] {
    static SPECIMEN: OnceLock<Vec<u8>> = OnceLock::new();
    SPECIMEN.get_or_init(|| {
        let all: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(7)).collect();
        let more: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(11).wrapping_add(3)).collect();
        assemble(&format!(
            "{}\n.section .text.g,\"axG\",@progbits,g,comdat\n.weak g\ng: xor %eax,%eax\nsyscall\ntest %eax,%eax\nret\n",
            source(&[all, more])
        ))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broken_objects_do_not_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut data = specimen().to_vec();
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len()));
        }
        let _ = symbol_rewriter::rewrite("x", None, &data, &Form::Call.options());
    }

    #[test]
    fn broken_headers_do_not_panic(
        section in any::<prop::sample::Index>(),
        field in 0usize..10,
        value in prop_oneof![any::<u64>(), 0u64..0x2000, Just(u64::MAX), Just(1 << 63)],
    ) {
        let mut data = specimen().to_vec();
        let count = sections(&data).len();
        let (offset, size) = [(0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8)][field];
        let at = word(&data, 40, 8) as usize + section.index(count) * 64 + offset;
        data[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        let _ = symbol_rewriter::rewrite("x", None, &data, &Form::Call.options());
    }

    #[test]
    fn broken_archives_do_not_panic(
        changes in proptest::collection::vec((0usize..300, any::<u8>()), 1..6),
    ) {
        let mut data = b"!<arch>\n".to_vec();
        for name in ["/", "//", "a.o/", "/1"] {
            data.extend_from_slice(
                format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, 8).as_bytes(),
            );
            data.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 8]);
        }
        for (at, byte) in changes {
            let at = at % data.len();
            data[at] = byte;
        }
        let _ = symbol_rewriter::rewrite("x", None, &data, &Form::Call.options());
    }
}
