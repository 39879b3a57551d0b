//! `--version`, `--help` and the other options that only print something.

use std::path::Path;
use std::process::ExitStatus;

use ukl_common::options;

use crate::args;
use crate::args::Args;
use crate::args::table::Role;
use crate::error::Result;
use crate::host::Host;
use crate::tools::Tools;
use crate::version;

/// Answers such an option with the real linker's text, to which ukl-ld adds its own. Returns `None`
/// if there is no such option.
pub fn inform(args: &Args, tools: &Tools, kernel: Option<&Path>) -> Result<Option<ExitStatus>> {
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
            // The list of targets has to stay last: libtool looks for it there.
            let at = text.find("\nReport bugs").map_or(text.len(), |at| at + 1);
            print!("{}{}\n{}", &text[..at], options::help(), &text[at..]);
            Ok(Some(ExitStatus::default()))
        }
        _ => Host::new(tools, &args.host_words())?.exec().map(Some),
    }
}
