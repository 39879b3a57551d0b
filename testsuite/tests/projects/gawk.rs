//! gawk, built with autoconf.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::debugger;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::guest;
use testsuite::process;
use testsuite::process::words;
use testsuite::project::Project;
use testsuite::tools::Tools;

use crate::at_ring0;

/// gawk: configure runs its probes. The program reads standard input, files and pipes, and runs
/// commands.
pub fn builds_and_runs(tools: &Tools) -> Result<()> {
    let dir = Project {
        name: "gawk",
        package: "gawk",
        files: &[],
        steps: &[
            "./configure CC=ukl-cc --disable-extensions --disable-nls",
            // Debian's package lacks the sources of the documentation, so make cannot build `all`.
            "make -j2 -C support",
            "make -j2 gawk",
        ],
        product: "gawk",
    }
    .build(tools)?;
    let image = dir.join("gawk.ukl");
    at_ring0(
        tools,
        "gawk",
        "do_print",
        &words(&[&image, &"BEGIN { print 1 }"]),
    )?;
    // The same check reports ring 3 for `--ring3`.
    let ring = debugger::ring_at(
        tools,
        "gawk-ring3",
        "do_print",
        &words(&[&"--ring3", &image, &"BEGIN { print 1 }"]),
    )?;
    ensure!(ring == 3, "with --ring3 gawk runs at ring {ring}");
    let data = scratch(tools, "gawk")?;
    let text: String = (1..=5000)
        .map(|i| format!("{i} {} word{}\n", i * i, i % 97))
        .collect();
    fs::write(data.join("numbers"), &text)?;
    let program = "{ sum += $1; square += $2; count[$3]++ } /99/ { hits++ } END { printf \"%d %d %d %d %.6f\\n\", \
                   sum, square, length(count), hits, sqrt(square); exit 7 }";
    let on_host = process::run(
        Command::new(dir.join("gawk"))
            .arg(program)
            .arg(data.join("numbers")),
        Duration::from_secs(60),
    )?;
    ensure!(
        on_host.end == Some(End::Exit(7)),
        "gawk on this machine: {on_host:?}"
    );
    for (transition, input, place) in [
        ("bypass", text.as_bytes(), "-"),
        ("bypass", b"".as_slice(), "/data/numbers"),
        ("base", b"".as_slice(), "/data/numbers"),
    ] {
        let in_guest = guest::run(
            tools,
            "gawk.log",
            &words(&[
                &format!("--transition={transition}"),
                &"-v",
                &volume(&data),
                &image,
                &program,
                &place,
            ]),
            input,
        )?;
        ensure!(
            in_guest.end == Some(End::Exit(7)),
            "gawk in the guest: {in_guest:?}"
        );
        ensure!(
            in_guest.stdout == on_host.stdout,
            "gawk in the guest: {in_guest:?}"
        );
    }
    // The ring-0 program starts ordinary programs of the host's file system.
    let program = "BEGIN { while ((\"seq 1 100 | sort -n -r | head -3\" | getline line) > 0) print line; \
                   print \"to tr\" | \"tr a-z A-Z\"; close(\"tr a-z A-Z\"); exit system(\"exit 5\") }";
    let pipes = guest::run(
        tools,
        "gawk-pipes.log",
        &words(&[&"--host-tools", &image, &program]),
        b"",
    )?;
    ensure!(pipes.end == Some(End::Exit(5)), "{pipes:?}");
    ensure!(pipes.stdout == b"100\n99\n98\nTO TR\n", "{pipes:?}");
    Ok(())
}
