//! Debian packages as the guest's root directory.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use ukl_common::temp::TempDir;
use ukl_image::tree::Tree;

use crate::archive;
use crate::archive::Layer;
use crate::error::Error;
use crate::error::Result;

/// The directories that are symbolic links into /usr on Debian 12.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Downloads packages and the packages that they depend on, and adds their files. Their
/// installation scripts do not run.
pub fn add(names: &[String], tree: &mut Tree<'static>) -> Result<()> {
    for name in names {
        check(name)?;
    }
    let temp = TempDir::new().map_err(Error::file(&std::env::temp_dir()))?;
    for dir in MERGED {
        tree.symlink(dir, format!("usr/{dir}").into_bytes());
        tree.dir(format!("usr/{dir}"), 0o755);
    }
    for path in download(names, temp.path())? {
        let mut command = Command::new("dpkg-deb");
        command.arg("--fsys-tarfile").arg(&path);
        let output = run(&mut command, "dpkg")?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        archive::unpack(&name, &output.stdout, Layer::Whole, tree)?;
    }
    Ok(())
}

/// Refuses what apt-get would take for an option or for something other than a package: names of
/// packages (Debian policy 5.6.1), with an architecture and a version.
fn check(name: &str) -> Result<()> {
    let valid = |char: char| char.is_ascii_alphanumeric() || "+-.:=~".contains(char);
    let begins = name.starts_with(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit());
    if !begins || !name.chars().all(valid) || name.ends_with(['+', '-']) && name != "g++" {
        return Err(Error::Usage(format!(
            "--package {name}: not the name of a Debian package"
        )));
    }
    Ok(())
}

/// Downloads the packages into a directory. Returns their files, sorted.
fn download(names: &[String], temp: &Path) -> Result<Vec<PathBuf>> {
    let archives = temp.join("archives");
    for dir in [archives.join("partial"), temp.join("cache")] {
        fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
    }
    let status = temp.join("status");
    fs::write(&status, "").map_err(Error::file(&status))?;
    let option = |name: &str, path: &Path| {
        let mut option = OsString::from(format!("{name}="));
        option.push(path);
        option
    };
    let mut command = Command::new("apt-get");
    command.args(["install", "--download-only", "--no-install-recommends"]);
    command.args(["-qq", "-y", "-o", "Debug::NoLocking=true"]);
    command.args(["-o", "APT::Sandbox::User="]);
    // An empty status file: nothing is installed, so all dependencies are needed.
    for (name, path) in [
        ("Dir::State::status", status.as_path()),
        ("Dir::State::extended_states", &temp.join("states")),
        ("Dir::Cache", &temp.join("cache")),
        ("Dir::Cache::archives", &archives),
    ] {
        command.arg("-o").arg(option(name, path));
    }
    command.arg("--").args(names);
    run(&mut command, "apt")?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&archives).map_err(Error::file(&archives))? {
        let path = entry.map_err(Error::file(&archives))?.path();
        if path.extension().is_some_and(|suffix| suffix == "deb") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Error::Usage(format!(
            "--package {}: apt-get downloaded nothing; run `apt-get update' and try again",
            names.join(" --package ")
        )));
    }
    Ok(files)
}

/// Runs a command of the host. `package` is the Debian package that has it.
fn run(command: &mut Command, package: &str) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |what: String| Error::Command {
        command: name.clone(),
        what,
    };
    let output = command.env("LC_ALL", "C").output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed(format!(
            "not found, but --package needs it; install the package {package}, or use --rootfs"
        )),
        _ => failed(error.to_string()),
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{}: {}", output.status, text.trim_end())));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_packages_are_taken() {
        for good in [
            "python3",
            "libstdc++6",
            "g++",
            "libc6:amd64",
            "bash=5.2.15-2+b2",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "", "-o", "--help", "./x.deb", "/x", "x y", "python3-", "Python",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
