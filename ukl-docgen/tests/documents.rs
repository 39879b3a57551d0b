//! The documents hold every option, and the programs that read them find nothing to complain of.

#[path = "../../testsuite/src/skip.rs"]
mod skip;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use skip::skip;
use tempfile::TempDir;
use ukl_common::options;
use ukl_docgen::commands;

/// The documents in a directory, as `make install` puts them below `PREFIX/share`.
fn written() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    ukl_docgen::run(["ukl-docgen".into(), dir.path().into()]).unwrap();
    dir
}

fn page(dir: &TempDir, tool: &str) -> PathBuf {
    dir.path().join(format!("man/man1/{tool}.1"))
}

/// A page without roff's escapes.
fn plain(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.replace("\\fB", "")
        .replace("\\fI", "")
        .replace("\\fR", "")
        .replace("\\-", "-")
}

fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        skip(&format!("no {program}"));
    }
    there
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_option_is_in_its_page() {
    let dir = written();
    for tool in commands::tools() {
        let text = plain(&page(&dir, tool.name));
        let mut options = 0;
        for arg in tool.command.get_arguments() {
            if let Some(long) = arg.get_long() {
                assert!(
                    text.contains(&format!("--{long}")),
                    "{}: --{long}",
                    tool.name
                );
                options += 1;
            }
            if let Some(short) = arg.get_short() {
                assert!(
                    text.contains(&format!("-{short}")),
                    "{}: -{short}",
                    tool.name
                );
            }
        }
        assert!(options >= 5, "{}: {options} options", tool.name);
    }
}

#[test]
fn the_linkers_table_is_in_its_page_and_in_the_compilers() {
    let dir = written();
    for tool in ["ukl-ld", "ukl-cc"] {
        let text = plain(&page(&dir, tool));
        for option in options::OPTIONS {
            let name = format!("--ukl-{}", option.name);
            assert!(text.contains(&name), "{tool}: {name}");
        }
        for variable in options::ENVIRONMENT {
            assert!(text.contains(variable.name), "{tool}: {}", variable.name);
        }
    }
    for name in ["UKL_QEMU", "UKL_LIBDIR", "XDG_CACHE_HOME"] {
        assert!(plain(&page(&dir, "ukl-run")).contains(name), "{name}");
    }
}

#[test]
fn man_has_no_warnings() {
    if !has("man") {
        return;
    }
    let dir = written();
    for tool in ["ukl-ld", "ukl-cc", "ukl-c++", "ukl-run", "symbol-rewriter"] {
        let output = Command::new("man")
            .args(["--warnings", "--encoding=UTF-8", "--local-file"])
            .arg(page(&dir, tool))
            .current_dir(dir.path().join("man"))
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        assert!(output.status.success(), "{tool}: {}", said(&output));
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(warnings.is_empty(), "{tool}: {warnings}");
        let text = String::from_utf8_lossy(&output.stdout);
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"] {
            assert!(text.contains(&format!("\n{section}\n")), "{tool}: {text}");
        }
    }
}

