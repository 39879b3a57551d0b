//! Objects of every shape, and that their unchanged parts stay identical.

mod common;

use std::process::Command;

use common::elf::*;
use common::*;

const SITE: &str = "mov $39,%eax\nsyscall\nret";

#[test]
fn only_names_change_without_sites() {
    let input =
        assemble(".globl f\nf: call g\nret\n.data\n.globl d\nd: .quad f, e\n.weak w\n.quad w");
    let output = rewrite(&input).data;
    let (before, after) = (sections(&input), sections(&output));
    assert_eq!(before.len(), after.len());
    for (old, new) in before.iter().zip(&after) {
        if old.name == ".strtab" {
            continue;
        }
        assert_eq!(old, new);
        if old.name != ".symtab" {
            assert_eq!(content(&input, old), content(&output, new), "{}", old.name);
        }
    }
    let names: Vec<String> = symbols(&output).into_iter().map(|(_, name)| name).collect();
    for name in ["_ukl_f", "_ukl_g", "_ukl_d", "_ukl_e", "_ukl_w"] {
        assert!(names.iter().any(|other| other == name), "{names:?}");
    }
}

#[test]
fn an_object_without_anything_to_do_is_unchanged() {
    let input = assemble(".data\nlocal: .quad local");
    assert_eq!(rewrite(&input).data, input);
}

#[test]
fn local_symbols_keep_their_names() {
    let output = rewrite(&assemble("local: nop\n.globl f\nf: jmp local")).data;
    assert!(symbols(&output).contains(&('t', "local".to_string())));
}

#[test]
fn names_of_the_linker_stay() {
    let names = [
        "_GLOBAL_OFFSET_TABLE_",
        "_DYNAMIC",
        "__ehdr_start",
        "__rela_iplt_start",
        "__init_array_end",
        "__start_my_section",
        "__stop_my_section",
        "_end",
        "__bss_start",
        "__tls_get_addr",
        "__ukl_sys_1",
    ];
    let source: String = names
        .iter()
        .map(|name| format!(".weak {name}\n.quad {name}\n"))
        .collect();
    let output = rewrite(&assemble(&format!(".data\n{source}"))).data;
    let found: Vec<String> = symbols(&output).into_iter().map(|(_, name)| name).collect();
    for name in names {
        assert!(found.iter().any(|other| other == name), "{name}: {found:?}");
    }
}

