//! Linked files: what is rewritten, that everything else stays in place, and that unwinders find the
//! added code.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::*;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};
use symbol_rewriter::{LinkedThunk, Reason, Report, Rewritten, Thunk, ThunkSource, rewrite_linked};

/// Thunks of the right size. These files are not run.
struct Source;

const SIZE: usize = 128;
const ENTRY: usize = 8;
const FUNCTION: u64 = 0xffff_ffff_8100_0000;

impl ThunkSource for Source {
    fn make(&self, _: Thunk) -> Result<LinkedThunk, String> {
        let mut code = vec![0xcc; SIZE];
        code[ENTRY..ENTRY + 2].copy_from_slice(&[0xff, 0x25]); // jmp *literal(%rip)
        Ok(LinkedThunk {
            code,
            entry: ENTRY,
            literals: vec![(ENTRY + 2, FUNCTION)],
            frame: Vec::new(),
        })
    }
}

fn half(data: &[u8], at: usize) -> usize {
    u16::from_le_bytes(data[at..at + 2].try_into().unwrap()).into()
}

fn word(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(data[at..at + 4].try_into().unwrap())
}

fn long(data: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(data[at..at + 8].try_into().unwrap())
}

/// A program header: type, flags, offset, address, size in the file.
type Segment = (u32, u32, u64, u64, u64);

fn segments(data: &[u8]) -> Vec<Segment> {
    let (at, count) = (long(data, 32) as usize, half(data, 56));
    (0..count)
        .map(|index| at + 56 * index)
        .map(|at| {
            (
                word(data, at),
                word(data, at + 4),
                long(data, at + 8),
                long(data, at + 16),
                long(data, at + 32),
            )
        })
        .collect()
}

fn loaded(data: &[u8]) -> Vec<Segment> {
    segments(data).into_iter().filter(|s| s.0 == 1).collect()
}

/// The bytes at an address.
fn at(data: &[u8], addr: u64, size: usize) -> &[u8] {
    let all = loaded(data);
    let (.., offset, start, _) = all
        .iter()
        .find(|s| addr >= s.3 && addr + size as u64 <= s.3 + s.4)
        .unwrap();
    let from = (addr - start + offset) as usize;
    &data[from..from + size]
}

/// Code address and entry address of each row of the search table.
fn search_table(data: &[u8]) -> Vec<(u64, u64)> {
    let (.., addr, size) = *segments(data).iter().find(|s| s.0 == 0x6474_e550).unwrap();
    let table = at(data, addr, size as usize);
    assert_eq!(table[..4], [1, 0x1b, 0x03, 0x3b]);
    let rows = table[12..].chunks_exact(8).map(|row| {
        let near = |at| addr.wrapping_add_signed((word(row, at) as i32).into());
        (near(0), near(4))
    });
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows.len(), word(table, 8) as usize);
    rows
}

/// The range of code that the frame description at an address is for.
fn described(data: &[u8], entry: u64) -> std::ops::Range<u64> {
    let field = entry + 8;
    let distance = word(at(data, field, 4), 0) as i32;
    let start = field.wrapping_add_signed(distance.into());
    start..start + u64::from(word(at(data, field + 4, 4), 0))
}

fn rewrite(path: &Path) -> (Vec<u8>, Rewritten) {
    let data = std::fs::read(path).unwrap();
    let done = rewrite_linked(&path.to_string_lossy(), &data, &Source).unwrap();
    (data, done)
}

