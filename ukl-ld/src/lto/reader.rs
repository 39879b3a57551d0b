//! Finds the linker that reads intermediate code.
//!
//! A C compiler's driver passes a plugin for GNU ld, or chooses lld. rustc with `-C
//! linker-plugin-lto` expects a linker that reads bitcode without a plugin. Its toolchain contains
//! one of the right version.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use super::bitcode;
use super::bitcode::Version;
use super::code;
use super::code::Code;
use crate::args::Args;
use crate::args::Kind;
use crate::args::table::Role;
use crate::elf;
use crate::error::Error;
use crate::error::Result;
use crate::files::Files;
use crate::inputs::File;
use crate::inputs::content;
use crate::inputs::search;
use crate::tools::Tools;

/// A linker or plugin that reads bitcode.
struct Reader {
    path: PathBuf,
    /// `LLD 22.1.2`.
    name: String,
    version: Version,
}

impl Reader {
    /// Describes an lld. `None` if the command is not lld.
    fn lld(path: PathBuf) -> Option<Reader> {
        let mut command = Command::new(&path);
        let output = command.arg("--version").stdin(Stdio::null()).output();
        let said = String::from_utf8(output.ok()?.stdout).ok()?;
        let at = said.find("LLD ")?;
        let name = said[at..].split_whitespace().take(2);
        let name = name.collect::<Vec<_>>().join(" ");
        let version = bitcode::version(&name)?;
        Some(Reader {
            path,
            name,
            version,
        })
    }

    /// LLVM's plugin for GNU ld, gold and mold.
    fn plugin(path: &Path) -> Option<Reader> {
        let llvm = elf::needed(path)
            .into_iter()
            .find(|name| name.starts_with("libLLVM"))?;
        let version = bitcode::version(&llvm)?;
        Some(Reader {
            path: path.to_owned(),
            name: format!("LLVM {}.{}", version[0], version[1]),
            version,
        })
    }

    fn reads(&self, needed: Version) -> bool {
        // The format has never changed in a point release.
        self.version[0] >= needed[0]
    }
}

/// The tools for a link by rustc whose objects are bitcode: lld replaces GNU ld.
pub fn for_rustc(args: &Args, tools: Tools, files: &Files) -> Result<Tools> {
    let wanted = args.has(Role::PluginOption) && !args.has(Role::Plugin);
    if !wanted || !tools.is_gnu() || std::env::var_os("UKL_LD").is_some_and(|ld| !ld.is_empty()) {
        return Ok(tools);
    }
    let newest = newest(args, files);
    let needed = newest.as_ref().map_or([0, 0], |(_, _, version)| *version);
    let mut old = Vec::new();
    for path in candidates(args, needed[0]) {
        match Reader::lld(path) {
            Some(reader) if reader.reads(needed) => return Ok(tools.with_lld(reader.path)),
            Some(reader) => old.push(format!("{} ({})", reader.name, reader.path.display())),
            None => {}
        }
    }
    let (file, code) = match newest {
        Some((file, code, _)) => (file, code.to_string()),
        None => (args.output().display().to_string(), "LLVM bitcode".into()),
    };
    let there = match old.is_empty() {
        true => "no lld was found".to_owned(),
        false => format!("only {} was found", old.join(", ")),
    };
    let (version, package) = match needed[0] {
        0 => ("LLVM".to_owned(), "lld".to_owned()),
        major => (format!("LLVM {major} or later"), format!("lld-{major}")),
    };
    Err(Error::Input {
        file,
        what: format!(
            "{code}, which needs {version} to be read, but {there}; install it (Debian: {package}; \
             a toolchain of rustup's has its own), or compile without -C linker-plugin-lto"
        ),
    })
}

/// Explains a failed host link if the linker or its plugin cannot read intermediate code among the
/// inputs. The linkers' own messages rarely name the versions.
pub fn unreadable(args: &Args, tools: &Tools, files: &Files) -> Option<Error> {
    let (file, what) = first_unreadable(intermediate(args, files), args, tools)?;
    Some(Error::Input { file, what })
}

