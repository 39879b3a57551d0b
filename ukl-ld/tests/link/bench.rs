//! A directory to link in, with gcc made to call ukl-ld.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use tempfile::TempDir;
use ukl_ld::kernel::abi::Abi;

/// The executable under test.
pub const UKL_LD: &str = env!("CARGO_BIN_EXE_ukl-ld");

/// What a linked program exits with if all is well. Returning 0 by accident is too easy.
pub const GOOD: i32 = 42;

/// A program that needs the C library.
pub const HELLO: &str = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 42; }\n";

/// A directory of its own for each test.
pub struct Bench {
    dir: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let libexec = dir.path().join("lib/libexec");
        fs::create_dir_all(&libexec).unwrap();
        for name in ["ld", "ld.bfd", "ld.gold", "ld.lld"] {
            symlink(UKL_LD, libexec.join(name)).unwrap();
        }
        fs::create_dir(dir.path().join("w")).unwrap();
        Bench { dir }
    }

    /// A bench with hello.c on it.
    pub fn hello() -> Bench {
        let bench = Bench::new();
        bench.file("hello.c", HELLO);
        bench
    }

    /// The path of a file in the working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("w").join(name)
    }

    /// The installation's directory.
    pub fn libdir(&self) -> PathBuf {
        self.dir.path().join("lib")
    }

    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A command in the working directory. It makes no image, but the ring-3 variant of the
    /// image's program, which behaves as the program would in the image.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.path(""));
        command.env("LC_ALL", "C");
        // A backtrace has line numbers only where there is debugging information.
        command.env("RUST_BACKTRACE", "0");
        command.env("UKL_LIBDIR", self.libdir());
        command.env("UKL_FLAGS", "--ukl-no-image --ukl-ring3");
        // Libraries are rewritten once for all tests.
        command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
        for name in [
            "UKL_IMAGE",
            "UKL_LD",
            "UKL_CC",
            "COLLECT_GCC",
            "COMPILER_PATH",
            "MAKEFLAGS",
        ] {
            command.env_remove(name);
        }
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO")) {
            command.env_remove(name);
        }
        command
    }

    /// A compiler that calls ukl-ld.
    pub fn compiler(&self, name: &str) -> Command {
        let mut command = self.command(name);
        command.arg(format!("-B{}/libexec/", self.libdir().display()));
        command
    }

    /// rustc with ukl-ld. It tells what that says, which by default it does not yet.
    pub fn rustc(&self) -> Command {
        let mut rustc = self.command("rustc");
        rustc.args(["-C", &format!("linker={UKL_LD}"), "-W", "linker-messages"]);
        rustc
    }

    /// gcc with ukl-ld. The arguments are separated by white space.
    pub fn gcc(&self, args: &str) -> Output {
        self.compiler("gcc")
            .args(args.split_whitespace())
            .output()
            .unwrap()
    }

    /// gcc without ukl-ld.
    pub fn plain_gcc(&self, args: &str) -> Output {
        self.command("gcc")
            .args(args.split_whitespace())
            .output()
            .unwrap()
    }

    /// gcc with ukl-ld, which has to succeed without a word.
    pub fn gcc_ok(&self, args: &str) {
        silent(&self.gcc(args));
    }

    /// g++ with ukl-ld, which has to succeed without output.
    pub fn gxx_ok(&self, args: &str) {
        let mut gxx = self.compiler("g++");
        silent(&gxx.args(args.split_whitespace()).output().unwrap());
    }

    /// gcc without ukl-ld, which has to succeed.
    pub fn plain_gcc_ok(&self, args: &str) {
        silent(&self.plain_gcc(args));
    }

    /// Runs a command that has to succeed.
    pub fn ok(&self, program: &str, args: &str) -> Output {
        let output = self
            .command(program)
            .args(args.split_whitespace())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program} {args}: {}",
            both(&output)
        );
        output
    }

    /// Runs a file of the working directory.
    pub fn run(&self, name: &str) -> Output {
        let mode = fs::metadata(self.path(name)).unwrap().permissions().mode();
        assert!(mode & 0o111 != 0, "{name} is not executable");
        self.command(self.path(name)).output().unwrap()
    }

    /// Runs the host output and the image's program, which have to say the same and be good.
    /// Returns what they say.
    pub fn same(&self, name: &str) -> String {
        let host = self.run(name);
        let guest = self.run(&format!("{name}.ring3"));
        assert_eq!(host.status.code(), Some(GOOD), "host: {}", both(&host));
        assert_eq!(guest.status.code(), Some(GOOD), "guest: {}", both(&guest));
        assert_eq!(both(&host), both(&guest));
        both(&host)
    }

    /// A directory that stands in for a kernel archive where only the kernel's symbols matter.
    pub fn kernel(&self) -> PathBuf {
        self.file(
            "k.s",
            "entry_UKL_exit = 0xffffffff81234580\n\
             entry_UKL_exit_shared = 0xffffffff812345a0\n\
             ukl_cpu = 0x1000\npcpu_hot = 0x1040\n\
             .globl entry_UKL_exit, entry_UKL_exit_shared\n\
             .globl __se_sys_write, ukl_cpu, pcpu_hot\n\
             .text\n\
             __se_sys_write: .byte 0xe9; .long ksys_write - . - 4\n\
             .org 0x100\n\
             ksys_write: mov $-38, %eax\nret\n",
        );
        fs::create_dir_all(self.path("kernel")).unwrap();
        let place = "-Wl,--entry=0,-Ttext=0xffffffff81300000";
        self.plain_gcc_ok(&format!("-nostdlib -static {place} k.s -o kernel/vmlinux"));
        self.file("kernel/abi", &Abi::V2.to_string());
        self.file("kernel/syscalls", "1 write 3 __se_sys_write\n");
        self.path("kernel")
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn both(output: &Output) -> String {
    stdout(output) + &stderr(output)
}

/// Asserts success without output.
pub fn silent(output: &Output) {
    assert!(
        output.status.success() && both(output).is_empty(),
        "{}",
        both(output)
    );
}
