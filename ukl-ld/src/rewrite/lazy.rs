//! `--start-lib` and `--end-lib`: the objects between them are linked only if they are needed, like
//! members of an archive. gold, lld and mold support them, and Bazel uses them for every library.
//! The image's linker, GNU ld, does not, so the objects are put into an archive.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use super::linked::Linked;
use crate::args::response;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;

/// Puts the objects between the two options into archives.
pub fn gather(items: Vec<Linked>, temp: &Path) -> Result<Vec<Linked>> {
    let mut done = Vec::with_capacity(items.len());
    let mut open: Option<Vec<PathBuf>> = None;
    for item in items {
        match item {
            Linked::Flag(flag) if flag == "--start-lib" => open = Some(Vec::new()),
            Linked::Flag(flag) if flag == "--end-lib" => close(&mut open, &mut done, temp)?,
            Linked::File {
                path,
                archive: false,
                ..
            } if open.is_some() => open.get_or_insert_default().push(path),
            other => done.push(other),
        }
    }
    close(&mut open, &mut done, temp)?;
    Ok(done)
}

fn close(open: &mut Option<Vec<PathBuf>>, done: &mut Vec<Linked>, temp: &Path) -> Result<()> {
    let Some(members) = open.take().filter(|members| !members.is_empty()) else {
        return Ok(());
    };
    let path = temp.join(format!("start-lib-{}.a", done.len()));
    let list = path.with_extension("list");
    let words: Vec<OsString> = members.into_iter().map(PathBuf::into_os_string).collect();
    fs::write(&list, response::join(&words)).at(&list)?;
    let mut file = OsString::from("@");
    file.push(&list);
    let mut ar = Command::new("ar");
    // `q` appends members without replacing: objects of different directories may have the same
    // name.
    ar.args(["qcs", "--thin"]).arg(&path).arg(file);
    let output = ar.stdin(Stdio::null()).output();
    let output = output.map_err(|source| Error::Run {
        program: "ar".into(),
        source,
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Input {
            file: "--start-lib".into(),
            what: format!(
                "cannot put its objects into an archive: {}",
                said.trim_end()
            ),
        });
    }
    done.push(Linked::File {
        path,
        origin: "--start-lib".into(),
        archive: true,
    });
    Ok(())
}
