//! autoconf, with `share/config.site`.

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::guest;
use testsuite::process::words;
use testsuite::project::Project;
use testsuite::tools::Tools;

use crate::share;

/// dash: configure takes the compiler from a site file. The shell forks, pipes and catches signals.
pub fn builds_and_runs(tools: &Tools) -> Result<()> {
    // make runs configure again if the files' times ask for it.
    let site = format!("env CONFIG_SITE={}", share("config.site"));
    let (configure, make) = (format!("{site} ./configure"), format!("{site} make -j2"));
    let dir = Project {
        name: "dash",
        package: "dash",
        files: &[],
        steps: &[&configure, &make],
        product: "src/dash",
    }
    .build(tools)?;
    let script = "trap 'echo caught' USR1; kill -USR1 $$\n\
                  for i in 1 2 3; do echo $i; done | while read n; do echo got $n; done\n\
                  (exit 3) || echo \"status $?\"\n\
                  x=$(cat <<EOF\nhere $((6 * 7))\nEOF\n)\necho \"$x\"\n\
                  (sleep() { read none; }; echo left) & wait $! && echo waited\n\
                  exit 42\n";
    // `cat` is not a builtin, so the shell runs the host's.
    let output = guest::run(
        tools,
        "dash.log",
        &words(&[&"--host-tools", &dir.join("src/dash.ukl"), &"-s"]),
        script.as_bytes(),
    )?;
    let wanted = "caught\ngot 1\ngot 2\ngot 3\nstatus 3\nhere 42\nleft\nwaited\n";
    ensure!(
        output.end == Some(End::Exit(42)) && output.stdout == wanted.as_bytes(),
        "{output:?}"
    );
    Ok(())
}
