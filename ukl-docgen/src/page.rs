//! A man page.

use std::fmt::Write as _;
use std::io;

use clap_mangen::Man;

use crate::commands::Tool;

/// The page of a tool, in section 1.
pub fn page(tool: &Tool) -> io::Result<Vec<u8>> {
    let man = Man::new(tool.command.clone())
        .title(tool.name)
        .manual("Unikernel Linux")
        .source(format!("UKL {}", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let mut more = String::new();
    if !tool.environment.is_empty() {
        more.push_str(".SH ENVIRONMENT\n");
        for (name, help) in &tool.environment {
            let _ = writeln!(more, ".TP\n\\fB{}\\fR\n{}", escaped(name), escaped(help));
        }
    }
    more.push_str(".SH \"SEE ALSO\"\n");
    let pages: Vec<String> = tool.see_also.iter().map(|page| see(page)).collect();
    let _ = writeln!(more, "{}", pages.join(",\n"));
    text.extend_from_slice(more.as_bytes());
    Ok(text)
}

/// `name(1)`, the name in bold.
fn see(page: &str) -> String {
    match page.split_once('(') {
        Some((name, section)) => format!("\\fB{}\\fR({section}", escaped(name)),
        None => escaped(page),
    }
}

/// Escapes text for roff.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_no_command_of_roff() {
        assert_eq!(escaped(".br a-b \\n"), "\\&.br a\\-b \\en");
    }
}
