//! Linker scripts: finds the inputs they name, and adds the prefix to symbols.
//!
//! A library such as Debian's libm.a may be a script with `GROUP(...)`, whose files are inputs. Any
//! other script is passed to the linker with the prefix added to every symbol in it.

use symbol_rewriter::Options;

/// A file that a script names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// `-lNAME`.
    Library(String),
    /// A file.
    File(String),
}

/// The contents of a script among the inputs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The files of its `INPUT` and `GROUP` commands, in order.
    pub inputs: Vec<Named>,
    /// The directories of its `SEARCH_DIR` commands.
    pub search: Vec<String>,
    /// Whether it contains anything else that matters for the link.
    pub more: bool,
}

/// Reads the commands of a script.
pub fn parse(text: &str) -> Script {
    let mut script = Script::default();
    let mut tokens = tokens(text, Lexer::Files)
        .map(|token| token.text)
        .filter(|text| !text.is_empty());
    while let Some(token) = tokens.next() {
        match token {
            "INPUT" | "GROUP" => {
                for name in arguments(&mut tokens) {
                    script.inputs.push(match name.strip_prefix("-l") {
                        Some(library) => Named::Library(library.to_owned()),
                        None => Named::File(unquoted(name).to_owned()),
                    });
                }
            }
            "SEARCH_DIR" => {
                script
                    .search
                    .extend(arguments(&mut tokens).map(|dir| unquoted(dir).to_owned()));
            }
            "OUTPUT_FORMAT" | "OUTPUT_ARCH" | "TARGET" => {
                arguments(&mut tokens).for_each(drop);
            }
            ";" => {}
            _ => script.more = true,
        }
    }
    script
}

/// The words between a command's parentheses, including those in `AS_NEEDED(...)`.
fn arguments<'t>(tokens: &mut impl Iterator<Item = &'t str>) -> impl Iterator<Item = &'t str> {
    let mut depth = 0;
    let mut words = Vec::new();
    for token in tokens {
        match token {
            "(" => depth += 1,
            ")" => {
                depth -= 1;
                if depth <= 0 {
                    break;
                }
            }
            "," | "AS_NEEDED" => {}
            word => words.push(word),
        }
        if depth == 0 {
            break;
        }
    }
    words.into_iter()
}

fn unquoted(word: &str) -> &str {
    word.strip_prefix('"')
        .and_then(|word| word.strip_suffix('"'))
        .unwrap_or(word)
}

/// Adds the prefix to the symbols of a script.
pub fn prefixed(text: &str, options: &Options) -> String {
    let mut writer = Writer {
        out: String::with_capacity(text.len() * 2),
        options,
    };
    let tokens: Vec<Token<'_>> = tokens(text, Lexer::Expressions).collect();
    let next = |at: usize| {
        tokens[at + 1..]
            .iter()
            .map(|token| token.text)
            .find(|text| !text.is_empty())
    };
    // For each open parenthesis: whether its contents are an expression, and whether the
    // identifiers in it name sections or regions.
    let mut stack: Vec<Inside> = Vec::new();
    let mut pending = None;
    let mut assigned = false;
    for (at, token) in tokens.iter().enumerate() {
        writer.out.push_str(token.before);
        let inside = stack.last().copied().unwrap_or(Inside::Other);
        match token.text {
            "(" => {
                // A parenthesis without a name before it only groups.
                stack.push(pending.take().unwrap_or(if assigned {
                    Inside::Expression
                } else {
                    inside
                }));
                writer.out.push('(');
            }
            ")" => {
                stack.pop();
                if stack.is_empty() || stack.last() == Some(&Inside::Other) {
                    assigned = false;
                }
                writer.out.push(')');
            }
            ";" | "{" | "}" => {
                assigned = false;
                writer.out.push_str(token.text);
            }
            "=" | "+=" | "-=" | "*=" | "/=" | "<<=" | ">>=" | "&=" | "|=" => {
                assigned = true;
                writer.out.push_str(token.text);
            }
            word if is_identifier(word) => {
                let following = next(at);
                if following == Some("(") {
                    pending = Some(match word {
                        "ADDR" | "LOADADDR" | "SIZEOF" | "ALIGNOF" | "ORIGIN" | "LENGTH"
                        | "CONSTANT" | "SEGMENT_START" | "ONLY_IF_RO" | "KEEP" => Inside::Names,
                        "ENTRY" | "EXTERN" | "DEFINED" | "ASSERT" | "BYTE" | "SHORT" | "LONG"
                        | "QUAD" | "SQUAD" | "FILL" | "ABSOLUTE" | "ALIGN" | "MAX" | "MIN"
                        | "BLOCK" | "NEXT" | "LOG2CEIL" | "AT" => Inside::Expression,
                        "PROVIDE" | "PROVIDE_HIDDEN" | "HIDDEN" => Inside::Expression,
                        _ if inside == Inside::Expression || assigned => Inside::Expression,
                        _ => Inside::Other,
                    });
                    writer.out.push_str(word);
                    continue;
                }
                let target = following.is_some_and(|text| {
                    matches!(
                        text,
                        "=" | "+=" | "-=" | "*=" | "/=" | "<<=" | ">>=" | "&=" | "|="
                    )
                });
                let names = inside == Inside::Names;
                if target || (!names && (assigned || inside == Inside::Expression)) {
                    writer.symbol(word);
                } else {
                    writer.out.push_str(word);
                }
            }
            text => writer.out.push_str(text),
        }
    }
    writer.out
}

