//! The steps after the host link: from the inputs to the program at ring 0 and its image.

use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread;

use symbol_rewriter::Options;
use ukl_common::build_id;
use ukl_common::debug_store;
use ukl_common::messages;
use ukl_common::registry;
use ukl_common::temp::TempDir;
use ukl_image::ImageSpec;
use ukl_proto::image_conf::Binding;

use crate::args::Args;
use crate::args::table::Role;
use crate::args::ukl_options;
use crate::args::ukl_options::UklOptions;
use crate::cache::Cache;
use crate::debug;
use crate::elf;
use crate::error::At;
use crate::error::Error;
use crate::error::Result;
use crate::error::TOOL;
use crate::explain::Explain;
use crate::files::Files;
use crate::inputs;
use crate::inputs::Inputs;
use crate::interpose;
use crate::interrupt;
use crate::kernel::archive::Archive;
use crate::kernel_module::calls::Calls;
use crate::kernel_module::imports::ImageImports;
use crate::kernel_module::imports::KernelImports;
use crate::kernel_module::link::KernelCode;
use crate::lto::Lowered;
use crate::lto::Lto;
use crate::mode;
use crate::products::Products;
use crate::program::Program;
use crate::rewrite::Rewriter;
use crate::rewrite::Rewritten;
use crate::thunk::object::Block;
use crate::thunk::syscalls;
use crate::thunk::syscalls::SyscallThunks;
use crate::thunk::table::ThunkTable;
use crate::tools::Tools;

/// The state that the steps share.
pub struct ImageLink<'l> {
    args: &'l Args,
    options: &'l UklOptions,
    tools: &'l Tools,
    files: &'l Files,
    products: &'l Products,
    archive: Archive,
    explain: &'l mut Explain,
    /// GNU ld.
    ld: PathBuf,
    /// The guest's init, if there is to be an image.
    init: Option<PathBuf>,
    /// The rewriter's options.
    rewriting: Options,
    /// The directory of temporary files.
    temp: TempDir,
}

/// What the program uses of the kernel.
#[derive(Default)]
pub struct KernelSide<'l> {
    /// The kernel code among the inputs.
    pub code: Option<&'l KernelCode>,
    /// The kernel's functions and variables that the program uses by name.
    pub imports: Option<&'l KernelImports>,
}

/// All inputs as machine code, and the intermediate code that was compiled for them.
struct Resolved {
    inputs: Inputs,
    lowered: Lowered,
}

/// The objects with the program's thunks.
struct Thunks {
    syscalls: SyscallThunks,
    /// The module of the kernel code, and the thunks of its functions.
    module: Option<(Vec<u8>, Calls)>,
    imports: ImageImports,
}

/// The linked program.
struct Linked {
    program: Vec<u8>,
    thunks: ThunkTable,
    /// The module of the kernel code, and the calls of its functions.
    module: Option<(Vec<u8>, Vec<Binding>)>,
}

impl Thunks {
    /// The files for the linker.
    fn objects(&self) -> Vec<(&'static str, &[u8])> {
        let syscalls = ("ukl-syscalls.o", self.syscalls.object.as_slice());
        let module = self.module.iter();
        let module = module.map(|(_, calls)| ("ukl-module-calls.o", calls.object.as_slice()));
        [syscalls].into_iter().chain(module).collect()
    }

    /// The blocks of thunks in these files.
    fn blocks(&self) -> impl Iterator<Item = Block> {
        let module = self.module.iter().map(|(_, calls)| &calls.block);
        let all = [&self.syscalls.block].into_iter().chain(module);
        all.chain(&self.imports.blocks).cloned()
    }
}

