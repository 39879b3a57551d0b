//! Finds the files that a link reads, and makes the saved link's command line.
//!
//! The copy contains more than the link reads: every form of a library, from every directory that
//! is searched. The host link and the image's link need different forms, and each uses the first
//! that it finds.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

use object::read::archive::ArchiveFile;
use ukl_common::cache;

use super::link::Link;
use super::mirror::Mirror;
use crate::args::Arg;
use crate::args::Args;
use crate::args::Kind;
use crate::args::response;
use crate::args::table::Role;
use crate::elf;
use crate::error::At;
use crate::error::Result;
use crate::inputs::content;
use crate::inputs::content::Content;
use crate::inputs::content::is_startup_part;
use crate::inputs::rust;
use crate::inputs::search::named;
use crate::inputs::search::search_dirs;
use crate::inputs::search::system_dirs;
use crate::inputs::search::under;
use crate::shared;

/// The startup objects that replace others in the image's link.
const STARTUP: [&str; 5] = ["crt1.o", "gcrt1.o", "crtbegin.o", "crtbeginT.o", "crtend.o"];

pub(super) struct Collector<'c> {
    mirror: &'c mut Mirror,
    link: &'c Link<'c>,
    sysroot: PathBuf,
    /// The directories of `-L`, then the linkers' default directories.
    dirs: Vec<PathBuf>,
    /// The linkers' default directories.
    system: Vec<PathBuf>,
    /// Directories that may contain libraries that other libraries need.
    further: Vec<PathBuf>,
    /// Directories in which such libraries were found.
    needed: BTreeSet<PathBuf>,
    seen: BTreeSet<PathBuf>,
    /// Whether `-b binary` is in effect: files are embedded as data.
    binary: bool,
}

