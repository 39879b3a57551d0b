//! What the tests share: compiling, rewriting, and linking against thunks that work at ring 3.
#![allow(dead_code, missing_docs)]

pub mod elf;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use symbol_rewriter::{Options, Report, Rewritten, Thunk};
use tempfile::TempDir;

/// A directory that is deleted at the end of the test.
pub fn scratch() -> TempDir {
    tempfile::Builder::new()
        .prefix("symbol-rewriter-test.")
        .tempdir()
        .unwrap()
}

/// Runs a command that has to succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What a command that has to succeed prints.
pub fn stdout(command: &mut Command) -> String {
    String::from_utf8_lossy(&run(command).stdout).into_owned()
}

/// Compiles or assembles `source`, in the language that `extension` says, into an object.
pub fn compile(dir: &Path, name: &str, extension: &str, flags: &[&str], source: &str) -> PathBuf {
    let path = dir.join(format!("{name}.{extension}"));
    std::fs::write(&path, source).unwrap();
    let object = dir.join(format!("{name}.o"));
    let compiler = if extension == "cc" { "g++" } else { "gcc" };
    run(Command::new(compiler)
        .args(flags)
        .arg("-c")
        .arg(&path)
        .arg("-o")
        .arg(&object));
    object
}

/// Assembles a piece of text.
pub fn assemble(source: &str) -> Vec<u8> {
    let dir = scratch();
    let object = compile(dir.path(), "input", "s", &[], source);
    std::fs::read(object).unwrap()
}

/// Which form the sites of a test take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The skip form only.
    Skip,
    /// The call form where it is possible.
    Call,
}

impl Form {
    pub fn options(self) -> Options {
        Options {
            call_form: self == Form::Call,
            ..Options::default()
        }
    }
}

/// Rewrites a file in memory, with sites of the call form.
pub fn rewrite_to_calls(data: &[u8]) -> Rewritten {
    symbol_rewriter::rewrite("input", None, data, &Form::Call.options()).unwrap()
}

/// Rewrites a file in memory.
pub fn rewrite(data: &[u8]) -> Rewritten {
    symbol_rewriter::rewrite("input", None, data, &Options::default()).unwrap()
}

/// Rewrites a file into another.
pub fn rewrite_file(form: Form, input: &Path, output: &Path) -> Report {
    let data = std::fs::read(input).unwrap();
    let done = symbol_rewriter::rewrite(
        &input.to_string_lossy(),
        input.parent(),
        &data,
        &form.options(),
    )
    .unwrap();
    std::fs::write(output, done.data).unwrap();
    done.report
}

/// The path of a file that comes with the compiler.
pub fn compiler_file(name: &str) -> PathBuf {
    let path = stdout(Command::new("gcc").arg(format!("-print-file-name={name}")));
    let path = PathBuf::from(path.trim());
    // If the compiler finds no such file, it prints the name.
    assert!(path.is_absolute(), "the compiler has no {name}");
    path
}

/// What the thunks of a test program do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thunks {
    /// As at ring 3: load the number and return to the `syscall`.
    Ring3,
    /// Destroy everything a thunk may destroy, set the flags, then return to the `syscall`.
    FlagsSet,
    /// The same with clear flags.
    FlagsClear,
    /// Destroy the same, make the call, and return after the `syscall`, as at ring 0.
    Ring0,
}

/// The builds of a program that tests try.
pub const BUILDS: [(Form, Thunks); 6] = [
    (Form::Skip, Thunks::Ring3),
    (Form::Skip, Thunks::Ring0),
    (Form::Call, Thunks::Ring3),
    (Form::Call, Thunks::FlagsSet),
    (Form::Call, Thunks::FlagsClear),
    (Form::Call, Thunks::Ring0),
];

/// The registers of arguments, in the order of the bits of a thunk's mask.
pub const ARGUMENTS: [&str; 6] = ["rdi", "rsi", "rdx", "r10", "r8", "r9"];