/// What bash replies to a line, the cursor at its end.
fn bash(dir: &TempDir, function: &str, words: &[&str], line: &str) -> Vec<String> {
    let tool = words[0];
    let script = format!(
        ". {}/bash-completion/completions/{tool}
        complete -p {tool} >/dev/null || exit 1
        COMP_WORDS=({}) COMP_CWORD={} COMP_LINE='{line}' COMP_POINT={}
        {function} {tool} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\" 2>/dev/null
        printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        dir.path().display(),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
        line.len(),
    );
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes() {
    let dir = written();
    let replies = bash(&dir, "_ukl__run", &["ukl-run", "--tr"], "ukl-run --tr");
    assert_eq!(replies, ["--transition"]);
    let words = ["ukl-run", "--transition", "by"];
    let replies = bash(&dir, "_ukl__run", &words, "ukl-run --transition by");
    assert_eq!(replies, ["bypass"]);
    let replies = bash(&dir, "_ukl__ld", &["ukl-ld", "--ukl-ke"], "ukl-ld --ukl-ke");
    assert_eq!(
        replies,
        ["--ukl-kernel", "--ukl-kernel-symbols", "--ukl-keep-temps"]
    );
    let words = ["symbol-rewriter", "--rep"];
    let replies = bash(&dir, "_symbol__rewriter", &words, "symbol-rewriter --rep");
    assert_eq!(replies, ["--report"]);
}

#[test]
fn bash_completes_the_options_of_the_compiler() {
    let dir = written();
    for tool in ["ukl-cc", "ukl-c++"] {
        let line = format!("{tool} -O2 --ukl-ker");
        let replies = bash(&dir, "_ukl_cc", &[tool, "-O2", "--ukl-ker"], &line);
        assert_eq!(
            replies,
            [
                "--ukl-kernel-code",
                "--ukl-kernel=",
                "--ukl-kernel-symbols="
            ]
        );
        let line = format!("{tool} -Wl,--ukl-sav");
        let replies = bash(&dir, "_ukl_cc", &[tool, "-Wl,--ukl-sav"], &line);
        assert_eq!(replies, ["-Wl,--ukl-save-dir="]);
        // bash takes `=` for a word.
        let line = format!("{tool} --ukl-stack=");
        let replies = bash(&dir, "_ukl_cc", &[tool, "--ukl-stack", "="], &line);
        assert_eq!(replies, ["kernel", "shared"]);
        let line = format!("{tool} --ukl-stack=sh");
        let replies = bash(&dir, "_ukl_cc", &[tool, "--ukl-stack", "=", "sh"], &line);
        assert_eq!(replies, ["shared"]);
        // All else is the shell's own.
        let line = format!("{tool} -O");
        assert_eq!(bash(&dir, "_ukl_cc", &[tool, "-O"], &line), [""]);
    }
}

#[test]
fn zsh_reads_its_functions() {
    if !has("zsh") {
        return;
    }
    let dir = written();
    for tool in ["ukl-ld", "ukl-cc", "ukl-run", "symbol-rewriter"] {
        let path = dir.path().join(format!("zsh/site-functions/_{tool}"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("#compdef {tool}")), "{text}");
        let output = Command::new("zsh").arg("-n").arg(&path).output().unwrap();
        assert!(
            output.status.success() && said(&output).is_empty(),
            "{}",
            said(&output)
        );
    }
}

/// What fish replies to a line.
fn fish(dir: &TempDir, tool: &str, line: &str) -> Vec<String> {
    let path = dir
        .path()
        .join(format!("fish/vendor_completions.d/{tool}.fish"));
    let more = match tool {
        "ukl-c++" => format!("source {}; ", path.with_file_name("ukl-cc.fish").display()),
        _ => String::new(),
    };
    let script = format!("{more}source {}; complete -C '{line}'", path.display());
    let output = Command::new("fish")
        .args(["--no-config", "-c", &script])
        .env("HOME", dir.path())
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{line}: {}",
        said(&output)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text
        .lines()
        .map(|line| line.split('\t').next().unwrap_or_default());
    words.map(str::to_owned).collect()
}

#[test]
fn fish_completes() {
    if !has("fish") {
        return;
    }
    let dir = written();
    assert_eq!(
        fish(&dir, "ukl-run", "ukl-run --transiti"),
        ["--transition"]
    );
    assert_eq!(
        fish(&dir, "symbol-rewriter", "symbol-rewriter --rep"),
        ["--report"]
    );
    assert_eq!(fish(&dir, "ukl-ld", "ukl-ld --ukl-sav"), ["--ukl-save-dir"]);
    for tool in ["ukl-cc", "ukl-c++"] {
        let line = |word: &str| format!("{tool} {word}");
        assert_eq!(fish(&dir, tool, &line("--ukl-sav")), ["--ukl-save-dir"]);
        assert_eq!(
            fish(&dir, tool, &line("-Wl,--ukl-sav")),
            ["-Wl,--ukl-save-dir"]
        );
        let shared = fish(&dir, tool, &line("--ukl-stack=sh"));
        assert_eq!(shared, ["--ukl-stack=shared"]);
    }
}
