//! The inputs of the image's link: the static counterpart of each input of the host link.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use crate::args::Arg;
use crate::args::Args;
use crate::args::Kind;
use crate::args::table::Role;
use crate::elf;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::explain::Explain;
use crate::files::Files;
use crate::missing;
use crate::script;
use crate::script::Named;
use crate::shared;
use crate::shared::Record;
use crate::tools::Tools;

pub mod content;
pub mod item;
pub(crate) mod rust;
pub mod search;

use content::Content;
use content::is_part_of_libc;
use content::is_startup_part;
use content::kind_of;
use content::library_stem;
pub use item::File;
pub use item::FileKind;
pub use item::Item;
pub use item::Library;
use search::named;
use search::search_dirs;
use search::system_dirs;
use search::under;

/// The depth to which linker scripts may include each other.
const SCRIPTS: usize = 16;

/// The result of `resolve`.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The inputs, in order.
    pub items: Vec<Item>,
    /// Libraries that shared libraries need and that have no static counterpart. They matter only
    /// if symbols remain undefined.
    pub absent: Vec<String>,
    /// The files that stand in for shared libraries of the host link: their static counterparts, and
    /// the libraries that were replaced by their objects.
    pub stand_ins: BTreeSet<PathBuf>,
    /// The shared libraries that the output of the host link needs, as far as they were found.
    pub needed: Vec<PathBuf>,
}

/// Finds the static counterparts. `host` is the output of the host link, and `temp` the directory
/// for temporary files.
pub fn resolve(
    args: &Args,
    host: &Path,
    tools: &Tools,
    ld: &Path,
    temp: &Path,
    files: &Files,
    explain: &Explain,
) -> Result<Inputs> {
    let mut resolver = Resolver {
        temp,
        files,
        gnu: tools.is_gnu(),
        base: PathBuf::new(),
        needed: elf::needed(host),
        part: false,
        libraries: Vec::new(),
        taken: BTreeSet::new(),
        dirs: search_dirs(args, Path::new("")),
        system: None,
        ld,
        found: Inputs::default(),
        tail: Vec::new(),
        soname_seen: BTreeSet::new(),
        missing: Vec::new(),
        binary: false,
        dynamic: true,
        stands_in: false,
        explain,
    };
    for arg in &args.list {
        resolver.arg(arg)?;
    }
    resolver.finish(host)
}

/// A shared library that has no static counterpart.
struct Missing {
    asked: String,
    shared: PathBuf,
    /// If it is a library of the user's build: one of its objects that no longer exists.
    gone: Option<String>,
}

struct Resolver<'r> {
    /// Where temporary files go.
    temp: &'r Path,
    files: &'r Files,
    /// The directory that relative paths refer to: empty for the current directory, or the
    /// directory in which a shared library was linked.
    base: PathBuf,
    /// The shared libraries that the output of the host link needs.
    needed: Vec<String>,
    /// Whether these are the inputs of a shared library, not of the program.
    part: bool,
    /// The shared libraries that were replaced by their objects. A library comes before the
    /// libraries that it needs.
    libraries: Vec<Library>,
    taken: BTreeSet<PathBuf>,
    dirs: Vec<PathBuf>,
    /// The linker's default search directories, once they were needed.
    system: Option<Vec<PathBuf>>,
    ld: &'r Path,
    /// Whether the host linker is GNU ld, all of whose options are known.
    gnu: bool,
    found: Inputs,
    /// The static counterparts of the libraries that shared libraries need.
    tail: Vec<File>,
    soname_seen: BTreeSet<String>,
    missing: Vec<Missing>,
    /// Whether `-b binary` is in effect.
    binary: bool,
    /// Whether the host link may use shared libraries at this point.
    dynamic: bool,
    /// Whether the files that are added stand in for a shared library.
    stands_in: bool,
    explain: &'r Explain,
}

