//! Makes the image.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::path::PathBuf;

use globset::GlobBuilder;
use ukl_common::files;
use ukl_common::library::Library;
use ukl_common::messages;
use ukl_image::Base;
use ukl_image::guest;
use ukl_image::tree::Node;
use ukl_image::tree::Tree;
use ukl_ld::kernel::abi::Abi;
use ukl_ld::linked::Rewriter;
use ukl_proto::image_conf::ImageConf;
use ukl_proto::image_conf::Start;
use ukl_proto::policy::Policy;
use ukl_proto::policy::Transition;
use ukl_proto::ring3::RING0_MARK;
use ukl_proto::stamp::Stamp;

use crate::TOOL;
use crate::archive;
use crate::archive::Layer;
use crate::args::Args;
use crate::command;
use crate::directory;
use crate::elf;
use crate::elf::Kind;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::extras;
use crate::libraries::Closure;
use crate::libraries::Finder;
use crate::oci;
use crate::oci::Config;
use crate::packages;
use crate::progress::Progress;
use crate::root::Root;
use crate::transit::Ring0;
use crate::user;

/// The time zones of the host.
const ZONEINFO: &str = "/usr/share/zoneinfo";

/// The memory of a guest unless `ukl-run -m` says otherwise, and what the kernel takes of it.
const MEMORY: usize = 512 << 20;
const KERNEL_MEMORY: usize = 128 << 20;

/// The files of the guest without its init, and its configuration.
#[derive(Debug)]
pub struct Contents {
    /// The files.
    pub tree: Tree<'static>,
    /// The configuration.
    pub conf: ImageConf,
    /// What was noticed on the way.
    pub warnings: Vec<String>,
    /// Why libraries of programs at ring 0 could not be rewritten.
    pub notes: Vec<String>,
}

/// Runs the command with these arguments.
pub fn run(args: &Args) -> Result<()> {
    let progress = Progress::new();
    check_output(args)?;
    let library = Library::find().map_err(Error::file(Path::new("/proc/self/exe")))?;
    let kernel = args.kernel.clone().unwrap_or_else(|| library.kernel());
    let abi = Abi::read(&kernel).map_err(|error| Error::Kernel(error.to_string()))?;
    if abi.e_flags != RING0_MARK {
        return Err(Error::Kernel(format!(
            "{}: its kernel has another mark for programs at ring 0; run `make' to build the \
             kernel archive and the tools from the same tree",
            kernel.display()
        )));
    }
    let base = Base::read(&kernel)?;
    let rewriter = Rewriter::open(&kernel).map_err(|error| Error::Kernel(error.to_string()))?;

    let Contents {
        mut tree,
        conf,
        warnings,
        notes,
    } = contents(args, &progress, Some(&rewriter))?;
    progress.clear();
    for warning in warnings {
        messages::warning(TOOL, warning);
    }
    for note in notes {
        messages::note(TOOL, format_args!("{note}; system calls take longer"));
    }
    guest::add_init(&mut tree, &library.init(), &conf)?;
    let size: usize = tree.iter().map(|(_, node)| node.data.len()).sum();
    if args.verbose {
        let own = Some(&conf.program).filter(|path| !conf.ring0.contains(path));
        for path in own.into_iter().chain(&conf.ring0) {
            messages::say(TOOL, format_args!("at ring 0: {path}"));
        }
        let (count, size) = (tree.iter().count(), size >> 20);
        messages::say(TOOL, format_args!("{count} files, {size} MiB"));
    }

    progress.step("compressing the image");
    let image = base.image_of(&tree, args.cmdline.as_deref(), &Stamp::new(&[]))?;
    files::write_beside(&args.output, &image, 0o644).map_err(Error::file(&args.output))?;
    progress.clear();
    // The kernel unpacks the files while the archive is still in memory.
    let needed = 2 * size + KERNEL_MEMORY;
    if needed > MEMORY {
        let (path, size) = (args.output.display(), needed.div_ceil(1 << 20));
        messages::note(
            TOOL,
            format_args!("{path}: run it with `ukl-run -m {size}M'"),
        );
    }
    Ok(())
}

