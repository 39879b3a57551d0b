//! Stress tests: the battery under storms of NMIs and timers with very little free memory, and an
//! ordinary process that has to keep answering beside a program that loops, crashes and eats memory.
//!
//! `UKL_STRESS_SECONDS` is the time in which a storm starts programs, 60 by default. The last programs
//! may take another minute or two.

use std::env;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use testsuite::batch;
use testsuite::batch::Report;
use testsuite::compile;
use testsuite::compile::GUEST_HELPERS;
use testsuite::compile::Program;
use testsuite::directives::Directives;
use testsuite::directives::End;
use testsuite::directives::Machine;
use testsuite::directives::Mode;
use testsuite::directives::Place;
use testsuite::guest::Boot;
use testsuite::harness;
use testsuite::process;
use testsuite::qmp::Qmp;
use testsuite::tools::Tools;
use testsuite::tools::patient;
use testsuite::verdict::judge;

/// The port of the echo server in the guest.
const PORT: u16 = 7;

/// An ordinary process that does not answer for this time counts as dead. It shares emulated CPUs with
/// a program that keeps all of them busy.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let base = Place::Ring0(Mode::default());
    let everything = Place::Ring0(Mode {
        bypass: true,
        ret: true,
        shared: true,
    });
    let beside = [Place::Ring3, base, Place::BYPASS].map(|place| ("beside", place));
    let storms = [base, Place::BYPASS, everything].map(|place| ("storms", place));
    let tests = storms.into_iter().chain(beside).map(|(kind, place)| {
        let test = move |tools: &Tools| match kind {
            "storms" => storms_at(tools, place),
            _ => beside_at(tools, place),
        };
        (format!("{}/{kind}", place.name()), test)
    });
    harness::run_all("stress", tests)
}

/// The time in which a storm starts programs.
fn seconds() -> u64 {
    env::var("UKL_STRESS_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(60)
}

/// Runs the battery's programs repeatedly, several at a time, while NMIs come from outside and inside
/// the guest, timers fire, and memory is short.
fn storms_at(tools: &Tools, place: Place) -> Result<()> {
    let programs = Program::all()?;
    let machine = Directives::default().machine;
    let mut chosen: Vec<&Program> = Vec::new();
    let mut files = Vec::new();
    for program in &programs {
        // Programs that need a machine of their own cannot take part.
        let d = &program.directives;
        if d.wants_own_boot() || d.calm || d.skip.contains(place) || d.machine != machine {
            continue;
        }
        let built = program.build(tools, place)?;
        let file = if place.is_ring0() {
            built.ring0
        } else {
            built.ring3
        };
        files.push((file, format!("{}/{}", batch::DIR, program.name)));
        chosen.push(program);
    }
    files.push((
        compile::helper(tools, "storm")?,
        format!("{GUEST_HELPERS}/storm"),
    ));
    let image = batch::image(
        tools,
        place,
        &format!("storms-{}", place.name()),
        &chosen,
        files,
    )?;
    let socket = tools.out.join(format!("qmp-{}", place.name()));
    let _ = std::fs::remove_file(&socket);
    let mut options = Qmp::options(&socket).to_vec();
    options.push("--beside".into());
    options.push(format!("{GUEST_HELPERS}/storm nmi memory timers"));
    let mut args: Vec<String> = [
        "--for",
        &seconds().to_string(),
        "--workers",
        "3",
        batch::DIR,
    ]
    .map(String::from)
    .into();
    args.extend(patient_args(batch::driver_args(&chosen)));
    let mut env = vec![
        format!("UKL_HELPERS={GUEST_HELPERS}"),
        "UKL_STORM=1".to_owned(),
    ];
    env.extend(place.environment());
    let boot = Boot {
        image: &image,
        place,
        machine: &machine,
        limit: Duration::from_secs(seconds() + 400),
        silence: None,
        options: &options,
        env: &env,
        args: &args,
        name: "storms",
    };
    let over = Arc::new(AtomicBool::new(false));
    let storm = {
        let (over, socket) = (over.clone(), socket.clone());
        let log = tools.boots.log("storms.log");
        thread::spawn(move || nmi_storm(&socket, &log, &over))
    };
    let result = boot.run(tools);
    over.store(true, Ordering::Relaxed);
    let sent = storm.join().unwrap_or(0);
    let (output, log) = result?;
    let report = Report::read(&output.stdout);
    ensure!(
        output.end == Some(End::Exit(42)) && report.done,
        "the battery did not come to its end ({:?}, {} programs run); the end of the log:\n{}\n{}",
        output.end,
        report.ended.len(),
        process::tail(log.as_bytes(), 4000),
        process::tail(&output.stderr, 2000),
    );
    let mut wrong = Vec::new();
    for (name, run) in &report.ended {
        let program = chosen.iter().find(|program| program.name == *name);
        let program = program.with_context(|| format!("the driver reports on `{name}`"))?;
        if let Err(what) = judge(&program.directives, run) {
            wrong.push(format!("{name}: {what}"));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} went wrong under the storms:\n{}",
        wrong.len(),
        report.ended.len(),
        wrong.join("\n")
    );
    ensure!(
        report.nmis > 10 * seconds(),
        "only {} NMIs came, {sent} were sent",
        report.nmis
    );
    ensure!(
        report.faults > 10,
        "only {} NMI handlers faulted",
        report.faults
    );
    println!(
        "{} programs run, {} NMIs, {} of whose handlers faulted",
        report.ended.len(),
        report.nmis,
        report.faults
    );
    Ok(())
}

/// Raises the programs' time limits, because each shares the machine with two others and the storms.
fn patient_args(mut args: Vec<String>) -> Vec<String> {
    let mut at = 0;
    while let [_, limit, nenv, nargs, ..] = &mut args[at..] {
        *limit = "400".into();
        let skip = |words: &String| words.parse::<usize>().unwrap_or(0);
        at += 4 + skip(nenv) + skip(nargs);
    }
    args
}

/// Sends NMIs as soon as the first program runs. Earlier, the kernel has not yet set up its gates.
fn nmi_storm(socket: &Path, log: &Path, over: &AtomicBool) -> u64 {
    let running = || std::fs::read_to_string(log).is_ok_and(|log| log.contains("battery: begin"));
    while !over.load(Ordering::Relaxed) && !running() {
        thread::sleep(Duration::from_millis(50));
    }
    let Ok(mut qmp) = Qmp::connect(socket, PATIENCE) else {
        return 0;
    };
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) && qmp.execute("inject-nmi").is_ok() {
        sent += 1;
        thread::sleep(Duration::from_micros(500));
    }
    sent
}