/// Adds the prefix to the symbols of an expression, such as the value of `--defsym`.
pub fn prefixed_expression(text: &str, options: &Options) -> String {
    let wrapped = prefixed(&format!("ASSERT({text})"), options);
    let inner = wrapped
        .strip_prefix("ASSERT(")
        .and_then(|rest| rest.strip_suffix(')'));
    inner.unwrap_or(text).to_owned()
}

/// The contents of a pair of parentheses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// An expression: identifiers are symbols.
    Expression,
    /// Names of sections, regions and constants.
    Names,
    /// Anything else.
    Other,
}

struct Writer<'o> {
    out: String,
    options: &'o Options,
}

impl Writer<'_> {
    fn symbol(&mut self, name: &str) {
        if name == "." {
            return self.out.push('.');
        }
        let quoted = unquoted(name);
        let prefixed = symbol_rewriter::prefixed(quoted.as_bytes(), self.options);
        let prefixed = String::from_utf8_lossy(&prefixed);
        if quoted.len() == name.len() {
            self.out.push_str(&prefixed);
        } else {
            self.out.extend(["\"", &prefixed, "\""]);
        }
    }
}

fn is_identifier(word: &str) -> bool {
    let first = word.bytes().next().unwrap_or(b'0');
    first.is_ascii_alphabetic() || matches!(first, b'_' | b'.' | b'$')
}

/// A token, and the white space and comments before it.
#[derive(Clone, Copy)]
struct Token<'t> {
    before: &'t str,
    text: &'t str,
}

/// How words are separated. GNU ld, too, uses other rules where it expects a file name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lexer {
    /// `libx-1.2+3.a` is one word.
    Files,
    /// `a-b` is three.
    Expressions,
}

/// Splits a script into tokens. The last one may be empty, with the white space at the end.
fn tokens(text: &str, lexer: Lexer) -> impl Iterator<Item = Token<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let start = blank(rest);
        let (before, tail) = rest.split_at(start);
        let length = token_length(tail, lexer);
        let (text, tail) = tail.split_at(length);
        rest = tail;
        Some(Token { before, text })
    })
}

/// The length of the white space and comments at the start.
fn blank(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
        } else {
            return text.len() - rest.len();
        }
    }
}

fn token_length(text: &str, lexer: Lexer) -> usize {
    let bytes = text.as_bytes();
    let Some(&first) = bytes.first() else {
        return 0;
    };
    if first == b'"' {
        return text[1..].find('"').map_or(text.len(), |end| end + 2);
    }
    let operators: &[&[u8]] = &[
        b"<<=", b">>=", b"+=", b"-=", b"*=", b"/=", b"&=", b"|=", b"<<", b">>", b"==", b"!=",
        b"<=", b">=", b"&&", b"||",
    ];
    if let Some(operator) = operators
        .iter()
        .find(|operator| bytes.starts_with(operator))
    {
        return operator.len();
    }
    let length = bytes
        .iter()
        .take_while(|byte| is_word(**byte, lexer))
        .count();
    if length > 0 {
        length
    } else {
        text.chars().next().map_or(1, char::len_utf8)
    }
}

