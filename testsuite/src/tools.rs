//! Where the tools under test and their output are.

use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;

use crate::boots::Boots;

/// The tools under test, and where test output goes.
#[derive(Debug)]
pub struct Tools {
    /// The directory of `ukl-cc` and the others.
    pub bin: PathBuf,
    /// Built programs, images and logs.
    pub out: PathBuf,
    /// The directory that the processes of one run of the tests share: `UKL_TEST_RUN`, or one of this
    /// process.
    pub run: PathBuf,
    /// The `ukl-run` of this test.
    pub boots: Boots,
}

impl Tools {
    /// Finds the tools. The error says which `make` target builds them.
    pub fn find() -> Result<Self> {
        let bin = match env::var_os("UKL_BIN") {
            Some(dir) => PathBuf::from(dir),
            None => workspace().join("target/release"),
        };
        for tool in ["ukl-cc", "ukl-c++", "ukl-ld", "ukl-run", "ukl-pack"] {
            if !bin.join(tool).exists() {
                bail!(
                    "{}: not there; run `make`, or set UKL_BIN to the directory of the tools",
                    bin.join(tool).display()
                );
            }
        }
        // Runs with different target directories are independent.
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace().join("target"), |dir| workspace().join(dir));
        let out = target.join("testsuite");
        let program = env::current_exe()?;
        let name = program.file_stem().unwrap_or_default().to_string_lossy();
        let run = match env::var_os("UKL_TEST_RUN") {
            Some(dir) => workspace().join(dir),
            None => {
                let own = out.join("run").join(&*name);
                let _ = std::fs::remove_dir_all(&own);
                own
            }
        };
        std::fs::create_dir_all(&run)?;
        let boots = Boots::new(&out, &bin.join("ukl-run"), &name)?;
        Ok(Tools {
            bin,
            out,
            run,
            boots,
        })
    }

    /// The same tools, for the boots of one test.
    pub fn for_test(&self, test: &str) -> Result<Tools> {
        Ok(Tools {
            bin: self.bin.clone(),
            out: self.out.clone(),
            run: self.run.clone(),
            boots: Boots::new(&self.out, &self.bin.join("ukl-run"), test)?,
        })
    }

    /// The path of a tool. That of `ukl-run` is the script that keeps the logs of this test's boots.
    pub fn tool(&self, name: &str) -> PathBuf {
        match name {
            "ukl-run" => self.boots.dir().join(name),
            _ => self.bin.join(name),
        }
    }

    /// A command that boots, and whose log has this name.
    pub fn ukl_run(&self, log: &str) -> Command {
        self.boots.command(log)
    }

    /// The files that every link depends on.
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

/// The number of processors of a guest whose program does not say.
pub fn cpus() -> u32 {
    let cpus = env::var("UKL_TEST_CPUS").ok();
    cpus.and_then(|cpus| cpus.parse().ok()).unwrap_or(2)
}

/// A time limit, stretched for slow machines and slow kernels.
pub fn patient(limit: Duration) -> Duration {
    let factor = env::var("UKL_TEST_PATIENCE")
        .ok()
        .and_then(|factor| factor.parse::<f64>().ok())
        .filter(|factor| factor.is_finite() && *factor > 0.0)
        .unwrap_or(1.0);
    limit.mul_f64(factor)
}

/// The memory of a guest, with `UKL_TEST_MEMORY` more MiB: kernels that check themselves need it.
pub fn roomy(memory: &str) -> String {
    let more: u64 = env::var("UKL_TEST_MEMORY")
        .ok()
        .and_then(|more| more.parse().ok())
        .unwrap_or(0);
    let size = |suffix| memory.strip_suffix(suffix)?.parse::<u64>().ok();
    match size('M').or(size('G').map(|size| size * 1024)) {
        Some(size) if more > 0 => format!("{}M", size + more),
        _ => memory.to_owned(),
    }
}
