//! Copies files to the same paths below another directory, and maps their names to those in the
//! saved link.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use crate::error::At;
use crate::error::Result;

/// The directory with the copies. The saved link runs in the copy of the working directory, so
/// most relative paths stay as they are.
pub(super) struct Mirror {
    /// The saved link's directory.
    dir: PathBuf,
    /// The working directory.
    cwd: PathBuf,
    /// Paths that the link names but that do not exist.
    pub(super) missing: BTreeSet<PathBuf>,
}

impl Mirror {
    pub(super) fn new(dir: &Path) -> Result<Mirror> {
        let here = Path::new(".");
        let mirror = Mirror {
            dir: dir.to_owned(),
            cwd: here.canonicalize().at(here)?,
            missing: BTreeSet::new(),
        };
        mirror.directory(&mirror.cwd)?;
        Ok(mirror)
    }

    /// The absolute path, with symbolic links in its directories resolved. The file itself may be a
    /// symbolic link.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        let path = self.cwd.join(path);
        let parent = path.parent().and_then(|dir| dir.canonicalize().ok());
        match (parent, path.file_name()) {
            (Some(dir), Some(name)) => dir.join(name),
            _ => lexical(&path),
        }
    }

    /// The directory that the saved link runs in, below `root/`.
    pub(super) fn cwd(&self) -> &Path {
        relative(&self.cwd)
    }

    /// The name of a file in the saved link.
    pub(super) fn name(&self, path: &Path) -> PathBuf {
        let resolved = self.resolve(path);
        if path.is_relative() && is_plain(path) && lexical(&self.cwd.join(path)) == resolved {
            return path.to_owned();
        }
        self.up().join("root").join(relative(&resolved))
    }

    /// The name of a directory in the saved link. The directory is created, so that it can be
    /// searched.
    pub(super) fn directory_name(&self, dir: &Path) -> Result<PathBuf> {
        let resolved = self.cwd.join(dir);
        let resolved = resolved
            .canonicalize()
            .unwrap_or_else(|_| lexical(&resolved));
        self.directory(&resolved)?;
        Ok(self.up().join("root").join(relative(&resolved)))
    }

    /// The name of a product in the saved link.
    pub(super) fn product(&self, path: &Path) -> PathBuf {
        let name = path.file_name().unwrap_or(path.as_os_str());
        self.up().join("out").join(name)
    }

    /// The relative path from the directory in which the saved link runs to the directory of the
    /// saved link.
    fn up(&self) -> PathBuf {
        let depth = self.cwd().components().count() + 1;
        std::iter::repeat_n(Component::ParentDir, depth).collect()
    }

    fn directory(&self, path: &Path) -> Result<()> {
        let copy = self.place(path);
        fs::create_dir_all(&copy).at(&copy)
    }

    /// The path of a file's copy.
    fn place(&self, resolved: &Path) -> PathBuf {
        self.dir.join("root").join(relative(resolved))
    }

    /// Copies a file. A symbolic link is copied together with its target. Returns whether the file
    /// exists.
    pub(super) fn copy(&mut self, path: &Path) -> Result<bool> {
        let resolved = self.resolve(path);
        let copy = self.place(&resolved);
        if copy.symlink_metadata().is_ok() {
            return Ok(true);
        }
        match fs::metadata(&resolved) {
            Ok(meta) if meta.is_file() => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missing.insert(path.to_owned());
                return Ok(false);
            }
            Err(error) => return Err(error).at(path),
        }
        let parent = resolved.parent().unwrap_or(Path::new("/"));
        self.directory(parent)?;
        if let Ok(target) = fs::read_link(&resolved) {
            let target = self.resolve(&parent.join(target));
            self.copy(&target)?;
            let up =
                std::iter::repeat_n(Component::ParentDir, relative(parent).components().count());
            let target = up.collect::<PathBuf>().join(relative(&target));
            symlink(target, &copy).at(&copy)?;
        } else {
            copy_writable(&resolved, &copy).at(path)?;
        }
        Ok(true)
    }

    /// Copies a file or a whole tree, for `--ukl-add`. Symbolic links stay symbolic links.
    pub(super) fn copy_tree(&mut self, path: &Path) -> Result<()> {
        let resolved = self.resolve(path);
        let meta = match fs::symlink_metadata(&resolved) {
            Ok(meta) => meta,
            Err(_) => {
                self.missing.insert(path.to_owned());
                return Ok(());
            }
        };
        if !meta.is_dir() {
            return self.copy(path).map(drop);
        }
        self.directory(&resolved)?;
        for entry in fs::read_dir(&resolved).at(&resolved)? {
            self.copy_tree(&entry.at(&resolved)?.path())?;
        }
        Ok(())
    }

    /// Writes this text to the path of a file's copy.
    pub(super) fn write(&mut self, path: &Path, text: &[u8]) -> Result<()> {
        let resolved = self.resolve(path);
        let real = resolved.canonicalize().at(path)?;
        // If the file is a symbolic link, this creates the link and its target.
        self.copy(path)?;
        let copy = self.place(&real);
        fs::write(&copy, text).at(&copy)
    }

    /// Copies a member of a thin archive to where the archive's copy looks for it: the path is
    /// relative to the archive's directory, and kept as it is.
    pub(super) fn copy_member(&mut self, archive: &Path, member: &Path) -> Result<()> {
        let resolved = self.resolve(archive);
        let resolved = resolved.canonicalize().unwrap_or(resolved);
        let base = resolved.parent().unwrap_or(Path::new("/"));
        let from = base.join(member);
        if member.is_absolute() || !from.is_file() {
            self.missing.insert(from);
            return Ok(());
        }
        // `a/../b.o` leads to a file only if `a` exists.
        let mut dir = self.place(base);
        for part in member.parent().into_iter().flat_map(Path::components) {
            dir.push(part);
            fs::create_dir_all(&dir).at(&dir)?;
        }
        let copy = dir.join(member.file_name().unwrap_or_default());
        if !copy.exists() {
            copy_writable(&from, &copy).at(&from)?;
        }
        Ok(())
    }

    /// The saved link's directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Copies a file, and makes the copy writable.
