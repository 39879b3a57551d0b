//! Makes the man pages and shell completions of the tools.
//!
//! They are made from the tables by which the tools parse their command lines, so they name exactly
//! the options that exist. The `ukl-docgen` command writes them in the layout of `PREFIX/share`,
//! and `make install` copies them.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use clap_complete::Shell;

pub mod commands;
pub mod compiler;
pub mod page;

use commands::Tool;

/// A file to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its path below `PREFIX/share`.
    pub path: PathBuf,
    /// Its text.
    pub text: Vec<u8>,
}

/// The shells, with the directory and the name of a tool's completions.
const SHELLS: [(Shell, &str, &str, &str); 3] = [
    (Shell::Bash, "bash-completion/completions", "", ""),
    (Shell::Zsh, "zsh/site-functions", "_", ""),
    (Shell::Fish, "fish/vendor_completions.d", "", ".fish"),
];

/// All documents.
pub fn documents() -> io::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for tool in commands::tools() {
        documents.push(Document {
            path: manual(tool.name),
            text: page::page(&tool)?,
        });
        for (shell, dir, before, behind) in SHELLS {
            documents.push(Document {
                path: Path::new(dir).join(format!("{before}{}{behind}", tool.name)),
                text: completions(&tool, shell),
            });
        }
    }
    // ukl-c++ is the same command under another name.
    documents.push(Document {
        path: manual("ukl-c++"),
        text: b".so man1/ukl-cc.1\n".to_vec(),
    });
    documents.push(Document {
        path: "bash-completion/completions/ukl-c++".into(),
        text: b". \"${BASH_SOURCE[0]%/*}/ukl-cc\"\n".to_vec(),
    });
    documents.push(Document {
        path: "fish/vendor_completions.d/ukl-c++.fish".into(),
        text: b"complete -c ukl-c++ -w ukl-cc\n".to_vec(),
    });
    Ok(documents)
}

fn manual(name: &str) -> PathBuf {
    Path::new("man/man1").join(format!("{name}.1"))
}

fn completions(tool: &Tool, shell: Shell) -> Vec<u8> {
    if tool.is_compiler {
        return compiler::completions(tool, shell).into_bytes();
    }
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut tool.command.clone(), tool.name, &mut text);
    text
}

/// Writes all documents below the directory that the only argument names.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let mut args = args.into_iter().skip(1);
    let (Some(dir), None) = (args.next(), args.next()) else {
        return Err("usage: ukl-docgen OUTDIR".into());
    };
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let dir = Path::new(&dir);
    for document in documents().map_err(|error| failed(dir, error))? {
        let path = dir.join(&document.path);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        fs::write(&path, &document.text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