/// An error with its causes.
pub fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Refuses to write the image over an input.
fn check_output(args: &Args) -> Result<()> {
    let inputs = args
        .rootfs
        .iter()
        .chain(args.add.iter().map(|(host, _)| host));
    let program = args.command.first().map(PathBuf::from);
    let output = args.output.canonicalize().ok();
    for input in inputs.chain(&program) {
        if output.is_some() && input.canonicalize().ok() == output {
            return Err(Error::Usage(format!(
                "--output {}: it is also an input; choose another path",
                args.output.display()
            )));
        }
    }
    Ok(())
}

/// Puts the files together. Without a rewriter, the system calls of libraries stay as they are.
pub fn contents(args: &Args, progress: &Progress, rewriter: Option<&Rewriter>) -> Result<Contents> {
    let (mut root, config) = root(args, progress)?;
    let mut warnings = Vec::new();
    for (host, guest) in &args.add {
        progress.step(format_args!("reading {}", host.display()));
        // The directory above may be below a symbolic link.
        let above = Path::new(guest).parent().unwrap_or(Path::new("/"));
        root.find(above.as_os_str().as_bytes())?;
        root.tree.add_host("--add", host, guest)?;
    }

    let mut start = start(args, &config)?;
    let path = start.env.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or(command::PATH, |(_, value)| value).to_owned();
    let workdir = start.workdir.clone().unwrap_or_else(|| "/".into());
    let words = command_line(args, &config, &mut start)?;
    let program = absolute(&words, &root)?;
    let program = command::find(&mut root, &program, path.as_bytes(), &workdir)?;
    let found = command::program(&mut root, &program, path.as_bytes())?;

    progress.step("looking for libraries");
    let mut ring0 = Ring0::default();
    ring0.programs.insert(found.file);
    for pattern in &args.ring0 {
        ring0.programs.append(&mut matching(&mut root, pattern)?);
    }
    let variable = |name: &str| start.env.iter().find(|(other, _)| other == name);
    let library_path = variable("LD_LIBRARY_PATH").map(|(_, value)| value.as_bytes());
    let mut finder = Finder::new(library_path);
    let mut objects = BTreeSet::new();
    for program in &ring0.programs {
        let closure = finder.closure(&mut root, program)?;
        match root.host {
            Some(_) => closure.check()?,
            // A start script may set LD_LIBRARY_PATH.
            None => {
                closure.check_loader()?;
                warnings.extend(missing(&closure));
            }
        }
        ring0.libraries.extend(closure.libraries);
    }
    let added: Vec<Vec<u8>> = added(&mut root, args, path.as_bytes());
    for object in found.more.iter().chain(&added) {
        let mut closure = finder.closure(&mut root, object)?;
        // A program that loads a plugin may have loaded the plugin's libraries before.
        let is_added = |name: &[u8]| {
            added
                .iter()
                .any(|path| path.ends_with(&[b"/", name].concat()))
        };
        closure.missing.retain(|(name, _)| !is_added(name));
        if root.host.is_some() {
            warnings.extend(missing(&closure));
        }
        objects.insert(object.clone());
        objects.extend(closure.libraries);
    }
    objects.extend(ring0.libraries.iter().chain(&ring0.programs).cloned());
    extras::add(&mut root, &objects)?;
    add_zoneinfo(&mut root, args, &start)?;
    // Libraries that are loaded at run time may have come with these files.
    ring0
        .libraries
        .retain(|path| !ring0.programs.contains(path));

    let mut tree = root.tree;
    if tree.get(b"init").is_some() {
        return Err(Error::input(
            "/init",
            "the root directory has this file, but the guest's own init has to be there; rename it",
        ));
    }
    guest::add_defaults(&mut tree);
    let owner = add_user(args, &config, &tree, &mut start)?;
    if let Some(dir) = &start.workdir {
        add_workdir(&mut tree, dir, owner)?;
    }
    progress.step("rewriting system calls");
    let notes = ring0.pass(&mut tree, rewriter);

    let program_file = tree.resolve(&program);
    let others = ring0
        .programs
        .iter()
        .filter(|path| Some(*path) != program_file.as_ref());
    let mut ports = config.ports();
    ports.extend(&args.expose);
    ports.sort();
    ports.dedup();
    let conf = ImageConf {
        program: text(&program)?,
        ring0: others.map(|path| text(path)).collect::<Result<_>>()?,
        policy: Policy {
            transition: Some(Transition::Bypass),
            ..Policy::default()
        },
        anyone_starts: start.user.is_some() || args.start.as_deref() == Some("anyone"),
        start,
        ports,
        ..ImageConf::default()
    };
    Ok(Contents {
        tree,
        conf,
        warnings,
        notes,
    })
}

