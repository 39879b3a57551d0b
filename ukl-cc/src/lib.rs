//! The real C or C++ compiler, which links through ukl-ld.
//!
//! ukl-cc does not interpret the compiler's command line. It passes `-B` with a directory in which
//! the compiler finds ukl-ld under the name `ld`, so the compiler runs ukl-ld if and only if it
//! links. The compiler itself answers every probe of a build tool, with its own exit status.
//!
//! [`compiler`] finds the real compiler, [`options`] extracts `--ukl-*`, and [`run`] replaces this
//! process by the compiler. For kernel code, [`kernel_code`] chooses the compiler's options.

use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use ukl_common::library;
use ukl_common::library::Library;
use ukl_common::recursion;

pub mod compiler;
pub mod error;
pub mod kernel_code;
pub mod options;

use compiler::Compiler;
use compiler::Language;
pub use error::Error;
use kernel_code::Archive;
use options::Asked;

/// The environment variable that counts how often ukl-cc has started itself.
const DEPTH: &str = "UKL_CC_DEPTH";

/// The environment variables with directories of headers, which compilers search after those of the
/// command line.
const INCLUDE_PATHS: [&str; 2] = ["C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"];

const HELP: &str = "\
Usage: ukl-cc [options] file...

Runs the real C compiler (ukl-c++: C++ compiler) with ukl-ld as its linker, which
makes a bootable image PROG.ukl beside every program PROG. All options are the
compiler's, except:

  --ukl-version               Print the version, the compiler, the linker and
                                the kernel archive
  --ukl-help                  Print this text
  --ukl-kernel-code           Compile C to an object that becomes part of the
                                kernel, with the kernel's headers and options
  --ukl-explain, --ukl-no-image and the other options of ukl-ld: see
                              `ukl-ld --ukl-help'

-fuse-ld=NAME links the host program with another linker; the image is always
linked with GNU ld. The compiler does link-time optimisation itself.

Environment:
  UKL_CC, UKL_CXX             The real compiler, instead of cc and c++
  UKL_FLAGS                   More options for ukl-ld
  UKL_IMAGE                   0: make no image; 1: make an image even for probes
  UKL_LD                      The real linker, instead of the first ld in PATH
  UKL_LIBDIR                  The directory with kernel/, init and libexec/
";

/// Replaces this process by the compiler. For requests that need no exec, returns the exit status.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<u8, Error> {
    let mut args = args.into_iter();
    let language = Language::of(&args.next().unwrap_or_default());
    let asked = options::read(args)?;
    if asked == Asked::Help {
        print!("{HELP}");
        return Ok(0);
    }
    let myself = library::myself().map_err(Error::Myself)?;
    let library = Library::of(&myself);
    // The path must be absolute, because the compiler may change its working directory.
    let libdir = std::path::absolute(library.dir()).map_err(Error::Myself)?;
    if let Asked::KernelCode(words) = asked {
        let archive = Archive::open(&libdir)?;
        // The kernel is compiled by gcc, and its options are for gcc.
        let gcc = compiler::find(Language::C, Some(OsStr::new("gcc")), &myself)?;
        return archive.compile(&gcc.path, words);
    }
    let libexec = libexec(&libdir)?;
    let chosen = env::var_os(language.variable());
    let compiler = compiler::find(language, chosen.as_deref(), &myself)?;
    match asked {
        Asked::Compiler(words) => exec(language, compiler, &libexec, &libdir, words),
        _ => {
            println!("ukl-cc {}", env!("CARGO_PKG_VERSION"));
            println!("compiler: {}", compiler.path.display());
            println!("linker: {}", libexec.join("ld").display());
            println!("{}", library.kernel_version());
            Ok(0)
        }
    }
}

/// The directory in which the compiler finds ukl-ld under the name `ld`.
fn libexec(libdir: &Path) -> Result<PathBuf, Error> {
    let libexec = libdir.join("libexec");
    // Without it, the compiler would use its own linker.
    let ld = libexec.join("ld");
    if ld.is_file() {
        Ok(libexec)
    } else {
        Err(Error::NoLinker(ld))
    }
}

fn exec(
    language: Language,
    compiler: Compiler,
    libexec: &Path,
    libdir: &Path,
    words: Vec<OsString>,
) -> Result<u8, Error> {
    let Some(depth) = recursion::next_depth(DEPTH) else {
        return Err(Error::Loop {
            path: compiler.path,
            variable: language.variable(),
        });
    };
    // gcc appends the program's name to the value, so the value must end in a slash.
    let mut look_here = OsString::from("-B");
    look_here.push(libexec);
    look_here.push("/");
    let mut command = Command::new(&compiler.path);
    command.env(DEPTH, depth);
    command.args(&compiler.words).arg(look_here);
    command.args(words);
    // The directory of ukl.h. It is not an argument, because build tools compare command lines.
    let include = libdir.join("include");
    for name in INCLUDE_PATHS.iter().filter(|_| include.is_dir()) {
        let more = env::var_os(name).filter(|dirs| !dirs.is_empty());
        let mut dirs = include.clone().into_os_string();
        if let Some(more) = more {
            dirs.push(":");
            dirs.push(more);
        }
        command.env(name, dirs);
    }
    let source = command.exec();
    Err(Error::Exec {
        path: compiler.path,
        source,
    })
}
