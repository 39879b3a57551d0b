//! Finds the real compiler, which is neither ukl-cc nor a wrapper like ccache.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

use ukl_common::search;

use crate::error::Error;

/// Wrappers that are installed under a compiler's name and run the next command of that name in
/// PATH. They would run ukl-cc again. If the user runs ukl-cc through such a wrapper, it has
/// already done its work.
const MASQUERADERS: &[&str] = &[
    "ccache",
    "sccache",
    "distcc",
    "icecc",
    "colorgcc",
    "buildcache",
];

/// The language to compile, by the name of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// `ukl-cc`.
    C,
    /// `ukl-c++`.
    Cxx,
}

impl Language {
    /// The language for a command name.
    pub fn of(argv0: &OsStr) -> Language {
        let name = Path::new(argv0).file_name().unwrap_or(argv0);
        if name.as_bytes().ends_with(b"++") {
            Language::Cxx
        } else {
            Language::C
        }
    }

    /// The environment variable that names the compiler.
    pub fn variable(self) -> &'static str {
        match self {
            Language::C => "UKL_CC",
            Language::Cxx => "UKL_CXX",
        }
    }

    fn compiler(self) -> &'static str {
        match self {
            Language::C => "cc",
            Language::Cxx => "c++",
        }
    }

    /// The name of GNU's compiler.
    fn gnu(self) -> &'static str {
        match self {
            Language::C => "gcc",
            Language::Cxx => "g++",
        }
    }

    fn package(self) -> &'static str {
        self.gnu()
    }
}

/// A compiler, and the arguments that go before the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// Its path, which is also its `argv[0]`.
    pub path: PathBuf,
    /// The arguments in the environment variable, as in `UKL_CC="gcc -m64"`.
    pub words: Vec<OsString>,
}

/// Finds the compiler. `chosen` is the value of the environment variable.
pub fn find(language: Language, chosen: Option<&OsStr>, myself: &Path) -> Result<Compiler, Error> {
    let mut words = chosen
        .map(OsStr::as_bytes)
        .unwrap_or_default()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word).to_owned());
    let Some(command) = words.next() else {
        let path = find_in_path(OsStr::new(language.compiler()), myself, true);
        let path = path.ok_or_else(|| none(language, language.compiler().into()))?;
        return Ok(Compiler {
            path: by_its_own_name(language, path),
            words: Vec::new(),
        });
    };
    let path = if command.as_bytes().contains(&b'/') {
        PathBuf::from(&command)
    } else {
        let name = || command.to_string_lossy().into_owned();
        // The user named this command, so it may be a wrapper.
        find_in_path(&command, myself, false).ok_or_else(|| none(language, name()))?
    };
    if search::leads_to(&path, myself) {
        return Err(Error::Loop {
            path,
            variable: language.variable(),
        });
    }
    Ok(Compiler {
        path,
        words: words.collect(),
    })
}

/// The path of `gcc` if `cc` leads to the same file. gcc's `--version` prints the name of the
/// command first, by which Bazel recognises gcc.
fn by_its_own_name(language: Language, path: PathBuf) -> PathBuf {
    let gnu = path.with_file_name(language.gnu());
    let same = gnu.canonicalize().ok().zip(path.canonicalize().ok());
    match same.is_some_and(|(gnu, path)| gnu == path) {
        true => gnu,
        false => path,
    }
}

fn none(language: Language, name: String) -> Error {
    Error::NoCompiler {
        name,
        package: language.package(),
        variable: language.variable(),
    }
}

fn find_in_path(name: &OsStr, myself: &Path, past_masqueraders: bool) -> Option<PathBuf> {
    let is_unwanted =
        |path: &Path| search::leads_to(path, myself) || (past_masqueraders && is_masquerader(path));
    search::find(&search::path_variable(), name, |path| !is_unwanted(path))
}

fn is_masquerader(path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else {
        return false;
    };
    MASQUERADERS
        .iter()
        .any(|name| real.file_name() == Some(OsStr::new(name)))
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn the_name_says_the_language() {
        assert_eq!(Language::of(OsStr::new("/opt/bin/ukl-cc")), Language::C);
        assert_eq!(Language::of(OsStr::new("ukl-c++")), Language::Cxx);
        assert_eq!(Language::of(OsStr::new("g++")), Language::Cxx);
        assert_eq!(Language::of(OsStr::new("")), Language::C);
    }

    #[test]
    fn the_variable_may_have_arguments() {
        let chosen = OsStr::new(" /usr/bin/gcc-12  -m64 ");
        let compiler = find(Language::C, Some(chosen), Path::new("/nowhere")).unwrap();
        assert_eq!(compiler.path, Path::new("/usr/bin/gcc-12"));
        assert_eq!(compiler.words, ["-m64"]);
    }

    #[test]
    fn the_variable_may_not_lead_back() {
        let myself = env::current_exe().unwrap().canonicalize().unwrap();
        let error = find(Language::C, Some(myself.as_os_str()), &myself).unwrap_err();
        assert!(matches!(error, Error::Loop { .. }));
    }
}