/// The first intermediate code that the linker or its plugin cannot read, and the reason.
pub fn first_unreadable(
    code: impl IntoIterator<Item = (String, Code)>,
    args: &Args,
    tools: &Tools,
) -> Option<(String, String)> {
    let plugins = || args.all(Role::Plugin).map(Path::new);
    let reader = match tools.is_lld() {
        true => Reader::lld(tools.host_ld.clone()),
        false => plugins().find_map(Reader::plugin),
    };
    let gccs = has_gccs_plugin(args, tools);
    let linker = tools.host_ld.display();
    let mut unidentified = None;
    for (file, code) in code {
        let what = match (&code, &reader) {
            (Code::Llvm(_), None) => format!(
                "{code}, which {linker} cannot read without LLVM's plugin; link with clang \
                 (UKL_CC=clang), or with -fuse-ld=lld"
            ),
            (Code::Llvm(producer), Some(reader)) => {
                let path = reader.path.display();
                match producer.as_deref().and_then(bitcode::version) {
                    Some(needed) if reader.reads(needed) => continue,
                    Some(needed) => format!(
                        "{code}, which {} ({path}) cannot read; link with LLVM {} or later, or \
                         compile this with LLVM {} or earlier",
                        reader.name, needed[0], reader.version[0],
                    ),
                    None => {
                        // This file may be of an older version, too, so another file may be the
                        // reason.
                        let what = format!(
                            "{code} of unknown version; {} ({path}) reads that of \
                             LLVM {} and earlier",
                            reader.name, reader.version[0],
                        );
                        unidentified = unidentified.or(Some((file, what)));
                        continue;
                    }
                }
            }
            (Code::Gcc(_), _) if !gccs => format!(
                "{code}, which {linker} cannot read without GCC's plugin; link with the gcc that \
                 compiled it, and without -fno-lto"
            ),
            _ => continue,
        };
        return Some((file, what));
    }
    unidentified
}

/// Whether the linker loads GCC's plugin.
pub(super) fn has_gccs_plugin(args: &Args, tools: &Tools) -> bool {
    let is_gccs = |path: &OsStr| {
        let name = Path::new(path).file_name();
        name.is_some_and(|name| name == "liblto_plugin.so")
    };
    !tools.is_lld() && args.all(Role::Plugin).any(is_gccs)
}

/// The intermediate code among the files and libraries of the host link.
fn intermediate(args: &Args, files: &Files) -> impl Iterator<Item = (String, Code)> {
    let mut dynamic = true;
    let mut paths = Vec::new();
    for arg in &args.list {
        match (&arg.kind, arg.role()) {
            (Kind::Input(path), _) => paths.push(PathBuf::from(path)),
            (_, Some(Role::Static)) => dynamic = false,
            (_, Some(Role::Dynamic)) => dynamic = true,
            (_, Some(Role::Library)) => {
                let name = arg.value().unwrap_or_default();
                paths.extend(search::archive(args, name, dynamic));
            }
            _ => {}
        }
    }
    paths.into_iter().flat_map(move |path| {
        let file = content::file(&path, files);
        let found = file.and_then(|file: File| code::of_file(&file, false, files).ok());
        found.unwrap_or_default()
    })
}

/// The bitcode with the newest version.
fn newest(args: &Args, files: &Files) -> Option<(String, Code, Version)> {
    intermediate(args, files)
        .filter_map(|(file, code)| {
            let Code::Llvm(Some(producer)) = &code else {
                return None;
            };
            let version = bitcode::version(producer)?;
            Some((file, code, version))
        })
        .max_by_key(|(_, _, version)| *version)
}

/// The candidates for lld: first the toolchain that the libraries belong to, then PATH, where a
/// name with the version comes first.
fn candidates(args: &Args, major: u32) -> impl Iterator<Item = PathBuf> {
    let dirs = args.all(Role::LibraryPath);
    let toolchains: BTreeSet<PathBuf> = dirs.filter_map(target_dir).collect();
    let own = toolchains
        .into_iter()
        .map(|dir| dir.join("bin/gcc-ld/ld.lld"));
    let names = [format!("ld.lld-{major}"), "ld.lld".to_owned()];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let installed = names
        .into_iter()
        .flat_map(move |name| path.clone().into_iter().map(move |dir| dir.join(&name)));
    let myself = std::env::current_exe().and_then(|path| path.canonicalize());
    let myself = myself.unwrap_or_default();
    own.chain(installed)
        .filter(move |path| path.canonicalize().is_ok_and(|real| real != myself))
}

/// The directory `rustlib/TARGET` of a toolchain, from the path of its libraries.
fn target_dir(libraries: &OsStr) -> Option<PathBuf> {
    let target = Path::new(libraries).parent()?;
    let rustlib = target.parent()?.file_name()? == "rustlib";
    rustlib.then(|| target.to_owned())
}
