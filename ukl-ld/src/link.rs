//! The driver: one link from its command line to its products.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::mem;
use std::panic::resume_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::thread;

use ukl_common::build_id;
use ukl_common::debug_store;
use ukl_common::files;
use ukl_common::options;
use ukl_common::registry;
use ukl_common::temp::TempDir;
use ukl_image::ImageError;
use ukl_image::ImageSpec;
use ukl_proto::image_conf::Binding;
use ukl_proto::ring3::ThunkTable;

use crate::args;
use crate::args::Args;
use crate::args::response;
use crate::args::table::Role;
use crate::args::ukl_options;
use crate::args::ukl_options::UklOptions;
use crate::cache::Cache;
use crate::debug;
use crate::elf;
use crate::error;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::explain::Explain;
use crate::host;
use crate::host::Host;
use crate::host::exit_code;
use crate::inputs;
use crate::interrupt;
use crate::kernel::Kernel;
use crate::kernel_module::calls;
use crate::kernel_module::imports;
use crate::kernel_module::imports::Routines;
use crate::kernel_module::link::KernelCode;
use crate::lto;
use crate::lto::Lto;
use crate::mode;
use crate::mode::Mode;
use crate::mode::Surroundings;
use crate::program::Program;
use crate::rewrite::Rewriter;
use crate::save;
use crate::shared;
use crate::startup;
use crate::thunk::code;
use crate::thunk::table;
use crate::tools::Tools;
use crate::version;

/// Runs with the given arguments, the program's name first. Returns the exit status.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<u8> {
    let mut args = args.into_iter();
    let argv0 = args.next().unwrap_or_else(|| "ukl-ld".into());
    let original: Vec<OsString> = args.collect();
    if let Some(status) = lto::wrapper::run(&argv0, &original) {
        return status;
    }
    let expanded = response::expand(original.iter().cloned())?;
    let mut args = Args::parse(expanded.args);
    let rust = startup::is_raw_rustc(&args);
    if rust {
        args = startup::translate(&args);
    }
    let mut own = UklOptions::collect(&args, std::env::var_os("UKL_FLAGS").as_deref())?;
    if own.help {
        print!("{}", options::help());
        return Ok(0);
    }
    let mut explain = Explain::new(own.explain);
    let mut tools = Tools::find(&argv0)?;

    if let Some(status) = inform(&args, &tools, own.kernel.as_deref())? {
        return Ok(exit_code(status));
    }

    let (args, words) = if rust {
        let args = startup::complete(&args)?;
        let words = args.host_words();
        tools = lto::reader::for_rustc(&args, tools)?;
        explain.phase("startup", "completed what rustc sent");
        (args, words)
    } else if args.has_ukl() {
        let words = args.host_words();
        (args, words)
    } else {
        (args, original)
    };

    let around = Surroundings::here();
    if let Some(dir) = save::save_if_asked(&args, &own, &tools, &around)? {
        explain.phase("save", format_args!("{}", dir.display()));
    }
    let code = match args.has(Role::Relocatable) {
        true => None,
        false => KernelCode::find(&args, &tools.libdir, own.wants_kernel_code())?,
    };
    let (args, words) = match &code {
        Some(code) => (code.args.clone(), code.args.host_words()),
        None => (args, words),
    };
    let quiet = rust && startup::is_static(&args);
    let output = args.output();
    let uplifted = mode::uplifted(&args, &around);
    let stale = mode::beside(&output);
    let image = match mode::decide(&args, &own, &around) {
        Mode::Host(why) => {
            explain.phase("mode", format_args!("no image: {why}"));
            if stale.is_file() && !args.has(Role::Relocatable) {
                host::remove(&stale)?;
            }
            let host = Host::new(&tools, &words)?.quiet(quiet);
            let library = why == mode::SHARED && !startup::is_procedural_macro(&args);
            if code.is_none() && !library {
                return Ok(exit_code(host.exec()?));
            }
            let status = host.run()?;
            if status.success() {
                shared::remember(&args, &output);
            }
            return Ok(exit_code(status));
        }
        Mode::Program(image) => image,
    };
    match &image {
        Some(path) => explain.phase("mode", format_args!("image {}", path.display())),
        None => explain.phase("mode", "program only"),
    }
    // A profile has the addresses of the image's program, so gprof needs that program.
    let profiled = image.is_some() && startup::is_profiled(&args);
    if profiled && own.program.is_none() {
        own.program = Some(ukl_options::Place::Beside);
    }
    host::remove(image.as_ref().unwrap_or(&stale))?;
    if let Some(path) = &uplifted {
        host::remove(&mode::beside(path))?;
    }

    interrupt::catch();
    // What is to be known of the kernel is read meanwhile.
    let kernel = tools.kernel(own.kernel.as_deref());
    let dir = kernel.as_deref().ok().map(Path::to_owned);
    let (status, routines, archive) = thread::scope(|scope| -> Result<_> {
        let archive = scope.spawn(|| Archive::read(&own, kernel, image.is_some()));
        let linked = host_link(&tools, &args, &words, quiet, dir.as_deref());
        if let Ok((_, Some(routines))) = &linked {
            let names: Vec<&str> = routines.names().collect();
            let names = names.join(" ");
            explain.phase("routines", format_args!("of the kernel: {names}"));
        }
        explain.phase(
            "host",
            format_args!("{} -> {}", tools.host_ld.display(), output.display()),
        );
        let archive = archive.join();
        let (status, routines) = linked?;
        Ok((
            status,
            routines,
            archive.unwrap_or_else(|why| resume_unwind(why)),
        ))
    })?;
    let made = if status.success() {
        let uplifted = uplifted.as_deref();
        let place = Place {
            output: &output,
            uplifted,
            image: image.as_deref(),
            passing: mode::passing(&output, &around),
        };
        archive.and_then(|archive| {
            let kernel_side = (code.as_ref(), routines.as_ref());
            build(
                &args,
                &own,
                &tools,
                archive,
                kernel_side,
                &place,
                &mut explain,
            )
        })
    } else {
        Ok(())
    };
    if made.is_err() || interrupt::caught().is_some() {
        // As after any link that fails: make and ninja would take the output for finished.
        host::remove(&output)?;
    }
    if let Some(signal) = interrupt::caught() {
        host::remove(image.as_ref().unwrap_or(&stale))?;
        interrupt::die(signal);
    }
    if !status.success() {
        if let Some(error) = lto::reader::unreadable(&args, &tools) {
            error::print(&error);
        }
        return Ok(exit_code(status));
    }
    explain.end();
    if let (Ok(()), true, Some(place)) = (&made, profiled, &own.program) {
        let path = place.path(&output, ukl_options::RING0);
        eprintln!(
            "ukl-ld: note: to profile the image's program, run gprof on {}",
            path.display()
        );
    }
    made.map(|()| 0)
}

