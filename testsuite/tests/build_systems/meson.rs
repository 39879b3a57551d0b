//! Meson, with `share/native.ini` and `share/cross.ini`.

use std::fs;

use anyhow::Result;
use anyhow::ensure;
use testsuite::dirs::scratch;
use testsuite::project;
use testsuite::project::Project;
use testsuite::tools::Tools;

use crate::check;
use crate::number;
use crate::share;

/// The unit tests of lighttpd, as its build runs them.
pub fn builds_and_tests(tools: &Tools) -> Result<()> {
    const TESTS: [&str; 3] = ["test_common", "test_configfile", "test_mod"];
    let setup = format!(
        "meson setup out --native-file {} -Dwith_pcre2=false -Dwith_pcre=disabled \
         -Dwith_zlib=disabled -Dwith_brotli=disabled -Dwith_bzip=disabled -Dwith_zstd=disabled",
        share("native.ini")
    );
    let targets = TESTS.map(|test| format!("src/{test}")).join(" ");
    let dir = Project {
        name: "lighttpd-tests",
        package: "lighttpd",
        files: &[],
        steps: &[&setup, &format!("ninja -C out -j2 {targets}")],
        product: "out/src/test_common",
    }
    .build(tools)?;
    // The tests read files of the source tree, write into the working directory and run commands.
    let here = dir.display();
    let wrapper = format!("ukl-run --host-tools -v {here}:{here} -w {here}/out");
    let mut test = project::command(tools, &dir, "meson test -C out --no-rebuild -t 10")?;
    test.args(["--wrapper", &wrapper]).args(TESTS);
    let report = check(test.env("PATH", project::path(tools)?))?;
    let passed = number(&report, "Ok:");
    ensure!(passed == Some(TESTS.len() as u32), "{report}");
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == TESTS.len(), "{boots} boots");
    Ok(())
}

/// Programs that the build itself runs are compiled by the machine's compiler.
pub fn cross(tools: &Tools) -> Result<()> {
    let dir = scratch(tools, "meson-cross")?;
    fs::write(
        dir.join("meson.build"),
        "project('x', 'c')\n\
         generator = executable('generator', 'generator.c', native: true)\n\
         text = custom_target('text', output: 'text.h', command: [generator], capture: true)\n\
         assert(meson.get_compiler('c').run('int main(void) { return 3; }').returncode() == 3)\n\
         x = executable('x', 'x.c', text)\n\
         test('x', x, should_fail: false)\n",
    )?;
    fs::write(
        dir.join("generator.c"),
        "#include <stdio.h>\nint main(void) { puts(\"#define TEXT \\\"generated\\\"\"); return 0; }\n",
    )?;
    fs::write(
        dir.join("x.c"),
        "#include <stdio.h>\n#include \"text.h\"\nint main(void) { puts(TEXT); return 0; }\n",
    )?;
    let setup = format!("meson setup out --cross-file {}", share("cross.ini"));
    check(&mut project::command(tools, &dir, &setup)?)?;
    check(&mut project::command(tools, &dir, "ninja -C out")?)?;
    ensure!(dir.join("out/x.ukl").exists() && !dir.join("out/generator.ukl").exists());
    let mut test = project::command(
        tools,
        &dir,
        "meson test -C out --no-rebuild -v --wrapper ukl-run",
    )?;
    let report = check(test.env("PATH", project::path(tools)?))?;
    ensure!(report.contains("generated"), "{report}");
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == 1, "{boots} boots");
    Ok(())
}
