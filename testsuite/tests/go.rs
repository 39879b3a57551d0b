//! Go, linked by the C compiler: `CC=ukl-cc go build -ldflags=-linkmode=external`.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::harness;
use testsuite::http;
use testsuite::process;
use testsuite::process::words;
use testsuite::project;
use testsuite::server::Server;
use testsuite::tools;
use testsuite::tools::Tools;
use testsuite::tools::patient;

fn main() -> ExitCode {
    harness::run(
        "go",
        &[
            ("server", server),
            ("server_pie", server_pie),
            ("server_static", server_static),
            ("go_test", go_test),
            ("image_beside", image_beside),
        ],
    )
}

/// The go command for one of the folders in `testsuite/go`.
fn go(tools: &Tools, module: &str, args: &[&str]) -> Result<Command> {
    let mut command = Command::new("go");
    command
        .args(args)
        .current_dir(tools::testsuite().join("go").join(module))
        .env("PATH", project::path(tools)?)
        .env("CC", "ukl-cc")
        .env("CGO_ENABLED", "1")
        // Nothing of it is anywhere else.
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local");
    for name in ["UKL_FLAGS", "UKL_IMAGE", "GOFLAGS", "GOOS", "GOARCH"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// Builds the server. Go prints nothing if a build succeeds.
fn build(tools: &Tools, dir: &Path, options: &[&str]) -> Result<PathBuf> {
    let program = dir.join("server");
    let mut args = vec!["build"];
    args.extend(options);
    let mut command = go(tools, "server", &args)?;
    command.arg("-o").arg(&program).arg(".");
    let output = process::run(&mut command, patient(Duration::from_secs(300)))?;
    ensure!(
        output.end == Some(End::Exit(0)) && output.stdout.is_empty(),
        "{command:?}: {output:?}"
    );
    // The host's linker warns of getaddrinfo in a static program.
    let said = String::from_utf8_lossy(&output.stderr);
    let fine = said.is_empty() || options.iter().any(|option| option.contains("-static"));
    ensure!(fine, "{command:?}: {said}");
    Ok(program)
}

/// The server on one processor, which a goroutine without calls never yields.
fn server(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "go-server")?;
    let program = build(tools, &dir, &["-ldflags=-linkmode=external"])?;
    // Go moves the program out of its build directory, without the image.
    ensure!(!dir.join("server.ukl").exists());
    serve(tools, "go-server.log", "1", &program)
}

fn server_pie(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "go-server-pie")?;
    let options = ["-ldflags=-linkmode=external", "-buildmode=pie"];
    let program = build(tools, &dir, &options)?;
    serve(tools, "go-server-pie.log", "2", &program)
}

fn server_static(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "go-server-static")?;
    let option = "-ldflags=-linkmode=external -extldflags=-static";
    let program = build(tools, &dir, &[option])?;
    serve(tools, "go-server-static.log", "2", &program)
}

/// Several clients at once get their answers while garbage is collected.
fn serve(tools: &Tools, log: &str, cpus: &str, program: &Path) -> Result<()> {
    let mut server = Server::start(tools, log, 80, &words(&[&"--cpus", &cpus, &program]))?;
    server.wait_for(|port| http::get(port, "/state"))?;
    let before = state(server.port)?;
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let port = server.port;
            thread::spawn(move || (0..60).try_for_each(|turn| ask(port, client * 100 + turn)))
        })
        .collect();
    for client in clients {
        client
            .join()
            .unwrap_or(Ok(()))
            .with_context(|| server.said())?;
    }
    let after = state(server.port)?;
    ensure!(
        after[0] > before[0] && after[1] > before[1] && after[2] == before[2] + 240,
        "collections, turns and requests went from {before:?} to {after:?}"
    );
    http::get(server.port, "/quit")?;
    server.ends_with(42)
}

fn ask(port: u16, turn: usize) -> Result<()> {
    let text: String = (0..50)
        .map(|i| format!("word{} ", i * turn % 1000))
        .collect();
    let wanted = text.to_uppercase().trim_end().replace(' ', "\n") + "\n";
    let (status, answer) = http::post(port, "/echo/", &text)?;
    ensure!(status == 200 && answer == wanted, "{status}: {answer}");
    Ok(())
}

/// The numbers of garbage collections, of turns of the computing goroutine, and of requests.
fn state(port: u16) -> Result<Vec<u64>> {
    let (_, text) = http::get(port, "/state")?;
    text.lines()
        .map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse()?))
        .collect()
}

/// `go test`, which runs its tests in a guest at ring 0 by the settings in `share/`. The tests are about
/// growing stacks, faults that become panics, signals, the profiler, C and its threads, the poller, and
/// child processes.
fn go_test(tools: &Tools) -> Result<()> {
    let runner = "ukl-run --cpus 2 -m 1G --timeout 600 -e WANT_RING=0";
    let mut command = go(tools, "checks", &["test", "-count=1", "-v"])?;
    command
        .env_remove("CC")
        .env_remove("CGO_ENABLED")
        .env("GOENV", tools::workspace().join("share/go.env"))
        .args(["-exec", runner, "."]);
    let output = process::run(&mut command, patient(Duration::from_secs(400)))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.end == Some(End::Exit(0)) && text.contains("--- PASS: TestRing"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// An option chooses the file of the image.
fn image_beside(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "go-image")?;
    let image = dir.join("elsewhere.ukl");
    let option = format!(
        "-ldflags=-linkmode=external -extldflags=-Wl,--ukl-image={}",
        image.display()
    );
    let program = build(tools, &dir, &[&option])?;
    ensure!(program.is_file() && image.is_file());
    Ok(())
}