/// What there is to know of the kernel archive. Nothing where only the ring-3 variant is wanted,
/// which never gets to the kernel's entry.
struct Archive {
    dir: Option<PathBuf>,
    symbols: Kernel,
    /// For the image.
    base: Option<Result<ukl_image::Base, ImageError>>,
}

impl Archive {
    fn read(own: &UklOptions, dir: Result<PathBuf>, image: bool) -> Result<Archive> {
        if !image && own.program.is_none() {
            return Ok(Archive {
                dir: None,
                symbols: Kernel::none(),
                base: None,
            });
        }
        let dir = dir?;
        Ok(Archive {
            symbols: Kernel::read(&dir)?,
            base: image.then(|| ukl_image::Base::read(&dir)),
            dir: Some(dir),
        })
    }
}

/// The host link. If it fails, once more with what it lacks and the kernel has, if that is all: the
/// routines of the kernel that the program may then call.
fn host_link(
    tools: &Tools,
    args: &Args,
    words: &[OsString],
    quiet: bool,
    kernel: Option<&Path>,
) -> Result<(ExitStatus, Option<Routines>)> {
    let (status, said) = Host::new(tools, words)?.quiet(quiet).run_and_listen()?;
    if !status.success()
        && let Some(kernel) = kernel
    {
        let routines = Routines::find(args, kernel)?;
        if !routines.is_empty() {
            let temp = TempDir::new().at(&std::env::temp_dir())?;
            let mut more = words.to_vec();
            more.push(routines.for_the_host(temp.path())?.into_os_string());
            let (status, said) = Host::new(tools, &more)?.quiet(quiet).run_and_listen()?;
            if status.success() {
                host::pass_on(&said);
                return Ok((status, Some(routines)));
            }
        }
    }
    host::pass_on(&said);
    Ok((status, None))
}

/// Where the products go.
struct Place<'p> {
    /// The host output.
    output: &'p Path,
    /// Where cargo will put it.
    uplifted: Option<&'p Path>,
    /// The image, if one is to be made.
    image: Option<&'p Path>,
    /// The build system will take the host output away from here, and nothing else.
    passing: bool,
}