/// Checks everything about a rewritten file that holds for any file.
fn check(old: &[u8], new: &[u8], report: &Report) {
    // The added segment is the last one, and everything else keeps its address.
    let (before, after) = (loaded(old), loaded(new));
    assert_eq!(before[..], after[..before.len()]);
    let &[(_, 5, offset, start, size)] = &after[before.len()..] else {
        panic!("{after:x?}")
    };
    assert_eq!(start % 4096, offset % 4096);
    assert_eq!(offset + size, new.len() as u64);
    assert!(after.iter().rev().skip(1).all(|s| s.3 + s.4 <= start));
    let added = start..start + size;

    // Only code has changed, apart from the place and number of the program headers.
    let code: Vec<_> = before.iter().filter(|s| s.1 & 1 != 0).collect();
    let mut changes = BTreeSet::new();
    for (index, (a, b)) in old.iter().zip(new).enumerate() {
        if a != b && !(32..40).contains(&index) && !(56..58).contains(&index) {
            let addr = code
                .iter()
                .find(|s| (s.2..s.2 + s.4).contains(&(index as u64)))
                .map(|s| index as u64 - s.2 + s.3)
                .unwrap_or_else(|| panic!("byte {index:#x} has changed"));
            changes.insert(addr);
        }
    }

    // Every changed call and jump leads to a thunk's entry or to a trampoline.
    let rows = search_table(new);
    assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
    let thunks: BTreeSet<u64> = rows
        .iter()
        .filter(|row| added.contains(&row.0))
        .filter(|row| described(new, row.1) == (row.0..row.0 + SIZE as u64))
        .map(|row| row.0)
        .collect();
    assert_eq!(thunks.len(), report.thunks.len());
    let mut calls = 0;
    for &addr in &changes {
        if !matches!(at(new, addr, 1), [0xe8 | 0xe9]) || !at_call(new, addr, &added) {
            continue;
        }
        let bytes = at(new, addr, 5);
        let target = (addr + 5).wrapping_add_signed((word(bytes, 1) as i32).into());
        let is_thunk = thunks.contains(&target.wrapping_sub(ENTRY as u64));
        assert!(is_thunk || target % 16 == 0, "{addr:#x} to {target:#x}");
        calls += 1;
    }
    assert!(calls >= report.in_place + report.trampoline, "{calls}");

    // A thunk reads an address on its own page.
    for &thunk in &thunks {
        let distance = word(at(new, thunk + ENTRY as u64 + 2, 4), 0) as i32;
        let literal = (thunk + ENTRY as u64 + 6).wrapping_add_signed(distance.into());
        assert_eq!(literal / 4096, thunk / 4096);
        assert_eq!(long(at(new, literal, 8), 0), FUNCTION);
    }

    // All rows of the search table lead to the description of their code.
    for &(addr, entry) in &rows {
        assert_eq!(described(new, entry).start, addr);
    }
    if segments(old).iter().any(|s| s.0 == 0x6474_e550) {
        let kept: BTreeSet<_> = rows.iter().copied().collect();
        let missing: Vec<_> = search_table(old)
            .into_iter()
            .filter(|row| !kept.contains(row))
            .collect();
        assert!(missing.is_empty(), "{missing:x?}");
    }
}

fn at_call(data: &[u8], addr: u64, added: &std::ops::Range<u64>) -> bool {
    let bytes = at(data, addr, 5);
    let target = (addr + 5).wrapping_add_signed((word(bytes, 1) as i32).into());
    added.contains(&target)
}

/// The share of the sites that were rewritten, in per mille.
fn share(report: &Report) -> usize {
    (report.in_place + report.trampoline) * 1000 / report.sites
}

