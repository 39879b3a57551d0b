//! Ways to boot an image and to end: plain QEMU, each kind of machine, very little memory, a dead
//! kernel, a time limit. Also the processor's protection bits while a program runs.

use std::fs;
use std::process::Command;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use testsuite::compile;
use testsuite::directives::End;
use testsuite::directives::Place;
use testsuite::harness;
use testsuite::process;
use testsuite::process::Output;
use testsuite::process::WAIT;
use testsuite::qmp::Qmp;
use testsuite::tools::Tools;
use testsuite::tools::patient;

const LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::run(
        "boots",
        &[
            ("plain_qemu", plain_qemu),
            ("machines", machines),
            ("little_memory", little_memory),
            ("rings", rings),
            ("smep_and_smap", smep_and_smap),
            ("dead_kernel", dead_kernel),
            ("time_limit", time_limit),
        ],
    )
}

/// Runs an image with these options, and these arguments for the program.
fn run(tools: &Tools, program: &str, options: &[&str], args: &[&str]) -> Result<Output> {
    let image = compile::driver(tools, Place::Ring3, program, program, &[])?;
    let mut command = Command::new(tools.tool("ukl-run"));
    process::run(command.args(options).arg(image).args(args), patient(LIMIT))
}

/// The image is an ordinary bzImage. QEMU boots it without `ukl-run`, and the words behind `--` on the
/// kernel's command line are the program's arguments.
fn plain_qemu(tools: &Tools) -> Result<()> {
    let image = compile::driver(tools, Place::Ring3, "greet", "greet", &[])?;
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-accel", "tcg", "-cpu", "max", "-m", "512M", "-display", "none",
    ])
    .args([
        "-no-reboot",
        "-monitor",
        "none",
        "-serial",
        "stdio",
        "-kernel",
    ])
    .arg(&image)
    .args(["-append", "console=ttyS0 panic=-1 -- one \"two words\""]);
    let output = process::run(&mut qemu, patient(LIMIT))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The console is the kernel's log here.
    fs::write(tools.boots.log("plain_qemu.log"), &output.stdout)?;
    for line in [
        "greetings from ring 0",
        "argument 1: one",
        "argument 2: two words",
    ] {
        ensure!(text.contains(line), "the console lacks `{line}`:\n{text}");
    }
    ensure!(
        output.end == Some(End::Exit(0)),
        "QEMU ended with {:?}:\n{text}",
        output.end
    );
    Ok(())
}

fn machines(tools: &Tools) -> Result<()> {
    for machine in ["q35", "microvm", "pc"] {
        let output = run(
            tools,
            "greet",
            &["--machine", machine, "--cpus", "2"],
            &["x"],
        )?;
        ensure!(
            output.end == Some(End::Exit(42))
                && output.stdout == b"greetings from ring 0\nargument 1: x\n",
            "on {machine}: {output:?}"
        );
    }
    Ok(())
}

fn little_memory(tools: &Tools) -> Result<()> {
    let output = run(tools, "greet", &["-m", "96M"], &[])?;
    ensure!(output.end == Some(End::Exit(42)), "{output:?}");
    Ok(())
}

fn rings(tools: &Tools) -> Result<()> {
    for (options, line) in [
        (&[][..], "greetings from ring 0\n"),
        (&["--ring3"][..], "greetings from ring 3\n"),
    ] {
        let output = run(tools, "greet", options, &[])?;
        ensure!(
            output.stdout == line.as_bytes(),
            "with {options:?}: {output:?}"
        );
    }
    Ok(())
}

/// While a program runs at ring 0, SMEP and SMAP still protect the kernel from the pages of ordinary
/// processes.
fn smep_and_smap(tools: &Tools) -> Result<()> {
    const SMEP: u64 = 1 << 20;
    const SMAP: u64 = 1 << 21;
    let socket = tools.out.join("qmp-boots");
    let _ = fs::remove_file(&socket);
    let listen = Qmp::options(&socket);
    for (options, ring) in [(&[][..], 0), (&["--ring3"][..], 3)] {
        let options: Vec<&str> = options
            .iter()
            .copied()
            .chain(listen.iter().map(String::as_str))
            .collect();
        let mut qmp = None;
        let registers = thread::scope(|scope| {
            let guest = scope.spawn(|| run(tools, "greet", &options, &["spin"]));
            let seen = Qmp::connect(&socket, patient(LIMIT))
                .and_then(|connected| in_program(qmp.insert(connected), patient(LIMIT)));
            // The program would spin until its time limit.
            if let Some(qmp) = &mut qmp {
                let _ = qmp.execute("quit");
            }
            let guest = guest.join();
            seen.with_context(|| format!("the guest: {guest:?}"))
        })?;
        let cpl = register(&registers, "CPL");
        ensure!(cpl == Some(ring), "{options:?}: at ring {cpl:?}");
        let cr4 = register(&registers, "CR4").context("no CR4")?;
        ensure!(
            cr4 & SMEP != 0 && cr4 & SMAP != 0,
            "{options:?}: CR4 is {cr4:#x}"
        );
    }
    Ok(())
}

/// The registers at a moment when the processor is in the program, which a value in one of them shows.
fn in_program(qmp: &mut Qmp, limit: Duration) -> Result<String> {
    let deadline = Instant::now() + limit * WAIT;
    while Instant::now() < deadline {
        let registers = qmp.registers()?;
        let rip = register(&registers, "RIP");
        let inside = rip.is_some_and(|rip| rip < 1 << 47);
        if inside && register(&registers, "RAX") == Some(0x7370_6e6e_696e_6721) {
            return Ok(registers);
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the program was not seen running");
}

/// The value of a register in the monitor's output.
fn register(registers: &str, name: &str) -> Option<u64> {
    let (_, behind) = registers.split_once(&format!("{name}="))?;
    let end = behind.find(|c: char| !c.is_ascii_hexdigit())?;
    u64::from_str_radix(&behind[..end], 16).ok()
}

/// If a guest dies, ukl-run ends with 255 and prints the end of the log.
fn dead_kernel(tools: &Tools) -> Result<()> {
    tools
        .boots
        .provokes("Kernel panic - not syncing: sysrq triggered crash");
    let output = run(tools, "panic", &[], &[])?;
    ensure!(output.end == Some(End::Exit(255)), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("sysrq") || said.contains("panic"), "{said}");
    Ok(())
}

/// A guest is stopped at its time limit. On a busy machine it may reach the limit before the program
/// starts, which proves nothing. The test then tries a longer limit.
fn time_limit(tools: &Tools) -> Result<()> {
    for seconds in ["20", "80", "320"] {
        let output = run(tools, "greet", &["--timeout", seconds], &["wait"])?;
        ensure!(output.end == Some(End::Exit(124)), "{output:?}");
        if output.stdout.starts_with(b"greetings") {
            return Ok(());
        }
    }
    bail!("the program never started");
}
