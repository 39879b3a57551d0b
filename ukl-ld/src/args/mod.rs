//! Parses the command line by the rules of GNU ld's `getopt_long_only`.
//!
//! This module rejects nothing. It keeps an option that is not in the table unchanged; the real
//! linker, which runs first, reports it.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

pub mod response;
pub mod table;
pub mod ukl_options;
pub use ukl_common::options as ukl_table;

use table::OPTIONS;
use table::Opt;
use table::Role;
use table::Takes;
use ukl_common::options::OptionSpec;

/// One argument, with the words that it consists of.
#[derive(Debug, Clone)]
pub struct Arg {
    /// What kind of argument it is.
    pub kind: Kind,
    /// The words of the command line, with `@files` expanded.
    pub words: Vec<OsString>,
}

/// The kinds of arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// An input file.
    Input(OsString),
    /// An option of GNU ld, by the name that was used, and its value.
    Option {
        /// The table's entry.
        opt: &'static Opt,
        /// The full name.
        name: &'static str,
        /// The value, if the option takes one.
        value: Option<OsString>,
    },
    /// An option of ukl-ld: `--ukl-NAME[=VALUE]`.
    Ukl {
        /// The name after `--ukl-`.
        name: String,
        /// The value after `=`.
        value: Option<OsString>,
    },
    /// An option that is not in the table.
    Unknown,
}

impl Arg {
    /// The role, if this is an option of GNU ld.
    pub fn role(&self) -> Option<Role> {
        match &self.kind {
            Kind::Option { opt, .. } => Some(opt.role),
            _ => None,
        }
    }

    /// Whether this is an option of ukl-ld.
    pub fn is_ukl(&self) -> bool {
        matches!(self.kind, Kind::Ukl { .. })
    }

    /// The value, if this is an option that has one.
    pub fn value(&self) -> Option<&OsStr> {
        match &self.kind {
            Kind::Option { value, .. } => value.as_deref(),
            _ => None,
        }
    }

