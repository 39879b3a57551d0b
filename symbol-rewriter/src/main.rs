//! The command `symbol-rewriter`.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use clap::error::ErrorKind;
use symbol_rewriter::command::Args;
use symbol_rewriter::{Chunks, Input, Options};
use ukl_common::library::Library;
use ukl_common::messages;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(message) => {
            let _ = message.print();
            if message.kind() == ErrorKind::DisplayVersion
                && let Ok(library) = Library::find()
            {
                println!("{}", library.kernel_version());
            }
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            messages::error("symbol-rewriter", format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if args.prefix.is_empty() {
        bail!("the prefix is empty; omit --prefix to use _ukl_");
    }
    if args.prefix.as_bytes().contains(&0) {
        bail!("the prefix contains a NUL byte; use one that can be part of a symbol's name");
    }
    let options = Options {
        prefix: args.prefix.as_bytes().to_vec(),
        rewrite_sites: !args.no_sites,
        call_form: args.call_form,
        wrap: Vec::new(),
    };
    let input = &args.input;
    let data = Input::read(input).with_context(|| {
        format!(
            "{}: cannot be read; check the path and its permissions",
            input.display()
        )
    })?;
    let name = input.to_string_lossy();
    if args.output.is_none() && symbol_rewriter::is_linked(&data) {
        let report = symbol_rewriter::report_linked(&name, &data)?;
        std::io::stdout().write_all(report.to_string().as_bytes())?;
        return Ok(());
    }
    let done = symbol_rewriter::rewrite_in_chunks(&name, Some(parent(input)), &data, &options)?;
    if let Some(output) = &args.output {
        write(output, &done.data).with_context(|| {
            format!(
                "{}: cannot be written; check the free space and the permissions of its directory",
                output.display()
            )
        })?;
    }
    if args.report {
        std::io::stdout().write_all(done.report.to_string().as_bytes())?;
    }
    Ok(())
}

/// The directory of a file.
fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| *dir != OsStr::new(""))
        .unwrap_or(Path::new("."))
}

/// Writes to a temporary file and renames it, so that no partial output is ever visible.
fn write(output: &Path, data: &Chunks<'_>) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if std::fs::metadata(output).is_ok_and(|meta| !meta.is_file()) {
        // A device or a pipe (/dev/stdout) is written to, not replaced.
        return data.write_to(&mut std::fs::File::create(output)?);
    }
    let mut file = tempfile::Builder::new()
        .prefix(".symbol-rewriter.")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(parent(output))?;
    data.write_to(file.as_file_mut())?;
    file.persist(output).map_err(|error| error.error)?;
    Ok(())
}
