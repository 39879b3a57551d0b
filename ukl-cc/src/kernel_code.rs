//! `--ukl-kernel-code`: C that becomes part of the kernel.
//!
//! The kernel archive has the headers and the compiler options of the kernel's own build. The
//! user's options for code generation are ignored, because calling convention, registers and
//! mitigations must be the kernel's. After the compiler, objtool writes the tables of the kernel's
//! unwinder. A section marks the object as kernel code. Makefiles and archives handle it like any
//! other object, and ukl-ld recognises it by that section.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;

use crate::error::Error;

/// In the archive's options, this stands for the directory of the file that contains them.
const HERE: &str = "@/";

/// Options with which the compiler makes no object.
const NO_OBJECT: &[&str] = &["-S", "-E", "-M", "-MM", "-fsyntax-only"];

/// Warnings that make sense only in the kernel's own files.
const NO_WARNINGS: &[&str] = &["-Wno-missing-prototypes", "-Wno-missing-declarations"];

/// The part of the kernel archive that compiles kernel code.
pub struct Archive {
    dir: PathBuf,
}

/// The user's arguments, by kind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    /// The arguments for the compiler, in order.
    compiler: Vec<OsString>,
    /// The source files.
    sources: Vec<PathBuf>,
    /// `-o`.
    output: Option<PathBuf>,
    /// Whether the compiler makes objects.
    objects: bool,
}

impl Archive {
    /// Opens the archive of an installation.
    pub fn open(libdir: &Path) -> Result<Archive, Error> {
        let dir = libdir.join("kernel/module");
        match dir.join("cflags").is_file() {
            true => Ok(Archive { dir }),
            false => Err(Error::NoKernelCode(dir)),
        }
    }

    /// Compiles. Returns the exit status.
    pub fn compile(&self, compiler: &Path, words: Vec<OsString>) -> Result<u8, Error> {
        let words = sort(words);
        let objects = words.objects()?;
        let mut command = Command::new(compiler);
        command.args(&words.compiler);
        command.args(self.words("cflags")?).args(NO_WARNINGS);
        if words.objects {
            command.arg("-c");
        }
        let status = run(&mut command)?;
        if !status.success() {
            return Ok(code(status));
        }
        for object in objects {
            let mut command = Command::new(self.dir.join("objtool"));
            command.args(self.words("objtool-flags")?).arg(&object);
            let status = run(&mut command)?;
            if !status.success() {
                // Like a compiler, leave no incomplete object.
                let _ = fs::remove_file(&object);
                return Ok(code(status));
            }
        }
        Ok(0)
    }

    fn words(&self, name: &str) -> Result<Vec<OsString>, Error> {
        let path = self.dir.join(name);
        let text = fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        let dir = format!("{}/", self.dir.display());
        Ok(text
            .lines()
            .map(|word| word.replace(HERE, &dir).into())
            .collect())
    }
}

impl Words {
    /// The objects that the compiler will make.
    fn objects(&self) -> Result<Vec<PathBuf>, Error> {
        if !self.objects {
            return Ok(Vec::new());
        }
        match (&self.output, self.sources.len()) {
            (_, 0) => Err(Error::KernelCode("no input files".into())),
            (Some(output), 1) => Ok(vec![output.clone()]),
            (Some(_), _) => Err(Error::KernelCode(
                "cannot specify '-o' with multiple files".into(),
            )),
            (None, _) => {
                let names = self.sources.iter().map(|source| {
                    let name = source.file_name().unwrap_or_default();
                    Path::new(name).with_extension("o")
                });
                Ok(names.collect())
            }
        }
    }
}

/// Keeps arguments about files and warnings, and drops those about code generation and linking.
fn sort(words: Vec<OsString>) -> Words {
    let mut sorted = Words {
        objects: true,
        ..Words::default()
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if NO_OBJECT.iter().any(|flag| flag.as_bytes() == bytes) {
            sorted.objects = false;
        }
        match bytes {
            b"-c" => {}
            b"-o" => {
                let path = words.next().unwrap_or_default();
                sorted.output = Some((&path).into());
                sorted.compiler.extend([word, path]);
            }
            b"-Xlinker" | b"-L" | b"-l" | b"-T" => drop(words.next()),
            b"-I" | b"-D" | b"-U" | b"-include" | b"-iquote" | b"-isystem" | b"-MF" | b"-MT"
            | b"-MQ" | b"-imacros" | b"-x" => {
                sorted.compiler.push(word);
                sorted.compiler.extend(words.next());
            }
            b"-fsyntax-only" => sorted.compiler.push(word),
            _ if bytes.starts_with(b"-o") => {
                sorted.output = Some(OsStr::from_bytes(&bytes[2..]).into());
                sorted.compiler.push(word);
            }
            _ if bytes.len() > 1 && bytes.starts_with(b"-") && !is_kept(bytes) => {}
            _ => {
                if !bytes.starts_with(b"-") || bytes == b"-" {
                    sorted.sources.push((&word).into());
                }
                sorted.compiler.push(word);
            }
        }
    }
    sorted
}

fn is_kept(word: &[u8]) -> bool {
    let begins = |with: &str| word.starts_with(with.as_bytes());
    let passed_on = begins("-Wl,") || begins("-Wa,") || begins("-Wp,");
    (begins("-W") && !passed_on)
        || [
            "-I",
            "-D",
            "-U",
            "-E",
            "-S",
            "-M",
            "-H",
            "-i",
            "-w",
            "-v",
            "-###",
            "-save-temps",
        ]
        .iter()
        .any(|flag| begins(flag))
}

fn run(command: &mut Command) -> Result<ExitStatus, Error> {
    command.status().map_err(|source| Error::Exec {
        path: command.get_program().into(),
        source,
    })
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(text: &str) -> Words {
        sort(text.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn the_generation_of_code_is_the_kernels_business() {
        let words =
            sorted("-O0 -g -fPIC -m64 -std=c99 -pthread -Wall -Ia -I b -DX=1 -c f.c -o g.o");
        let kept = ["-Wall", "-Ia", "-I", "b", "-DX=1", "f.c", "-o", "g.o"];
        assert_eq!(words.compiler, kept);
        assert_eq!(words.objects().unwrap(), [Path::new("g.o")]);
    }

    #[test]
    fn an_object_is_called_after_its_source() {
        let words = sorted("src/a.c b.c");
        assert_eq!(
            words.objects().unwrap(),
            [Path::new("a.o"), Path::new("b.o")]
        );
        assert!(sorted("a.c b.c -o c.o").objects().is_err());
        assert!(sorted("-Wall").objects().is_err());
    }

    #[test]
    fn where_the_compiler_stops_early_there_is_no_object() {
        for stop in NO_OBJECT {
            assert!(sorted(&format!("{stop} f.c")).objects().unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_for_the_linker_is_dropped() {
        let words = sorted("f.c -Wl,-z,now -L /x -lm -Xlinker --ukl-explain");
        assert_eq!(words.compiler, ["f.c"]);
    }
}
