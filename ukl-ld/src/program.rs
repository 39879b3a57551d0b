//! The program: a static executable at its place in the lower half, made of the rewritten inputs.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
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
use crate::messages;
use crate::rewrite::Linked;
use crate::rewrite::Rewritten;
use crate::script;

/// What the link is made of.
pub struct Program<'p> {
    /// GNU ld.
    pub ld: &'p Path,
    /// Whether that was the host link's, too.
    pub gnu: bool,
    /// The command line of the host link.
    pub args: &'p Args,
    /// How names were prefixed.
    pub options: &'p Options,
    /// The inputs.
    pub inputs: &'p Rewritten,
    /// The objects of thunks, each with a file name.
    pub thunks: &'p [(&'static str, &'p [u8])],
    /// Files that define what nothing else does: the kernel's functions and variables.
    pub last: &'p [PathBuf],
    /// Where temporary files go.
    pub temp: &'p Path,
}

impl Program<'_> {
    /// Links. On failure, `hint` is added to the message.
    pub fn link(&self, hint: &dyn Fn(&str) -> String) -> Result<Vec<u8>> {
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
            let messages = messages::in_users_terms(&text, &self.inputs.items, self.options);
            return Err(Error::Link {
                output: self.args.output(),
                hint: hint(&messages),
                messages,
                status: result.status,
            });
        }
        fs::read(&output).at(&output)
    }

    /// The command line, for `output`. `more` stands between the options and the inputs.
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
        // The messages are put into the user's terms first, and demangled then.
        words.push("--no-demangle".into());
        for arg in &self.args.list {
            self.option(arg, &mut words)?;
        }
        words.extend(more);
        words.extend(self.files());
        words.extend(self.last.iter().map(|path| path.into()));
        Ok(words)
    }

    /// The rewritten files. The archives go into one group: what a shared library knows itself,
    /// which other libraries it needs, an archive's place among the others has to say, and the
    /// host link did not ask for that.
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

    /// What an option of the host link means here.
    fn option(&self, arg: &Arg, words: &mut Vec<OsString>) -> Result<()> {
        let Kind::Option { opt, name, value } = &arg.kind else {
            // The host linker has taken it, so it is one of a newer GNU ld, or another linker's.
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
            Role::Wrap => self.wrap(value, words)?,
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

    /// A symbol with the prefix. An address stays one.
    fn symbol(&self, name: &OsStr) -> OsString {
        let bytes = name.as_bytes();
        if bytes.first().is_none_or(u8::is_ascii_digit) {
            return name.to_owned();
        }
        OsString::from_vec(symbol_rewriter::prefixed(bytes, self.options))
    }

    /// `NAME=EXPRESSION`.
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

    /// `--wrap=f` makes `f` mean `__wrap_f`, and `__real_f` mean `f`. The prefixed program calls
    /// them by `_ukl___wrap_f` and `_ukl___real_f`, but the linker glues its own beginnings to
    /// the prefixed name. A script makes the one mean the other where somebody asks for them.
    fn wrap(&self, name: &OsStr, words: &mut Vec<OsString>) -> Result<()> {
        let prefixed = self.symbol(name);
        let glued = |beginning: &str, name: &OsStr| {
            let mut whole = OsString::from(beginning);
            whole.push(name);
            whole
        };
        if prefixed == name {
            words.push(option("wrap", name));
            return Ok(());
        }
        let wrapper = self.symbol(&glued("__wrap_", name));
        let real = self.symbol(&glued("__real_", name));
        let text = format!(
            "PROVIDE({} = {});\nPROVIDE({} = {});\n",
            glued("__wrap_", &prefixed).display(),
            wrapper.display(),
            real.display(),
            glued("__real_", &prefixed).display(),
        );
        let path = self.temp.join(format!("wrap-{}.ld", words.len()));
        fs::write(&path, text).at(&path)?;
        words.push(option("wrap", &prefixed));
        words.push(path.into_os_string());
        Ok(())
    }

    /// A linker script with the symbols in it prefixed.
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

/// Whether a `-z` keyword says anything to a static link. The others are about shared libraries,
/// or about reports that the host link has made already.
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
