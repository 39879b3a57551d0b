//! Linker scripts that stand for libraries, for instance Debian's `libm.a`.
//!
//! Such a file is a text that names archives. The output is one archive with all their members,
//! which can replace the script.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, unsupported};
use crate::options::Options;
use crate::output::RewrittenChunks;
use crate::report::Report;
use crate::{archive, file};

/// The size of the largest file that is taken for a script.
const LARGEST: usize = 64 * 1024;

/// The files that a script names. `None` if `data` is not a script.
pub(crate) fn files(data: &[u8]) -> Option<Vec<String>> {
    if data.len() > LARGEST {
        return None;
    }
    let text = std::str::from_utf8(data).ok()?;
    let words = words(text)?;
    let mut files = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(command) = words.next() {
        let takes_files = match command {
            "GROUP" | "INPUT" => true,
            "OUTPUT_FORMAT" | "TARGET" | "OUTPUT_ARCH" => false,
            ";" => continue,
            _ => return None,
        };
        if words.next() != Some("(") {
            return None;
        }
        let mut depth = 1;
        while depth > 0 {
            match words.next()? {
                ")" => depth -= 1,
                "(" => depth += 1,
                "AS_NEEDED" | "," => {}
                file if takes_files => files.push(file.to_string()),
                _ => {}
            }
        }
    }
    (!files.is_empty()).then_some(files)
}

/// Splits a script into words and brackets. `None` if a comment or a quotation is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return Some(words);
        };
        let (word, behind) = if rest.starts_with("/*") {
            (None, &rest[rest.find("*/")? + 2..])
        } else if first == '"' {
            let end = rest[1..].find('"')? + 1;
            (Some(&rest[1..end]), &rest[end + 1..])
        } else if "(),;".contains(first) {
            (Some(&rest[..1]), &rest[1..])
        } else {
            let end = rest
                .find(|c: char| c.is_whitespace() || "(),;\"".contains(c))
                .unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        };
        words.extend(word.map(str::to_string));
        rest = behind;
    }
}

/// Rewrites the files that a script names into one archive.
pub(crate) fn rewrite(
    name: &str,
    dir: Option<&Path>,
    files: &[String],
    options: &Options,
) -> Result<RewrittenChunks<'static>, Error> {
    let mut report = Report::default();
    let mut archives = Vec::new();
    for file in files {
        let path = find(dir, file);
        let label = path.to_string_lossy().into_owned();
        let data = std::fs::read(&path).map_err(|error| Error {
            file: name.to_string(),
            member: Some(file.clone()),
            kind: ErrorKind::ScriptMember(error),
        })?;
        if self::files(&data).is_some() {
            return Err(Error {
                file: name.to_string(),
                member: Some(file.clone()),
                kind: unsupported("a linker script within a linker script; name its files instead"),
            });
        }
        let done = file::rewrite(&label, path.parent(), &data, options)?;
        report.add(&done.report);
        let base = path
            .file_name()
            .unwrap_or(OsStr::new("member.o"))
            .as_bytes()
            .to_vec();
        archives.push((base, done.data.into_vec()));
    }
    let data = archive::merge(&archives).map_err(|kind| Error {
        file: name.to_string(),
        member: None,
        kind,
    })?;
    Ok(RewrittenChunks {
        data: data.into_owned(),
        report,
    })
}

/// The path of a file that a script names, relative to the script.
fn find(dir: Option<&Path>, file: &str) -> PathBuf {
    let file = match file.strip_prefix("-l") {
        Some(library) => format!("lib{library}.a"),
        None => file.to_string(),
    };
    match dir {
        Some(dir) => dir.join(file),
        None => PathBuf::from(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_libm_names_its_archives() {
        let text = "/* GNU ld script\n*/\nOUTPUT_FORMAT(elf64-x86-64)\n\
            GROUP ( /usr/lib/libm-2.36.a /usr/lib/libmvec.a )\n";
        assert_eq!(
            files(text.as_bytes()).unwrap(),
            ["/usr/lib/libm-2.36.a", "/usr/lib/libmvec.a"]
        );
    }

    #[test]
    fn files_within_as_needed_count() {
        let text = b"GROUP ( a.a AS_NEEDED ( \"b c.a\" ) ) INPUT(-ld)";
        assert_eq!(files(text).unwrap(), ["a.a", "b c.a", "-ld"]);
    }

    #[test]
    fn another_text_is_no_script() {
        for text in [
            &b"hello"[..],
            b"",
            b"GROUP",
            b"GROUP ( a",
            b"/* open",
            b"SECTIONS { }",
        ] {
            assert_eq!(files(text), None);
        }
    }
}
