//! Runs many programs in one boot, with `driver/battery-driver.c` as the image's program.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;

use crate::compile;
use crate::compile::GUEST_HELPERS;
use crate::compile::Program;
use crate::directives::End;
use crate::directives::Machine;
use crate::directives::Place;
use crate::guest::BOOT;
use crate::guest::Boot;
use crate::kernel_log;
use crate::process;
use crate::process::WAIT;
use crate::tools;
use crate::tools::Tools;
use crate::verdict::Run;

/// The directory of the programs in the image.
pub const DIR: &str = "/ukl/battery";

/// The maximum number of boots for a batch whose programs break the kernel.
const BOOTS: usize = 12;

/// The result of each program, by name.
pub type Results = HashMap<String, Run>;

/// Runs programs that need the same machine. One boot is enough if none of them breaks the kernel.
pub fn run(tools: &Tools, place: Place, machine: &Machine, programs: &[&Program]) -> Results {
    let mut results = Results::new();
    let mut left: Vec<&Program> = Vec::new();
    let mut files = Vec::new();
    for program in programs {
        match program.build(tools, place) {
            Ok(built) => {
                let file = if place.is_ring0() {
                    built.ring0
                } else {
                    built.ring3
                };
                files.push((file, format!("{DIR}/{}", program.name)));
                left.push(program);
            }
            Err(error) => {
                results.insert(program.name.clone(), failure(format!("{error:#}")));
            }
        }
    }
    let name = format!("{}-{}-{}", place.name(), machine.cpus, machine.memory);
    let image = match image(tools, place, &name, &left, files) {
        Ok(image) => image,
        Err(error) => {
            results.extend(all_failed(
                &left,
                &format!("cannot link the battery: {error:#}"),
            ));
            return results;
        }
    };
    for boot in 0.. {
        if left.is_empty() || boot == BOOTS {
            break;
        }
        let name = format!("{name}-{boot}");
        let report = match one_boot(tools, place, machine, &image, &left, &name) {
            Ok(report) => report,
            Err(error) => {
                results.extend(all_failed(&left, &format!("{error:#}")));
                return results;
            }
        };
        let done = report.len();
        results.extend(report);
        left.retain(|program| !results.contains_key(&program.name));
        if done == 0 {
            break;
        }
    }
    results.extend(all_failed(
        &left,
        "not run: the kernel broke too often before",
    ));
    results
}

/// Links the image that carries these programs and their helpers.
pub fn image(
    tools: &Tools,
    place: Place,
    name: &str,
    programs: &[&Program],
    mut files: Vec<(PathBuf, String)>,
) -> Result<PathBuf> {
    let mut helpers: Vec<&String> = programs
        .iter()
        .flat_map(|p| &p.directives.helpers)
        .collect();
    helpers.sort();
    helpers.dedup();
    for helper in helpers {
        let guest = format!("{GUEST_HELPERS}/{helper}");
        files.push((compile::helper(tools, helper)?, guest));
    }
    compile::driver(tools, place, "battery-driver", name, &files)
}

/// One boot. Returns the results of the programs up to and including the first that broke the
/// kernel.
fn one_boot(
    tools: &Tools,
    place: Place,
    machine: &Machine,
    image: &std::path::Path,
    programs: &[&Program],
    name: &str,
) -> Result<Results> {
    let mut args = vec![DIR.to_owned()];
    args.extend(driver_args(programs));
    let limits = programs.iter().map(|program| program.directives.timeout);
    let limit = BOOT + limits.clone().sum::<Duration>();
    // The driver stops a program that takes too long. If it does not, the machine is dead.
    let longest = limits.max().unwrap_or_default();
    let silence = Some(tools::patient(longest * WAIT + BOOT));
    let mut env = vec![format!("UKL_HELPERS={GUEST_HELPERS}")];
    env.extend(place.environment());
    let boot = Boot {
        image,
        place,
        machine,
        limit,
        silence,
        options: &[],
        env: &env,
        args: &args,
        name,
    };
    let (output, log) = boot.run_past_faults(tools)?;
    let report = Report::read(&output.stdout);
    if report.begun.is_none() && report.ended.is_empty() {
        bail!(
            "the guest ran nothing ({}); the end of its log:\n{}\n{}",
            output
                .end
                .map_or("too late".into(), |end| format!("{end:?}")),
            process::tail(log.as_bytes(), 4000),
            process::tail(&output.stderr, 2000),
        );
    }
    let mut results = Results::new();
    for program in programs {
        let name = &program.name;
        let own_log = kernel_log::part_of(&log, name);
        if let Some((_, seen)) = report.ended.iter().find(|(of, _)| of == name) {
            let run = Run {
                log: own_log.to_owned(),
                ..seen.clone()
            };
            let broken =
                kernel_log::first_complaint(own_log, &program.directives.log_must_not_contain)
                    .is_some();
            results.insert(name.clone(), run);
            if broken {
                break;
            }
        } else if report.begun.as_ref() == Some(name) {
            // The machine ended while this program ran.
            results.insert(
                name.clone(),
                Run {
                    log: own_log.to_owned(),
                    trouble: Some(format!(
                        "the guest ended ({}) while this ran; the end of its log:\n{}\n{}",
                        output
                            .end
                            .map_or("too late".into(), |end| format!("{end:?}")),
                        process::tail(log.as_bytes(), 4000),
                        process::tail(&output.stderr, 1000),
                    )),
                    ..Run::default()
                },
            );
            break;
        } else {
            break;
        }
    }
    Ok(results)
}

