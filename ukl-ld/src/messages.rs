//! Translates the linker's messages about the image: temporary files become the user's files, and
//! symbols lose the prefix and are demangled.

use std::io::Write;
use std::process::Command;
use std::process::Stdio;

use symbol_rewriter::Options;

use crate::rewrite::Linked;

/// Translates messages.
pub fn in_users_terms(text: &[u8], items: &[Linked], options: &Options) -> String {
    let mut text = String::from_utf8_lossy(text).into_owned();
    for item in items {
        if let Linked::File { path, origin, .. } = item {
            text = text.replace(&*path.to_string_lossy(), &origin.to_string_lossy());
        }
    }
    let prefix = String::from_utf8_lossy(&options.prefix);
    let text = text.replace(&*prefix, "");
    let text = text.trim_end();
    demangled(text).unwrap_or_else(|| text.to_owned())
}

fn demangled(text: &str) -> Option<String> {
    if !text.contains("_Z") && !text.contains("_R") {
        return None;
    }
    let mut command = Command::new("c++filt");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(text.as_bytes()));
        child.wait_with_output()
    });
    let output = output.ok().filter(|output| output.status.success())?;
    Some(
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned(),
    )
}
