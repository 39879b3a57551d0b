//! Whole projects, built from untouched source packages of Debian and crates.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::dirs::scratch;
use crate::process;
use crate::tools;
use crate::tools::Tools;
use crate::tools::patient;

/// The time limit of one step of a build.
const BUILD: Duration = Duration::from_secs(1200);

/// The option that makes rustc print what its linker prints.
pub const TELL: &str = "-Wlinker-messages";

/// A project to build.
#[derive(Debug)]
pub struct Project<'a> {
    /// The name of its build directory.
    pub name: &'a str,
    /// The source package.
    pub package: &'a str,
    /// Files that the project's instructions ask the builder to write: path and text.
    pub files: &'a [(&'a str, &'a str)],
    /// The commands that build it. Each is split at blanks.
    pub steps: &'a [&'a str],
    /// The program that the build makes, beside which the image has to be.
    pub product: &'a str,
}

/// Redis, with the allocator of libc.
pub const REDIS: Project<'static> = Project {
    name: "redis-libc",
    package: "redis",
    files: &[],
    steps: &["make -j2 CC=ukl-cc MALLOC=libc"],
    product: "src/redis-server",
};

impl Project<'_> {
    /// Builds it with the tools as the compiler, unless the same tools have already built it. Returns
    /// its directory.
    pub fn build(&self, tools: &Tools) -> Result<PathBuf> {
        let dir = tools.out.join("projects").join(self.name);
        let stamp = dir.with_extension("stamp");
        let key = self.key(tools)?;
        if fs::read_to_string(&stamp).is_ok_and(|old| old == key) {
            return Ok(dir);
        }
        let _ = fs::remove_file(&stamp);
        unpack(tools, self.name, self.package)?;
        for (file, text) in self.files {
            fs::write(dir.join(file), text)?;
        }
        for step in self.steps {
            process::check(&mut command(tools, &dir, step)?, patient(BUILD))
                .with_context(|| format!("{}: `{step}`", self.name))?;
        }
        let image = dir.join(self.product).with_extension("ukl");
        ensure!(
            image.exists(),
            "{}: was built and left no image",
            image.display()
        );
        fs::write(&stamp, key)?;
        Ok(dir)
    }

    fn key(&self, tools: &Tools) -> Result<String> {
        Ok(format!("{self:?}{}", key(tools)?))
    }
}

/// The arguments of the compiler when make links redis-server in this directory, without `-o` and the
/// output.
pub fn link_of_redis(dir: &Path) -> Result<Vec<String>> {
    let mut make = Command::new("make");
    // make prints the commands as if one object were new, and runs none of them.
    make.current_dir(dir)
        .args(["-n", "V=1", "-W", "adlist.o"])
        .args(["CC=cc", "MALLOC=libc", "redis-server"]);
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS");
    let text = String::from_utf8(process::check(&mut make, BUILD)?)?;
    let line = text
        .lines()
        .find(|line| line.starts_with("cc ") && line.contains(" -o redis-server "))
        .context("make does not say how it links redis-server")?;
    let words = line.replace(" -o redis-server ", " ");
    Ok(words.split_whitespace().skip(1).map(String::from).collect())
}

/// Identifies the tools, by size and time, so that nothing is built again with the same ones.
pub fn key(tools: &Tools) -> Result<String> {
    let mut key = String::new();
    for input in tools.inputs() {
        let meta = fs::metadata(&input).with_context(|| input.display().to_string())?;
        key.push_str(&format!(
            "\n{input:?} {} {:?}",
            meta.len(),
            meta.modified()?
        ));
    }
    Ok(key)
}

/// A fresh copy of a package's source in a directory of this name.
pub fn unpack(tools: &Tools, name: &str, package: &str) -> Result<PathBuf> {
    let dir = tools.out.join("projects").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.parent().unwrap_or(&dir))?;
    let mut fetch = Command::new(tools::workspace().join("scripts/debian-source"));
    let source = process::check(fetch.arg(package), BUILD)?;
    let source = String::from_utf8_lossy(&source).trim().to_owned();
    process::check(Command::new("cp").args(["-a", &source]).arg(&dir), BUILD)?;
    Ok(dir)
}

/// A fresh copy of a crate, as crates.io has it, in a directory of this name.
pub fn crate_source(tools: &Tools, name: &str, package: &str, version: &str) -> Result<PathBuf> {
    let dir = scratch(tools, &format!("crate-{name}"))?;
    fs::create_dir(dir.join("src"))?;
    fs::write(dir.join("src/lib.rs"), "")?;
    fs::write(
        dir.join("Cargo.toml"),
        format!(
            "[package]\nname = \"wants-{package}\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
             [dependencies]\n{package} = \"={version}\"\n"
        ),
    )?;
    let mut vendor = command(tools, &dir, "cargo vendor -q vendor")?;
    process::check(&mut vendor, patient(BUILD))?;
    // Outside of the project that fetched it, whose vendored dependencies cargo would use otherwise.
    let crates = tools.out.join("crates.io");
    fs::create_dir_all(&crates)?;
    let place = crates.join(name);
    let _ = fs::remove_dir_all(&place);
    fs::rename(dir.join("vendor").join(package), &place)?;
    fs::remove_dir_all(&dir)?;
    Ok(place)
}

/// A command, its words split at blanks, that finds the tools in `PATH`, and this test's `ukl-run`.
pub fn command(tools: &Tools, dir: &Path, words: &str) -> Result<Command> {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .current_dir(dir)
        .env("PATH", path(tools)?);
    // No setting of the tests' own environment may influence the build.
    for name in [
        "UKL_FLAGS",
        "UKL_IMAGE",
        "CFLAGS",
        "LDFLAGS",
        "MAKEFLAGS",
        "MFLAGS",
    ] {
        command.env_remove(name);
    }
    Ok(command)
}

/// `PATH` with this test's `ukl-run` and the tools in front.
pub fn path(tools: &Tools) -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let bin = fs::canonicalize(&tools.bin)?;
    let ours = [tools.boots.dir().to_owned(), bin];
    let all = ours.into_iter().chain(std::env::split_paths(&old));
    Ok(std::env::join_paths(all)?)
}