/// The driver's arguments that describe these programs.
pub fn driver_args(programs: &[&Program]) -> Vec<String> {
    let mut args = Vec::new();
    for program in programs {
        let d = &program.directives;
        args.extend([
            program.name.clone(),
            tools::patient(d.timeout).as_secs().to_string(),
            d.env.len().to_string(),
            d.args.len().to_string(),
        ]);
        args.extend(d.env.iter().cloned());
        args.extend(d.args.iter().cloned());
    }
    args
}

fn failure(trouble: String) -> Run {
    Run {
        trouble: Some(trouble),
        ..Run::default()
    }
}

fn all_failed(programs: &[&Program], trouble: &str) -> Results {
    programs
        .iter()
        .map(|program| (program.name.clone(), failure(trouble.to_owned())))
        .collect()
}

/// The driver's report.
#[derive(Debug, Default)]
pub struct Report {
    /// The results of the programs that ended, in order.
    pub ended: Vec<(String, Run)>,
    /// The program that began last, if it has not ended.
    pub begun: Option<String>,
    /// The NMIs that the guest has taken.
    pub nmis: u64,
    /// The page faults in the handlers of NMIs.
    pub faults: u64,
    /// Whether the report is complete.
    pub done: bool,
}

impl Report {
    /// Reads the driver's standard output, which may break off anywhere.
    pub fn read(mut text: &[u8]) -> Self {
        let mut report = Report::default();
        let mut run = Run::default();
        while let Some(line) = take_line(&mut text) {
            let mut words = line.split(' ');
            match (words.next(), words.next()) {
                (Some("@begin"), Some(name)) => {
                    report.begun = Some(name.to_owned());
                }
                (Some(which @ ("@stdout" | "@stderr")), Some(length)) => {
                    let length = length.parse().unwrap_or(0usize).min(text.len());
                    let (data, rest) = text.split_at(length);
                    text = rest.strip_prefix(b"\n").unwrap_or(rest);
                    let kept = if which == "@stdout" {
                        &mut run.stdout
                    } else {
                        &mut run.stderr
                    };
                    *kept = data.to_vec();
                }
                (Some("@end"), Some(name)) => {
                    run.end = end(words.next(), words.next()).unwrap_or(None);
                    let run = std::mem::take(&mut run);
                    report.ended.push((name.to_owned(), run));
                    report.begun = None;
                }
                (Some("@nmis"), Some(count)) => {
                    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
                    report.nmis = number(Some(count)).unwrap_or(0);
                    report.faults = number(words.next()).unwrap_or(0);
                }
                (Some("@done"), None) => report.done = true,
                _ => {}
            }
        }
        report
    }
}

fn end(how: Option<&str>, number: Option<&str>) -> Result<Option<End>> {
    let number = number.ok_or_else(|| anyhow!("no number"))?.parse()?;
    Ok(match how {
        Some("exit") => Some(End::Exit(number)),
        Some("signal") => Some(End::Signal(number)),
        _ => None,
    })
}

fn take_line(text: &mut &[u8]) -> Option<String> {
    let at = text.iter().position(|&byte| byte == b'\n')?;
    let line = String::from_utf8_lossy(&text[..at]).into_owned();
    *text = &text[at + 1..];
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_report() {
        let text = b"@begin a\n@stdout 4\n@x\n\n\n@stderr 0\n\n@end a exit 42 17\n@begin b\n@stdout 0\n\n@stderr 1\n!\n\
@end b signal 11 3\n@begin c\n@stdout 0\n\n@stderr 0\n\n@end c timeout 60 60001\n@begin d\n";
        let report = Report::read(text);
        let [(_, a), (_, b), (_, c)] = &report.ended[..] else {
            panic!("{report:?}");
        };
        assert_eq!(a.stdout, b"@x\n\n");
        assert_eq!(a.end, Some(End::Exit(42)));
        assert_eq!(b.end, Some(End::Signal(11)));
        assert_eq!(b.stderr, b"!");
        assert_eq!(c.end, None);
        assert_eq!(report.begun.as_deref(), Some("d"));
        assert!(!report.done);
    }
}
