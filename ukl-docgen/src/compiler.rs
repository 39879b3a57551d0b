//! Completions for a compiler: the options `--ukl-*`. For everything else the shell's default
//! applies.
//!
//! The compiler has hundreds of options, and may have completions of its own. UKL's options have
//! two forms: `--ukl-OPTION`, and `-Wl,--ukl-OPTION` for those of the linker.

use clap::Arg;
use clap_complete::Shell;

use crate::commands::Tool;

/// A form of an option, and its description.
struct Word {
    text: String,
    help: String,
}

/// The completions of the tool for a shell.
pub fn completions(tool: &Tool, shell: Shell) -> String {
    match shell {
        Shell::Zsh => zsh(&words(tool)),
        Shell::Fish => fish(tool),
        _ => bash(&words(tool)),
    }
}

/// The options `--ukl-*`, each with its name and whether ukl-cc accepts it directly.
fn options(tool: &Tool) -> impl Iterator<Item = (&Arg, &str, bool)> {
    tool.command.get_arguments().filter_map(|arg| {
        let long = arg.get_long()?;
        let own = ukl_cc::options::OPTIONS
            .iter()
            .any(|spec| format!("ukl-{}", spec.name) == long);
        Some((arg, long, own))
    })
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

fn words(tool: &Tool) -> Vec<Word> {
    let mut words = Vec::new();
    for (arg, long, own) in options(tool) {
        let forms: &[&str] = match own {
            true => &["--"],
            false => &["--", "-Wl,--"],
        };
        for form in forms {
            for value in values(arg) {
                words.push(Word {
                    text: format!("{form}{long}{value}"),
                    help: help(arg),
                });
            }
        }
    }
    words
}

/// The possible values of an option.
fn values(arg: &Arg) -> Vec<String> {
    let choices = arg.get_possible_values();
    match (arg.get_action().takes_values(), choices.is_empty()) {
        (false, _) => vec![String::new()],
        (true, true) => vec!["=".into()],
        (true, false) => choices
            .iter()
            .map(|choice| format!("={}", choice.get_name()))
            .collect(),
    }
}

fn bash(words: &[Word]) -> String {
    let list: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    // bash splits words at `=`. The replies must not contain the part of a word that is already
    // typed.
    format!(
        "_ukl_cc() {{
	local word=${{COMP_LINE:0:COMP_POINT}} typed
	word=${{word##* }}
	typed=${{word%\"${{COMP_WORDS[COMP_CWORD]}}\"}}
	[ \"${{COMP_WORDS[COMP_CWORD]}}\" != = ] || typed=$word
	COMPREPLY=()
	case $word in
	--u* | -Wl,*)
		local reply
		while IFS= read -r reply; do
			COMPREPLY+=(\"${{reply#\"$typed\"}}\")
		done < <(compgen -W '{}' -- \"$word\")
		[[ ${{COMPREPLY[0]-}} != *= ]] || compopt -o nospace
		;;
	esac
}}
complete -o default -F _ukl_cc ukl-cc ukl-c++
",
        list.join(" ")
    )
}

fn zsh(words: &[Word]) -> String {
    let list: Vec<String> = words
        .iter()
        .map(|word| {
            let name = word.text.replace(':', "\\:");
            format!("\t{}", quoted(&format!("{name}:{}", word.help)))
        })
        .collect();
    format!(
        "#compdef ukl-cc ukl-c++
local -a options
options=(
{}
)
if [[ $PREFIX == (--u*|-Wl,*) ]]; then
	_describe -o option options -S ''
elif (( $+functions[_gcc] )) || autoload +X -Uz _gcc 2>/dev/null; then
	_gcc
else
	_files
fi
",
        list.join("\n")
    )
}

fn fish(tool: &Tool) -> String {
    let mut text = String::new();
    for (arg, long, own) in options(tool) {
        let help = fish_quoted(&help(arg));
        let choices: Vec<String> = arg
            .get_possible_values()
            .iter()
            .map(|choice| choice.get_name().to_owned())
            .collect();
        let value = match (arg.get_action().takes_values(), choices.is_empty()) {
            (false, _) => String::new(),
            (true, true) => " -r -F".into(),
            (true, false) => format!(" -x -a {}", fish_quoted(&choices.join(" "))),
        };
        text.push_str(&format!("complete -c ukl-cc -l {long}{value} -d {help}\n"));
        if !own {
            text.push_str(&format!("complete -c ukl-cc -o Wl,--{long} -d {help}\n"));
        }
    }
    text
}

/// Quotes a word for bash and zsh.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Quotes a word for fish.
fn fish_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\\', "\\\\").replace('\'', "\\'"))
}