impl Place<'_> {
    /// Writes a by-product that goes beside the output.
    fn write(&self, path: &Path, data: &[u8], suffix: &str, mode: u32) -> Result<()> {
        files::write_beside(path, data, mode).at(path)?;
        if let Some(uplifted) = self.uplifted
            && *path == ukl_options::beside(self.output, suffix)
        {
            let also = ukl_options::beside(uplifted, suffix);
            host::remove(&also)?;
            let linked = std::fs::hard_link(path, &also);
            return linked
                .or_else(|_| files::write_beside(&also, data, mode))
                .at(&also);
        }
        Ok(())
    }
}

/// Everything behind the host link.
fn build(
    args: &Args,
    own: &UklOptions,
    tools: &Tools,
    archive: Archive,
    (code, routines): (Option<&KernelCode>, Option<&Routines>),
    place: &Place<'_>,
    explain: &mut Explain,
) -> Result<()> {
    let Place { output, image, .. } = *place;
    let options = symbol_rewriter::Options {
        call_form: true,
        ..Default::default()
    };
    let ld = tools.image_ld()?;
    let init = image.map(|_| tools.init()).transpose()?;
    let symbols = archive.symbols;
    explain.phase("kernel", format_args!("entry = {:#x}", symbols.entry));

    let temp = match own.keep_temps {
        true => TempDir::kept(),
        false => TempDir::new(),
    };
    let temp = temp.at(&std::env::temp_dir())?;
    if own.keep_temps {
        eprintln!("ukl-ld: temporary files are in {}", temp.path().display());
    }

    let mut inputs = inputs::resolve(args, output, tools, &ld, temp.path(), explain)?;
    explain.phase("inputs", format_args!("{} files", inputs.items.len()));

    let lto = Lto {
        args,
        tools,
        temp: temp.path(),
        explain,
    };
    let lowered = lto.lower(&mut inputs.items)?;
    if lowered.any() {
        let optimiser = tools.host_ld.display();
        explain.phase(
            "lto",
            format_args!(
                "the whole program, by {optimiser}: {} objects",
                lowered.objects
            ),
        );
    }

    let cache = Cache::open(&tools.myself, &options.prefix);
    let rewriter = Rewriter {
        options: &options,
        cache: cache.as_ref(),
        temp: temp.path(),
        ld: &ld,
    };
    let rewritten = rewriter.all(&inputs.items, explain)?;
    explain.phase("rewrite", format_args!("{} stubs", rewritten.stubs.len()));

    let stubs = table::make(&rewritten.stubs, &symbols, own.shared_stacks())?;
    let calls = match (code, &archive.dir) {
        (Some(code), Some(kernel)) => {
            let module = code.module(&ld, kernel)?;
            let mut calls = calls::make(&module, &symbols, &options)?;
            own.shortcuts.take(&stubs, &module, &mut calls);
            explain.phase("code", format_args!("{} functions", module.functions.len()));
            Some((module.data, calls))
        }
        _ => None,
    };

    let routines = match routines {
        Some(routines) => routines
            .for_the_image(temp.path(), &symbols, &options)?
            .into(),
        None => Vec::new(),
    };
    let link = Program {
        ld: &ld,
        gnu: tools.is_gnu(),
        args,
        options: &options,
        inputs: &rewritten,
        stubs: &stubs,
        calls: calls.as_ref().map(|(_, calls)| calls),
        routines: &routines,
        temp: temp.path(),
    };
    let passed_over = || lowered.passed_over(args, tools);
    let mut program = link.link(&|messages| hint(messages, &inputs.absent, &passed_over))?;
    let mut slots = Vec::new();
    slots.extend(elf::finish(&mut program, &options.prefix)?);
    slots.extend(elf::slots_of(&program, imports::SECTION, code::CODE_RING3)?);
    let mut code = None;
    if let Some((module, calls)) = calls
        && let Some((table, bindings)) = calls.place(&program)?
    {
        slots.extend(table);
        code = Some((module, bindings));
    }
    // As the program will be called, not as cargo calls it meanwhile.
    let name = guest_name(place.uplifted.unwrap_or(output));
    let whole = match own.debug {
        true => None,
        false => debug::strip(&program).map(|stripped| mem::replace(&mut program, stripped)),
    };
    // Which takes as long as the image does, and ends whatever comes of that.
    thread::scope(|scope| {
        if let Some(whole) = whole {
            let (stripped, name) = (program.clone(), name.clone());
            scope.spawn(move || debug_store::remember(&stripped, &whole, &name));
        }
        explain.phase(
            "program",
            format_args!(
                "{} bytes, {} slots",
                program.len(),
                slots.iter().map(|table| table.count).sum::<u64>()
            ),
        );

        if interrupt::caught().is_some() {
            return Ok(());
        }
        if let Some(wanted) = &own.program {
            let path = wanted.path(output, ukl_options::RING0);
            place.write(&path, &program, ukl_options::RING0, 0o755)?;
        }
        if let Some(wanted) = &own.ring3 {
            let path = wanted.path(output, ukl_options::RING3);
            let ring3 = elf::ring3(&program, &slots)?;
            place.write(&path, &ring3, ukl_options::RING3, 0o755)?;
        }
        if let (Some(image), Some(base), Some(init)) = (image, archive.base, init) {
            let spec = ImageSpec {
                init,
                program,
                name,
                build_id: build_id::of(output).unwrap_or_default(),
                thunks: slots.iter().map(thunks_of).collect(),
                code: code
                    .map(|(module, bound)| (module, bound.into_iter().map(binding_of).collect())),
                add: own.add.clone(),
                cmdline: own.cmdline.clone(),
                policy: own.policy,
                stack_size: own.stack_size,
                anyone_starts: own.anyone_starts,
            };
            let made = base.and_then(|base| base.image(&spec));
            let made = made.map_err(|source| Error::Image {
                output: output.to_owned(),
                source,
            })?;
            place.write(image, &made, mode::SUFFIX, 0o644)?;
            match place.passing {
                true => registry::keep(output, image),
                false => registry::remember(output, image),
            }
            explain.phase("image", format_args!("{} bytes", made.len()));
        }
        Ok(())
    })
}

