//! Rewrites every object and archive, and caches rewritten archives.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use rayon::prelude::*;
use symbol_rewriter::Options;
use symbol_rewriter::Thunk;

use crate::cache::Cache;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::explain::Explain;
use crate::files::Files;
use crate::inputs::File;
use crate::inputs::FileKind;
use crate::inputs::Item;
use crate::inputs::Library;
use crate::script;
use crate::shared;

mod lazy;
mod linked;

pub use linked::Linked;

/// The rewritten inputs.
#[derive(Debug, Default)]
pub struct Rewritten {
    /// For the linker's command line, in order.
    pub items: Vec<Linked>,
    /// The thunks that the rewritten code calls.
    pub thunks: BTreeSet<Thunk>,
}

/// The settings of a link's rewriting.
pub struct Rewriter<'r> {
    /// How to rewrite.
    pub options: &'r Options,
    /// The files that stand in for shared libraries. The dynamic linker knows no `--wrap`, so it does
    /// not apply to them.
    pub stand_ins: &'r BTreeSet<PathBuf>,
    /// The cache, if there is one.
    pub cache: Option<&'r Cache>,
    /// The directory of this link's temporary files.
    pub temp: &'r Path,
    /// The files that the link reads.
    pub files: &'r Files,
    /// The linker, for `-b binary`.
    pub ld: &'r Path,
}

/// One rewritten file.
struct Output {
    path: PathBuf,
    thunks: BTreeSet<Thunk>,
}

