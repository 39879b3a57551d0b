//! Links the image's program, a static executable in the lower half, from the rewritten inputs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use symbol_rewriter::Options;

use crate::args::Arg;
use crate::args::Args;
use crate::args::Kind;
use crate::args::table::Role;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::host::args_or_file;
use crate::interpose;
use crate::messages;
use crate::rewrite::Linked;
use crate::rewrite::Rewritten;
use crate::script;

/// The parts of the link.
pub struct Program<'p> {
    /// GNU ld.
    pub ld: &'p Path,
    /// Whether the host linker is GNU ld, too.
    pub gnu: bool,
    /// The command line of the host link.
    pub args: &'p Args,
    /// The options that the inputs were rewritten with.
    pub options: &'p Options,
    /// The inputs.
    pub inputs: &'p Rewritten,
    /// The thunk objects, each with a file name.
    pub thunks: &'p [(&'static str, &'p [u8])],
    /// Files that go last: they define the kernel's functions and variables that no input defines.
    pub last: &'p [PathBuf],
    /// Symbols to link that only weak references need, with the prefix.
    pub undefined: &'p BTreeSet<Vec<u8>>,
    /// Where temporary files go.
    pub temp: &'p Path,
}

/// The result of running the linker: the program, or its messages and its status.
type Attempt = Result<Vec<u8>, (Vec<u8>, ExitStatus)>;