impl<'c> Collector<'c> {
    pub(super) fn new(mirror: &'c mut Mirror, link: &'c Link<'c>) -> Result<Collector<'c>> {
        let args = link.args;
        let mut system = Vec::new();
        for ld in [Some(link.tools.host_ld.clone()), link.tools.image_ld().ok()] {
            for dir in ld.iter().flat_map(|ld| system_dirs(ld)) {
                if dir.is_dir() && !system.contains(&dir) {
                    system.push(dir);
                }
            }
        }
        let mut dirs = search_dirs(args, Path::new(""));
        dirs.extend(system.iter().cloned());
        let mut further = Vec::new();
        for arg in &args.list {
            if matches!(arg.name(), Some("rpath" | "rpath-link")) {
                further.extend(std::env::split_paths(arg.value().unwrap_or_default()));
            }
        }
        for name in ["LD_RUN_PATH", "LD_LIBRARY_PATH"] {
            further.extend(std::env::split_paths(
                &std::env::var_os(name).unwrap_or_default(),
            ));
        }
        further.retain(|dir| dir.is_dir());
        Ok(Collector {
            mirror,
            link,
            sysroot: args
                .last(Role::Sysroot)
                .map(PathBuf::from)
                .unwrap_or_default(),
            dirs,
            system,
            further,
            needed: BTreeSet::new(),
            seen: BTreeSet::new(),
            binary: false,
        })
    }

    /// Copies the files, and returns the saved link's arguments.
    pub(super) fn words(&mut self) -> Result<Vec<OsString>> {
        let mut words = self.list(self.link.args)?;
        if let Some(flags) = &self.link.flags {
            let flags = Args::parse(response::split(flags.as_bytes()));
            words.extend(self.list(&flags)?);
        }
        words.push("-nostdlib".into());
        for dir in self.system.clone() {
            words.push(joined("-L", self.mirror.directory_name(&dir)?));
        }
        for dir in std::mem::take(&mut self.needed) {
            words.push(joined("-rpath-link=", self.mirror.directory_name(&dir)?));
        }
        Ok(words)
    }

    fn list(&mut self, args: &Args) -> Result<Vec<OsString>> {
        let mut words = Vec::new();
        for arg in &args.list {
            words.extend(self.arg(arg)?);
        }
        Ok(words)
    }

    fn arg(&mut self, arg: &Arg) -> Result<Vec<OsString>> {
        let same = || Ok(arg.words.clone());
        match &arg.kind {
            Kind::Input(path) if path == "-" || Path::new(path).is_dir() => same(),
            Kind::Input(path) => {
                let path = Path::new(path);
                self.input(path)?;
                Ok(vec![self.mirror.name(path).into_os_string()])
            }
            Kind::Ukl { name, value } => self.ukl(arg, name, value.as_deref()),
            Kind::Unknown => same(),
            Kind::Option { opt, name, value } => {
                let Some(value) = value.as_deref() else {
                    return same();
                };
                let path = Path::new(value);
                match (opt.role, *name) {
                    (Role::InputFormat, _) => {
                        self.binary = value == "binary";
                        same()
                    }
                    (Role::Library, _) => {
                        self.library(value)?;
                        same()
                    }
                    (Role::LibraryPath, _) => {
                        let dir = under(&self.sysroot, value.as_bytes());
                        let name = self.mirror.directory_name(&dir)?;
                        Ok(with_value(arg, value, name.as_os_str()))
                    }
                    // The saved paths already contain the system root.
                    (Role::Sysroot, _) => Ok(Vec::new()),
                    (Role::Output, _) => {
                        let name = self.mirror.product(Path::new(self.link.name));
                        Ok(with_value(arg, value, name.as_os_str()))
                    }
                    (Role::Script, _) => {
                        let Some(path) = self.find_script(path) else {
                            return same();
                        };
                        self.script(&path)?;
                        Ok(with_value(arg, value, self.mirror.name(&path).as_os_str()))
                    }
                    (Role::JustSymbols, _) if path.is_dir() => same(),
                    (Role::JustSymbols, _)
                    | (
                        _,
                        "c"
                        | "mri-script"
                        | "version-script"
                        | "dynamic-list"
                        | "export-dynamic-symbol-list"
                        | "retain-symbols-file",
                    ) => {
                        self.mirror.copy(path)?;
                        Ok(with_value(arg, value, self.mirror.name(path).as_os_str()))
                    }
                    (_, "Map" | "dependency-file" | "out-implib") if value != "-" => {
                        let name = self.mirror.product(path);
                        Ok(with_value(arg, value, name.as_os_str()))
                    }
                    (_, "rpath-link") => {
                        let mut dirs = Vec::new();
                        for dir in std::env::split_paths(value) {
                            dirs.push(self.mirror.directory_name(&dir)?);
                        }
                        let dirs = std::env::join_paths(dirs).unwrap_or_default();
                        Ok(with_value(arg, value, &dirs))
                    }
                    (Role::PluginOption, _) => Ok(self.plugin_option(arg, value)),
                    _ => same(),
                }
            }
        }
    }

    /// GCC's plugin writes a file that the driver removes.
    fn plugin_option(&mut self, arg: &Arg, value: &OsStr) -> Vec<OsString> {
        const RESOLUTION: &[u8] = b"-fresolution=";
        match value.as_bytes().strip_prefix(RESOLUTION) {
            Some(path) => {
                let path = self.mirror.product(Path::new(OsStr::from_bytes(path)));
                let new = joined(OsStr::from_bytes(RESOLUTION), path);
                with_value(arg, value, &new)
            }
            None => arg.words.clone(),
        }
    }

    fn ukl(&mut self, arg: &Arg, name: &str, value: Option<&OsStr>) -> Result<Vec<OsString>> {
        let option = |value: &dyn AsRef<OsStr>| vec![joined(format!("--ukl-{name}="), value)];
        Ok(match (name, value) {
            ("save-dir", _) => Vec::new(),
            ("add", Some(value)) => {
                let bytes = value.as_bytes();
                let Some(colon) = bytes.iter().rposition(|&byte| byte == b':') else {
                    return Ok(arg.words.clone());
                };
                let host = Path::new(OsStr::from_bytes(&bytes[..colon]));
                self.mirror.copy_tree(host)?;
                let mut pair = self.mirror.name(host).into_os_string();
                pair.push(OsStr::from_bytes(&bytes[colon..]));
                option(&pair)
            }
            ("image" | "program" | "ring3", Some(path)) => {
                option(&self.mirror.product(Path::new(path)))
            }
            // The kernel archive is too large to be copied; the report identifies it.
            ("kernel", Some(path)) => option(&self.mirror.resolve(Path::new(path))),
            _ => arg.words.clone(),
        })
    }

    /// Saves an input file, with all files that it refers to.
    fn input(&mut self, path: &Path) -> Result<()> {
        if self.binary {
            return self.mirror.copy(path).map(drop);
        }
        if is_startup_part(path) {
            let own = path.parent().map(Path::to_owned);
            for dir in own.into_iter().chain(self.dirs.clone()) {
                for name in STARTUP {
                    self.copy_if_there(&dir.join(name))?;
                }
            }
        }
        self.file(path)
    }

    fn copy_if_there(&mut self, path: &Path) -> Result<()> {
        if path.is_file() {
            self.mirror.copy(path)?;
        }
        Ok(())
    }

    fn file_if_there(&mut self, path: &Path) -> Result<bool> {
        let there = path.is_file();
        if there {
            self.file(path)?;
        }
        Ok(there)
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        if !self.seen.insert(self.mirror.resolve(path)) || !self.mirror.copy(path)? {
            return Ok(());
        }
        match content::kind(path)? {
            Content::Archive => self.members(path),
            Content::Shared => self.shared(path),
            Content::Text => self.script(path),
            Content::Object | Content::Other(_) => Ok(()),
        }
    }

    /// Saves the members of a thin archive, which are separate files.
    fn members(&mut self, path: &Path) -> Result<()> {
        let data = fs::read(path).at(path)?;
        let Ok(archive) = ArchiveFile::parse(&*data) else {
            return Ok(());
        };
        if !archive.is_thin() {
            return Ok(());
        }
        for member in archive.members().flatten() {
            let member = Path::new(OsStr::from_bytes(member.name()));
            self.mirror.copy_member(path, member)?;
        }
        Ok(())
    }

    /// Saves the library of `-lNAME`, in every form and from every directory.
    fn library(&mut self, name: &OsStr) -> Result<()> {
        let names = match name.as_bytes().strip_prefix(b":") {
            Some(exact) => vec![OsStr::from_bytes(exact).to_owned()],
            None => vec![named("lib", name, ".so"), named("lib", name, ".a")],
        };
        for dir in self.dirs.clone() {
            for name in &names {
                self.file_if_there(&dir.join(name))?;
            }
        }
        if name == "gcc_s" {
            // Its static counterparts.
            self.library(OsStr::new("gcc_eh"))?;
            self.library(OsStr::new("gcc"))?;
        }
        Ok(())
    }

    /// Saves what belongs to a shared library: its static counterpart, the libraries it needs, and
    /// its inputs, if the user's build linked it through ukl-ld.
    fn shared(&mut self, path: &Path) -> Result<()> {
        let own = path.parent().unwrap_or(Path::new("")).to_owned();
        if let Some(stem) = content::library_stem(path) {
            let archive = OsString::from(format!("lib{stem}.a"));
            let real = path.canonicalize().at(path)?;
            if !self.file_if_there(&own.join(&archive))? {
                let real = real.parent().unwrap_or(Path::new("/"));
                self.file_if_there(&real.join(&archive))?;
            }
            self.library(OsStr::new(&stem))?;
        }
        for archive in rust::standard(path).into_iter().flatten() {
            self.file(&archive)?;
        }
        let mut dirs = vec![own];
        dirs.extend(elf::run_path(path));
        dirs.extend(self.further.iter().cloned());
        dirs.extend(self.dirs.iter().cloned());
        for soname in elf::needed(path) {
            let file = Path::new(&soname);
            for dir in &dirs {
                if self.file_if_there(&dir.join(file))? {
                    self.needed.insert(dir.clone());
                }
            }
            if let Some(stem) = content::library_stem(file) {
                self.library(OsStr::new(&stem))?;
            }
        }
        self.records(path)
    }

    /// Saves the records of a shared library's link, with the paths of the saved link.
    fn records(&mut self, path: &Path) -> Result<()> {
        for (file, record) in shared::records(path) {
            let mut inner = Collector {
                mirror: &mut *self.mirror,
                link: self.link,
                sysroot: self.sysroot.clone(),
                dirs: search_dirs(&record.args, &record.dir),
                system: Vec::new(),
                further: self.further.clone(),
                needed: BTreeSet::new(),
                seen: std::mem::take(&mut self.seen),
                binary: false,
            };
            inner.dirs.extend(self.system.iter().cloned());
            // Paths are relative to the directory in which the saved link runs.
            let mut words = vec![OsString::from(".")];
            for arg in &record.args.list {
                let moved = absolute(arg, &record.dir);
                words.extend(inner.arg(&moved)?);
            }
            self.seen = inner.seen;
            self.needed.append(&mut inner.needed);
            let copy = self.mirror.dir().join("cache/ukl/shared").join(file);
            let dir = copy.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(dir).at(dir)?;
            cache::put(&copy, &response::join(&words), b"").at(&copy)?;
        }
        Ok(())
    }

    /// Finds a script of `-T` as ld does.
    fn find_script(&mut self, path: &Path) -> Option<PathBuf> {
        let dirs = || self.dirs.iter().map(|dir| dir.join(path));
        let found = std::iter::once(path.to_owned()).chain(dirs());
        let found = found.into_iter().find(|path| path.is_file());
        if found.is_none() {
            self.mirror.missing.insert(path.to_owned());
        }
        found
    }

    /// Saves a linker script, and every file or directory that a word in it names. In the copy,
    /// absolute paths become those of the saved link.
    fn script(&mut self, path: &Path) -> Result<()> {
        let text = fs::read(path).at(path)?;
        let in_sysroot = !self.sysroot.as_os_str().is_empty()
            && self
                .mirror
                .resolve(path)
                .starts_with(self.mirror.resolve(&self.sysroot));
        let mut out = Vec::with_capacity(text.len());
        for word in text.chunk_by(|&a, &b| is_part(a) && is_part(b)) {
            let name = Path::new(OsStr::from_bytes(word));
            if let Some(library) = word.strip_prefix(b"-l") {
                self.library(OsStr::from_bytes(library))?;
            } else if name.is_absolute() || word.starts_with(b"=") || word.starts_with(b"$SYSROOT")
            {
                let mut place = under(&self.sysroot, word);
                if in_sysroot && name.is_absolute() {
                    let inside = self.sysroot.join(name.strip_prefix("/").unwrap_or(name));
                    place = if inside.exists() { inside } else { place };
                }
                if place.is_dir() && place != Path::new("/") {
                    self.dirs.push(place.clone());
                    let name = self.mirror.directory_name(&place)?;
                    out.extend_from_slice(name.as_os_str().as_bytes());
                    continue;
                }
                if place.is_file() {
                    self.file(&place)?;
                    out.extend_from_slice(self.mirror.name(&place).as_os_str().as_bytes());
                    continue;
                }
            } else if is_part(word[0]) {
                self.file_if_there(name)?;
                for dir in self.dirs.clone() {
                    self.file_if_there(&dir.join(name))?;
                }
            }
            out.extend_from_slice(word);
        }
        self.mirror.copy(path)?;
        match out == text {
            true => Ok(()),
            false => self.mirror.write(path, &out),
        }
    }
}

/// Whether a byte of a script may be part of a file's name.
fn is_part(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !b"(){},;\"".contains(&byte)
}

/// The argument with another value, in the same form: joined, or as a separate word.
fn with_value(arg: &Arg, old: &OsStr, new: &OsStr) -> Vec<OsString> {
    let mut words = arg.words.clone();
    if let Some(last) = words.last_mut() {
        let kept = last.len().saturating_sub(old.len());
        let mut word = last.as_bytes()[..kept].to_vec();
        word.extend_from_slice(new.as_bytes());
        *last = OsString::from_vec(word);
    }
    words
}

/// The argument with an absolute path in place of a path relative to `dir`.
fn absolute(arg: &Arg, dir: &Path) -> Arg {
    match &arg.kind {
        Kind::Input(path) => {
            let path = dir.join(path).into_os_string();
            Arg {
                kind: Kind::Input(path.clone()),
                words: vec![path],
            }
        }
        Kind::Option {
            opt,
            name,
            value: Some(value),
        } if opt.role == Role::LibraryPath && !value.as_bytes().starts_with(b"=") => {
            let path = dir.join(value).into_os_string();
            Arg {
                words: with_value(arg, value, &path),
                kind: Kind::Option {
                    opt,
                    name,
                    value: Some(path),
                },
            }
        }
        _ => arg.clone(),
    }
}

fn joined(before: impl Into<OsString>, behind: impl AsRef<OsStr>) -> OsString {
    let mut word = before.into();
    word.push(behind);
    word
}