fn thunks_of(table: &code::Table) -> ThunkTable {
    ThunkTable {
        offset: table.file_offset,
        count: table.count,
        stride: code::SIZE as u64,
        ring3: table.ring3 as u64,
        entry: code::ENTRY as u64,
    }
}

fn binding_of(bound: calls::Bound) -> Binding {
    let (section, offset) = bound.function;
    Binding {
        operand: bound.operand,
        next: bound.next,
        section,
        offset,
    }
}

/// What the program is called in the guest.
fn guest_name(output: &Path) -> String {
    let name = output
        .file_name()
        .unwrap_or(OsStr::new("a.out"))
        .to_string_lossy();
    name.into_owned()
}

/// What may help. `passed_over` tells of code that may have been left out.
fn hint(messages: &str, absent: &[String], passed_over: &dyn Fn() -> Option<String>) -> String {
    if !messages.contains("undefined reference") {
        return String::new();
    }
    if let Some(why) = passed_over() {
        return why;
    }
    let mut text = String::from(
        "\nukl-ld: the host link has them from a shared library; the image needs static ones",
    );
    if !absent.is_empty() {
        text.push_str(&format!(
            "\nukl-ld: shared libraries of the host link need {}, which have no static \
             counterpart in the search path",
            absent.join(", ")
        ));
    }
    text
}

/// `--version`, `--help` and their likes: the real linker's answer, and ours with it.
fn inform(args: &Args, tools: &Tools, kernel: Option<&Path>) -> Result<Option<ExitStatus>> {
    let first = args
        .list
        .iter()
        .find(|arg| matches!(arg.role(), Some(Role::Version | Role::Inform)));
    let idle = args.inputs().next().is_none() && !args.has(Role::Library);
    let verbose = args.has(Role::Verbose);
    let Some(name) = first
        .and_then(args::Arg::name)
        .or((verbose && idle).then_some("v"))
    else {
        if verbose {
            println!("{}", version::first_line(tools)?);
        }
        return Ok(None);
    };
    match name {
        "version" | "v" => {
            println!("{}", version::first_line(tools)?);
            if name == "version" {
                println!("{}", version::archive(tools, kernel));
                let text = version::ask(tools, "--version")?;
                text.lines().skip(1).for_each(|line| println!("{line}"));
            }
            Ok(Some(ExitStatus::default()))
        }
        "help" => {
            let text = version::ask(tools, "--help")?;
            // Ours go in front of the list of targets, which is the end that scripts look for.
            let at = text.find("\nReport bugs").map_or(text.len(), |at| at + 1);
            print!("{}{}\n{}", &text[..at], options::help(), &text[at..]);
            Ok(Some(ExitStatus::default()))
        }
        _ => Host::new(tools, &args.host_words())?.exec().map(Some),
    }
}
