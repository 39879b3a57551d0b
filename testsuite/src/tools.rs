//! Where everything is.

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;

/// The tools under test, and where test output goes.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The directory of `ukl-cc` and the others.
    pub bin: PathBuf,
    /// Built programs, images and logs.
    pub out: PathBuf,
}

impl Tools {
    /// Finds them, or says which `make` target makes them.
    pub fn find() -> Result<Self> {
        let bin = match env::var_os("UKL_BIN") {
            Some(dir) => PathBuf::from(dir),
            None => workspace().join("target/release"),
        };
        for tool in ["ukl-cc", "ukl-c++", "ukl-ld", "ukl-run"] {
            if !bin.join(tool).exists() {
                bail!(
                    "{}: not there; run `make`, or set UKL_BIN to the directory of the tools",
                    bin.join(tool).display()
                );
            }
        }
        // Runs with different target directories do not get into each other's way.
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace().join("target"), |dir| workspace().join(dir));
        let out = target.join("testsuite");
        std::fs::create_dir_all(&out)?;
        Ok(Tools { bin, out })
    }

    /// One of the tools.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Files whose change means that everything has to be linked again.
    pub fn inputs(&self) -> Vec<PathBuf> {
        let lib =
            env::var_os("UKL_LIBDIR").map_or_else(|| self.bin.join("../lib/ukl"), PathBuf::from);
        let mut inputs = vec![
            self.tool("ukl-cc"),
            self.tool("ukl-ld"),
            lib.join("init"),
            lib.join("kernel/vmlinux"),
            lib.join("libukl.a"),
            lib.join("include/ukl.h"),
        ];
        let shortcuts = std::fs::read_dir(lib.join("shortcuts"));
        let shortcuts = shortcuts.into_iter().flatten().flatten();
        let mut shortcuts: Vec<_> = shortcuts.map(|entry| entry.path()).collect();
        shortcuts.sort();
        inputs.append(&mut shortcuts);
        inputs
    }
}

/// The root of the repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
}

/// This crate's folder.
pub fn testsuite() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The processors of a guest whose program does not say.
pub fn cpus() -> u32 {
    let cpus = env::var("UKL_TEST_CPUS").ok();
    cpus.and_then(|cpus| cpus.parse().ok()).unwrap_or(2)
}

/// A time limit, stretched on slow machines.
pub fn patient(limit: Duration) -> Duration {
    let factor = env::var("UKL_TEST_PATIENCE")
        .ok()
        .and_then(|factor| factor.parse::<f64>().ok())
        .filter(|factor| factor.is_finite() && *factor > 0.0)
        .unwrap_or(1.0);
    limit.mul_f64(factor)
}