/// The source of an object with thunks.
pub fn thunks_source(kind: Thunks, thunks: &BTreeSet<Thunk>) -> String {
    let mut out = String::from(
        ".section .note.GNU-stack,\"\",@progbits\n.section .text.unlikely.ukl_thunks,\"ax\",@progbits\n",
    );
    // The calls that return on another stack, without one, or on one that is shared with a child.
    const ODD: [u32; 5] = [11, 15, 56, 58, 435];
    for thunk in thunks {
        out.push_str(&format!(
            ".balign 32\n.globl {thunk}\n.type {thunk},@function\n{thunk}:\n.cfi_startproc\n"
        ));
        if let Thunk::Number(number) | Thunk::Call { number, .. } = thunk {
            out.push_str(&format!("mov ${number},%eax\n"));
        }
        let flags = if kind == Thunks::FlagsClear {
            "0x202"
        } else {
            "0xad7"
        };
        if let Thunk::Call { preserved, .. } = thunk {
            out.push_str("syscall\n");
            if kind != Thunks::Ring3 {
                for (bit, register) in ARGUMENTS.into_iter().enumerate() {
                    if preserved & 1 << bit == 0 {
                        out.push_str(&format!("movabs $0x7777777777777777,%{register}\n"));
                    }
                }
                out.push_str(&format!(
                    "pushq ${flags}\n.cfi_adjust_cfa_offset 8\n\
                     popfq\n.cfi_adjust_cfa_offset -8\n\
                     mov $0x66666666,%r11d\nmov %r11,%rcx\n"
                ));
            }
            out.push_str("ret\n.cfi_endproc\n");
            continue;
        }
        if kind == Thunks::Ring3 {
            out.push_str("ret\n.cfi_endproc\n");
            continue;
        }
        out.push_str(&format!(
            "pop %rcx\n.cfi_def_cfa_offset 0\n.cfi_register %rip,%rcx\n\
             pushq $0x55555555\n.cfi_adjust_cfa_offset 8\n\
             pushq ${flags}\n.cfi_adjust_cfa_offset 8\n\
             popfq\n.cfi_adjust_cfa_offset -8\n\
             lea 8(%rsp),%rsp\n.cfi_adjust_cfa_offset -8\n\
             mov $0x66666666,%r11d\n"
        ));
        if kind == Thunks::Ring0 && !matches!(thunk, Thunk::Number(n) if ODD.contains(n)) {
            if *thunk == Thunk::Generic {
                for number in ODD {
                    out.push_str(&format!("cmp ${number},%eax\nje 1f\n"));
                }
            }
            out.push_str(
                "lea 2(%rcx),%rcx\nmov %rcx,-24(%rsp)\n.cfi_offset %rip,-24\n\
                 syscall\nmov -24(%rsp),%rcx\n.cfi_register %rip,%rcx\n",
            );
            out.push_str("pushq $0x55555555\n.cfi_adjust_cfa_offset 8\n");
            out.push_str("lea 8(%rsp),%rsp\n.cfi_adjust_cfa_offset -8\n");
        }
        out.push_str("1: jmp *%rcx\n.cfi_endproc\n");
    }
    out
}

/// The distribution's static libraries, rewritten once for all tests.
pub struct Libraries {
    dir: PathBuf,
    pub thunks: BTreeSet<Thunk>,
    pub libc: Report,
}

pub const CRT: [&str; 5] = ["crt1.o", "crti.o", "crtbeginT.o", "crtend.o", "crtn.o"];

/// The names of the static libraries.
pub fn libs() -> Vec<String> {
    let libc = compiler_file("libc.a");
    // libm.a is a script that names this file, whose name contains the C library's version.
    let libm = std::fs::read_dir(libc.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap_or_default())
        .find(|name| name.starts_with("libm-") && name.ends_with(".a"))
        .unwrap_or_else(|| panic!("no libm-*.a beside {}", libc.display()));
    let others = [
        "libc.a",
        "libgcc.a",
        "libgcc_eh.a",
        "libstdc++.a",
        "libmvec.a",
    ];
    others.map(String::from).into_iter().chain([libm]).collect()
}

pub fn libraries(form: Form) -> &'static Libraries {
    static LIBRARIES: [OnceLock<Libraries>; 2] = [OnceLock::new(), OnceLock::new()];
    LIBRARIES[form as usize].get_or_init(|| {
        // Not a scratch directory: statics are not dropped, so nothing would delete it.
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("libraries-{form:?}"));
        std::fs::create_dir_all(&dir).unwrap();
        let mut thunks = BTreeSet::new();
        let mut libc = Report::default();
        for name in CRT.map(String::from).into_iter().chain(libs()) {
            let input = compiler_file(&name);
            // Another test process may be reading the file.
            let new = dir.join(format!("{name}.{}", std::process::id()));
            let report = rewrite_file(form, &input, &new);
            std::fs::rename(new, dir.join(&name)).unwrap();
            thunks.extend(&report.thunks);
            if name == "libc.a" {
                libc = report;
            }
        }
        Libraries { dir, thunks, libc }
    })
}

impl Libraries {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Links rewritten objects with the rewritten libraries and thunks of a kind.
pub fn link(
    dir: &Path,
    name: &str,
    (form, kind): (Form, Thunks),
    objects: &[(PathBuf, Report)],
) -> PathBuf {
    let libraries = libraries(form);
    let mut thunks = libraries.thunks.clone();
    for (_, report) in objects {
        thunks.extend(&report.thunks);
    }
    let thunks = compile(
        dir,
        &format!("thunks-{form:?}-{kind:?}"),
        "s",
        &[],
        &thunks_source(kind, &thunks),
    );
    let output = dir.join(format!("{name}-{form:?}-{kind:?}"));
    let mut ld = Command::new("ld");
    ld.args(["-static", "--eh-frame-hdr", "-e", "_ukl__start", "-o"])
        .arg(&output)
        .arg(&thunks);
    for name in &CRT[..3] {
        ld.arg(libraries.path(name));
    }
    ld.args(objects.iter().map(|(path, _)| path));
    ld.arg("--start-group");
    ld.args(libs().iter().map(|name| libraries.path(name)));
    ld.arg("--end-group")
        .arg(libraries.path(CRT[3]))
        .arg(libraries.path(CRT[4]));
    run(&mut ld);
    output
}
