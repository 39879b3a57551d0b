//! The keys of records, and how values are put together and taken apart.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;

use crate::EncodeError;
use crate::keys::keys;

keys! {
    /// The keys of the records.
    pub enum Key {
        /// The version of the protocol. It comes first.
        Protocol = "protocol",
        /// An argument of the program.
        Arg = "arg",
        /// A variable of its environment, `NAME=VALUE`.
        Env = "env",
        /// Its working directory.
        Cwd = "cwd",
        /// The ring that it runs at, `0` or `3`.
        Ring = "ring",
        /// Where its standard streams go: `ports`, `tty` or `console`.
        Stdio = "stdio",
        /// `stdout`: standard error goes where standard output goes.
        Stderr = "stderr",
        /// The size of the terminal, `ROWS COLUMNS`.
        Window = "window",
        /// A directory of the host, `TAG:DIR:MODE`.
        Mount = "mount",
        /// A symbolic link, `PATH:TARGET`.
        Link = "link",
        /// A command to run beside the program.
        Beside = "beside",
        /// A command to run the program with.
        Wrap = "wrap",
        /// The address of the network card, `ADDRESS/PREFIX[,GATEWAY[,DNS]]`.
        Ip = "ip",
        /// The name of the machine.
        Hostname = "hostname",
        /// A policy setting.
        Transition = "transition",
        /// A policy setting.
        BypassLimit = "bypass-limit",
        /// A policy setting.
        Return = "return",
        /// A policy setting.
        Stack = "stack",
    }
}

/// The error for a value that a record cannot carry.
pub fn failed(key: &'static str, value: &[u8], why: &'static str) -> EncodeError {
    let value = String::from_utf8_lossy(value).into_owned();
    EncodeError { key, value, why }
}

/// Cuts bytes at the first separator.
pub fn cut(bytes: &[u8], separator: u8) -> Option<(&OsStr, &OsStr)> {
    let at = bytes.iter().position(|byte| *byte == separator)?;
    let (before, behind) = (&bytes[..at], &bytes[at + 1..]);
    Some((OsStr::from_bytes(before), OsStr::from_bytes(behind)))
}

/// Two strings with a separator between them.
pub fn join(one: &OsStr, separator: u8, other: &OsStr) -> OsString {
    let parts = [one.as_bytes(), &[separator], other.as_bytes()];
    OsString::from_vec(parts.concat())
}
