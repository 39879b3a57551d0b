//! An installation in a directory of its own: ukl-cc, ukl-c++ and ukl-ld, without a kernel.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use tempfile::TempDir;

use crate::skip::skip;

/// What a linked program exits with if all is well.
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
        let bench = Bench { dir };
        for name in ["bin", "lib/ukl/libexec", "w"] {
            fs::create_dir_all(bench.root().join(name)).unwrap();
        }
        let built = Path::new(env!("CARGO_BIN_EXE_ukl-cc"));
        let linker = built.with_file_name("ukl-ld");
        assert!(
            linker.is_file(),
            "{} is missing: build it first",
            linker.display()
        );
        // Copies, since the tools find what belongs to them from where they are.
        for (from, to) in [(built, "ukl-cc"), (&linker, "ukl-ld")] {
            let to = bench.bin(to);
            fs::hard_link(from, &to)
                .or_else(|_| fs::copy(from, &to).map(drop))
                .unwrap();
        }
        symlink("ukl-cc", bench.bin("ukl-c++")).unwrap();
        symlink(
            "../../../bin/ukl-ld",
            bench.root().join("lib/ukl/libexec/ld"),
        )
        .unwrap();
        bench
    }

    /// A bench with hello.c on it.
    pub fn hello() -> Bench {
        let bench = Bench::new();
        bench.file("hello.c", HELLO);
        bench
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    pub fn bin(&self, name: &str) -> PathBuf {
        self.root().join("bin").join(name)
    }

    /// The path of a file in the working directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join("w").join(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A command in the working directory, with the tools in PATH. Links make no image, but the
    /// ring-3 variant of the image's program.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.path(""));
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.bin("").display());
        command.env("PATH", path);
        command.env("LC_ALL", "C");
        command.env("UKL_FLAGS", "--ukl-no-image --ukl-ring3");
        command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
        command.env("CCACHE_DIR", self.path(".ccache"));
        for name in [
            "UKL_IMAGE",
            "UKL_LD",
            "UKL_CC",
            "UKL_CXX",
            "UKL_LIBDIR",
            "MAKEFLAGS",
        ] {
            command.env_remove(name);
        }
        for name in ["CC", "CXX", "CFLAGS", "LDFLAGS", "MAKELEVEL"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command. The arguments are separated by white space.
    pub fn run(&self, program: &str, args: &str) -> Output {
        self.command(program)
            .args(args.split_whitespace())
            .output()
            .unwrap()
    }

    /// Runs a command that has to succeed.
    pub fn ok(&self, program: &str, args: &str) -> Output {
        let output = self.run(program, args);
        assert!(
            output.status.success(),
            "{program} {args}: {}",
            both(&output)
        );
        output
    }

    /// Asserts that a program was linked, and that the image's does what it does.
    pub fn linked(&self, name: &str) {
        for name in [name.to_owned(), format!("{name}.ring3")] {
            let output = self.command(self.path(&name)).output().unwrap();
            assert_eq!(
                output.status.code(),
                Some(GOOD),
                "{name}: {}",
                both(&output)
            );
        }
    }

    /// The by-products below the working directory: what was taken for a program.
    pub fn programs(&self) -> Vec<String> {
        let found = self.ok("find", ". -name *.ring3 -o -name *.ukl");
        let mut found: Vec<String> = stdout(&found).lines().map(str::to_owned).collect();
        found.sort();
        found
    }
}

/// Whether a tool that a test is about is not there.
pub fn lacks(tool: &str) -> bool {
    let lacks = Command::new(tool).arg("--version").output().is_err();
    if lacks {
        skip(&format!("no {tool}"));
    }
    lacks
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
