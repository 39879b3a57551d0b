//! A `ukl-run` that keeps the kernel's log of every boot, for build systems that call it on their
//! own: whether they did, and what became of it, is in the logs.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::harness;
use crate::kernel_log;
use crate::project;
use crate::tools::Tools;

/// The command, in a directory of its own.
#[derive(Debug)]
pub struct Recorder {
    dir: PathBuf,
}

impl Recorder {
    /// Makes one for this test, with no boots yet.
    pub fn new(tools: &Tools, name: &str) -> Result<Self> {
        let dir = harness::scratch(tools, &format!("recorder-{name}"))?;
        fs::create_dir(dir.join("logs"))?;
        let script = dir.join("ukl-run");
        let real = fs::canonicalize(tools.tool("ukl-run"))?;
        let text = format!(
            "#!/bin/sh\nexec '{}' --log \"{}/logs/$(date +%s%N)-$$\" \"$@\"\n",
            real.display(),
            dir.display()
        );
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(Recorder { dir })
    }

    /// Where it writes to.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `PATH` with it in front of the tools.
    pub fn path(&self, tools: &Tools) -> Result<OsString> {
        let rest = project::path(tools)?;
        let dirs = std::iter::once(self.dir.clone()).chain(std::env::split_paths(&rest));
        Ok(std::env::join_paths(dirs)?)
    }

    /// How many boots there were. In each the program has to have run at ring 0, and the kernel
    /// must not have complained.
    pub fn boots(&self) -> Result<usize> {
        let mut count = 0;
        for entry in fs::read_dir(self.dir.join("logs"))? {
            let path = entry?.path();
            project::healthy(&path)?;
            let log = fs::read(&path).with_context(|| path.display().to_string())?;
            let log = String::from_utf8_lossy(&log);
            ensure!(
                kernel_log::is_at_ring_0(&log),
                "{}: nothing ran at ring 0",
                path.display()
            );
            count += 1;
        }
        Ok(count)
    }
}
