//! Compiling the programs of the battery, and linking images of them.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hash as _;
use std::hash::Hasher as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::anyhow;

use crate::directives::Directives;
use crate::directives::Place;
use crate::process;
use crate::tools;
use crate::tools::Tools;

/// The time limit of one link, which normally takes a second or two.
const LIMIT: Duration = Duration::from_secs(180);

/// The directory of the helpers in the guest.
pub const GUEST_HELPERS: &str = "/ukl/helpers";

/// A program of the battery.
#[derive(Debug)]
pub struct Program {
    /// Its name: the file's, without the extension.
    pub name: String,
    /// Its source.
    pub source: PathBuf,
    /// The directives in its comments.
    pub directives: Directives,
    /// The output of the links without and with shared stacks.
    built: [OnceLock<std::result::Result<Built, String>>; 2],
    image: Mutex<()>,
}

/// The output files of one compilation.
#[derive(Debug, Clone)]
pub struct Built {
    /// The program for this machine.
    pub host: PathBuf,
    /// The image's program, marked for ring 0.
    pub ring0: PathBuf,
    /// The image's program for ring 3.
    pub ring3: PathBuf,
}

impl Program {
    /// All programs, by name.
    pub fn all() -> Result<Vec<Program>> {
        let dir = tools::testsuite().join("programs");
        let mut programs = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let source = entry?.path();
            let extension = source.extension().and_then(|e| e.to_str());
            if !matches!(extension, Some("c" | "cc" | "S")) {
                continue;
            }
            let name = source
                .file_stem()
                .and_then(|s| s.to_str())
                .unwrap_or_default();
            programs.push(Program {
                name: name.into(),
                directives: Directives::read(&source)?,
                source,
                built: Default::default(),
                image: Mutex::new(()),
            });
        }
        programs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(programs)
    }

    /// Compiles it for a place, once: the host output and both variants of the image's program.
    pub fn build(&self, tools: &Tools, place: Place) -> Result<Built> {
        let shared = place.shares_stacks();
        let compile = || self.compile(tools, shared);
        self.built[usize::from(shared)]
            .get_or_init(|| compile().map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(|error| anyhow!(error))
    }

    fn compile(&self, tools: &Tools, shared: bool) -> Result<Built> {
        let mut dir = tools.out.join("programs").join(&self.name);
        if shared {
            dir.push("shared");
        }
        fs::create_dir_all(&dir)?;
        let built = Built {
            host: dir.join(&self.name),
            ring0: dir.join("ring0"),
            ring3: dir.join("ring3"),
        };
        let mut command = self.command(tools, &built.host);
        command
            .arg("--ukl-no-image")
            .args(stack_option(shared))
            .arg(option("program", &built.ring0))
            .arg(option("ring3", &built.ring3));
        remake(&dir.join("stamp"), &self.inputs(tools), &mut command)?;
        Ok(built)
    }

    /// Links an image of this program.
    pub fn image(&self, tools: &Tools, place: Place) -> Result<PathBuf> {
        let shared = place.shares_stacks();
        let name = if shared { "alone-shared" } else { "alone" };
        let dir = tools.out.join("programs").join(&self.name).join(name);
        fs::create_dir_all(&dir)?;
        let _one_at_a_time = self.image.lock().unwrap_or_else(|e| e.into_inner());
        let prog = dir.join(&self.name);
        let mut command = self.command(tools, &prog);
        command.env("UKL_IMAGE", "1").args(stack_option(shared));
        for name in &self.directives.helpers {
            let file = helper(tools, name)?;
            command.arg(add(&file, &format!("{GUEST_HELPERS}/{name}")));
        }
        remake(&dir.join("stamp"), &self.inputs(tools), &mut command)?;
        Ok(prog.with_extension("ukl"))
    }

    fn command(&self, tools: &Tools, output: &Path) -> Command {
        let cpp = self.source.extension().is_some_and(|e| e == "cc");
        let mut command = Command::new(tools.tool(if cpp { "ukl-c++" } else { "ukl-cc" }));
        command
            .args([
                "-O2",
                "-g",
                "-Wall",
                "-Wno-unused-result",
                "-Wno-infinite-recursion",
                "-Wno-array-bounds",
            ])
            .args(&self.directives.cflags)
            .arg("-o")
            .arg(output)
            .arg(&self.source)
            .args(&self.directives.libs);
        command
    }

    fn inputs(&self, tools: &Tools) -> Vec<PathBuf> {
        let mut inputs = tools.inputs();
        inputs.push(self.source.clone());
        inputs.extend(headers());
        inputs
    }
}

/// Compiles an ordinary program that programs of the battery start. It is static, and the host's
/// compiler compiles it.
pub fn helper(tools: &Tools, name: &str) -> Result<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let dir = tools.out.join("helpers");
    fs::create_dir_all(&dir)?;
    let source = tools::testsuite()
        .join("programs/helpers")
        .join(format!("{name}.c"));
    let output = dir.join(name);
    let mut command = Command::new("cc");
    command
        .args(["-O2", "-static", "-pthread", "-o"])
        .arg(&output)
        .arg(&source);
    let mut inputs = vec![source];
    inputs.extend(headers());
    remake(&dir.join(format!("{name}.stamp")), &inputs, &mut command)?;
    Ok(output)
}

/// The directory of the helpers on this machine.
pub fn host_helpers(tools: &Tools) -> PathBuf {
    tools.out.join("helpers")
}

/// Compiles a file of `driver/` into an image that contains these files.
pub fn driver(
    tools: &Tools,
    place: Place,
    name: &str,
    image: &str,
    files: &[(PathBuf, String)],
) -> Result<PathBuf> {
    let dir = tools.out.join("images").join(image);
    fs::create_dir_all(&dir)?;
    let source = tools::testsuite().join("driver").join(format!("{name}.c"));
    let output = dir.join(name);
    let mut command = Command::new(tools.tool("ukl-cc"));
    command
        .env("UKL_IMAGE", "1")
        .args(["-O2", "-g", "-Wall", "-pthread"])
        .args(stack_option(place.shares_stacks()))
        .arg("-o")
        .arg(&output)
        .arg(&source);
    let mut inputs = tools.inputs();
    inputs.push(source);
    for (host, guest) in files {
        command.arg(add(host, guest));
        inputs.push(host.clone());
    }
    remake(&dir.join("stamp"), &inputs, &mut command)?;
    Ok(output.with_extension("ukl"))
}

fn add(host: &Path, guest: &str) -> String {
    format!("--ukl-add={}:{guest}", host.display())
}

fn stack_option(shared: bool) -> Option<&'static str> {
    shared.then_some("--ukl-stack=shared")
}

fn option(name: &str, path: &Path) -> String {
    format!("--ukl-{name}={}", path.display())
}

fn headers() -> Vec<PathBuf> {
    let dir = tools::testsuite().join("programs");
    let mut headers: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "h"))
        .collect();
    headers.sort();
    headers
}

/// Runs a command, unless it has already run with the same arguments on the same files.
fn remake(stamp: &Path, inputs: &[PathBuf], command: &mut Command) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    format!("{command:?}").hash(&mut hasher);
    for input in inputs {
        let meta = fs::metadata(input).with_context(|| input.display().to_string())?;
        (input, meta.len(), meta.modified()?).hash(&mut hasher);
    }
    let key = format!("{:016x}", hasher.finish());
    if fs::read_to_string(stamp).is_ok_and(|old| old == key) {
        return Ok(());
    }
    let _ = fs::remove_file(stamp);
    process::check(command, tools::patient(LIMIT))?;
    fs::write(stamp, key)?;
    Ok(())
}
