//! glibc needs no patch: the figures of `glibc/README.md` are those of this machine's `libc.a`.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::*;

/// The text that follows a word, up to the next white space.
fn word_after<'t>(text: &'t str, words: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(words)?;
    rest.split_whitespace().next()
}

/// The version of the machine's glibc, as its `libc.a` states it: `(Debian GLIBC 2.36-9+deb12u14)`.
fn version() -> String {
    let data = std::fs::read(compiler_file("libc.a")).unwrap();
    let text = String::from_utf8_lossy(&data);
    let (_, rest) = text.split_once("GNU C Library (").unwrap();
    let (name, _) = rest.split_once(')').unwrap();
    name.rsplit(' ').next().unwrap().to_string()
}

/// The rows of the only table of a document.
fn table(document: &str) -> BTreeMap<&str, usize> {
    document
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let name = cells.next()?;
            let value = cells.next()?.trim_end_matches(" |").parse().ok()?;
            Some((name, value))
        })
        .collect()
}

#[test]
fn the_readme_has_the_figures_of_the_report() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../glibc/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let report = &libraries(Form::Call).libc;
    let rewritten = report.in_place + report.trampoline;
    assert_eq!(report.sites, rewritten + report.left.len());

    let described = word_after(&readme, "GLIBC ").unwrap();
    let described = described.trim_end_matches(',');
    let version = version();
    if version != described {
        assert!(rewritten * 100 >= report.sites * 98, "{version}: {report}");
        return;
    }
    let figures = BTreeMap::from([
        ("objects", report.objects),
        ("sites", report.sites),
        ("in place", report.in_place),
        ("trampoline", report.trampoline),
        ("call form", report.preserved.values().sum()),
        ("skip form", report.skipped.values().sum()),
        ("left", report.left.len()),
        ("privileged", report.privileged.found),
    ]);
    assert_eq!(table(&readme), figures, "glibc/README.md is out of date");
}