fn copy_writable(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to)?;
    let mode = fs::metadata(to)?.permissions().mode();
    fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o200))
}

/// Removes `.` and `..` from a path without resolving symbolic links.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// Whether no `..` follows the name of a directory, which may not exist in the copy.
fn is_plain(path: &Path) -> bool {
    let parts = path.components();
    let mut parts =
        parts.skip_while(|part| matches!(part, Component::ParentDir | Component::CurDir));
    parts.all(|part| matches!(part, Component::Normal(_)))
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(dir: &Path, cwd: &str) -> Mirror {
        Mirror {
            dir: dir.to_owned(),
            cwd: cwd.into(),
            missing: BTreeSet::new(),
        }
    }

    #[test]
    fn names_lead_from_the_working_directory_to_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let mirror = mirror(dir.path(), "/nowhere/build");
        for (path, name) in [
            ("x.o", "x.o"),
            ("../x.o", "../x.o"),
            ("/other/x.o", "../../../root/other/x.o"),
            ("sub/../x.o", "../../../root/nowhere/build/x.o"),
        ] {
            assert_eq!(mirror.name(Path::new(path)), Path::new(name), "{path}");
        }
        let product = mirror.product(Path::new("/other/prog"));
        assert_eq!(product, Path::new("../../../out/prog"));
    }

    #[test]
    fn links_are_copied_with_what_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("real")).unwrap();
        fs::write(base.join("real/lib.so.1"), "data").unwrap();
        symlink("../real/lib.so.1", base.join("real/lib.so")).unwrap();
        symlink("real", base.join("alias")).unwrap();
        let mut mirror = mirror(&base.join("saved"), "/");
        assert!(mirror.copy(&base.join("alias/lib.so")).unwrap());
        fs::rename(base.join("real"), base.join("gone")).unwrap();
        let copy = mirror.place(&base.join("real/lib.so"));
        assert!(copy.is_symlink());
        assert_eq!(fs::read(copy).unwrap(), b"data");
    }
}