impl<'l> ImageLink<'l> {
    /// Finds the tools and makes the temporary directory.
    pub fn new(
        args: &'l Args,
        options: &'l UklOptions,
        tools: &'l Tools,
        files: &'l Files,
        products: &'l Products,
        archive: Archive,
        explain: &'l mut Explain,
    ) -> Result<ImageLink<'l>> {
        let ld = tools.image_ld()?;
        let init = products.image.as_ref().map(|_| tools.init()).transpose()?;
        explain.phase(
            "kernel",
            format_args!("entry_UKL_exit = {:#x}", archive.kernel.exit),
        );
        let temp = match options.keep_temps {
            true => TempDir::kept(),
            false => TempDir::new(),
        };
        let temp = temp.at(&std::env::temp_dir())?;
        if options.keep_temps {
            let dir = temp.path().display();
            messages::say(TOOL, format_args!("temporary files are in {dir}"));
        }
        Ok(ImageLink {
            args,
            options,
            tools,
            files,
            products,
            archive,
            explain,
            ld,
            init,
            rewriting: Options {
                call_form: true,
                wrap: args
                    .all(Role::Wrap)
                    .map(|name| name.as_bytes().to_vec())
                    .collect(),
                ..Default::default()
            },
            temp,
        })
    }

    /// Runs all steps.
    pub fn run(mut self, kernel_side: &KernelSide<'_>) -> Result<()> {
        let resolved = self.resolve()?;
        let rewritten = self.rewrite(&resolved.inputs)?;
        let thunks = self.make_thunks(&rewritten, kernel_side)?;
        let linked = self.link(&resolved, &rewritten, thunks)?;
        self.write(linked)
    }

    /// Finds the static counterpart of each input, and turns intermediate code into machine code.
    fn resolve(&mut self) -> Result<Resolved> {
        let (temp, output) = (self.temp.path(), &self.products.output);
        let mut inputs = inputs::resolve(
            self.args,
            output,
            self.tools,
            &self.ld,
            temp,
            self.files,
            self.explain,
        )?;
        let count = inputs.items.len();
        self.explain.phase("inputs", format_args!("{count} files"));

        let lto = Lto {
            args: self.args,
            tools: self.tools,
            temp,
            files: self.files,
            explain: self.explain,
        };
        let lowered = lto.lower(&mut inputs.items)?;
        if lowered.any() {
            let (optimiser, objects) = (self.tools.host_ld.display(), lowered.objects);
            self.explain.phase(
                "lto",
                format_args!("the whole program, by {optimiser}: {objects} objects"),
            );
        }
        Ok(Resolved { inputs, lowered })
    }

    /// Rewrites the inputs, so that their system calls call thunks.
    fn rewrite(&mut self, inputs: &Inputs) -> Result<Rewritten> {
        let cache = Cache::open(&self.tools.myself, &self.rewriting.prefix);
        let rewriter = Rewriter {
            options: &self.rewriting,
            stand_ins: &inputs.stand_ins,
            cache: cache.as_ref(),
            temp: self.temp.path(),
            files: self.files,
            ld: &self.ld,
        };
        let rewritten = rewriter.all(&inputs.items, self.explain)?;
        let count = rewritten.thunks.len();
        self.explain
            .phase("rewrite", format_args!("{count} thunks"));
        Ok(rewritten)
    }

    /// Makes the thunks that the program needs, and the module of its kernel code.
    fn make_thunks(
        &mut self,
        rewritten: &Rewritten,
        kernel_side: &KernelSide<'_>,
    ) -> Result<Thunks> {
        let kernel = &self.archive.kernel;
        let shared = self.options.shared_stacks();
        let syscalls = syscalls::make(&rewritten.thunks, kernel, shared)?;
        let module = match (kernel_side.code, &self.archive.dir) {
            (Some(code), Some(dir)) => {
                let module = code.module(&self.ld, dir, self.files)?;
                let mut calls = Calls::make(&module, kernel, &self.rewriting)?;
                calls.redirect(&syscalls, &module, &self.options.shortcuts);
                let count = module.functions.len();
                self.explain
                    .phase("code", format_args!("{count} functions"));
                Some((module.data, calls))
            }
            _ => None,
        };
        let imports = match kernel_side.imports {
            Some(imports) => imports.for_the_image(self.temp.path(), kernel, &self.rewriting)?,
            None => ImageImports::default(),
        };
        Ok(Thunks {
            syscalls,
            module,
            imports,
        })
    }

    /// Links the program, marks it for ring 0, and finds its thunks.
    fn link(
        &mut self,
        resolved: &Resolved,
        rewritten: &Rewritten,
        thunks: Thunks,
    ) -> Result<Linked> {
        let undefined = interpose::weak_references(
            &self.products.output,
            &resolved.inputs.needed,
            &rewritten.items,
            &self.rewriting,
        )?;
        let link = Program {
            ld: &self.ld,
            gnu: self.tools.is_gnu(),
            args: self.args,
            options: &self.rewriting,
            inputs: rewritten,
            thunks: &thunks.objects(),
            last: &thunks.imports.files,
            undefined: &undefined,
            temp: self.temp.path(),
        };
        let passed_over = || resolved.lowered.passed_over(self.args, self.tools);
        let absent = &resolved.inputs.absent;
        let mut program = link.link(&resolved.inputs.stand_ins, &|messages| {
            hint(messages, absent, &passed_over)
        })?;
        let mark = self.archive.kernel.abi.e_flags;
        elf::finish(&mut program, &self.rewriting.prefix, mark)?;
        let table = ThunkTable::locate(&program, thunks.blocks())?;
        let module = thunks
            .module
            .map(|(module, calls)| (module, calls.bound(&table)))
            .filter(|(_, bound)| !bound.is_empty());
        Ok(Linked {
            program,
            thunks: table,
            module,
        })
    }

    /// Writes the products. They contain no debugging sections; these are stored where `ukl-run
    /// --gdb` finds them.
    fn write(mut self, mut linked: Linked) -> Result<()> {
        let program = &mut linked.program;
        let whole = match self.options.debug {
            true => None,
            false => debug::strip(program).map(|stripped| mem::replace(program, stripped)),
        };
        let stripped = whole.as_ref().map(|_| linked.program.clone());
        let name = self.products.guest_name();
        // Storing the debugging sections takes as long as making the image, so both run at the same
        // time. A failure is not an error.
        thread::scope(|scope| {
            if let (Some(whole), Some(stripped)) = (whole, stripped) {
                let name = name.clone();
                scope.spawn(move || debug_store::remember(&stripped, &whole, &name));
            }
            let (size, thunks) = (linked.program.len(), linked.thunks.count());
            self.explain
                .phase("program", format_args!("{size} bytes, {thunks} thunks"));
            if interrupt::caught().is_some() {
                return Ok(());
            }
            self.write_programs(&linked)?;
            self.write_image(linked, name)
        })
    }

    /// Writes the program and its ring-3 variant, if an option asks for them.
    fn write_programs(&self, linked: &Linked) -> Result<()> {
        let Products { output, .. } = self.products;
        if let Some(wanted) = &self.options.program {
            let suffix = ukl_options::RING0;
            let path = wanted.path(output, suffix);
            self.products.write(&path, &linked.program, suffix, 0o755)?;
        }
        if let Some(wanted) = &self.options.ring3 {
            let suffix = ukl_options::RING3;
            let ring3 = linked.thunks.ring3(&linked.program)?;
            let path = wanted.path(output, suffix);
            self.products.write(&path, &ring3, suffix, 0o755)?;
        }
        Ok(())
    }

    /// Writes the image, if there is to be one, and registers it under the program's build ID.
    fn write_image(&mut self, linked: Linked, name: String) -> Result<()> {
        let Products { output, image, .. } = self.products;
        let (Some(path), Some(base), Some(init)) =
            (image, self.archive.base.take(), self.init.take())
        else {
            return Ok(());
        };
        let spec = ImageSpec {
            init,
            program: linked.program,
            name,
            build_id: build_id::of(output).unwrap_or_default(),
            thunks: linked.thunks.tables(),
            code: linked.module,
            add: self.options.add.clone(),
            cmdline: self.options.cmdline.clone(),
            policy: self.options.policy,
            stack_size: self.options.stack_size,
            anyone_starts: self.options.anyone_starts,
        };
        let image = base.and_then(|base| base.image(&spec));
        let image = image.map_err(|source| Error::Image {
            output: output.clone(),
            source,
        })?;
        self.products.write(path, &image, mode::SUFFIX, 0o644)?;
        match self.products.passing {
            true => registry::keep(output, path),
            false => registry::remember(output, path),
        }
        self.explain
            .phase("image", format_args!("{} bytes", image.len()));
        Ok(())
    }
}

/// What the user can do about a failed link. `passed_over` describes code that may be missing.
fn hint(messages: &str, absent: &[String], passed_over: &dyn Fn() -> Option<String>) -> String {
    if !messages.contains("undefined reference") {
        return String::new();
    }
    if let Some(why) = passed_over() {
        return why;
    }
    let mut text = String::from(
        "\nukl-ld: the host link found these symbols in a shared library; the image needs a static library",
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
