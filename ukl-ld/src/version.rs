//! The text of `--version`: the versions of ukl-ld, the real linker, and the kernel archive.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use ukl_common::library::KernelVersion;

use crate::error::Error;
use crate::error::Result;
use crate::tools;
use crate::tools::Tools;

/// The chosen kernel archive, or by default that of the installation.
pub fn archive_dir(tools: &Tools, chosen: Option<&Path>) -> PathBuf {
    chosen.map_or_else(|| tools.libdir.join("kernel"), Path::to_owned)
}

/// The line of `--version` about that archive.
pub fn archive(tools: &Tools, chosen: Option<&Path>) -> KernelVersion {
    KernelVersion::of(archive_dir(tools, chosen))
}

/// The first line of `--version`. Build tools search it for "GNU ld".
pub fn first_line(tools: &Tools) -> Result<String> {
    Ok(format!(
        "ukl-ld {} (compatible with {})",
        env!("CARGO_PKG_VERSION"),
        host(tools)?
    ))
}

/// The name and version of the real linker.
pub fn host(tools: &Tools) -> Result<String> {
    let text = ask(tools, "--version")?;
    Ok(text.lines().next().unwrap_or("GNU ld").to_owned())
}

/// What the real linker prints for an option.
pub fn ask(tools: &Tools, option: &str) -> Result<String> {
    let (name, depth) = tools::depth(&tools.host_ld)?;
    let output = Command::new(&tools.host_ld)
        .arg(option)
        .env(name, depth)
        .output();
    let output = output.map_err(|source| Error::Run {
        program: tools.host_ld.clone(),
        source,
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
