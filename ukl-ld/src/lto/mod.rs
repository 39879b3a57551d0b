//! Link-time optimisation: turns inputs with a compiler's intermediate code (`gcc -flto`, `clang
//! -flto`, rustc's `-C linker-plugin-lto`) into machine code, which is all that later phases
//! handle.
//!
//! The compiler must see the whole program to optimise it. Therefore the host linker links exactly
//! the inputs of the image's program, before they are rewritten. Its plugin learns in this link
//! which symbols other inputs need, and drops or inlines the rest. The objects that it makes
//! replace the inputs with intermediate code. The linked program is discarded.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use symbol_rewriter::Options;

use crate::args::Args;
use crate::args::Kind;
use crate::args::table::Role;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::explain::Explain;
use crate::files::Files;
use crate::host::args_or_file;
use crate::inputs::File;
use crate::inputs::FileKind;
use crate::inputs::Item;
use crate::inputs::content::is_startup_part;
use crate::program::Program;
use crate::rewrite::Linked;
use crate::rewrite::Rewritten;
use crate::tools;
use crate::tools::Tools;

mod bitcode;
mod code;
pub mod reader;
pub mod wrapper;

use code::Code;
use wrapper::OBJECTS;
use wrapper::Wrapper;

/// The phase.
pub struct Lto<'l> {
    /// The command line of the host link.
    pub args: &'l Args,
    /// The real linker and the installation.
    pub tools: &'l Tools,
    /// Where temporary files go.
    pub temp: &'l Path,
    /// The files that the link reads.
    pub files: &'l Files,
    /// Receives the reports for `--ukl-explain`.
    pub explain: &'l Explain,
}

/// The result of the phase.
#[derive(Debug, Default)]
pub struct Lowered {
    /// The intermediate code among the inputs, each with the name of its file.
    code: Vec<(String, Code)>,
    /// The number of resulting objects. ThinLTO makes one or more for each module.
    pub objects: usize,
}

impl Lowered {
    /// Whether there was any intermediate code.
    pub fn any(&self) -> bool {
        !self.code.is_empty()
    }

    /// Explains undefined symbols: linkers may ignore archive members whose intermediate code they
    /// cannot read.
    pub fn passed_over(&self, args: &Args, tools: &Tools) -> Option<String> {
        unreadable(self.code.iter().cloned(), args, tools)
    }
}

/// A line that explains why some intermediate code cannot be read, if a version mismatch is the
/// reason.
fn unreadable(
    code: impl IntoIterator<Item = (String, Code)>,
    args: &Args,
    tools: &Tools,
) -> Option<String> {
    let (file, what) = reader::first_unreadable(code, args, tools)?;
    Some(format!("\nukl-ld: error: {file}: {what}"))
}