    /// The full name, if this is an option of GNU ld.
    pub fn name(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Option { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// A command line.
#[derive(Debug, Clone, Default)]
pub struct Args {
    /// The arguments, in order.
    pub list: Vec<Arg>,
}

impl Args {
    /// Reads a command line (without the program's name, `@files` expanded).
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Args {
        let mut words = words.into_iter();
        let mut list = Vec::new();
        while let Some(word) = words.next() {
            parse_one(word, &mut words, &mut list);
        }
        Args { list }
    }

    /// Whether there is an option of this role.
    pub fn has(&self, role: Role) -> bool {
        self.list.iter().any(|arg| arg.role() == Some(role))
    }

    /// The value of the last option of this role.
    pub fn last(&self, role: Role) -> Option<&OsStr> {
        self.list
            .iter()
            .rev()
            .find(|arg| arg.role() == Some(role))
            .and_then(Arg::value)
    }

    /// The values of all options of this role.
    pub fn all(&self, role: Role) -> impl Iterator<Item = &OsStr> {
        self.list
            .iter()
            .filter(move |arg| arg.role() == Some(role))
            .filter_map(Arg::value)
    }

    /// The input files, without the libraries of `-l`.
    pub fn inputs(&self) -> impl Iterator<Item = &OsStr> {
        self.list.iter().filter_map(|arg| match &arg.kind {
            Kind::Input(path) => Some(path.as_os_str()),
            _ => None,
        })
    }

    /// The path of the output.
    pub fn output(&self) -> PathBuf {
        self.last(Role::Output)
            .map_or_else(|| Path::new("a.out").to_owned(), PathBuf::from)
    }

    /// The words for the real linker: all except the options of ukl-ld.
    pub fn host_words(&self) -> Vec<OsString> {
        self.list
            .iter()
            .filter(|arg| !arg.is_ukl())
            .flat_map(|arg| arg.words.iter().cloned())
            .collect()
    }

    /// Puts an input file at a place in the list.
    pub fn insert_input(&mut self, at: usize, path: PathBuf) {
        let word = path.into_os_string();
        let arg = Arg {
            kind: Kind::Input(word.clone()),
            words: vec![word],
        };
        self.list.insert(at, arg);
    }

    /// Adds an input file after all others.
    pub fn push_input(&mut self, path: PathBuf) {
        self.insert_input(self.list.len(), path);
    }

    /// Whether there is any option of ukl-ld.
    pub fn has_ukl(&self) -> bool {
        self.list.iter().any(Arg::is_ukl)
    }
}

fn parse_one(word: OsString, rest: &mut impl Iterator<Item = OsString>, list: &mut Vec<Arg>) {
    let bytes = word.as_bytes();
    let (dashes, body) = match bytes {
        [b'-', b'-', body @ ..] if !body.is_empty() => (2, body),
        [b'-', body @ ..] if !body.is_empty() && body != b"-" => (1, body),
        _ => {
            return list.push(Arg {
                kind: Kind::Input(word.clone()),
                words: vec![word],
            });
        }
    };
    let (name, joined) = match body.iter().position(|&byte| byte == b'=') {
        Some(at) => (
            &body[..at],
            Some(OsString::from_vec(body[at + 1..].to_vec())),
        ),
        None => (body, None),
    };
    if dashes == 2
        && let Some(name) = name.strip_prefix(b"ukl-")
    {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut words = vec![word];
        let mut value = joined;
        if value.is_none() && ukl_common::options::find(&name).is_some_and(OptionSpec::needs_value)
        {
            value = rest.next();
            words.extend(value.clone());
        }
        return list.push(Arg {
            kind: Kind::Ukl { name, value },
            words,
        });
    }
    // ld reads `-library` as the library "ibrary", and requires two dashes for a long name that
    // begins with o.
    let short = dashes == 1 && matches!(body[0], b'l' | b'L' | b'o');
    if !short && let Some((opt, full)) = find_long(name) {
        let mut words = vec![word];
        let value = match opt.takes {
            Takes::Nothing => None,
            Takes::Joined => joined,
            Takes::Value => joined.or_else(|| {
                let value = rest.next();
                words.extend(value.clone());
                value
            }),
        };
        return list.push(Arg {
            kind: Kind::Option {
                opt,
                name: full,
                value,
            },
            words,
        });
    }
    if dashes == 1 && parse_short(&word, rest, list) {
        return;
    }
    list.push(Arg {
        kind: Kind::Unknown,
        words: vec![word],
    });
}

/// Finds a long option by its name or by an unambiguous abbreviation.
fn find_long(name: &[u8]) -> Option<(&'static Opt, &'static str)> {
    let long = || {
        OPTIONS.iter().flat_map(|opt| {
            opt.names
                .iter()
                .filter(|known| known.len() > 1)
                .map(move |known| (opt, *known))
        })
    };
    if let Some(exact) = long().find(|(_, known)| known.as_bytes() == name) {
        return Some(exact);
    }
    let mut near = long().filter(|(_, known)| name.len() > 1 && known.as_bytes().starts_with(name));
    let first = near.next()?;
    near.all(|(_, known)| known == first.1).then_some(first)
}

/// Reads `-x`, `-xVALUE`, `-x VALUE` and clusters of flags such as `-Ss`.
fn parse_short(
    word: &OsStr,
    rest: &mut impl Iterator<Item = OsString>,
    list: &mut Vec<Arg>,
) -> bool {
    let body = &word.as_bytes()[1..];
    let mut found = Vec::new();
    let mut words = vec![word.to_owned()];
    for (at, &letter) in body.iter().enumerate() {
        let Some((opt, name)) = find_short(letter) else {
            return false;
        };
        let tail = &body[at + 1..];
        let value = match opt.takes {
            Takes::Nothing => None,
            _ if !tail.is_empty() => Some(OsString::from_vec(tail.to_vec())),
            Takes::Joined => None,
            Takes::Value => {
                let value = rest.next();
                words.extend(value.clone());
                value
            }
        };
        let takes = opt.takes;
        found.push(Kind::Option { opt, name, value });
        if takes != Takes::Nothing {
            break;
        }
    }
    // The words of a cluster belong to its first option.
    for kind in found {
        list.push(Arg {
            kind,
            words: std::mem::take(&mut words),
        });
    }
    true
}

fn find_short(letter: u8) -> Option<(&'static Opt, &'static str)> {
    OPTIONS.iter().find_map(|opt| {
        let name = opt.names.iter().find(|name| name.as_bytes() == [letter])?;
        Some((opt, *name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Args {
        Args::parse(words.iter().map(OsString::from))
    }

    fn values(args: &Args, role: Role) -> Vec<String> {
        args.all(role)
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn values_come_joined_or_apart() {
        let args = parse(&["-ofoo", "-o", "bar", "--output=baz", "--output", "qux"]);
        assert_eq!(values(&args, Role::Output), ["foo", "bar", "baz", "qux"]);
    }

    #[test]
    fn long_options_take_one_dash_or_two() {
        let args = parse(&["-soname=a", "--soname", "b", "-shared", "--shared"]);
        assert!(args.has(Role::Shared));
        assert!(args.list.iter().all(|arg| arg.kind != Kind::Unknown));
        assert_eq!(args.list.len(), 4);
    }

    #[test]
    fn libraries_are_not_abbreviations() {
        let args = parse(&["-lib", "-library", "-Lib", "-lpthread"]);
        assert_eq!(values(&args, Role::Library), ["ib", "ibrary", "pthread"]);
    }

    #[test]
    fn a_unique_abbreviation_is_found() {
        let args = parse(&["--no-whole-arch", "--whole-a"]);
        assert_eq!(args.list[0].name(), Some("no-whole-archive"));
        assert_eq!(args.list[1].name(), Some("whole-archive"));
    }

    #[test]
    fn an_ambiguous_abbreviation_is_unknown() {
        assert_eq!(parse(&["--no-warn-"]).list[0].kind, Kind::Unknown);
    }

    #[test]
    fn dash_o_is_never_omagic() {
        assert_eq!(values(&parse(&["-omagic"]), Role::Output), ["magic"]);
        assert_eq!(parse(&["--omagic"]).list[0].name(), Some("omagic"));
    }

    #[test]
    fn flags_cluster() {
        let args = parse(&["-Ss"]);
        assert!(args.has(Role::StripAll) && args.has(Role::StripDebug));
        assert_eq!(args.host_words(), ["-Ss"]);
    }

    #[test]
    fn our_own_options_do_not_reach_the_host_linker() {
        let args = parse(&["--ukl-explain", "a.o", "--ukl-add=/a:/b"]);
        assert_eq!(args.host_words(), ["a.o"]);
    }

    #[test]
    fn relro_may_come_as_two_words() {
        let args = parse(&["-z", "relro", "-znow"]);
        assert_eq!(values(&args, Role::Keyword), ["relro", "now"]);
    }

    #[test]
    fn unknown_options_keep_their_words() {
        let args = parse(&["--frobnicate=3", "x.o"]);
        assert_eq!(args.list[0].kind, Kind::Unknown);
        assert_eq!(args.host_words(), ["--frobnicate=3", "x.o"]);
    }

    #[test]
    fn a_lone_dash_is_an_input() {
        assert_eq!(parse(&["-"]).inputs().count(), 1);
    }

    proptest::proptest! {
        #[test]
        fn the_host_linker_gets_every_word(
            words in proptest::collection::vec("-{0,2}[a-zA-Z]{0,3}(=|[a-z-]{0,12})[a-z/.=]{0,4}", 0..12)
        ) {
            proptest::prop_assume!(!words.iter().any(|word| word.starts_with("--ukl-")));
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            proptest::prop_assert_eq!(Args::parse(words.clone()).host_words(), words);
        }
    }
}