#[test]
fn wrapped_symbols_link() {
    let source = "
        #include <stdio.h>
        int f(int);
        int __real_f(int);
        int __wrap_f(int n) { return __real_f(n) + 1; }
        int main(void) { printf(\"%d\\n\", f(1)); return 0; }";
    let dir = scratch();
    let main = compile(dir.path(), "main", "c", &[], source);
    let f = compile(dir.path(), "f", "c", &[], "int f(int n) { return n * 10; }");
    let mut objects: Vec<_> = [main, f]
        .into_iter()
        .map(|path| (path.clone(), rewrite_file(Form::Call, &path, &path)))
        .collect();
    // An option in the place of a file on the command line.
    objects.push(("--wrap=_ukl_f".into(), Default::default()));
    let program = link(dir.path(), "wrapped", (Form::Call, Thunks::Ring3), &objects);
    assert_eq!(stdout(&mut Command::new(program)), "11\n");
}

#[test]
fn a_version_follows_its_name() {
    let output = rewrite(&assemble(".globl f\nf: nop\n.symver f,f@V1\n")).data;
    assert!(
        symbols(&output).iter().any(|(_, name)| name == "_ukl_f@V1"),
        "{:?}",
        symbols(&output)
    );
}

#[test]
fn a_section_without_relocations_gets_a_relocation_section() {
    let input = assemble(&format!(".globl f\nf: {SITE}"));
    assert!(reloc_counts(&input).is_empty());
    let output = rewrite(&input).data;
    assert_eq!(reloc_counts(&output).values().sum::<usize>(), 1);
    assert_eq!(sections(&output).last().unwrap().name, ".rela.text");
    links(&output);
}

#[test]
fn a_comdat_group_includes_the_new_relocations() {
    let source = format!(
        ".section .text.f,\"axG\",@progbits,f,comdat\n.weak f\n.type f,@function\nf: {SITE}\n.size f,.-f"
    );
    let output = rewrite(&assemble(&source)).data;
    let all = sections(&output);
    let (index, relocs) = all
        .iter()
        .enumerate()
        .find(|(_, section)| section.name == ".rela.text.f")
        .unwrap();
    assert!(relocs.flags & 0x200 != 0);
    let group = all.iter().find(|section| section.kind == 17).unwrap();
    let members: Vec<u64> = content(&output, group)
        .chunks(4)
        .map(|w| word(w, 0, 4))
        .collect();
    assert!(members[1..].contains(&(index as u64)), "{members:?}");
}

#[test]
fn two_objects_with_the_same_comdat_function_link() {
    let dir = scratch();
    let source = "
        template <class T> __attribute__((noinline)) T call(T n)
        {
            T volatile number = n;
            long r;
            asm volatile(\"syscall\" : \"=a\"(r) : \"0\"((long)number) : \"rcx\", \"r11\", \"memory\");
            return r;
        }";
    let one = compile(
        dir.path(),
        "one",
        "cc",
        &["-O2"],
        &format!("{source}\nlong a() {{ return call(39L); }}"),
    );
    let two = compile(
        dir.path(),
        "two",
        "cc",
        &["-O2"],
        &format!(
            "{source}\n#include <cstdio>\nlong a(); int main() {{ if (a() == call(39L)) puts(\"same\"); }}"
        ),
    );
    let objects: Vec<_> = [one, two]
        .into_iter()
        .map(|path| {
            let report = rewrite_file(Form::Call, &path, &path);
            assert_eq!(report.trampoline, 1);
            (path, report)
        })
        .collect();
    let program = link(dir.path(), "program", (Form::Call, Thunks::Ring0), &objects);
    assert_eq!(stdout(&mut Command::new(program)), "same\n");
}

#[test]
fn more_sections_than_sixteen_bits_count() {
    let mut source = String::new();
    for i in 0..66_000 {
        source.push_str(&format!(
            ".section s{i},\"aw\",@progbits\n.globl v{i}\nv{i}: .byte 1\n"
        ));
    }
    source.push_str(&format!(
        ".section .text.last,\"ax\",@progbits\n.globl f\n.type f,@function\nf: {SITE}\n.size f,.-f\n"
    ));
    let input = assemble(&source);
    assert!(sections(&input).len() > 65_280);
    let done = rewrite(&input);
    assert_eq!(done.report.in_place, 1);
    let all = sections(&done.data);
    assert_eq!(all.last().unwrap().name, ".rela.text.last");
    let names = symbols(&done.data);
    assert!(names.contains(&('T', "_ukl_f".to_string())));
    assert!(names.contains(&('D', "_ukl_v65999".to_string())));
    assert!(names.contains(&('U', "__ukl_sys_39".to_string())));
    links(&done.data);
}

#[test]
fn a_new_section_can_be_the_one_that_sixteen_bits_do_not_count() {
    // From 65,280 sections on, section 0 holds the count.
    let fixed = sections(&assemble(&format!(".globl f\nf: {SITE}"))).len();
    let mut source = format!(".globl f\nf: {SITE}\n");
    for i in 0..0xff00 - fixed - 1 {
        source.push_str(&format!(".section s{i},\"a\",@progbits\n.byte 1\n"));
    }
    let input = assemble(&source);
    assert_eq!(word(&input, 60, 2), 0xfeff);
    let output = rewrite(&input).data;
    assert_eq!(word(&output, 60, 2), 0);
    assert_eq!(sections(&output).last().unwrap().name, ".rela.text");
    links(&output);
}

#[test]
fn compressed_debug_sections_are_kept() {
    let dir = scratch();
    let object = compile(
        dir.path(),
        "f",
        "c",
        &["-O2", "-g3", "-gz"],
        "#include <stdio.h>\nint main(void) { puts(\"x\"); return 0; }",
    );
    let input = std::fs::read(object).unwrap();
    let output = rewrite(&input).data;
    let mut compressed = 0;
    for (old, new) in sections(&input).iter().zip(&sections(&output)) {
        if old.flags & 0x800 != 0 {
            compressed += 1;
            assert_eq!(content(&input, old), content(&output, new), "{}", old.name);
        }
    }
    assert!(compressed > 0);
}

#[test]
fn thread_local_storage_of_position_independent_code_links() {
    let source = "
        #include <stdio.h>
        __thread int global = 3;
        static __thread int local = 4;
        extern __thread int other;
        __thread int other = 5;
        int *address(void) { return &global; }
        int main(void) { printf(\"%d\\n\", *address() + local + other); return 0; }";
    for flags in [
        &["-O2", "-fPIC"][..],
        &["-O0", "-fPIC"],
        &["-O2", "-fPIC", "-mtls-dialect=gnu2"],
    ] {
        let dir = scratch();
        let object = compile(dir.path(), "tls", "c", flags, source);
        let report = rewrite_file(Form::Call, &object, &object);
        let program = link(
            dir.path(),
            "tls",
            (Form::Call, Thunks::Ring3),
            &[(object, report)],
        );
        assert_eq!(stdout(&mut Command::new(program)), "12\n");
    }
}

#[test]
fn a_shared_table_of_names_serves_symbols_and_sections() {
    // LLVM writes one string table for both, binutils two. Make a shared one by hand:
    // the sections' names appended to the symbols'.
    let input = assemble(&format!(".globl f\nf: {SITE}"));
    let all = sections(&input);
    let index = |name: &str| all.iter().position(|section| section.name == name).unwrap();
    let (symbols_at, sections_at) = (index(".strtab"), index(".shstrtab"));
    let mut shared = content(&input, &all[symbols_at]).to_vec();
    let shift = shared.len() as u32;
    shared.extend_from_slice(content(&input, &all[sections_at]));
    let mut data = input.clone();
    let headers = word(&data, 40, 8) as usize;
    let start = data.len() as u64;
    let size = shared.len() as u64;
    data.extend_from_slice(&shared);
    let header = headers + symbols_at * 64;
    data[header + 24..header + 32].copy_from_slice(&start.to_le_bytes());
    data[header + 32..header + 40].copy_from_slice(&size.to_le_bytes());
    for i in 0..all.len() {
        let at = headers + i * 64;
        let name = word(&data, at, 4) as u32 + shift;
        data[at..at + 4].copy_from_slice(&name.to_le_bytes());
    }
    data[62..64].copy_from_slice(&(symbols_at as u16).to_le_bytes());
    assert_eq!(sections(&data)[symbols_at].name, ".strtab");

    let output = rewrite(&data).data;
    let names: Vec<String> = sections(&output)
        .into_iter()
        .map(|section| section.name)
        .collect();
    assert_eq!(names.last().unwrap(), ".rela.text");
    assert!(names.contains(&".text".to_string()));
    assert!(symbols(&output).contains(&('T', "_ukl_f".to_string())));
    links(&output);
}

#[test]
fn compact_relocations_become_ordinary_ones() {
    // No assembler here writes them, so the test makes them by hand.
    let mut data = assemble(".globl f\nf: lea x(%rip),%rsi\nmov $39,%eax\nsyscall\ncall g\nret");
    let all = sections(&data);
    let index = all
        .iter()
        .position(|section| section.name == ".rela.text")
        .unwrap();
    let relocs = content(&data, &all[index]).to_vec();
    let mut compact = vec![(2 << 3) | 4];
    let (mut offset, mut symbol, mut kind, mut addend) = (0, 0, 0, 0);
    for entry in relocs.chunks(24) {
        let new = (
            word(entry, 0, 8),
            word(entry, 12, 4),
            word(entry, 8, 4),
            word(entry, 16, 8) as i64,
        );
        assert!(new.0 - offset < 16);
        compact.push((((new.0 - offset) << 3) | 7) as u8);
        for delta in [new.1 as i64 - symbol, new.2 as i64 - kind, new.3 - addend] {
            assert!((-64..64).contains(&delta));
            compact.push(delta as u8 & 0x7f);
        }
        (offset, symbol, kind, addend) = (new.0, new.1 as i64, new.2 as i64, new.3);
    }
    let header = word(&data, 40, 8) as usize + index * 64;
    let start = data.len() as u64;
    data.extend_from_slice(&compact);
    data[header + 4..header + 8].copy_from_slice(&0x4000_0014u32.to_le_bytes());
    data[header + 24..header + 32].copy_from_slice(&start.to_le_bytes());
    data[header + 32..header + 40].copy_from_slice(&(compact.len() as u64).to_le_bytes());

    let done = rewrite(&data);
    assert_eq!(done.report.in_place, 1);
    let code = disassembly(&done.data);
    for reloc in ["_ukl_x-0x4", "__ukl_sys_39-0x4", "_ukl_g-0x4"] {
        assert!(code.contains(reloc), "{code}");
    }
    links(&done.data);
}

#[test]
fn an_object_without_symbols_passes() {
    let dir = scratch();
    let object = compile(dir.path(), "f", "s", &[], ".data\n.byte 1");
    run(Command::new("strip").arg("--strip-all").arg(&object));
    let input = std::fs::read(object).unwrap();
    assert_eq!(rewrite(&input).data, input);
}

#[test]
fn the_output_of_a_partial_link_passes() {
    let dir = scratch();
    let a = compile(
        dir.path(),
        "a",
        "s",
        &[],
        &format!(".globl f\n.type f,@function\nf: {SITE}\n.size f,.-f"),
    );
    let b = compile(dir.path(), "b", "s", &[], ".globl g\ng: call f\nret");
    let both = dir.path().join("both.o");
    run(Command::new("ld")
        .args(["-r", "-o"])
        .arg(&both)
        .arg(a)
        .arg(b));
    let done = rewrite(&std::fs::read(both).unwrap());
    assert_eq!(done.report.in_place, 1);
    links(&done.data);
}

fn fails(data: &[u8], what: &str) {
    let error = symbol_rewriter::rewrite("some.o", None, data, &Default::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("some.o: ") && error.contains(what),
        "{error}"
    );
}

#[test]
fn a_shared_library_is_refused() {
    let dir = scratch();
    let object = compile(
        dir.path(),
        "f",
        "c",
        &["-fPIC"],
        "int f(void) { return 1; }",
    );
    let library = dir.path().join("f.so");
    run(Command::new("gcc")
        .arg("-shared")
        .arg(object)
        .arg("-o")
        .arg(&library));
    fails(
        &std::fs::read(library).unwrap(),
        "a linked ELF file, not an object; use",
    );
}

#[test]
fn an_object_for_another_machine_is_refused() {
    let dir = scratch();
    let object = compile(dir.path(), "f", "s", &["-Wa,--32"], "nop");
    fails(&std::fs::read(object).unwrap(), "compile for x86-64");
}

#[test]
fn a_text_is_refused() {
    fails(b"no object\n", "neither an ELF object nor an archive; pass");
}

#[test]
fn a_cut_object_is_refused() {
    let input = assemble(&format!(".globl f\nf: {SITE}"));
    fails(&input[..40], "malformed");
    fails(&input[..input.len() - 70], "malformed");
}