impl Program<'_> {
    /// Links the program, with the symbol resolution of the host's dynamic linker. If this fails,
    /// `hint` turns the linker's messages into advice for the user.
    pub fn link(
        &self,
        stand_ins: &BTreeSet<PathBuf>,
        hint: &dyn Fn(&str) -> String,
    ) -> Result<Vec<u8>> {
        let mut weakened = Rewritten::default();
        let mut attempt = self.attempt()?;
        let mut inputs = self.inputs;
        if attempt.is_err()
            && let Some(items) = interpose::weaken(&inputs.items, stand_ins, self.temp)?
        {
            weakened.items = items;
            inputs = &weakened;
            attempt = Program { inputs, ..*self }.attempt()?;
        }
        attempt.map_err(|(text, status)| {
            let messages = messages::in_users_terms(&text, &inputs.items, self.options);
            Error::Link {
                output: self.args.output(),
                hint: hint(&messages),
                messages,
                status,
            }
        })
    }

    /// Runs the linker once.
    fn attempt(&self) -> Result<Attempt> {
        let output = self.temp.join("program");
        let mut first = Vec::new();
        for (name, object) in self.thunks {
            let path = self.temp.join(name);
            fs::write(&path, object).at(&path)?;
            first.push(path.into_os_string());
        }
        let words = self.words(&output, first)?;
        let mut command = Command::new(self.ld);
        command.stdin(Stdio::null());
        let _file = args_or_file(&mut command, &words)?;
        let result = command.output();
        let result = result.map_err(|source| Error::Run {
            program: self.ld.into(),
            source,
        })?;
        if !result.status.success() {
            let text = [result.stdout, result.stderr].concat();
            return Ok(Err((text, result.status)));
        }
        fs::read(&output).at(&output).map(Ok)
    }

    /// The command line that writes `output`. `more` goes between the options and the inputs.
    pub fn words(
        &self,
        output: &Path,
        more: impl IntoIterator<Item = OsString>,
    ) -> Result<Vec<OsString>> {
        let mut words: Vec<OsString> = ["-m", "elf_x86_64", "-static", "--eh-frame-hdr"]
            .iter()
            .map(OsString::from)
            .collect();
        words.extend(["-o".into(), output.as_os_str().to_owned()]);
        words.push(format!("--entry={}", self.symbol(OsStr::new("_start")).display()).into());
        // `messages` removes the prefix from the names in messages first, and demangles them
        // afterwards.
        words.push("--no-demangle".into());
        for arg in &self.args.list {
            self.option(arg, &mut words)?;
        }
        for name in self.undefined {
            words.push(option("undefined", OsStr::from_bytes(name)));
        }
        words.extend(more);
        words.extend(self.files());
        words.extend(self.last.iter().map(|path| path.into()));
        Ok(words)
    }

    /// The rewritten files, with all archives in one group. The order of archives expresses which
    /// of them need which. Shared libraries record that themselves, so an order that sufficed for
    /// the host link may not suffice here.
    fn files(&self) -> Vec<OsString> {
        let items = &self.inputs.items;
        let archive = |item: &Linked| matches!(item, Linked::File { archive: true, .. });
        let group = items
            .iter()
            .position(archive)
            .zip(items.iter().rposition(archive));
        let mut words = Vec::with_capacity(items.len() + 2);
        for (index, item) in items.iter().enumerate() {
            if group.is_some_and(|(first, _)| first == index) {
                words.push("--start-group".into());
            }
            words.push(match item {
                Linked::File { path, .. } => path.clone().into_os_string(),
                Linked::Flag(flag) => flag.clone(),
            });
            if group.is_some_and(|(_, last)| last == index) {
                words.push("--end-group".into());
            }
        }
        words
    }

    /// Translates an option of the host link to this link.
    fn option(&self, arg: &Arg, words: &mut Vec<OsString>) -> Result<()> {
        let Kind::Option { opt, name, value } = &arg.kind else {
            // The host linker accepted this option, so it belongs to a newer GNU ld, or to another
            // linker.
            if arg.kind == Kind::Unknown && self.gnu {
                words.extend(arg.words.iter().cloned());
            }
            return Ok(());
        };
        let value = value.as_deref().unwrap_or_default();
        match opt.role {
            Role::Keep => words.extend(arg.words.iter().cloned()),
            Role::Symbol => words.push(option(name, &self.symbol(value))),
            Role::Entry => words.push(option("entry", &self.symbol(value))),
            Role::Defsym => words.push(option("defsym", &self.definition(value))),
            // The rewriter has renamed the references, except for a link without a prefix, whose
            // inputs it has not rewritten.
            Role::Wrap if self.options.prefix.is_empty() => words.push(option(name, value)),
            Role::Keyword if matters(value.as_bytes()) => {
                words.extend(["-z".into(), value.to_owned()]);
            }
            Role::Script => {
                let path = self.script(Path::new(value), words.len())?;
                words.push(option(name, path.as_os_str()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds the prefix to a symbol. An address does not change.
    fn symbol(&self, name: &OsStr) -> OsString {
        let bytes = name.as_bytes();
        if bytes.first().is_none_or(u8::is_ascii_digit) {
            return name.to_owned();
        }
        OsString::from_vec(symbol_rewriter::prefixed(bytes, self.options))
    }

    /// Adds the prefix to the symbols in `NAME=EXPRESSION`.
    fn definition(&self, value: &OsStr) -> OsString {
        let text = value.to_string_lossy();
        let Some((name, expression)) = text.split_once('=') else {
            return value.to_owned();
        };
        let mut whole = self.symbol(OsStr::new(name));
        whole.push("=");
        whole.push(script::prefixed_expression(expression, self.options));
        whole
    }

    /// Copies a linker script, and adds the prefix to the symbols in it.
    fn script(&self, path: &Path, number: usize) -> Result<PathBuf> {
        let dirs = self.args.all(Role::LibraryPath);
        let found = dirs
            .map(|dir| Path::new(dir).join(path))
            .find(|path| path.is_file());
        let source = if path.is_file() {
            path.to_owned()
        } else {
            found.unwrap_or(path.to_owned())
        };
        let text = fs::read(&source).at(&source)?;
        let text = script::prefixed(&String::from_utf8_lossy(&text), self.options);
        let target = self.temp.join(format!("script-{number}.ld"));
        fs::write(&target, text).at(&target)?;
        Ok(target)
    }
}

fn option(name: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(if name.len() == 1 { "-" } else { "--" });
    word.push(name);
    if name.len() > 1 {
        word.push("=");
    }
    word.push(value);
    word
}

/// Whether a `-z` keyword has an effect on a static link. The other keywords concern shared
/// libraries, or checks that the host link has made.
fn matters(keyword: &[u8]) -> bool {
    let name = keyword
        .split(|&byte| byte == b'=')
        .next()
        .unwrap_or_default();
    matches!(
        name,
        b"common-page-size"
            | b"max-page-size"
            | b"stack-size"
            | b"muldefs"
            | b"execstack"
            | b"noexecstack"
            | b"relro"
            | b"norelro"
            | b"now"
            | b"separate-code"
            | b"noseparate-code"
            | b"start-stop-gc"
            | b"nostart-stop-gc"
            | b"start-stop-visibility"
            | b"keep-text-section-prefix"
            | b"nokeep-text-section-prefix"
            | b"unique-symbol"
            | b"nounique-symbol"
            | b"undefs"
            | b"noreloc-overflow"
    )
}