/// The root directory before the options add to it, and the configuration of a container image.
fn root(args: &Args, progress: &Progress) -> Result<(Root, Config)> {
    let mut root = Root::default();
    let mut config = Config::default();
    if let Some(path) = &args.rootfs {
        progress.step(format_args!("reading {}", path.display()));
        let name = path.display().to_string();
        if path.is_dir() {
            match oci::Image::in_dir(path)? {
                Some(image) => config = image.unpack(&mut root.tree)?,
                None => directory::read(path, &mut root.tree)?,
            }
        } else {
            let data = archive::read(path)?;
            match oci::Image::in_archive(&name, &data)? {
                Some(image) => config = image.unpack(&mut root.tree)?,
                None => archive::unpack(&name, &data, Layer::Whole, &mut root.tree)?,
            }
        }
    } else if args.package.is_empty() {
        root = Root::of_host(Path::new("/"));
    } else {
        progress.step("downloading packages");
        packages::add(&args.package, &mut root.tree)?;
    }
    Ok((root, config))
}

/// The environment and the working directory.
fn start(args: &Args, config: &Config) -> Result<Start> {
    let mut env: Vec<(String, String)> = Vec::new();
    let of_image = config.env.iter().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    });
    for (name, value) in of_image.chain(args.env.iter().cloned()) {
        match env.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => env.push((name, value)),
        }
    }
    let mut workdir = Some(config.working_dir.clone()).filter(|dir| !dir.is_empty());
    if let Some(dir) = &args.workdir {
        if !dir.starts_with('/') {
            return Err(Error::Usage(format!(
                "--workdir {dir}: not an absolute path in the image"
            )));
        }
        workdir = Some(dir.clone());
    }
    Ok(Start {
        env,
        workdir: workdir.map(|dir| format!("/{}", dir.trim_start_matches('/'))),
        ..Start::default()
    })
}

/// The words of the command. Its arguments go into `start`.
fn command_line(args: &Args, config: &Config, start: &mut Start) -> Result<Vec<u8>> {
    let given = args.entry.as_ref().unwrap_or(&args.command);
    let (mut fixed, mut default) = (words(given)?, Vec::new());
    if fixed.is_empty() {
        fixed.clone_from(&config.entrypoint);
        default.clone_from(&config.cmd);
    }
    if fixed.is_empty() && !default.is_empty() {
        // The arguments of ukl-run take the place of those of the command.
        fixed.push(default.remove(0));
    }
    if fixed.is_empty() {
        let what = match (&args.rootfs, args.package.is_empty()) {
            (Some(_), _) => "the root directory names no command; give one with --entry",
            (None, false) => "give the program of the packages to run",
            (None, true) => "give a program, or --rootfs",
        };
        return Err(Error::Usage(format!("no program: {what}")));
    }
    let program = fixed.remove(0).into_bytes();
    start.args = fixed;
    start.default_args = default;
    Ok(program)
}

fn words(words: &[OsString]) -> Result<Vec<String>> {
    let text = |word: &OsString| {
        let text = word.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::Usage(format!("`{}' is not UTF-8", word.display())))
    };
    words.iter().map(text).collect()
}

/// The path of a program of the host, which may be relative to the current directory.
fn absolute(program: &[u8], root: &Root) -> Result<Vec<u8>> {
    let is_relative = program.contains(&b'/') && !program.starts_with(b"/");
    if root.host.is_none() || !is_relative {
        return Ok(program.to_vec());
    }
    let path = std::path::absolute(OsStr::from_bytes(program));
    let path = path.map_err(Error::file(Path::new(".")))?;
    Ok(path.into_os_string().into_vec())
}

/// A path in the image as text.
fn text(path: &[u8]) -> Result<String> {
    match std::str::from_utf8(path) {
        Ok(path) => Ok(format!("/{}", path.trim_start_matches('/'))),
        Err(_) => Err(Error::input(
            shown(path),
            "the path of a program has to be UTF-8",
        )),
    }
}