/// An ordinary process keeps answering while a program beside it loops, crashes and eats all memory.
fn beside_at(tools: &Tools, place: Place) -> Result<()> {
    let echo = (
        compile::helper(tools, "echo")?,
        format!("{GUEST_HELPERS}/echo"),
    );
    let image = compile::driver(tools, place, "troublemaker", "troublemaker", &[echo])?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let options = [
        "-p".into(),
        format!("{port}:{PORT}"),
        "--beside".into(),
        format!("{GUEST_HELPERS}/echo {PORT}"),
    ];
    let machine = Machine {
        cpus: 2,
        memory: "384M".into(),
    };
    let boot = Boot {
        image: &image,
        place,
        machine: &machine,
        limit: Duration::from_secs(240),
        silence: None,
        options: &options,
        env: &[format!("UKL_EXPECT_RING={}", place.ring())],
        args: &["8".into()],
        name: "beside",
    };
    let over = Arc::new(AtomicBool::new(false));
    let asker = {
        let over = over.clone();
        thread::spawn(move || ask(port, &over))
    };
    let result = boot.run(tools);
    over.store(true, Ordering::Relaxed);
    let asked = asker.join().unwrap_or_default();
    let (output, log) = result?;
    ensure!(
        output.end == Some(End::Exit(42)) && output.stdout.ends_with(b"done\n"),
        "the program ended with {:?} after\n{}{}the end of the log:\n{}",
        output.end,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        process::tail(log.as_bytes(), 3000),
    );
    ensure!(
        asked.answers > 10 && asked.longest < patient(PATIENCE),
        "the process beside it gave {} answers, the longest silence was {:?}",
        asked.answers,
        asked.longest,
    );
    println!(
        "{} answers, the longest silence {:?}",
        asked.answers, asked.longest
    );
    Ok(())
}

#[derive(Debug, Default)]
struct Asked {
    answers: u32,
    longest: Duration,
}

/// Asks the echo server repeatedly. Silence counts from the first answer, because the guest boots
/// before it.
fn ask(port: u16, over: &AtomicBool) -> Asked {
    let mut asked = Asked::default();
    let mut last: Option<Instant> = None;
    while !over.load(Ordering::Relaxed) {
        let answered = answers(port).unwrap_or(false);
        // A question that was open when the machine went down does not count.
        if over.load(Ordering::Relaxed) {
            break;
        }
        let now = Instant::now();
        if let Some(last) = last {
            asked.longest = asked.longest.max(now - last);
        }
        if answered {
            asked.answers += 1;
            last = Some(now);
        }
        thread::sleep(Duration::from_millis(100));
    }
    asked
}

fn answers(port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"are you there?")?;
    let mut answer = [0; 14];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"are you there?")
}
