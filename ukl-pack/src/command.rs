//! The program in the root directory.

use crate::elf;
use crate::elf::Kind;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::root::Root;
use crate::script;

/// Where commands without a slash are looked for, unless the environment has PATH. It is the PATH
/// that init sets.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Interpreters of interpreters: the kernel follows this many (`exec_binprm()` in fs/exec.c).
const DEEPEST: usize = 5;

/// Finds a command in the root directory. `path` is the PATH of the environment. Returns the
/// command's path, which may have symbolic links.
pub fn find(root: &mut Root, command: &[u8], path: &[u8], workdir: &str) -> Result<Vec<u8>> {
    let mut tried = Vec::new();
    if command.contains(&b'/') {
        tried.push(match command.starts_with(b"/") {
            true => command.to_vec(),
            false => [workdir.as_bytes(), b"/", command].concat(),
        });
    } else {
        let dirs = path.split(|byte| *byte == b':');
        tried.extend(dirs.map(|dir| [dir, b"/", command].concat()));
    }
    for path in tried {
        if let Some(found) = root.find(&path)?
            && root.is_file(&found)
        {
            return Ok(path);
        }
    }
    let place = match command.contains(&b'/') {
        true => "there is no such file",
        false => "there is no such command in PATH",
    };
    let command = String::from_utf8_lossy(command);
    Err(match root.host {
        Some(_) => Error::input(command, format!("{place} on this host")),
        None => Error::input(
            command,
            format!("{place} in the image; choose another command"),
        ),
    })
}

/// A program that the kernel starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The ELF file that starts at ring 0, without symbolic links.
    pub file: Vec<u8>,
    /// The interpreters that are needed, too: those in front of the program, such as env.
    pub more: Vec<Vec<u8>>,
}

/// Finds the program that a command is: the file itself, or the interpreter of a script.
pub fn program(root: &mut Root, command: &[u8], path: &[u8]) -> Result<Program> {
    let mut more = Vec::new();
    let mut file = real(root, command)?;
    for _ in 0..=DEEPEST {
        let data = root.data(&file);
        match elf::read(data) {
            Kind::Elf(_) => return Ok(Program { file, more }),
            Kind::Foreign(what) => return Err(Error::input(shown(&file), what)),
            Kind::Other => {}
        }
        let Some(line) = script::first_line(data) else {
            return Err(Error::input(
                shown(&file),
                "neither a program nor a script with an interpreter (`#!')",
            ));
        };
        let interpreter = real(root, &line.interpreter).map_err(|_| {
            Error::input(
                shown(&file),
                format!("its interpreter {} is missing", shown(&line.interpreter)),
            )
        })?;
        let is_env = line.interpreter.ends_with(b"/env");
        let inner = line.argument.as_deref().and_then(script::command_of_env);
        file = match inner.filter(|_| is_env) {
            Some(inner) => {
                more.push(interpreter);
                let inner = find(root, &inner, path, "/")?;
                real(root, &inner)?
            }
            None => interpreter,
        };
    }
    Err(Error::input(
        shown(command),
        "its interpreters are scripts of each other",
    ))
}

fn real(root: &mut Root, path: &[u8]) -> Result<Vec<u8>> {
    let found = root.find(path)?.filter(|found| root.is_file(found));
    found.ok_or_else(|| Error::input(shown(path), "there is no such file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Root {
        let mut root = Root::default();
        let program = std::fs::read("/proc/self/exe").unwrap();
        for name in ["usr/bin/env", "usr/bin/python3.11", "bin/sh"] {
            root.tree.file(name, 0o755, program.clone());
        }
        root.tree.symlink("usr/bin/python3", &b"python3.11"[..]);
        for (name, text) in [
            ("a", "#!/bin/sh\n"),
            ("b", "#!/usr/bin/env python3\n"),
            ("c", "#!/a\n"),
            ("d", "#!/d\n"),
            ("e", "#!/none\n"),
            ("f", "text"),
            ("g", "#!/usr/bin/env none\n"),
        ] {
            root.tree.file(name, 0o755, text.as_bytes());
        }
        root
    }

    #[test]
    fn a_script_is_its_interpreter() {
        let mut root = root();
        let mut program = |path: &str| program(&mut root, path.as_bytes(), PATH.as_bytes());
        assert_eq!(program("/a").unwrap().file, b"bin/sh");
        assert_eq!(program("/c").unwrap().file, b"bin/sh");
        let b = program("/b").unwrap();
        assert_eq!(b.file, b"usr/bin/python3.11");
        assert_eq!(b.more, [b"usr/bin/env"]);
        for (path, what) in [
            ("/d", "of each other"),
            ("/e", "its interpreter /none is missing"),
            ("/f", "neither a program nor a script"),
            ("/g", "no such command in PATH"),
            ("/h", "no such file"),
        ] {
            let error = program(path).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn commands_are_found_as_a_shell_does() {
        let mut root = root();
        let mut find =
            |command: &str| find(&mut root, command.as_bytes(), b"/x:/usr/bin:/bin", "/usr");
        assert_eq!(find("python3").unwrap(), b"/usr/bin/python3");
        assert_eq!(find("sh").unwrap(), b"/bin/sh");
        assert_eq!(find("bin/env").unwrap(), b"/usr/bin/env");
        assert_eq!(find("/a").unwrap(), b"/a");
        for absent in ["a", "./a", "/bin"] {
            assert!(find(absent).is_err(), "{absent}");
        }
    }
}
