//! Writes the script that repeats the saved link, and the report.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::link::Link;
use super::link::SCRIPT;
use super::mirror::Mirror;
use crate::error::At;
use crate::error::Result;
use crate::version;

/// Variables that the linkers and the compiler's LTO plugin read.
const VARIABLES: [&str; 8] = [
    "COLLECT_GCC",
    "COLLECT_GCC_OPTIONS",
    "COLLECT_LTO_WRAPPER",
    "GNUTARGET",
    "LDEMULATION",
    "LD_RUN_PATH",
    "SOURCE_DATE_EPOCH",
    "UKL_LD",
];

/// Writes the report.
pub(super) fn write(dir: &Path, link: &Link<'_>, mirror: &Mirror) -> Result<()> {
    let archive = version::archive_dir(link.tools, link.kernel);
    let mut text = format!(
        "ukl-ld {}\nreal linker: {}: {}\n{}\n",
        env!("CARGO_PKG_VERSION"),
        link.tools.host_ld.display(),
        version::host(link.tools)?,
        version::archive(link.tools, link.kernel),
    );
    if let Ok(vmlinux) = fs::read(archive.join("vmlinux")) {
        let _ = writeln!(text, "vmlinux: BLAKE3 {}", blake3::hash(&vmlinux).to_hex());
    }
    let here = std::env::current_dir().unwrap_or_default();
    let _ = writeln!(text, "\ndirectory: {}", here.display());
    let _ = write!(text, "command: {}", link.tools.name);
    for word in std::env::args_os().skip(1) {
        let _ = write!(text, " {}", String::from_utf8_lossy(&quoted(&word)));
    }
    text.push('\n');
    if let Some(flags) = &link.flags {
        let _ = writeln!(text, "UKL_FLAGS: {}", flags.display());
    }
    for path in &mirror.missing {
        let _ = writeln!(
            text,
            "not saved, because it does not exist: {}",
            path.display()
        );
    }
    let path = dir.join("report");
    fs::write(&path, text).at(&path)
}

/// Writes the script.
pub(super) fn script(dir: &Path, link: &Link<'_>, mirror: &Mirror) -> Result<()> {
    let mut text: Vec<u8> = Vec::new();
    let mut line = |parts: &[&[u8]]| {
        text.extend(parts.concat());
        text.push(b'\n');
    };
    let myself = quoted(link.tools.myself.as_os_str());
    line(&[b"#!/bin/bash"]);
    line(&[b"# Repeats a link that ukl-ld saved: run-with [UKL-LD [OPTION...]]"]);
    line(&[b"# The products go to out/. `report' has the versions of the tools."]);
    line(&[b"set -eu"]);
    line(&[b"dir=$(cd \"$(dirname \"$0\")\" && pwd)"]);
    line(&[b"ld=", &myself]);
    line(&[b"[ -x \"$ld\" ] || ld=ukl-ld"]);
    line(&[b"[ $# = 0 ] || { ld=$1; shift; }"]);
    line(&[b"case $ld in */*) ld=$(realpath \"$ld\") ;; esac"]);
    line(&[b"unset UKL_FLAGS UKL_SAVE_DIR CARGO_BIN_NAME CARGO_CRATE_NAME"]);
    line(&[b"export XDG_CACHE_HOME=$dir/cache"]);
    line(&[b"export UKL_IMAGE=", if link.image { b"1" } else { b"0" }]);
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    for name in VARIABLES {
        if let Some(value) = set(name) {
            line(&[b"export ", name.as_bytes(), b"=", &quoted(&value)]);
        }
    }
    if set("COLLECT_GCC").is_none() {
        // The arguments are complete, so ukl-ld must not add a driver's.
        line(&[b"export COLLECT_GCC=cc"]);
    }
    let mut path = OsString::new();
    if !link.tools.is_gnu() {
        // ukl-ld looks for a real linker of the name under which it was called.
        let bin = dir.join("bin");
        fs::create_dir_all(&bin).at(&bin)?;
        let name = bin.join(&link.tools.name);
        symlink(&link.tools.host_ld, &name).at(&name)?;
        path.push(":");
    }
    path.push(set("COMPILER_PATH").unwrap_or_default());
    if !path.is_empty() {
        let bin: &[u8] = match link.tools.is_gnu() {
            true => b"",
            false => b"$dir/bin",
        };
        line(&[b"export COMPILER_PATH=", bin, &quoted(&path)]);
    }
    line(&[b"mkdir -p \"$dir/out\""]);
    let cwd = quoted(mirror.cwd().as_os_str());
    line(&[b"cd \"$dir/root/\"", &cwd]);
    let name = quoted(OsStr::new(&link.tools.name));
    line(&[b"exec -a ", &name, b" \"$ld\" \"@$dir/arguments\" \"$@\""]);

    let path = dir.join(SCRIPT);
    fs::write(&path, text).at(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at(&path)
}

/// Quotes a word for the shell.
fn quoted(word: &OsStr) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+=./:,@%".contains(byte);
    let bytes = word.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return bytes.to_vec();
    }
    let mut out = vec![b'\''];
    for &byte in bytes {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was() {
        for word in [
            "plain/path.o",
            "",
            "two words",
            "it's",
            "$HOME `x` \"y\" \\n",
        ] {
            let mut script = b"printf %s ".to_vec();
            script.extend(quoted(OsStr::new(word)));
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(OsStr::from_bytes(&script))
                .output()
                .unwrap();
            assert_eq!(output.stdout, word.as_bytes());
        }
    }
}