fn is_word(byte: u8, lexer: Lexer) -> bool {
    match lexer {
        Lexer::Files => !byte.is_ascii_whitespace() && !b"(){},;\"".contains(&byte),
        Lexer::Expressions => {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'$') || byte >= 0x80
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> String {
        prefixed(text, &Options::default())
    }

    #[test]
    fn a_library_that_is_a_script_names_its_files() {
        let text = "/* GNU ld script\n*/\nOUTPUT_FORMAT(elf64-x86-64)\n\
                    GROUP ( /usr/lib/libm-2.36.a -lmvec AS_NEEDED ( /lib/ld-linux-x86-64.so.2 ) )\n";
        let script = parse(text);
        assert_eq!(
            script.inputs,
            [
                Named::File("/usr/lib/libm-2.36.a".into()),
                Named::Library("mvec".into()),
                Named::File("/lib/ld-linux-x86-64.so.2".into()),
            ]
        );
        assert!(!script.more);
    }

    #[test]
    fn commas_and_quotes_are_read() {
        let script = parse("INPUT(\"a b.o\", libx-1+2.a)SEARCH_DIR(\"/opt/x\")");
        assert_eq!(
            script.inputs,
            [
                Named::File("a b.o".into()),
                Named::File("libx-1+2.a".into())
            ]
        );
        assert_eq!(script.search, ["/opt/x"]);
    }

    #[test]
    fn other_commands_are_noticed() {
        assert!(parse("foo = 3;").more);
    }

    #[test]
    fn unbalanced_parentheses_do_no_harm() {
        parse("GROUP(");
        parse("GROUP)");
        parse("INPUT");
        script("a = (((;");
        script("))))");
    }

    #[test]
    fn assignments_get_the_prefix_on_both_sides() {
        assert_eq!(script("foo = bar + 4;"), "_ukl_foo = _ukl_bar + 4;");
        assert_eq!(script("foo=bar-baz;"), "_ukl_foo=_ukl_bar-_ukl_baz;");
        assert_eq!(script("PROVIDE(foo = .);"), "PROVIDE(_ukl_foo = .);");
    }

    #[test]
    fn names_of_the_linker_keep_theirs() {
        assert_eq!(script("heap = _end;"), "_ukl_heap = _end;");
    }

    #[test]
    fn sections_keep_their_names() {
        let text = "SECTIONS { .mine : ALIGN(16) { start = .; KEEP(*(.mine .mine.*)) \
                    end_of = SIZEOF(.mine); } > ram }";
        assert_eq!(
            script(text),
            "SECTIONS { .mine : ALIGN(16) { _ukl_start = .; KEEP(*(.mine .mine.*)) \
             _ukl_end_of = SIZEOF(.mine); } > ram }"
        );
    }

    #[test]
    fn entry_and_extern_name_symbols() {
        assert_eq!(
            script("ENTRY(boot) EXTERN(a b)"),
            "ENTRY(_ukl_boot) EXTERN(_ukl_a _ukl_b)"
        );
    }

    #[test]
    fn expressions_of_defsym() {
        let expression = |text| prefixed_expression(text, &Options::default());
        assert_eq!(expression("foo"), "_ukl_foo");
        assert_eq!(expression("foo+0x10"), "_ukl_foo+0x10");
        assert_eq!(expression("0x1234"), "0x1234");
        assert_eq!(expression("_end"), "_end");
    }

    proptest::proptest! {
        #[test]
        fn nothing_but_prefixes_is_added(text in "[a-z_.(){};=+*/\"<> \n-]{0,60}") {
            let plain = Options { prefix: Vec::new(), ..Options::default() };
            proptest::prop_assert_eq!(prefixed(&text, &plain), text.clone());
            parse(&text);
        }
    }
}
