//! Compares a run with the directives of its program.

use std::fmt::Write as _;

use crate::directives::Directives;
use crate::directives::End;
use crate::kernel_log;
use crate::process::tail;

/// What was observed in one run.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// How the program ended. Nothing if it did not end.
    pub end: Option<End>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its error output.
    pub stderr: Vec<u8>,
    /// The kernel's log of the run, in a guest.
    pub log: String,
    /// A failure outside of the program.
    pub trouble: Option<String>,
}

/// Succeeds if the run is as the directives say. Otherwise the error describes the differences.
pub fn judge(directives: &Directives, run: &Run) -> Result<(), String> {
    let mut wrong = String::new();
    if let Some(trouble) = &run.trouble {
        let _ = writeln!(wrong, "{trouble}");
    }
    match run.end {
        Some(end) if end == directives.end => {}
        Some(end) => {
            let _ = writeln!(wrong, "ended with {end:?}, expected {:?}", directives.end);
        }
        None => {
            let _ = writeln!(wrong, "did not end within {:?}", directives.timeout);
        }
    }
    let stdout = String::from_utf8_lossy(&run.stdout);
    if directives.contains.is_empty() {
        let mut expected = directives.stdout.join("\n");
        if !expected.is_empty() {
            expected.push('\n');
        }
        if stdout != expected {
            let _ = writeln!(
                wrong,
                "standard output is not as expected:\n{}",
                compare(&expected, &stdout)
            );
        }
    } else {
        let mut from = 0;
        for text in &directives.contains {
            match stdout[from..].find(text.as_str()) {
                Some(at) => from += at + text.len(),
                None => {
                    let _ = writeln!(
                        wrong,
                        "standard output lacks `{text}` (in its place):\n{stdout}"
                    );
                    break;
                }
            }
        }
    }
    if let Some(complaint) = kernel_log::first_complaint(&run.log, &directives.log_must_not_contain)
    {
        let _ = writeln!(
            wrong,
            "the kernel complained:\n{}",
            kernel_log::excerpt(&run.log, complaint)
        );
    }
    if wrong.is_empty() {
        return Ok(());
    }
    if !run.stderr.is_empty() {
        let _ = writeln!(wrong, "error output:\n{}", tail(&run.stderr, 4000));
    }
    Err(wrong)
}

fn compare(expected: &str, got: &str) -> String {
    let mut text = String::new();
    for line in expected.lines() {
        let mark = if got.lines().any(|other| other == line) {
            ' '
        } else {
            '-'
        };
        let _ = writeln!(text, "{mark} {line}");
    }
    for line in got
        .lines()
        .filter(|line| !expected.lines().any(|other| other == *line))
    {
        let _ = writeln!(text, "+ {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stdout: &str, end: End) -> Run {
        Run {
            end: Some(end),
            stdout: stdout.into(),
            ..Run::default()
        }
    }

    #[test]
    fn all_of_it_counts() {
        let d = Directives::parse("//#Expect-stdout: a\n//#Expect-stdout: b\n").unwrap();
        assert!(judge(&d, &run("a\nb\n", End::Exit(42))).is_ok());
        assert!(judge(&d, &run("a\nb\n", End::Exit(0))).is_err());
        assert!(judge(&d, &run("a\nb", End::Exit(42))).is_err());
        assert!(judge(&d, &run("a\nb\nc\n", End::Exit(42))).is_err());
        assert!(judge(&d, &run("b\na\n", End::Exit(42))).is_err());
        let oops = Run {
            log: "[ 1.0] Oops: 0000 [#1]".into(),
            ..run("a\nb\n", End::Exit(42))
        };
        assert!(judge(&d, &oops).is_err());
    }

    #[test]
    fn contained_texts_have_an_order() {
        let d = Directives::parse("//#Stdout-contains: one\n//#Stdout-contains: two\n").unwrap();
        assert!(judge(&d, &run("x one y two z", End::Exit(42))).is_ok());
        assert!(judge(&d, &run("two one", End::Exit(42))).is_err());
    }
}