/// The programs whose path matches a pattern of `--ring0`.
fn matching(root: &mut Root, pattern: &str) -> Result<BTreeSet<Vec<u8>>> {
    let wrong = |what: &str| Error::Usage(format!("--ring0 {pattern}: {what}"));
    // A program of the host that is named without wildcards need not be added.
    root.find(pattern.as_bytes())?;
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    let glob = glob.map_err(|error| wrong(&error.kind().to_string()))?;
    let glob = glob.compile_matcher();
    let paths = root.tree.iter().map(|(path, _)| path);
    let paths = paths.filter(|path| glob.is_match(shown(path)));
    let programs: BTreeSet<Vec<u8>> = paths
        .filter_map(|path| root.tree.resolve(path))
        .filter(|path| is_program(root, path))
        .collect();
    match programs.is_empty() {
        true => Err(wrong(
            "matches no program in the image; patterns match whole paths",
        )),
        false => Ok(programs),
    }
}

fn is_program(root: &Root, path: &[u8]) -> bool {
    root.is_file(path) && matches!(elf::read(root.data(path)), Kind::Elf(elf) if elf.is_program)
}

fn missing(closure: &Closure) -> impl Iterator<Item = String> {
    let missing = closure.missing.iter();
    missing.map(|(library, object)| {
        let library = String::from_utf8_lossy(library);
        format!("{}: needs {library}, which was not found", shown(object))
    })
}

/// The programs and libraries that `--add` brought, and the interpreters of scripts among them.
fn added(root: &mut Root, args: &Args, path: &[u8]) -> Vec<Vec<u8>> {
    let mut objects = Vec::new();
    for (_, guest) in &args.add {
        let Some(top) = root.tree.resolve(guest.as_bytes()) else {
            continue;
        };
        // An added script may be of use without its interpreter.
        if root.is_file(&top)
            && let Ok(program) = command::program(root, &top, path)
        {
            objects.push(program.file);
            objects.extend(program.more);
        }
        let is_elf = |node: &Node<'_>| node.is_file() && node.data.starts_with(b"\x7fELF");
        let below = root.tree.below(&top).filter(|(_, node)| is_elf(node));
        objects.extend(below.map(|(path, _)| path.to_vec()));
    }
    objects
}

fn add_zoneinfo(root: &mut Root, args: &Args, start: &Start) -> Result<()> {
    let by_name = start.env.iter().any(|(name, _)| name == "TZ");
    if !args.zoneinfo && !by_name || root.tree.resolve(ZONEINFO.as_bytes()).is_some() {
        return Ok(());
    }
    match Path::new(ZONEINFO).is_dir() {
        true => Ok(root
            .tree
            .add_host("--zoneinfo", Path::new(ZONEINFO), ZONEINFO)?),
        false if args.zoneinfo => Err(Error::input(
            ZONEINFO,
            "not on this host, but --zoneinfo copies it; install tzdata",
        )),
        false => Ok(()),
    }
}

/// Sets the program's user. Returns its user ID and group ID.
fn add_user(
    args: &Args,
    config: &Config,
    tree: &Tree<'_>,
    start: &mut Start,
) -> Result<(u32, u32)> {
    let text = args.user.as_ref().unwrap_or(&config.user);
    if text.is_empty() {
        return Ok((0, 0));
    }
    let account = user::find(tree, text)?;
    let owner = (account.user.uid, account.user.gid);
    if !start.env.iter().any(|(name, _)| name == "HOME")
        && let Some(home) = account.home
    {
        start.env.push(("HOME".into(), home));
    }
    start.user = Some(account.user).filter(|_| owner != (0, 0));
    Ok(owner)
}

/// Makes the working directory if it is missing.
fn add_workdir(tree: &mut Tree<'_>, dir: &str, owner: (u32, u32)) -> Result<()> {
    match tree.resolve(dir.as_bytes()) {
        None => {
            tree.dir(dir.trim_matches('/'), 0o755);
            let real = tree.resolve(dir.as_bytes());
            if let Some(node) = real.and_then(|path| tree.get_mut(&path)) {
                node.owner = owner;
            }
            Ok(())
        }
        Some(real) if real.is_empty() || tree.get(&real).is_some_and(Node::is_dir) => Ok(()),
        Some(_) => Err(Error::input(
            dir,
            "the working directory is not a directory in the image; choose another with --workdir",
        )),
    }
}
