//! The driver: one link, from its command line to its products.
//!
//! `Link::read()` reads the command line, `Link::take_kernel_code()` separates kernel code from the
//! other inputs, and [`mode::decide`] tells whether the link makes an image. Without an image, the
//! real linker does all the work (`Link::host_only()`). Otherwise it makes the host output, while
//! another thread reads the kernel archive (`Link::host_and_archive()`), and [`ImageLink`] makes the
//! image.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::ExitStatus;
use std::thread;

use ukl_common::messages;
use ukl_common::options;
use ukl_common::temp::TempDir;

use crate::args::Args;
use crate::args::response;
use crate::args::table::Role;
use crate::args::ukl_options;
use crate::args::ukl_options::UklOptions;
use crate::error;
use crate::error::At;
use crate::error::Result;
use crate::error::TOOL;
use crate::explain::Explain;
use crate::files::Files;
use crate::host;
use crate::host::Host;
use crate::host::exit_code;
use crate::image_link::ImageLink;
use crate::image_link::KernelSide;
use crate::inform;
use crate::interrupt;
use crate::kernel::archive::Archive;
use crate::kernel_module::imports::KernelImports;
use crate::kernel_module::link::KernelCode;
use crate::linked;
use crate::lto;
use crate::mode;
use crate::mode::Mode;
use crate::mode::Surroundings;
use crate::products::Products;
use crate::save;
use crate::shared;
use crate::startup;
use crate::tools::Tools;

/// Runs ukl-ld with the given arguments, of which the first is its name. Returns the exit status.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<u8> {
    let mut args = args.into_iter();
    let argv0 = args.next().unwrap_or_else(|| "ukl-ld".into());
    let words: Vec<OsString> = args.collect();
    if let Some(status) = lto::wrapper::run(&argv0, &words) {
        return status;
    }
    let mut link = match Link::read(&argv0, words)? {
        Request::Answered(status) => return Ok(status),
        Request::Link(link) => link,
    };
    let around = Surroundings::here();
    if let Some(dir) = save::save_if_asked(&link.args, &link.options, &link.tools, &around)? {
        link.explain
            .phase("save", format_args!("{}", dir.display()));
    }
    link.take_kernel_code()?;
    match mode::decide(&link.args, &link.options, &around) {
        Mode::Host(why) => link.host_only(why),
        Mode::Program(image) => {
            let products = Products::new(&link.args, image, &around);
            link.with_image(&products)
        }
    }
}

/// What a command line requests.
enum Request {
    /// Text that has been printed. The value is the exit status.
    Answered(u8),
    /// A link.
    Link(Box<Link>),
}

/// A link.
struct Link {
    args: Args,
    /// The words for the real linker.
    words: Vec<OsString>,
    options: UklOptions,
    tools: Tools,
    files: Files,
    explain: Explain,
    /// Whether rustc called ukl-ld directly, without a compiler driver.
    rust: bool,
    /// The kernel code among the inputs.
    code: Option<KernelCode>,
}

/// The result of the host link.
struct HostLinked {
    status: ExitStatus,
    /// The kernel's functions and variables that the program uses by name.
    imports: Option<KernelImports>,
}

impl Link {
    /// Reads the command line, and prints the text that it requests, if any.
    fn read(argv0: &OsStr, original: Vec<OsString>) -> Result<Request> {
        let expanded = response::expand(original.iter().cloned())?;
        let mut args = Args::parse(expanded.args);
        let rust = startup::is_raw_rustc(&args);
        if rust {
            args = startup::translate(&args);
        }
        let options = UklOptions::collect(&args, std::env::var_os("UKL_FLAGS").as_deref())?;
        if options.help {
            print!("{}", options::help());
            return Ok(Request::Answered(0));
        }
        let mut explain = Explain::new(options.explain);
        let mut tools = Tools::find(argv0)?;
        if let Some(status) = inform::inform(&args, &tools, options.kernel.as_deref())? {
            return Ok(Request::Answered(exit_code(status)));
        }
        if let Some(file) = &options.rewrite {
            let archive = tools.kernel(options.kernel.as_deref())?;
            linked::Rewriter::open(&archive)?.write_for_ring0(file, &args.output())?;
            return Ok(Request::Answered(0));
        }
        let files = Files::default();
        let mut words = original;
        if rust {
            args = startup::complete(&args)?;
            tools = lto::reader::for_rustc(&args, tools, &files)?;
            explain.phase("startup", "completed rustc's command line");
        }
        if rust || args.has_ukl() {
            words = args.host_words();
        }
        Ok(Request::Link(Box::new(Link {
            args,
            words,
            options,
            tools,
            files,
            explain,
            rust,
            code: None,
        })))
    }

    /// Removes kernel code from the inputs. The host link gets placeholders instead.
    fn take_kernel_code(&mut self) -> Result<()> {
        if self.args.has(Role::Relocatable) {
            return Ok(());
        }
        let wanted = self.options.wants_kernel_code();
        if let Some(code) = KernelCode::find(&self.args, &self.tools.libdir, wanted, &self.files)? {
            self.args = code.args.clone();
            self.words = self.args.host_words();
            self.code = Some(code);
        }
        Ok(())
    }

    /// Prepares the host link.
    fn host(&self, words: &[OsString]) -> Result<Host> {
        let quiet = self.rust && startup::is_static(&self.args);
        Ok(Host::new(&self.tools, words)?.quiet(quiet))
    }

