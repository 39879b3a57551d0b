//! Bazel, with `share/bazelrc`.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::process;
use testsuite::project;
use testsuite::tools::Tools;
use testsuite::tools::patient;

use crate::share;

/// The rules that Bazel would download before a build. Debian's package of the rules for C is too new
/// for Debian's Bazel, so these are the ones that Bazel contains.
const REPOSITORIES: [(&str, &str, &str); 3] = [
    (
        "rules_cc",
        "cc/defs.bzl",
        "cc_binary = native.cc_binary\ncc_import = native.cc_import\n\
         cc_library = native.cc_library\ncc_proto_library = native.cc_proto_library\n\
         cc_test = native.cc_test\ncc_toolchain = native.cc_toolchain\n\
         cc_toolchain_suite = native.cc_toolchain_suite\nobjc_library = native.objc_library\n",
    ),
    ("rules_cc", "cc/BUILD", ""),
    (
        "remote_coverage_tools",
        "BUILD",
        "package(default_visibility = [\"//visibility:public\"])\n\
         filegroup(name = \"coverage_report_generator\", srcs = [\"BUILD\"])\n\
         filegroup(name = \"lcov_merger\", srcs = [\"BUILD\"])\n",
    ),
];

/// The rules that Debian has as packages.
const DEBIANS: [&str; 3] = [
    "platforms=/usr/share/bazel/platforms",
    "rules_java=/usr/share/bazel/rules/java",
    "rules_proto=/usr/share/bazel/rules/proto",
];

/// double-conversion: Bazel examines the compiler and clears the environment. `bazel test` runs the
/// tests in a guest.
pub fn builds_and_tests(tools: &Tools) -> Result<()> {
    let dir = project::unpack(tools, "double-conversion", "double-conversion")?;
    let repositories = scratch(tools, "bazel-repositories")?;
    let mut options: Vec<String> = DEBIANS
        .iter()
        .map(|place| format!("--override_repository={place}"))
        .collect();
    for (name, path, text) in REPOSITORIES {
        let root = repositories.join(name);
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&root))?;
        fs::write(path, text)?;
        fs::write(root.join("WORKSPACE"), "")?;
        options.push(format!("--override_repository={name}={}", root.display()));
    }
    let mut bazel = project::command(tools, &dir, "bazel --batch --nohome_rc")?;
    bazel
        .arg(format!("--bazelrc={}", share("bazelrc")))
        .arg(format!(
            "--output_user_root={}",
            tools.out.join("bazel").display()
        ))
        .args(["test", "--jobs=2", "--nocache_test_results"])
        .args(["--test_output=errors", "--verbose_failures"])
        // Bazel reuses what it has built, and does not notice that the tools behind ukl-cc have changed.
        .arg(format!(
            "--action_env=TOOLS={}",
            project::key(tools)?.replace('\n', " ")
        ))
        .args(options)
        .arg("//:cctest");
    bazel.env("PATH", project::path(tools)?).arg(format!(
        "--sandbox_writable_path={}",
        tools.boots.dir().display()
    ));
    let output = process::run(&mut bazel, patient(Duration::from_secs(600)))?;
    let report = [output.stdout, output.stderr].concat();
    let report = String::from_utf8_lossy(&report);
    ensure!(
        output.end == Some(End::Exit(0)) && report.contains("1 test passes"),
        "{:?}\n{report}",
        output.end
    );
    ensure!(
        dir.join("bazel-bin/cctest.ukl").exists(),
        "no image:\n{report}"
    );
    let log = fs::read_to_string(dir.join("bazel-testlogs/cctest/test.log"))?;
    ensure!(log.contains("Ran 84 tests."), "{log}");
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == 1, "{boots} boots");
    Ok(())
}
