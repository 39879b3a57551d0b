//! Adds the arguments of a compiler driver if rustc calls ukl-ld directly.
//!
//! rustc takes a command whose name ends in `-ld` for a linker, not for a driver. It passes no
//! startup objects, no system library directories, and no dynamic linker, all of which C and C++
//! drivers pass.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::args::Args;
use crate::args::table::Role;
use crate::error::Error;
use crate::error::Result;
use crate::mode::is_startup;

/// Whether these arguments come from rustc and have to be completed. A link with a linker script is
/// complete.
pub fn is_raw_rustc(args: &Args) -> bool {
    let rustc_made = |path: &std::ffi::OsStr| {
        let name = Path::new(path)
            .file_name()
            .unwrap_or_default()
            .as_encoded_bytes();
        name.ends_with(b".rcgu.o") || name.ends_with(b".rlib") || name == b"symbols.o"
    };
    let driver = env::var_os("COLLECT_GCC").is_some();
    let complete = args.inputs().any(|path| is_startup(path) || is_crti(path));
    !driver && !complete && !args.has(Role::Script) && args.inputs().any(rustc_made)
}

/// Whether this is a library that only rustc itself loads.
pub fn is_procedural_macro(args: &Args) -> bool {
    args.inputs().any(|path| {
        let name = Path::new(path).file_name().unwrap_or_default();
        let name = name.as_encoded_bytes();
        name.starts_with(b"libproc_macro-") && name.ends_with(b".rlib")
    })
}

fn is_crti(path: &std::ffi::OsStr) -> bool {
    Path::new(path)
        .file_name()
        .is_some_and(|name| name == "crti.o")
}

/// Whether the whole program is static. (`-Bstatic` may concern only some libraries.)
pub fn is_static(args: &Args) -> bool {
    args.list.iter().any(|arg| arg.name() == Some("static"))
}

/// Whether the program writes a profile for gprof (`gcc -pg`).
pub fn is_profiled(args: &Args) -> bool {
    args.inputs().any(|path| {
        let name = Path::new(path).file_name().unwrap_or_default();
        name == "gcrt1.o" || name == "grcrt1.o"
    })
}

/// Translates options of a compiler driver to the linker's.
pub fn translate(args: &Args) -> Args {
    let words = args.list.iter().flat_map(|arg| arg.words.iter().cloned());
    Args::parse(driver_words(words))
}

/// Translates a driver's options. Build scripts and cargo's configuration pass them with
/// `cargo::rustc-link-arg=` and `-C link-arg=`, because rustc's linker usually is a driver.
fn driver_words(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut out = Vec::new();
    for word in words {
        match word.as_bytes() {
            b"-rdynamic" => out.push("--export-dynamic".into()),
            b"-static-pie" => {
                out.extend(["-static", "-pie", "--no-dynamic-linker", "-z", "text"].map(Into::into))
            }
            // The word after `-Xlinker` needs no translation. The other options have no effect
            // here.
            b"-Xlinker" | b"-m64" | b"-pthread" | b"-static-libgcc" | b"-nodefaultlibs" => {}
            bytes => match bytes.strip_prefix(b"-Wl,") {
                Some(list) => out.extend(
                    list.split(|&byte| byte == b',')
                        .map(|word| OsString::from_vec(word.to_vec())),
                ),
                None => out.push(word),
            },
        }
    }
    out
}

/// Completes the arguments.
pub fn complete(args: &Args) -> Result<Args> {
    let mut given: Vec<OsString> = args
        .list
        .iter()
        .flat_map(|arg| arg.words.iter().cloned())
        .collect();
    // A program without std and libc has no `-lc`.
    let hosted = args.all(Role::Library).any(|name| name == "c");
    let bare = !hosted
        || given
            .iter()
            .any(|word| word == "-nostartfiles" || word == "-nostdlib");
    given.retain(|word| word != "-nostartfiles");
    let shared = args.has(Role::Shared);
    let pie = args.has(Role::Pie);
    let fixed = is_static(args);
    let (crt1, begin, end) = match (shared, fixed, pie) {
        (true, ..) => (None, "crtbeginS.o", "crtendS.o"),
        (_, true, true) => (Some("rcrt1.o"), "crtbeginS.o", "crtendS.o"),
        (_, true, false) => (Some("crt1.o"), "crtbeginT.o", "crtend.o"),
        (_, false, true) => (Some("Scrt1.o"), "crtbeginS.o", "crtendS.o"),
        (_, false, false) => (Some("crt1.o"), "crtbegin.o", "crtend.o"),
    };
    let dirs = library_dirs()?;
    let find = |name: &str| -> Result<OsString> {
        let found = dirs
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file());
        found.map(PathBuf::into_os_string).ok_or_else(|| {
            Error::Usage(format!(
                "cannot find {name} in the C compiler's library directories; install the C \
                 library's development files (Debian: libc6-dev, gcc)"
            ))
        })
    };
    // Defaults come before the user's options, which may override them.
    let mut words = vec!["--build-id".into()];
    if !shared && !fixed && !args.has(Role::DynamicLinker) && !args.has(Role::NoDynamicLinker) {
        words.extend(["-dynamic-linker", "/lib64/ld-linux-x86-64.so.2"].map(OsString::from));
    }
    if !bare {
        words.extend(crt1.map(find).transpose()?);
        words.push(find("crti.o")?);
        words.push(find(begin)?);
    }
    words.extend(given);
    for dir in &dirs {
        let mut word = OsString::from("-L");
        word.push(dir);
        words.push(word);
    }
    // As in gcc: a static libc needs libgcc; a shared one is already linked with it.
    let libgcc = match fixed {
        true => ["--start-group", "-lgcc", "-lgcc_eh", "-lc", "--end-group"],
        false => [
            "-lgcc",
            "--push-state",
            "--as-needed",
            "-lgcc_s",
            "--pop-state",
        ],
    };
    if hosted {
        words.extend(libgcc.map(OsString::from));
    }
    if !bare {
        words.push(find(end)?);
        words.push(find("crtn.o")?);
    }
    Ok(Args::parse(words))
}

/// The directories in which the C compiler looks for libraries and startup objects.
fn library_dirs() -> Result<Vec<PathBuf>> {
    let cc = env::var_os("UKL_CC")
        .filter(|cc| !cc.is_empty())
        .unwrap_or_else(|| "cc".into());
    let output = Command::new(&cc)
        .arg("-print-search-dirs")
        .env("LC_ALL", "C")
        .output();
    let output = output.map_err(|source| Error::Run {
        program: cc.into(),
        source,
    })?;
    let line = output.stdout.split(|&byte| byte == b'\n').find_map(|line| {
        let dirs = line.strip_prefix(b"libraries: ")?;
        Some(dirs.strip_prefix(b"=").unwrap_or(dirs))
    });
    let line = OsString::from_vec(line.unwrap_or_default().to_vec());
    let mut dirs = Vec::new();
    for dir in env::split_paths(&line).filter_map(|dir| dir.canonicalize().ok()) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    Ok(dirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drivers_words_become_the_linkers() {
        let words = "x.o -Wl,-rpath,/x -rdynamic -Xlinker --as-needed -m64 -pthread -lc";
        let made = driver_words(words.split(' ').map(OsString::from));
        let wanted = "x.o -rpath /x --export-dynamic --as-needed -lc";
        assert_eq!(made, wanted.split(' ').collect::<Vec<_>>());
    }
}