impl Lto<'_> {
    /// Replaces inputs that contain intermediate code by the objects compiled from them.
    pub fn lower(&self, items: &mut Vec<Item>) -> Result<Lowered> {
        for item in &mut *items {
            if let Item::Library(library) = item {
                let tools = reader::for_rustc(&library.args, self.tools.clone(), self.files)?;
                let inner = Lto {
                    args: &library.args,
                    tools: &tools,
                    ..*self
                };
                library.items = inner.partially(std::mem::take(&mut library.items))?;
            }
        }
        let code = self.intermediate(items)?;
        let intermediate: Vec<bool> = code.iter().map(|code| !code.is_empty()).collect();
        let code: Vec<_> = code.into_iter().flatten().collect();
        if code.is_empty() {
            return Ok(Lowered::default());
        }
        let dir = self.directory()?;
        let mut made = self.whole(items, &code, &dir)?;
        let objects = made.len();
        let mut lowered = Vec::with_capacity(items.len());
        for (item, intermediate) in std::mem::take(items).into_iter().zip(intermediate) {
            if !intermediate {
                lowered.push(item);
                continue;
            }
            let object = |path| Item::File(File::new(path, FileKind::Object));
            let at = place(&lowered);
            lowered.splice(at..at, std::mem::take(&mut made).into_iter().map(object));
            if let Item::File(file) = item
                && file.kind == FileKind::Archive
                && let Some(rest) = code::without(&file.path, self.is_gccs(), self.files)?
            {
                let inner = dir.join(lowered.len().to_string());
                fs::create_dir(&inner).at(&inner)?;
                let path = inner.join(file.path.file_name().unwrap_or_default());
                fs::write(&path, rest).at(&path)?;
                lowered.push(Item::File(File::new(path, FileKind::Archive)));
            }
        }
        *items = lowered;
        Ok(Lowered { code, objects })
    }

    /// Whether GCC's plugin is in use. It also reads the intermediate code of objects that contain
    /// machine code as well. gcc passes the plugin to lld, too, which ignores it.
    fn is_gccs(&self) -> bool {
        reader::has_gccs_plugin(self.args, self.tools)
    }

    /// The intermediate code of each item.
    fn intermediate(&self, items: &[Item]) -> Result<Vec<Vec<(String, Code)>>> {
        let code = |item: &Item| match item {
            Item::File(file) => code::of_file(file, self.is_gccs(), self.files),
            Item::Flag(_) | Item::Library(_) => Ok(Vec::new()),
        };
        items.iter().map(code).collect()
    }

    fn directory(&self) -> Result<PathBuf> {
        let mut dir = tempfile::Builder::new()
            .prefix("lto.")
            .tempdir_in(self.temp)
            .at(self.temp)?;
        // It is removed with its parent directory.
        dir.disable_cleanup(true);
        Ok(dir.path().to_owned())
    }

    /// Links all inputs, and returns the objects that the compiler made from intermediate code.
    fn whole(&self, items: &[Item], code: &[(String, Code)], dir: &Path) -> Result<Vec<PathBuf>> {
        // The image's link reports undefined symbols in better words.
        let mut more = vec!["--unresolved-symbols=ignore-all".into()];
        let mut environment = Vec::new();
        let mut wrapper = None;
        if let Some(real) = self.lto_wrapper() {
            let made = Wrapper::new(real, dir, self.tools)?;
            environment.extend(made.environment);
            wrapper = Some((real, made.path));
        }
        for word in self.plugin_words() {
            match &wrapper {
                Some((real, path)) if word == plugin_option(real) => {
                    more.push(plugin_option(path.as_os_str()));
                }
                _ => more.push(word),
            }
        }
        if wrapper.is_none() {
            let mut word = OsString::from("obj-path=");
            word.push(dir.join(OBJECTS));
            more.push(plugin_option(&word));
        }
        if self.tools.is_lld() {
            // lld does not write objects that it finds in a cache.
            more.push("--thinlto-cache-dir=".into());
        }
        let mut inputs = Rewritten::default();
        flatten(items, &mut inputs.items);
        if items.iter().any(|item| matches!(item, Item::Library(_))) {
            // Symbols that a shared library does not export may also be defined elsewhere.
            more.push("--allow-multiple-definition".into());
        }
        let options = Options {
            prefix: Vec::new(),
            rewrite_sites: false,
            call_form: false,
            wrap: Vec::new(),
        };
        let link = Program {
            ld: &self.tools.host_ld,
            gnu: true,
            args: self.args,
            options: &options,
            inputs: &inputs,
            thunks: &[],
            last: &[],
            undefined: &BTreeSet::new(),
            temp: dir,
        };
        let words = link.words(&dir.join("whole"), more)?;
        self.run(&words, &environment, code)?;
        let mut made = Vec::new();
        for entry in fs::read_dir(dir).at(dir)? {
            let entry = entry.at(dir)?;
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(|name| name.strip_prefix(OBJECTS)) else {
                continue;
            };
            if entry.metadata().at(dir)?.len() > 0 {
                made.push((number.parse().unwrap_or(0u32), entry.path()));
            }
        }
        made.sort();
        Ok(made.into_iter().map(|(_, path)| path).collect())
    }

    /// The path of GCC's lto-wrapper, if GCC's plugin is in use: the first plugin option that is an
    /// absolute path.
    fn lto_wrapper(&self) -> Option<&OsStr> {
        if !self.is_gccs() {
            return None;
        }
        let options = self.args.all(Role::PluginOption);
        options
            .filter(|option| !option.as_encoded_bytes().starts_with(b"-"))
            .find(|option| Path::new(option).is_absolute())
    }

    /// Compiles the intermediate code among the objects of a shared library by a partial link. Such
    /// a link keeps all symbols, so those that the library exports remain.
    fn partially(&self, items: Vec<Item>) -> Result<Vec<Item>> {
        let code = self.intermediate(&items)?;
        let intermediate: Vec<bool> = code.iter().map(|code| !code.is_empty()).collect();
        if !intermediate.contains(&true) {
            return Ok(items);
        }
        // If an archive contains intermediate code, the partial link must include the other
        // objects, whose undefined symbols decide which members are linked.
        let archives = items
            .iter()
            .zip(&intermediate)
            .any(|(item, intermediate)| *intermediate && is_kind(item, FileKind::Archive));
        let chosen = |item: &Item, intermediate: bool| match item {
            Item::File(file) => {
                let object = file.kind == FileKind::Object && !is_startup_part(&file.path);
                intermediate || (archives && object)
            }
            Item::Flag(_) | Item::Library(_) => false,
        };

        let output = self.directory()?.join(OBJECTS);
        let mut words: Vec<OsString> = vec!["-r".into(), "-o".into(), output.clone().into()];
        words.extend(self.plugin_words());
        words.extend(
            self.args
                .list
                .iter()
                .filter(|arg| arg.kind == Kind::Unknown || arg.role() == Some(Role::Emulation))
                .flat_map(|arg| arg.words.iter().cloned()),
        );
        if self.is_gccs() {
            words.push("-plugin-opt=-linker-output-known".into());
        }
        words.push("--start-group".into());
        for (item, intermediate) in items.iter().zip(&intermediate) {
            match item {
                Item::File(file) if chosen(item, *intermediate) => {
                    words.push(file.path.clone().into());
                }
                Item::File(_) | Item::Library(_) => {}
                Item::Flag(flag) => words.push(flag.clone()),
            }
        }
        words.push("--end-group".into());
        // By default a partial link with GCC's plugin produces intermediate code again.
        let mut options = env::var_os("COLLECT_GCC_OPTIONS").unwrap_or_default();
        options.push(" '-flinker-output=nolto-rel'");
        let environment = [("COLLECT_GCC_OPTIONS", options)];
        self.run(&words, &environment, &code.concat())?;
        self.explain
            .note(format_args!("{}: compiled by the plugin", output.display()));

        let mut made = Some(Item::File(File::new(output, FileKind::Object)));
        let lowered = items
            .into_iter()
            .zip(intermediate)
            .filter_map(|(item, intermediate)| {
                if chosen(&item, intermediate) {
                    made.take()
                } else {
                    Some(item)
                }
            });
        Ok(lowered.collect())
    }

    /// The plugin and its options, except those that add inputs (`-pass-through`), name the objects
    /// (`obj-path`), or prevent them from being written (`cache-dir`).
    fn plugin_words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        for arg in &self.args.list {
            let value = arg.value().unwrap_or_default();
            match arg.role() {
                Some(Role::Plugin) => words.extend(arg.words.iter().cloned()),
                Some(Role::PluginOption) => {
                    let unwanted: [&[u8]; 3] = [b"-pass-through=", b"cache-dir=", b"obj-path="];
                    let value_bytes = value.as_encoded_bytes();
                    if !unwanted.iter().any(|&word| value_bytes.starts_with(word)) {
                        words.push(plugin_option(value));
                    }
                }
                _ => {}
            }
        }
        words
    }

    /// Runs the host linker. `code` is for the error message.
    fn run(
        &self,
        words: &[OsString],
        environment: &[(&str, OsString)],
        code: &[(String, Code)],
    ) -> Result<()> {
        let mut command = Command::new(&self.tools.host_ld);
        let (name, depth) = tools::depth(&self.tools.host_ld)?;
        command.env(name, depth);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let _file = args_or_file(&mut command, words)?;
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|source| Error::Run {
            program: self.tools.host_ld.clone(),
            source,
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::Lto {
            messages: said.trim_end().to_owned(),
            why: unreadable(code.iter().cloned(), self.args, self.tools).unwrap_or_default(),
        })
    }
}

/// The position for the resulting objects: the end, but not between `--start-lib` and `--end-lib`,
/// because they must be linked.
fn place(items: &[Item]) -> usize {
    let last = |name: &str| {
        let is_it = |item: &Item| matches!(item, Item::Flag(flag) if flag == name);
        items.iter().rposition(is_it)
    };
    match (last("--start-lib"), last("--end-lib")) {
        (Some(start), end) if end.is_none_or(|end| end < start) => start,
        _ => items.len(),
    }
}

/// Collects files and flags. A library is replaced by its own files and flags.
fn flatten(items: &[Item], linked: &mut Vec<Linked>) {
    for item in items {
        match item {
            Item::File(file) => linked.push(Linked::File {
                path: file.path.clone(),
                origin: file.path.clone(),
                archive: file.kind == FileKind::Archive,
            }),
            Item::Flag(flag) => linked.push(Linked::Flag(flag.clone())),
            Item::Library(library) => flatten(&library.items, linked),
        }
    }
}

fn is_kind(item: &Item, kind: FileKind) -> bool {
    matches!(item, Item::File(file) if file.kind == kind)
}

fn plugin_option(value: &OsStr) -> OsString {
    let mut word = OsString::from("-plugin-opt=");
    word.push(value);
    word
}
