//! `--gdb PORT`.

use std::ffi::OsString;

use clap::Command;

/// Turns `--gdb 99` into one word, in the words of a command line of `command`.
///
/// clap accepts an optional value only after a `=`. Otherwise it would take the next word, even the
/// program's name.
pub fn join(command: &Command, mut words: Vec<OsString>) -> Vec<OsString> {
    let takes_value = |word: &str| {
        let argument = match word.strip_prefix("--") {
            Some(name) => command.get_arguments().find(|a| a.get_long() == Some(name)),
            None if word.len() == 2 => command
                .get_arguments()
                .find(|a| a.get_short() == word.chars().nth(1)),
            // The value is in the same word, as in `-m512M`.
            None => None,
        };
        argument.is_some_and(|a| a.get_action().takes_values() && !a.is_require_equals_set())
    };
    let mut at = 1;
    while at < words.len() {
        let Some(word) = words[at].to_str().filter(|word| word.starts_with('-')) else {
            break;
        };
        if word == "--" {
            break;
        }
        if word == "--gdb" {
            let port = words
                .get(at + 1)
                .and_then(|word| word.to_str())
                .map(str::to_owned);
            if let Some(port) = port.filter(|port| port.bytes().all(|b| b.is_ascii_digit())) {
                words[at] = format!("--gdb={port}").into();
                words.remove(at + 1);
            }
        } else if takes_value(word) {
            at += 1;
        }
        at += 1;
    }
    words
}
