//! The battery: see the documentation of the library.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::thread;

use libtest_mimic::Arguments;
use libtest_mimic::Failed;
use libtest_mimic::Trial;
use testsuite::batch;
use testsuite::compile::Program;
use testsuite::directives::Machine;
use testsuite::directives::Mode;
use testsuite::directives::Place;
use testsuite::guest;
use testsuite::tools::Tools;
use testsuite::turns;
use testsuite::verdict::Run;
use testsuite::verdict::judge;

/// If no more than this number of programs is selected for a place, each is booted on its own.
const FEW: usize = 3;

/// The results of the shared boots, as they come.
#[derive(Default)]
struct Shared {
    results: Mutex<HashMap<(Place, String), Run>>,
    news: Condvar,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials(&arguments) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("battery: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn trials(arguments: &Arguments) -> anyhow::Result<Vec<Trial>> {
    let tools = Arc::new(Tools::find()?);
    let programs: Vec<Arc<Program>> = Program::all()?.into_iter().map(Arc::new).collect();
    let shared = Arc::new(Shared::default());
    let mut trials = Vec::new();
    let mut batches: HashMap<(Place, Machine), Vec<Arc<Program>>> = HashMap::new();
    let ring0: Vec<Place> = Mode::all().map(Place::Ring0).collect();
    for place in [Place::Host, Place::Ring3].into_iter().chain(ring0.clone()) {
        let here: Vec<&Arc<Program>> = programs
            .iter()
            .filter(|program| !program.directives.skip.contains(place))
            .collect();
        let chosen = here
            .iter()
            .filter(|program| is_chosen(arguments, &name(place, program)))
            .count();
        let single = match env::var("UKL_TEST_SINGLE").as_deref() {
            Ok("1") => true,
            Ok("0") => false,
            _ => chosen <= FEW,
        };
        for program in here {
            let alone = single || program.directives.wants_own_boot() || place == Place::Host;
            if !alone && is_chosen(arguments, &name(place, program)) && !arguments.list {
                batches
                    .entry((place, program.directives.machine.clone()))
                    .or_default()
                    .push(program.clone());
            }
            let (program, tools, shared) = (program.clone(), tools.clone(), shared.clone());
            trials.push(Trial::test(name(place, &program), move || {
                let run = match (place, alone) {
                    (_, false) => Ok(shared.wait(place, &program.name)),
                    (Place::Host, true) => {
                        let _turn = turns::take(&tools.run);
                        guest::run_on_host(&tools, &program)
                    }
                    (_, true) => {
                        let _turn = turns::take(&tools.run);
                        guest::run_alone(&tools, &program, place)
                    }
                };
                let run = run.map_err(|error| Failed::from(format!("{error:#}")))?;
                judge(&program.directives, &run).map_err(|what| {
                    keep(&tools, &name(place, &program), &run);
                    Failed::from(what)
                })
            }));
        }
    }
    // Two batches run side by side, because most machines have at least two processors.
    let mut queue: Vec<_> = Vec::new();
    for place in [Place::Ring3].into_iter().chain(ring0) {
        let (mine, others) = batches.into_iter().partition(|((of, _), _)| *of == place);
        batches = others;
        let mine: HashMap<_, _> = mine;
        queue.extend(
            mine.into_iter()
                .map(|((_, machine), programs)| (place, machine, programs)),
        );
    }
    queue.reverse();
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..2 {
        let (tools, shared, queue) = (tools.clone(), shared.clone(), queue.clone());
        thread::spawn(move || {
            loop {
                let next = queue.lock().unwrap_or_else(|e| e.into_inner()).pop();
                let Some((place, machine, programs)) = next else {
                    break;
                };
                let _turn = turns::take(&tools.run);
                let programs: Vec<&Program> = programs.iter().map(AsRef::as_ref).collect();
                let results = batch::run(&tools, place, &machine, &programs);
                shared.add(place, results);
            }
        });
    }
    Ok(trials)
}

/// Keeps the kernel's log of a failed run.
fn keep(tools: &Tools, name: &str, run: &Run) {
    let dir = tools.run.join("failed");
    let _ = fs::create_dir_all(&dir);
    let _ = fs::write(dir.join(name.replace('/', "-") + ".log"), &run.log);
}

fn name(place: Place, program: &Program) -> String {
    format!("{}/{}", place.name(), program.name)
}

/// Whether the command line selects this test, by libtest's rules.
fn is_chosen(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &String| {
        if arguments.exact {
            name == pattern
        } else {
            name.contains(pattern.as_str())
        }
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

impl Shared {
    fn add(&self, place: Place, results: batch::Results) {
        let mut all = self.results.lock().unwrap_or_else(|e| e.into_inner());
        all.extend(results.into_iter().map(|(name, run)| ((place, name), run)));
        self.news.notify_all();
    }

    fn wait(&self, place: Place, name: &str) -> Run {
        let key = (place, name.to_owned());
        let mut all = self.results.lock().unwrap_or_else(|e| e.into_inner());
        loop {
            if let Some(run) = all.get(&key) {
                return run.clone();
            }
            all = self.news.wait(all).unwrap_or_else(|e| e.into_inner());
        }
    }
}
