//! Commands as one string: split into words as a shell does, with quotes and backslashes and
//! nothing else.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;

/// Splits a command into words. `None` if there is no word, or if a quote or backslash is open at
/// the end.
pub fn split(command: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut bytes = command.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b' ' | b'\t' | b'\n') => words.extend(word.take().map(OsString::from_vec)),
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == byte => quote = None,
            (None | Some(b'"'), b'\\') => word.get_or_insert_default().push(bytes.next()?),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word.map(OsString::from_vec));
    (quote.is_none() && !words.is_empty()).then_some(words)
}

/// Joins words into a command that [`split`] takes apart again.
pub fn join(words: &[OsString]) -> OsString {
    let mut command = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            command.push(b' ');
        }
        quote(word, &mut command);
    }
    OsString::from_vec(command)
}

fn quote(word: &OsStr, command: &mut Vec<u8>) {
    let bytes = word.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./,:=+@%".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        command.extend_from_slice(bytes);
        return;
    }
    command.push(b'\'');
    for byte in bytes {
        match byte {
            b'\'' => command.extend_from_slice(br"'\''"),
            _ => command.push(*byte),
        }
    }
    command.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_a_shells() {
        let split = |text: &str| split(text.as_bytes());
        let words = |words: &[&str]| Some(words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(split("strace -f"), words(&["strace", "-f"]));
        assert_eq!(split(" x  'y z'\t"), words(&["x", "y z"]));
        assert_eq!(split(r#"a\ b "c\"d" ''"#), words(&["a b", "c\"d", ""]));
        assert_eq!(split(r"'it'\''s'"), words(&["it's"]));
        for bad in ["", "  ", "'open", "\"open", "open\\"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