    /// Runs a link without an image.
    fn host_only(mut self, why: &'static str) -> Result<u8> {
        let output = self.args.output();
        self.explain.phase("mode", format_args!("no image: {why}"));
        let stale = mode::beside(&output);
        if stale.is_file() && !self.args.has(Role::Relocatable) {
            host::remove(&stale)?;
        }
        let host = self.host(&self.words)?;
        let library = why == mode::SHARED && !startup::is_procedural_macro(&self.args);
        if self.code.is_none() && !library {
            return Ok(exit_code(host.exec()?));
        }
        let status = host.run()?;
        if status.success() {
            shared::remember(&self.args, &output);
        }
        Ok(exit_code(status))
    }

    /// Runs a link with an image, or with another product of the rewritten program.
    fn with_image(mut self, products: &Products) -> Result<u8> {
        match &products.image {
            Some(path) => self
                .explain
                .phase("mode", format_args!("image {}", path.display())),
            None => self.explain.phase("mode", "program only"),
        }
        let profiled = products.image.is_some() && startup::is_profiled(&self.args);
        if profiled {
            // A profile has the addresses of the image's program, so gprof needs that program.
            let program = &mut self.options.program;
            program.get_or_insert(ukl_options::Place::Beside);
        }
        products.check(&self.args, &self.options)?;
        products.remove_old_images()?;
        interrupt::catch();
        let (host, archive) = self.host_and_archive(products)?;
        let made = match host.status.success() {
            true => archive.and_then(|archive| {
                let kernel_side = KernelSide {
                    code: self.code.as_ref(),
                    imports: host.imports.as_ref(),
                };
                ImageLink::new(
                    &self.args,
                    &self.options,
                    &self.tools,
                    &self.files,
                    products,
                    archive,
                    &mut self.explain,
                )?
                .run(&kernel_side)
            }),
            false => Ok(()),
        };
        self.end(products, host.status, made, profiled)
    }

    /// Runs the real linker and reads the kernel archive at the same time. An archive that cannot
    /// be read is an error only if the host link succeeds.
    fn host_and_archive(&mut self, products: &Products) -> Result<(HostLinked, Result<Archive>)> {
        let dir = self.tools.kernel(self.options.kernel.as_deref());
        let path = dir.as_deref().ok().map(Path::to_owned);
        let image = products.image.is_some();
        let needed = image || self.options.program.is_some();
        let files = &self.files;
        let (linked, archive) = thread::scope(|scope| {
            let archive = scope.spawn(move || match needed {
                true => Archive::read(dir?, image, files),
                false => Ok(Archive::none()),
            });
            let linked = self.host_link(path.as_deref());
            let archive = archive.join().unwrap_or_else(|why| resume_unwind(why));
            (linked, archive)
        });
        let linked = linked?;
        if let Some(imports) = &linked.imports {
            let names: Vec<&str> = imports.names().collect();
            let names = names.join(" ");
            self.explain
                .phase("imports", format_args!("from the kernel: {names}"));
        }
        let (ld, output) = (self.tools.host_ld.display(), products.output.display());
        self.explain.phase("host", format_args!("{ld} -> {output}"));
        Ok((linked, archive))
    }

    /// Runs the real linker. If it fails, undefined symbols that the program takes from the kernel
    /// may be the only reason: it then runs again with placeholders for them.
    fn host_link(&self, kernel: Option<&Path>) -> Result<HostLinked> {
        let (status, said) = self.host(&self.words)?.run_and_listen()?;
        if !status.success()
            && let Some(kernel) = kernel
        {
            let allowed = &self.options.kernel_symbols;
            let imports = KernelImports::find(&self.args, kernel, allowed, &self.files)?;
            let advice = imports.advice(&said);
            if !imports.is_empty() {
                let temp = TempDir::new().at(&std::env::temp_dir())?;
                let mut words = self.words.clone();
                words.push(imports.for_the_host(temp.path())?.into_os_string());
                let (status, said) = self.host(&words)?.run_and_listen()?;
                if status.success() {
                    host::pass_on(&said);
                    let imports = Some(imports);
                    return Ok(HostLinked { status, imports });
                }
            }
            host::pass_on(&said);
            if let Some(advice) = advice {
                host::pass_on(advice.as_bytes());
            }
            return Ok(HostLinked {
                status,
                imports: None,
            });
        }
        host::pass_on(&said);
        let imports = None;
        Ok(HostLinked { status, imports })
    }

    /// Cleans up after a failure or an interrupt, and returns the exit status.
    fn end(
        mut self,
        products: &Products,
        status: ExitStatus,
        made: Result<()>,
        profiled: bool,
    ) -> Result<u8> {
        if made.is_err() || interrupt::caught().is_some() {
            products.remove_output()?;
        }
        if let Some(signal) = interrupt::caught() {
            products.remove_image()?;
            interrupt::die(signal);
        }
        if !status.success() {
            if let Some(error) = lto::reader::unreadable(&self.args, &self.tools, &self.files) {
                error::print(&error);
            }
            return Ok(exit_code(status));
        }
        self.explain.end();
        made?;
        if profiled && let Some(place) = &self.options.program {
            let path = place.path(&products.output, ukl_options::RING0);
            let path = path.display();
            messages::note(
                TOOL,
                format_args!("to profile the image's program, run gprof on {path}"),
            );
        }
        Ok(0)
    }
}