#[test]
fn at_least_99_percent_of_the_c_library_are_calls() {
    let (old, new) = rewrite(Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
    check(&old, &new.data, &new.report);
    assert!(new.report.sites > 400);
    assert!(share(&new.report) >= 990, "{}", new.report);
    // A trampoline of the C library has the frame of the code it comes from.
    assert_eq!(new.report.undescribed, 0, "{}", new.report);
}

#[test]
fn the_interpreter_keeps_only_the_return_from_signals() {
    let (old, new) = rewrite(Path::new("/lib64/ld-linux-x86-64.so.2"));
    check(&old, &new.data, &new.report);
    let left = &new.report.left;
    assert!(left.len() <= 1, "{}", new.report);
    // It finds its own program headers by their offset in the file.
    let last = *loaded(&new.data).last().unwrap();
    assert_eq!(last.2, last.3);
    assert_eq!(long(&new.data, 32), last.2);
}

#[test]
fn binutils_read_a_rewritten_library() {
    let dir = scratch();
    let (_, new) = rewrite(Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
    let path = dir.path().join("libc.so.6");
    std::fs::write(&path, &new.data).unwrap();
    for args in [["-lW"], ["-SW"], ["-nW"], ["-dW"]] {
        let output = run(Command::new("readelf").args(args).arg(&path));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.is_empty(), "{args:?}: {errors}");
    }
    let notes = |path: &Path| {
        let text = stdout(Command::new("readelf").args(["-nW"]).arg(path));
        let build_id = text.lines().find(|line| line.contains("Build ID"));
        build_id.unwrap().trim().to_owned()
    };
    assert_eq!(
        notes(&path),
        notes(Path::new("/lib/x86_64-linux-gnu/libc.so.6"))
    );
}

/// Links an assembly program and rewrites it.
fn link(source: &str, flags: &[&str]) -> (Vec<u8>, Rewritten) {
    let dir = scratch();
    let object = compile(dir.path(), "p", "s", &[], source);
    let path = dir.path().join("p");
    let mut gcc = Command::new("gcc");
    gcc.args(["-nostdlib", "-o"]).arg(&path).arg(&object);
    run(gcc.args(flags));
    rewrite(&path)
}

const FUNCTION_WITH_A_SITE: &str = "
.globl _start
.type _start,@function
_start: .cfi_startproc
  mov $39,%eax
  syscall
  xor %edi,%edi
  mov $231,%eax
  syscall
  ud2
  .cfi_endproc
.size _start,.-_start
";

#[test]
fn programs_of_every_kind_are_rewritten() {
    for flags in [
        &["-static", "-no-pie"][..],
        &["-static-pie"],
        &["-pie"],
        &["-static", "-s"],
        &["-pie", "-s", "-Wl,-z,pack-relative-relocs"],
        &["-shared", "-Wl,--hash-style=sysv"],
        &["-static", "-Wl,-z,noseparate-code"],
    ] {
        let (old, new) = link(FUNCTION_WITH_A_SITE, flags);
        check(&old, &new.data, &new.report);
        assert_eq!((new.report.sites, new.report.in_place), (2, 2), "{flags:?}");
    }
}

#[test]
fn a_jump_table_keeps_its_targets_in_place() {
    // The second `syscall` has room only together with the target of the table.
    let (_, new) = link(
        "
.globl _start
.type _start,@function
_start: .cfi_startproc
  lea table(%rip),%rdx
  movslq (%rdx,%rdi,4),%rcx
  add %rdx,%rcx
  jmp *%rcx
1: mov %ebx,%eax
  nop
2: syscall
ret
  .cfi_endproc
.size _start,.-_start
.section .rodata
.balign 4
table: .long 1b-table, 2b-table
",
        &["-static", "-s"],
    );
    assert_eq!(new.report.sites, 1);
    // The table is known, so the jump is not one to anywhere.
    let reasons: Vec<Reason> = new.report.left.iter().map(|site| site.reason).collect();
    assert_eq!(reasons, [Reason::NoRoom], "{}", new.report);
}

#[test]
fn an_address_that_a_relocation_stores_is_a_target() {
    let source = "
.globl _start
.type _start,@function
_start: .cfi_startproc
  mov %ebx,%eax
1: syscall
2: ret
  .cfi_endproc
.size _start,.-_start
.data
.balign 8
.quad 1b, 2b
";
    for flags in [
        &["-pie"][..],
        &["-pie", "-Wl,-z,pack-relative-relocs"],
        &["-static", "-no-pie"],
    ] {
        let (_, new) = link(source, flags);
        assert_eq!(new.report.left.len(), 1, "{flags:?}: {}", new.report);
    }
}

#[test]
fn a_file_without_system_calls_stays_as_it_is() {
    let (old, new) = link(
        ".globl _start\n_start: hlt\n",
        &["-static", "-Wl,--build-id=none"],
    );
    assert_eq!(old, new.data);
}

#[test]
fn a_file_is_rewritten_only_once() {
    let (_, new) = link(FUNCTION_WITH_A_SITE, &["-static"]);
    let error = rewrite_linked("p", &new.data, &Source).unwrap_err();
    assert!(error.to_string().contains("rewritten before"), "{error}");
}

#[test]
fn the_return_from_signals_stays() {
    let (old, new) = rewrite(Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
    // `__restore_rt`: mov $15,%rax; syscall
    let bytes = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    let place = memchr::memmem::find(&old, &bytes).unwrap();
    assert_eq!(new.data[place..place + bytes.len()], bytes);
}

#[test]
fn added_code_consists_of_whole_instructions() {
    let (old, new) = rewrite(Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
    let start = loaded(&old).last().unwrap().3;
    for (addr, entry) in search_table(&new.data) {
        let range = described(&new.data, entry);
        if addr <= start || range.end - range.start == SIZE as u64 {
            continue;
        }
        let bytes = at(&new.data, addr, (range.end - range.start) as usize);
        let mut decoder = Decoder::with_ip(64, bytes, addr, DecoderOptions::NONE);
        let mut last = None;
        while decoder.can_decode() {
            let instruction = decoder.decode();
            assert!(!instruction.is_invalid(), "{addr:#x}");
            last = Some(instruction);
        }
        let last = last.unwrap();
        let ends = matches!(
            last.flow_control(),
            FlowControl::UnconditionalBranch | FlowControl::Return | FlowControl::IndirectBranch
        ) || last.mnemonic() == Mnemonic::Mov;
        assert!(ends, "{addr:#x}");
    }
}

#[test]
fn damaged_files_are_refused_without_a_panic() {
    let (old, _) = link(FUNCTION_WITH_A_SITE, &["-pie"]);
    let mut refused = 0;
    for index in (0..old.len().min(4096)).chain(old.len() - 2048..old.len()) {
        for value in [0, 0x7f, 0xff] {
            let mut data = old.clone();
            data[index] = value;
            refused += usize::from(rewrite_linked("p", &data, &Source).is_err());
        }
    }
    assert!(refused > 0);
    for length in 0..old.len().min(1024) {
        assert!(rewrite_linked("p", &old[..length], &Source).is_err());
    }
}
