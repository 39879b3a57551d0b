//! `@file` arguments, by the rules of libiberty's `expandargv`.
//!
//! Words are separated by white space; `'` and `"` quote; a backslash makes the next byte literal,
//! inside quotes too. A file may name further files. If a file cannot be read, the argument is not
//! changed, and the linker reports it.
//!
//! rustc writes such a file if a command line is too long for the kernel. It uses another format:
//! one word on each line, with a backslash before spaces and backslashes, and no quotes.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;

/// How many files one command line may expand, in case a file names itself. libiberty has the same
/// limit.
const LIMIT: usize = 2000;

/// The name of rustc's file.
const RUSTCS: &[u8] = b"/linker-arguments";

/// The arguments with every readable `@file` replaced by its words.
pub struct Expanded {
    /// The resulting arguments.
    pub args: Vec<OsString>,
    /// Whether any file was read.
    pub any: bool,
}

/// A file that names itself.
#[derive(Debug, thiserror::Error)]
#[error("too many @-files encountered")]
pub struct TooMany;

/// Expands all `@file` arguments.
pub fn expand(args: impl IntoIterator<Item = OsString>) -> Result<Expanded, TooMany> {
    let mut pending: Vec<OsString> = args.into_iter().collect();
    pending.reverse();
    let mut expanded = Expanded {
        args: Vec::with_capacity(pending.len()),
        any: false,
    };
    let mut files = 0;
    while let Some(arg) = pending.pop() {
        let Some(path) = arg.as_bytes().strip_prefix(b"@") else {
            expanded.args.push(arg);
            continue;
        };
        let Ok(text) = std::fs::read(OsStr::from_bytes(path)) else {
            expanded.args.push(arg);
            continue;
        };
        files += 1;
        if files > LIMIT {
            return Err(TooMany);
        }
        expanded.any = true;
        let words = match path.ends_with(RUSTCS) {
            true => lines(&text),
            false => split(&text),
        };
        pending.extend(words.into_iter().rev());
    }
    Ok(expanded)
}

/// Splits text into words as libiberty's `buildargv` does.
pub fn split(text: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    loop {
        while bytes.next_if(is_space).is_some() {}
        if bytes.peek().is_none() {
            return words;
        }
        let mut word = Vec::new();
        let mut quote = None;
        while let Some(byte) = bytes.next_if(|byte| quote.is_some() || !is_space(byte)) {
            match byte {
                b'\\' => word.extend(bytes.next()),
                b'\'' | b'"' => match quote {
                    None => quote = Some(byte),
                    Some(open) if open == byte => quote = None,
                    Some(_) => word.push(byte),
                },
                _ => word.push(byte),
            }
        }
        words.push(OsString::from_vec(word));
    }
}

/// Splits the text of rustc's format into words.
fn lines(text: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => word.extend(bytes.next()),
            b'\n' => words.push(OsString::from_vec(std::mem::take(&mut word))),
            _ => word.push(byte),
        }
    }
    if !word.is_empty() {
        words.push(OsString::from_vec(word));
    }
    words
}

/// C's `isspace`, which has the vertical tab as well.
fn is_space(byte: &u8) -> bool {
    byte.is_ascii_whitespace() || *byte == 0x0b
}

/// The text of a file that expands to exactly these arguments.
pub fn join<'a>(args: impl IntoIterator<Item = &'a OsString>) -> Vec<u8> {
    let mut text = Vec::new();
    for arg in args {
        if arg.is_empty() {
            text.extend_from_slice(b"\"\"");
        }
        for &byte in arg.as_bytes() {
            if is_space(&byte) || matches!(byte, b'\\' | b'\'' | b'"') {
                text.push(b'\\');
            }
            text.push(byte);
        }
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text.as_bytes())
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn words_are_split_at_white_space() {
        assert_eq!(words("  a\tb\n\nc "), ["a", "b", "c"]);
    }

    #[test]
    fn quotes_of_either_kind_hold_a_word_together() {
        assert_eq!(words(r#"'a b' "c d" e'f g'h"#), ["a b", "c d", "ef gh"]);
    }

    #[test]
    fn the_other_quote_is_literal_inside_a_quote() {
        assert_eq!(words(r#"'a"b' "c'd""#), ["a\"b", "c'd"]);
    }

    #[test]
    fn a_backslash_escapes_inside_quotes_as_well() {
        assert_eq!(
            words(r#"a\ b "c\"d" 'e\'f' \\"#),
            ["a b", "c\"d", "e'f", "\\"]
        );
    }

    #[test]
    fn an_empty_quoted_word_is_a_word() {
        assert_eq!(words("a '' b"), ["a", "", "b"]);
    }

    #[test]
    fn white_space_alone_has_no_words() {
        assert!(words(" \n\t ").is_empty());
    }

    #[test]
    fn joining_is_the_reverse_of_splitting() {
        let args: Vec<OsString> = ["", "a b", "q'u\"o", "back\\slash", "tab\tnl\n"]
            .map(OsString::from)
            .into();
        assert_eq!(split(&join(&args)), args);
    }

    #[test]
    fn an_unreadable_file_stays_a_literal_argument() {
        let expanded = expand(["@/nonexistent/x".into()]).unwrap();
        assert_eq!(expanded.args, ["@/nonexistent/x"]);
        assert!(!expanded.any);
    }

    #[test]
    fn files_nest() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        let outer = dir.path().join("outer");
        std::fs::write(&inner, "b c").unwrap();
        std::fs::write(&outer, format!("a @{} d", inner.display())).unwrap();
        let expanded = expand([format!("@{}", outer.display()).into(), "e".into()]).unwrap();
        assert_eq!(expanded.args, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn rustc_knows_no_quotes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("linker-arguments");
        std::fs::write(&file, "-o\n/o'hara/a\\ \"b\"\\\\c\n\n-lc\n").unwrap();
        let expanded = expand([format!("@{}", file.display()).into()]).unwrap();
        assert_eq!(expanded.args, ["-o", "/o'hara/a \"b\"\\c", "", "-lc"]);
    }

    #[test]
    fn a_file_that_names_itself_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("loop");
        let arg = format!("@{}", file.display());
        std::fs::write(&file, &arg).unwrap();
        assert!(expand([arg.into()]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_words_survive_joining_and_splitting(
            words in proptest::collection::vec(proptest::collection::vec(1u8.., 0..8), 0..8)
        ) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
            proptest::prop_assert_eq!(split(&join(&words)), words);
        }
    }
}