impl Rewriter<'_> {
    /// Rewrites all inputs.
    pub fn all(&self, items: &[Item], explain: &Explain) -> Result<Rewritten> {
        let outputs: Vec<Option<Output>> = directories(items)
            .into_par_iter()
            .zip(items)
            .map(|(dir, item)| match item {
                Item::File(file) => self.one(&self.temp.join(dir), file, explain).map(Some),
                Item::Library(library) => self
                    .library(&self.temp.join(dir), library, explain)
                    .map(Some),
                Item::Flag(_) => Ok(None),
            })
            .collect::<Result<_>>()?;
        let mut all = Rewritten::default();
        for (item, output) in items.iter().zip(outputs) {
            let (origin, archive) = match item {
                Item::File(file) => (&file.path, file.kind == FileKind::Archive),
                Item::Library(library) => (&library.shared, false),
                Item::Flag(flag) => {
                    all.items.push(Linked::Flag(flag.clone()));
                    continue;
                }
            };
            let Some(output) = output else { continue };
            all.thunks.extend(&output.thunks);
            all.items.push(Linked::File {
                path: output.path,
                origin: origin.clone(),
                archive,
            });
        }
        all.items = lazy::gather(all.items, self.temp)?;
        Ok(all)
    }

    /// Rewrites the objects of a shared library, and joins them into one object.
    fn library(&self, dir: &Path, library: &Library, explain: &Explain) -> Result<Output> {
        fs::create_dir(dir).at(dir)?;
        let options = &self.without_wrap();
        let inner = Rewriter {
            temp: dir,
            options,
            ..*self
        };
        let parts = inner.all(&library.items, explain)?;
        let words: Vec<OsString> = parts
            .items
            .into_iter()
            .map(|item| match item {
                Linked::File { path, .. } => path.into_os_string(),
                Linked::Flag(flag) => flag,
            })
            .collect();
        let path = dir.join("library.o");
        shared::join(self.ld, &library.shared, &words, self.options, &path)?;
        Ok(Output {
            path,
            thunks: parts.thunks,
        })
    }

    /// The options for files to which `--wrap` does not apply.
    fn without_wrap(&self) -> Options {
        Options {
            wrap: Vec::new(),
            ..self.options.clone()
        }
    }

    /// Whether `--wrap` applies to a file.
    fn wraps(&self, file: &File) -> bool {
        !self.options.wrap.is_empty() && !self.stand_ins.contains(&file.path)
    }

    fn one(&self, dir: &Path, file: &File, explain: &Explain) -> Result<Output> {
        // The file name must not change: patterns in linker scripts, for instance `*crtend.o`,
        // match it.
        let name = file.path.file_name().unwrap_or_default();
        fs::create_dir_all(dir).at(dir)?;
        let path = dir.join(name);
        match file.kind {
            FileKind::Archive => self.archive(file, path, explain),
            FileKind::Object => {
                let data = self.files.read(&file.path)?;
                self.write(file, &data, path, explain)
            }
            FileKind::Binary => {
                let object = self.embed(&file.path, dir)?;
                self.write(file, &object, path.with_extension("o"), explain)
            }
            FileKind::Script => {
                let text = self.files.read(&file.path)?;
                let text = script::prefixed(&String::from_utf8_lossy(&text), self.options);
                fs::write(&path, text).at(&path)?;
                Ok(Output {
                    path,
                    thunks: BTreeSet::new(),
                })
            }
        }
    }

    fn archive(&self, file: &File, path: PathBuf, explain: &Explain) -> Result<Output> {
        let data = self.files.read(&file.path)?;
        // A thin archive does not contain its members, so its content does not identify them.
        let is_thin = data.starts_with(b"!<thin>");
        let cache = self.cache.filter(|_| !is_thin && !self.wraps(file));
        if let Some(entry) = cache.and_then(|cache| cache.get(&data)) {
            return Ok(Output {
                path: entry.path,
                thunks: entry.thunks,
            });
        }
        let rewritten = self.rewrite(file, &data, explain)?;
        let thunks = rewritten.report.thunks;
        if let Some(cache) = cache
            && let Ok(entry) = cache.put(&data, &rewritten.data, &thunks)
        {
            return Ok(Output {
                path: entry.path,
                thunks: entry.thunks,
            });
        }
        fs::write(&path, &rewritten.data).at(&path)?;
        Ok(Output { path, thunks })
    }

    fn write(&self, file: &File, data: &[u8], path: PathBuf, explain: &Explain) -> Result<Output> {
        let rewritten = self.rewrite(file, data, explain)?;
        fs::write(&path, &rewritten.data).at(&path)?;
        Ok(Output {
            path,
            thunks: rewritten.report.thunks,
        })
    }

    fn rewrite(
        &self,
        file: &File,
        data: &[u8],
        explain: &Explain,
    ) -> Result<symbol_rewriter::Rewritten> {
        let name = file.path.to_string_lossy();
        let options = match self.stand_ins.contains(&file.path) && !self.options.wrap.is_empty() {
            true => Cow::Owned(self.without_wrap()),
            false => Cow::Borrowed(self.options),
        };
        let rewritten = symbol_rewriter::rewrite(&name, file.path.parent(), data, &options)?;
        let report = &rewritten.report;
        if report.sites > 0 {
            explain.note(format_args!(
                "{name}: {} system calls, {} in place, {} by trampoline, {} left",
                report.sites,
                report.in_place,
                report.trampoline,
                report.left.len()
            ));
        }
        let traps = &report.privileged;
        if traps.found > 0 {
            explain.note(format_args!(
                "{name}: {} privileged instructions, {} became faults, {} undefined instructions, {} left",
                traps.found,
                traps.in_place + traps.trampoline,
                traps.one_byte,
                traps.left.len()
            ));
        }
        Ok(rewritten)
    }

    /// Converts a file that is to be embedded to an object. The linker names its symbols after the
    /// path as it is given.
    fn embed(&self, path: &Path, dir: &Path) -> Result<Vec<u8>> {
        let object = dir.join("embedded.o");
        let mut command = Command::new(self.ld);
        command
            .args(["-r", "-b", "binary", "-o"])
            .arg(&object)
            .arg(path);
        let output = command.output();
        let output = output.map_err(|source| Error::Run {
            program: self.ld.into(),
            source,
        })?;
        if !output.status.success() {
            return Err(Error::Input {
                file: path.display().to_string(),
                what: String::from_utf8_lossy(&output.stderr)
                    .trim_end()
                    .to_owned(),
            });
        }
        fs::read(&object).at(&object)
    }
}

/// Chooses a directory for the output of each item. Most items share one, because most names differ
/// and creating directories is slow.
fn directories(items: &[Item]) -> Vec<String> {
    let mut seen: HashMap<&OsStr, usize> = HashMap::new();
    let mut directories = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        directories.push(match item {
            Item::File(file) if file.kind != FileKind::Binary => {
                let name = file.path.file_name().unwrap_or_default();
                let count = seen.entry(name).or_default();
                *count += 1;
                count.to_string()
            }
            // This item makes several files, whose names are not the user's.
            _ => format!("parts-{index}"),
        });
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_are_kept_apart() {
        let file = |path: &str, kind| {
            Item::File(File {
                path: path.into(),
                kind,
            })
        };
        let items = [
            file("a/x.o", FileKind::Object),
            file("a/y.o", FileKind::Object),
            file("b/x.o", FileKind::Object),
            file("x.o", FileKind::Binary),
            file("c/x.o", FileKind::Object),
        ];
        assert_eq!(directories(&items), ["1", "1", "2", "parts-3", "3"]);
    }
}
