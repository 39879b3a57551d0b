//! Cargo, with `share/cargo.toml`.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use anyhow::ensure;
use testsuite::directives::End;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::guest;
use testsuite::process::words;
use testsuite::project;
use testsuite::tools::Tools;

use crate::check;
use crate::share;

/// Runs a crate's own tests and doctests in guests.
pub fn test(tools: &Tools) -> Result<()> {
    let dir = project::crate_source(tools, "semver", "semver", "1.0.26")?;
    let mut test = cargo_command(tools, &dir, &["test", "--locked"])?;
    test.env("PATH", project::path(tools)?);
    let report = check(&mut test)?;
    let good = report.matches("test result: ok. ").count();
    ensure!(good == 6, "{report}");
    ensure!(report.contains("20 passed"), "{report}");
    // There are five test programs and four doctests.
    let boots = tools.boots.count_at_ring_0()?;
    ensure!(boots == 9, "{boots} boots");
    Ok(())
}

/// `cargo install` keeps only the program, and ukl-run still finds the image.
pub fn install(tools: &Tools) -> Result<()> {
    let root = scratch(tools, "cargo-install")?;
    let dir = project::crate_source(tools, "hexyl", "hexyl", "0.16.0")?;
    let mut install = cargo_command(
        tools,
        &dir,
        &["install", "--debug", "--locked", "--path", "."],
    )?;
    install.arg("--root").arg(&root);
    check(&mut install)?;
    let program = root.join("bin/hexyl");
    ensure!(!root.join("bin/hexyl.ukl").exists());
    let args = ["--border=ascii", "--color=never", "-n", "64", "/data/input"];
    let input = root.join("input");
    fs::write(&input, (0..=255).collect::<Vec<u8>>())?;
    let host = check(Command::new(&program).args(&args[..4]).arg(&input))?;
    let mut all: Vec<&OsStr> = vec![OsStr::new("-v")];
    let volume = volume(&root);
    all.extend([OsStr::new(&volume), program.as_os_str()]);
    all.extend(args.iter().map(OsStr::new));
    let guest = guest::run(tools, "hexyl.log", &all, b"")?;
    ensure!(
        guest.end == Some(End::Exit(0)) && guest.stdout == host.as_bytes(),
        "{guest:?}\n{host}"
    );
    Ok(())
}

/// A package with C and C++ code, which the crate `cc` compiles. The crate examines the compiler, tries
/// its flags, and has it preprocess and compile.
const CARGO_CC: [(&str, &str); 5] = [
    (
        "Cargo.toml",
        "[package]\nname = \"with-c\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
         [build-dependencies]\ncc = \"1\"\n[workspace]\n",
    ),
    (
        "build.rs",
        "fn main() {\n\
             let mut c = cc::Build::new();\n\
             let tool = c.get_compiler();\n\
             assert!(tool.is_like_gnu() && !tool.is_like_clang(), \"{tool:?}\");\n\
             assert!(c.is_flag_supported(\"-fno-strict-aliasing\").unwrap());\n\
             assert!(!c.is_flag_supported(\"-fno-such-flag\").unwrap());\n\
             let text = cc::Build::new().file(\"part.c\").expand();\n\
             assert!(String::from_utf8(text).unwrap().contains(\"ring\"));\n\
             c.warnings_into_errors(true).file(\"part.c\").compile(\"part\");\n\
             cc::Build::new().cpp(true).file(\"more.cc\").compile(\"more\");\n\
         }\n",
    ),
    (
        "part.c",
        "int ring(void) {\n\
             unsigned short cs;\n\
             __asm__(\"mov %%cs, %0\" : \"=r\"(cs));\n\
             return cs & 3;\n\
         }\n",
    ),
    (
        "more.cc",
        "#include <string>\n\
         extern \"C\" int thrown(int n) {\n\
             try { throw std::string(n, 'x'); } catch (std::string &s) { return s.size(); }\n\
         }\n",
    ),
    (
        "src/main.rs",
        "extern \"C\" { fn ring() -> i32; fn thrown(n: i32) -> i32; }\n\
         fn main() {\n\
             println!(\"{} from ring {}\", unsafe { thrown(17) }, unsafe { ring() });\n\
         }\n",
    ),
];

/// Build scripts find `ukl-cc` in `CC`, with and without ccache.
pub fn with_cc(tools: &Tools) -> Result<()> {
    for (name, cc, cxx) in [
        ("plain", "ukl-cc", "ukl-c++"),
        ("ccache", "ccache ukl-cc", "ccache ukl-c++"),
    ] {
        let dir = scratch(tools, &format!("cargo-cc-{name}"))?;
        for (path, text) in CARGO_CC {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&dir))?;
            fs::write(path, text)?;
        }
        let mut build = cargo_command(tools, &dir, &["build", "-q"])?;
        build
            .env("CC", cc)
            .env("CXX", cxx)
            .env("CCACHE_DIR", dir.join("ccache"));
        check(&mut build)?;
        let image = dir.join("target/debug/with-c.ukl");
        let guest = guest::run(
            tools,
            &format!("cargo-cc-{name}.log"),
            &words(&[&image]),
            b"",
        )?;
        ensure!(
            guest.end == Some(End::Exit(0)) && guest.stdout == b"17 from ring 0\n",
            "{cc}: {guest:?}"
        );
    }
    Ok(())
}

fn cargo_command(tools: &Tools, dir: &Path, args: &[&str]) -> Result<Command> {
    let mut command = project::command(tools, dir, "cargo --config")?;
    command.arg(share("cargo.toml")).args(args);
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    Ok(command)
}