impl Resolver<'_> {
    fn arg(&mut self, arg: &Arg) -> Result<()> {
        match &arg.kind {
            Kind::Input(path) => {
                let path = &self.base.join(path);
                if self.binary {
                    self.push(path.to_owned(), FileKind::Binary);
                    return Ok(());
                }
                if !self.gnu && !path.exists() {
                    // Not an input, but the value of an option that only that linker has.
                    self.explain
                        .note(format_args!("{} is not a file", path.display()));
                    return Ok(());
                }
                if self.part && is_startup_part(path) {
                    return Ok(());
                }
                match self.startup(path) {
                    Some(path) => self.push(path, FileKind::Object),
                    None => self.file(path, 0)?,
                }
            }
            Kind::Option { opt, name, value } => match opt.role {
                Role::Library => self.library(value.as_deref().unwrap_or_default(), 0)?,
                Role::InputFormat => self.binary = value.as_deref() == Some(OsStr::new("binary")),
                Role::Static => self.dynamic = false,
                Role::Dynamic => self.dynamic = true,
                Role::Positional => {
                    let flag = OsString::from(format!("--{name}"));
                    self.found.items.push(Item::Flag(flag));
                }
                _ => {}
            },
            Kind::Ukl { .. } | Kind::Unknown => {}
        }
        Ok(())
    }

    /// Adds the static counterpart of a shared library. If that library is an input of another
    /// shared library, the counterpart does not become part of the other one.
    fn counterpart(&mut self, archive: &Path, depth: usize) -> Result<()> {
        if self.part {
            self.tail.push(File {
                path: archive.to_owned(),
                kind: FileKind::Archive,
            });
            return Ok(());
        }
        self.stand_in(archive, depth)
    }

    /// Adds a file that stands in for a shared library.
    fn stand_in(&mut self, path: &Path, depth: usize) -> Result<()> {
        let outer = std::mem::replace(&mut self.stands_in, true);
        let added = self.file(path, depth);
        self.stands_in = outer;
        added
    }

    /// Replaces a shared library by its objects, if the user's own build made it or it is Rust's
    /// standard library.
    fn take_apart(&mut self, asked: &str, shared: &Path) -> Result<bool> {
        if let Some(archives) = rust::standard(shared) {
            self.rust(shared, archives)?;
            return Ok(true);
        }
        let records = shared::recall(shared);
        if records.is_empty() {
            return Ok(false);
        }
        let name = elf::soname(shared).unwrap_or_default();
        let real = shared.canonicalize().at(shared)?;
        // A library without a soname is recorded as needed by the path that the link was given.
        let is_it = |needed: &String| needed.rsplit('/').next() == Some(&name);
        if !self.needed.iter().any(is_it) || self.taken.contains(&real) {
            return Ok(true);
        }
        self.taken.insert(real);
        let mut gone = None;
        for record in records {
            match self.parts(shared, record) {
                Err(Error::Io { path, .. }) => gone = gone.or(Some(path.display().to_string())),
                done => return done.map(|()| true),
            }
        }
        let (asked, shared) = (asked.to_owned(), shared.to_owned());
        self.missing.push(Missing {
            asked,
            shared,
            gone,
        });
        Ok(true)
    }

    /// Adds the static counterparts of Rust's standard library.
    fn rust(&mut self, shared: &Path, archives: Vec<PathBuf>) -> Result<()> {
        if !self.taken.insert(shared.to_owned()) {
            return Ok(());
        }
        let path = self.temp.join("rust-alloc.o");
        std::fs::write(&path, rust::allocator(shared)?).at(&path)?;
        self.tail.push(File::new(path, FileKind::Object));
        let archives = archives.into_iter();
        self.tail
            .extend(archives.map(|path| File::new(path, FileKind::Archive)));
        self.explain.note(format_args!(
            "{} -> the rlibs in its directory",
            shared.display()
        ));
        Ok(())
    }

    /// Adds the inputs of a shared library's link, and the libraries that it needs.
    fn parts(&mut self, shared: &Path, record: Record) -> Result<()> {
        let mut inner = Resolver {
            temp: self.temp,
            files: self.files,
            base: record.dir.clone(),
            needed: elf::needed(shared),
            part: true,
            libraries: Vec::new(),
            taken: self.taken.clone(),
            dirs: search_dirs(&record.args, &record.dir),
            system: self.system.clone(),
            ld: self.ld,
            gnu: self.gnu,
            found: Inputs::default(),
            tail: Vec::new(),
            soname_seen: self.soname_seen.clone(),
            missing: Vec::new(),
            binary: false,
            dynamic: true,
            stands_in: false,
            explain: self.explain,
        };
        record.args.list.iter().try_for_each(|arg| inner.arg(arg))?;
        self.explain.note(format_args!(
            "{}: replaced by its objects",
            shared.display()
        ));
        self.taken = inner.taken;
        self.soname_seen = inner.soname_seen;
        self.tail.extend(inner.tail);
        self.missing.extend(inner.missing);
        self.found.absent.extend(inner.found.absent);
        self.found.stand_ins.extend(inner.found.stand_ins);
        self.found.stand_ins.insert(shared.to_owned());
        let items = inner.found.items;
        self.libraries.push(Library {
            shared: shared.to_owned(),
            args: record.args,
            items,
        });
        self.libraries.extend(inner.libraries);
        Ok(())
    }

    fn push(&mut self, path: PathBuf, kind: FileKind) {
        if self.stands_in {
            self.found.stand_ins.insert(path.clone());
        }
        self.found.items.push(Item::File(File { path, kind }));
    }

    /// The startup object of a static program that replaces a position-independent one.
    fn startup(&self, path: &Path) -> Option<PathBuf> {
        let wanted: &[&str] = match path.file_name()?.to_str()? {
            "Scrt1.o" | "rcrt1.o" => &["crt1.o"],
            "grcrt1.o" => &["gcrt1.o", "crt1.o"],
            "crtbeginS.o" | "crtbegin.o" => &["crtbeginT.o", "crtbegin.o"],
            "crtendS.o" => &["crtend.o"],
            _ => return None,
        };
        let own = path.parent();
        let dirs = || {
            own.into_iter()
                .chain(self.dirs.iter().map(PathBuf::as_path))
        };
        wanted
            .iter()
            .find_map(|name| dirs().map(|dir| dir.join(name)).find(|path| path.is_file()))
    }

    /// Adds an input file, given by its path.
    fn file(&mut self, path: &Path, depth: usize) -> Result<()> {
        match kind_of(&self.files.read(path)?) {
            Content::Object => self.push(path.to_owned(), FileKind::Object),
            Content::Archive => match missing::runtime(path) {
                Some(sanitizer) => return Err(sanitizer),
                None => self.push(path.to_owned(), FileKind::Archive),
            },
            Content::Shared => self.shared(path)?,
            Content::Text => self.script(path, depth)?,
            Content::Other(what) => {
                return Err(Error::Input {
                    file: path.display().to_string(),
                    what: format!(
                        "{what} cannot be linked into an image; build it for x86-64 as an object \
                         or a static library"
                    ),
                });
            }
        }
        Ok(())
    }

    /// Replaces a shared library, given by its path, by the static library in the same directory.
    fn shared(&mut self, path: &Path) -> Result<()> {
        let Some(stem) = library_stem(path) else {
            self.missing.push(Missing {
                asked: path.display().to_string(),
                shared: path.into(),
                gone: None,
            });
            return Ok(());
        };
        if is_part_of_libc(&stem) {
            return Ok(());
        }
        if stem == "gcc_s" {
            return self.library(OsStr::new("gcc_s"), 0);
        }
        let name = format!("lib{stem}.a");
        let real = path.canonicalize().ok();
        let beside = [Some(path), real.as_deref()];
        let beside = beside.iter().flatten().filter_map(|path| path.parent());
        let archive = beside
            .map(|dir| dir.join(&name))
            .find(|path| path.is_file());
        match archive {
            Some(archive) => {
                let (from, to) = (path.display(), archive.display());
                self.explain.note(format_args!("{from} -> {to}"));
                self.needs_of(path);
                self.counterpart(&archive, 1)
            }
            None if self.take_apart(&path.to_string_lossy(), path)? => Ok(()),
            None => {
                let asked = path.display().to_string();
                self.missing.push(Missing {
                    asked,
                    shared: path.into(),
                    gone: None,
                });
                Ok(())
            }
        }
    }

    /// Adds the library of `-lNAME`.
    fn library(&mut self, name: &OsStr, depth: usize) -> Result<()> {
        let bytes = name.as_bytes();
        // The link of the program includes these.
        if self.part && matches!(bytes, b"c" | b"gcc" | b"gcc_s" | b"gcc_eh") {
            return Ok(());
        }
        if bytes == b"gcc_s" {
            // The static unwinder, and the parts of libgcc that libgcc_s contains.
            self.library(OsStr::new("gcc_eh"), depth)?;
            return self.library(OsStr::new("gcc"), depth);
        }
        if let Some(exact) = bytes.strip_prefix(b":") {
            let exact = Path::new(OsStr::from_bytes(exact));
            if let Some(path) = self.search(exact.as_os_str()) {
                return self.file(&path, depth);
            }
        }
        if let Some(sanitizer) = missing::sanitizer(bytes) {
            return Err(sanitizer);
        }
        let shared = self.search(&named("lib", name, ".so"));
        if let Some(archive) = self.search(&named("lib", name, ".a")) {
            // A shared library of the user's build takes precedence over an archive of the same
            // name in a later directory.
            if self.dynamic
                && let Some(shared) = &shared
                && self.is_searched_before(shared, &archive)
                && self.take_apart(&format!("-l{}", name.display()), shared)?
            {
                return Ok(());
            }
            return match &shared {
                Some(shared) if self.dynamic => {
                    self.needs_of(shared);
                    self.counterpart(&archive, depth)
                }
                _ => self.file(&archive, depth),
            };
        }
        match shared {
            // A linker script that has the name of a shared library.
            Some(script) if matches!(kind_of(&self.files.read(&script)?), Content::Text) => {
                self.file(&script, depth)?
            }
            Some(shared) if self.take_apart(&format!("-l{}", name.display()), &shared)? => {}
            Some(shared) => {
                let asked = format!("-l{}", name.display());
                self.missing.push(Missing {
                    asked,
                    shared,
                    gone: None,
                });
            }
            // The host link succeeded without this file, so it is not needed. Newer C libraries,
            // for instance, have no libpthread.
            None => self
                .explain
                .note(format_args!("no file for -l{}", name.display())),
        }
        Ok(())
    }

    fn search(&mut self, name: &OsStr) -> Option<PathBuf> {
        let found = self
            .dirs
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file());
        if found.is_some() {
            return found;
        }
        let system = self.system.get_or_insert_with(|| system_dirs(self.ld));
        system
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
    }

    /// Whether the linker searches the directory of `one` before that of `other`.
    fn is_searched_before(&self, one: &Path, other: &Path) -> bool {
        let place = |path: &Path| {
            let system = self.system.iter().flatten();
            let mut dirs = self.dirs.iter().chain(system);
            dirs.position(|dir| Some(dir.as_path()) == path.parent())
        };
        place(one) < place(other)
    }

    /// Reads a text file among the inputs, which is a linker script.
    fn script(&mut self, path: &Path, depth: usize) -> Result<()> {
        if depth > SCRIPTS {
            return Err(Error::Input {
                file: path.display().to_string(),
                what: format!(
                    "linker scripts include each other more than {SCRIPTS} levels deep; remove the \
                     cycle"
                ),
            });
        }
        let text = self.files.read(path)?;
        let script = script::parse(&String::from_utf8_lossy(&text));
        self.dirs.extend(
            script
                .search
                .iter()
                .map(|dir| under(Path::new(""), dir.as_bytes())),
        );
        for input in &script.inputs {
            match input {
                Named::Library(name) => self.library(OsStr::new(name), depth + 1)?,
                Named::File(name) => {
                    let stem = library_stem(Path::new(name));
                    if stem.as_deref().is_some_and(is_part_of_libc) {
                        continue;
                    }
                    let beside = path.parent().map(|dir| dir.join(name));
                    let file = [Some(self.base.join(name)), beside].into_iter().flatten();
                    let file = file.into_iter().find(|path| path.is_file());
                    match file.or_else(|| self.search(OsStr::new(name))) {
                        Some(file) => self.file(&file, depth + 1)?,
                        None => self.explain.note(format_args!("no file for {name}")),
                    }
                }
            }
        }
        if script.more {
            self.push(path.to_owned(), FileKind::Script);
        }
        Ok(())
    }

    /// Adds the static counterparts of the libraries that a shared library needs to the end of the
    /// inputs. A shared library lists them in DT_NEEDED; its archive has no such list.
    fn needs_of(&mut self, shared: &Path) {
        for soname in elf::needed(shared) {
            if !self.soname_seen.insert(soname.clone()) {
                continue;
            }
            let Some(stem) = library_stem(Path::new(&soname)) else {
                continue;
            };
            if is_part_of_libc(&stem) || stem == "gcc_s" {
                continue;
            }
            match self.search(OsStr::new(&format!("lib{stem}.a"))) {
                Some(archive) => {
                    self.explain.note(format_args!(
                        "{} needs {soname}: {}",
                        shared.display(),
                        archive.display()
                    ));
                    self.tail.push(File {
                        path: archive,
                        kind: FileKind::Archive,
                    });
                    let own = shared.parent().map(|dir| dir.join(&soname));
                    let file = own.filter(|path| path.is_file());
                    if let Some(file) = file.or_else(|| self.search(OsStr::new(&soname))) {
                        self.needs_of(&file);
                    }
                }
                None => self.found.absent.push(soname),
            }
        }
    }

    fn finish(mut self, host: &Path) -> Result<Inputs> {
        let mut wanted = elf::wanted(host);
        for library in &self.libraries {
            wanted.extend(elf::wanted(&library.shared));
        }
        let mut messages = Vec::new();
        for missing in std::mem::take(&mut self.missing) {
            let provided = elf::provided(&missing.shared);
            let used: Vec<&str> = wanted
                .intersection(&provided)
                .take(3)
                .map(String::as_str)
                .collect();
            if used.is_empty() {
                self.explain.note(format_args!(
                    "{} is not needed: no symbol of it is used",
                    missing.asked
                ));
                continue;
            }
            messages.push(missing::message(
                &missing.asked,
                &missing.shared,
                &used,
                missing.gone.as_deref(),
            ));
        }
        if !messages.is_empty() {
            return Err(Error::NoStatic(messages));
        }
        // Some of these files are linker scripts (libm.a) and are read like any other. The files
        // that they name go before the startup object that ends the program.
        let at = self.tail_position();
        let behind = self.found.items.split_off(at);
        for file in std::mem::take(&mut self.tail) {
            self.stand_in(&file.path, 1)?;
        }
        self.found.items.extend(behind);
        let needed = std::mem::take(&mut self.needed);
        self.found.needed = needed
            .iter()
            .filter_map(|name| self.search(OsStr::new(name)))
            .collect();
        // The dynamic linker runs the constructors of a library before those of the libraries and
        // the program that need it. The constructors of libraries that were replaced by their
        // objects run in the same order.
        let at = self.startup_position();
        let libraries = std::mem::take(&mut self.libraries).into_iter().rev();
        self.found
            .items
            .splice(at..at, libraries.map(Item::Library));
        Ok(self.found)
    }

    /// The position after the startup objects.
    fn startup_position(&self) -> usize {
        let startup = |item: &Item| match item {
            Item::File(file) => is_startup_part(&file.path),
            _ => false,
        };
        self.found
            .items
            .iter()
            .position(|item| !startup(item))
            .unwrap_or(0)
    }

    /// The position after the last archive.
    fn tail_position(&self) -> usize {
        let archive = |item: &Item| {
            matches!(
                item,
                Item::File(File {
                    kind: FileKind::Archive,
                    ..
                }) | Item::Flag(_)
            )
        };
        self.found
            .items
            .iter()
            .rposition(archive)
            .map_or(self.found.items.len(), |at| at + 1)
    }
}
