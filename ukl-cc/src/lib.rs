//! The real C or C++ compiler, made to link through ukl-ld.
//!
//! Nothing of the compiler's command line is understood here. The compiler itself finds ukl-ld
//! where `-B` tells it to look for its programs, and calls it when, and only when, it links. So it
//! answers every probe of a build tool itself, with its own exit status. The phases:
//! [`compiler`] finds it, [`options`] sorts out `--ukl-*`, and [`run`] becomes it. Only for kernel
//! code ([`kernel_code`]) it is told how to compile.

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

/// Counts how often ukl-cc has started a compiler that turned out to be ukl-cc.
const DEPTH: &str = "UKL_CC_DEPTH";

/// Compilers look for headers in these too, behind the directories of the command line.
const INCLUDE_PATHS: [&str; 2] = ["C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH"];

const HELP: &str = "\
Usage: ukl-cc [options] file...

The real C compiler (ukl-c++: C++ compiler), which links through ukl-ld: every
program PROG gets a bootable image PROG.ukl beside it. All options are the
compiler's, but for those that begin with --ukl-, which are ukl-ld's:

  --ukl-version               Print the version, the compiler and the linker
  --ukl-help                  Print this
  --ukl-explain               Say what the linker does and why, with times
  --ukl-no-image              Make no image
  --ukl-kernel-code           Compile C to an object that becomes part of the
                                kernel: its headers, its flags
  and the others of `ukl-ld --ukl-help'

-fuse-ld=NAME makes the host program with that linker; the image is always
made with GNU ld. Link-time optimisation is the compiler's own.

Environment:
  UKL_CC, UKL_CXX             The real compiler, instead of cc and c++
  UKL_FLAGS                   More options for ukl-ld
  UKL_IMAGE                   0: make no image; 1: make one for probes, too
  UKL_LD                      The real linker, instead of the first ld in PATH
  UKL_LIBDIR                  Where kernel/, init and libexec/ are
";

/// Becomes the compiler. Returns the exit status where something else is asked for.
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
    // The compiler may change its directory.
    let libdir = std::path::absolute(library.dir()).map_err(Error::Myself)?;
    if let Asked::KernelCode(words) = asked {
        let archive = Archive::open(&libdir)?;
        // The kernel's flags are gcc's, and so is the kernel.
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
    // The compiler would take its own linker for want of ours.
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
    // gcc glues the program's name to it: the slash has to be there.
    let mut look_here = OsString::from("-B");
    look_here.push(libexec);
    look_here.push("/");
    let mut command = Command::new(&compiler.path);
    command.env(DEPTH, depth);
    command.args(&compiler.words).arg(look_here);
    command.args(words);
    // Where ukl.h is. Build tools compare command lines, so it takes no word of them.
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
