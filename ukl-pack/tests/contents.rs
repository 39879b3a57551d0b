//! What is in an image, and how it is started.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

use clap::Parser as _;
use tempfile::TempDir;
use ukl_pack::args::Args;
use ukl_pack::error::Error;
use ukl_pack::pack;
use ukl_pack::pack::Contents;
use ukl_pack::progress::Progress;
use ukl_proto::ring3;

fn contents<T: Into<OsString> + Clone>(words: &[T]) -> Result<Contents, Error> {
    let first = ["ukl-pack", "-o", "x.ukl"].map(OsString::from);
    let words = first
        .into_iter()
        .chain(words.iter().cloned().map(Into::into));
    let args = Args::try_parse_from(words).unwrap();
    pack::contents(&args, &Progress::new(), None)
}

fn is_marked(contents: &Contents, path: &str) -> bool {
    let path = contents.tree.resolve(path.as_bytes()).unwrap();
    ring3::is_marked(&contents.tree.get(&path).unwrap().data)
}

fn has(contents: &Contents, path: &str) -> bool {
    contents.tree.resolve(path.as_bytes()).is_some()
}

/// A directory with a static program, a script of it, and what the tests need beside them.
fn rootfs() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["bin", "etc", "srv"] {
        fs::create_dir(path(name)).unwrap();
    }
    let source = path("hello.c");
    fs::write(&source, "int main(void) { return 0; }").unwrap();
    for name in ["hello", "other"] {
        let output = Command::new("cc")
            .args(["-static", "-o"])
            .args([&path("bin").join(name), &source])
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    fs::remove_file(source).unwrap();
    fs::write(path("bin/script"), "#!/bin/hello -x\n").unwrap();
    fs::write(path("etc/passwd"), "www:x:33:34::/srv:/bin/sh\n").unwrap();
    std::os::unix::fs::symlink("bin/hello", path("link")).unwrap();
    dir
}

fn of_rootfs(dir: &TempDir, more: &[&str]) -> Result<Contents, Error> {
    let words = [&["--rootfs", dir.path().to_str().unwrap()], more].concat();
    contents(&words)
}

#[test]
fn a_program_of_the_host_comes_with_what_it_needs() {
    let bash = contents(&["/bin/bash", "-c", "exit 3"]).unwrap();
    assert_eq!(bash.conf.program, "/bin/bash");
    assert_eq!(bash.conf.start.args, ["-c", "exit 3"]);
    assert!(bash.conf.ring0.is_empty() && bash.warnings.is_empty());
    assert!(is_marked(&bash, "/bin/bash"));
    for path in [
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/locale/C.utf8/LC_CTYPE",
        "/lib/terminfo/l/linux",
        "/etc/services",
        "/etc/nsswitch.conf",
        "/tmp",
    ] {
        assert!(has(&bash, path), "{path}");
    }
    assert!(!is_marked(&bash, "/lib/x86_64-linux-gnu/libc.so.6"));
    // Except for the mark, the files are those of the host.
    for (path, node) in bash
        .tree
        .iter()
        .filter(|(path, _)| path.starts_with(b"usr/"))
    {
        let host = Path::new("/").join(std::str::from_utf8(path).unwrap());
        if node.is_file() {
            let mut data = node.data.to_vec();
            if ring3::is_marked(&data) {
                ring3::make_ordinary(&mut data, &[]).unwrap();
            }
            assert!(data == fs::read(&host).unwrap(), "{}", host.display());
        }
    }
}

#[test]
fn the_same_inputs_give_the_same_image() {
    let archive = |contents: Contents| (contents.tree.write(), contents.conf);
    let words = [
        "--add",
        "/etc/hosts",
        "--ring0",
        "/usr/bin/perl",
        "/bin/bash",
    ];
    let (one, two) = (contents(&words).unwrap(), contents(&words).unwrap());
    assert!(archive(one) == archive(two));
    let dir = rootfs();
    let one = of_rootfs(&dir, &["--entry", "hello"]).unwrap();
    let tar = dir.path().with_extension("tar");
    let status = Command::new("tar")
        .args(["--owner=0", "--group=0", "-C"])
        .arg(dir.path())
        .args(["-cf"])
        .arg(&tar)
        .arg(".")
        .status();
    assert!(status.unwrap().success());
    let two = contents(&["--rootfs", tar.to_str().unwrap(), "--entry", "hello"]).unwrap();
    fs::remove_file(tar).unwrap();
    assert!(archive(one) == archive(two));
}

#[test]
fn further_programs_are_marked_by_pattern() {
    let dir = rootfs();
    let made = of_rootfs(&dir, &["--ring0", "/bin/o*", "--entry", "/link a"]).unwrap();
    assert_eq!(made.conf.program, "/link");
    assert_eq!(made.conf.ring0, ["/bin/other"]);
    assert!(is_marked(&made, "/bin/hello") && is_marked(&made, "/bin/other"));
    let only = of_rootfs(&dir, &["--entry", "hello"]).unwrap();
    assert!(is_marked(&only, "/bin/hello") && !is_marked(&only, "/bin/other"));
    for bad in ["/bin/nothing*", "/etc/*", "/bin/script", "/bin/[", "hello"] {
        let error = of_rootfs(&dir, &["--ring0", bad, "--entry", "hello"]).unwrap_err();
        assert!(error.to_string().starts_with("--ring0 "), "{error}");
    }
    // A program of the host need not be added.
    let host = contents(&["--ring0", "/usr/bin/perl", "/bin/bash"]).unwrap();
    assert_eq!(host.conf.ring0, ["/usr/bin/perl"]);
    assert!(has(&host, "/lib/x86_64-linux-gnu/libcrypt.so.1"));
}

#[test]
fn the_interpreter_of_a_script_is_marked() {
    let dir = rootfs();
    let made = of_rootfs(&dir, &["--entry", "/bin/script"]).unwrap();
    assert_eq!(made.conf.program, "/bin/script");
    assert_eq!(made.conf.ring0, ["/bin/hello"]);
    assert!(is_marked(&made, "/bin/hello"));
}

#[test]
fn options_say_how_the_program_is_started() {
    let dir = rootfs();
    let options = [
        "-e", "A=1", "-e", "A=2", "-w", "/srv/new", "-u", "www", "--expose", "80", "--entry",
        "hello x",
    ];
    let made = of_rootfs(&dir, &options).unwrap();
    let start = &made.conf.start;
    assert_eq!(start.args, ["x"]);
    assert_eq!(
        start.env,
        [("A".into(), "2".into()), ("HOME".into(), "/srv".into())]
    );
    assert_eq!(start.workdir.as_deref(), Some("/srv/new"));
    assert_eq!(start.user.as_ref().unwrap().to_string(), "33:34");
    assert_eq!(made.conf.ports[0].to_string(), "80/tcp");
    // A file capability lets this user start the program at ring 0.
    assert!(made.conf.anyone_starts);
    assert_eq!(made.tree.get(b"srv/new").unwrap().owner, (33, 34));
    // The root's own files stay.
    assert!(
        made.tree
            .get(b"etc/passwd")
            .unwrap()
            .data
            .starts_with(b"www:")
    );
}

#[test]
fn libraries_of_plugins_are_looked_for_among_the_added_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("inner")).unwrap();
    fs::write(path("empty.c"), "").unwrap();
    for (name, needed) in [
        ("inner/libone.so", None),
        ("libtwo.so", Some("inner/libone.so")),
    ] {
        let soname = Path::new(name).file_name().unwrap().to_str().unwrap();
        let output = Command::new("cc")
            .args([
                "-shared",
                "-Wl,--no-as-needed",
                &format!("-Wl,-soname,{soname}"),
                "-o",
            ])
            .args([path(name), path("empty.c")])
            .args(needed.map(path))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let all = format!("{}:/plugins", dir.path().display());
    let made = contents(&["--add", &all, "/bin/bash"]).unwrap();
    assert!(made.warnings.is_empty(), "{:?}", made.warnings);
    let one = format!("{}:/plugins/libtwo.so", path("libtwo.so").display());
    let made = contents(&["--add", &one, "/bin/bash"]).unwrap();
    let expected = "/plugins/libtwo.so: needs libone.so, which was not found";
    assert_eq!(made.warnings, [expected]);
}

#[test]
fn what_cannot_be_packed_is_an_error() {
    let dir = rootfs();
    fs::write(dir.path().join("bin/text"), "text").unwrap();
    fs::write(dir.path().join("bin/old"), b"\x7fELF\x01\x01\x01").unwrap();
    for (options, what) in [
        (&[][..], "names no command"),
        (&["--entry", "nothing"], "no such command in PATH"),
        (&["--entry", "/bin/nothing"], "no such file"),
        (
            &["--entry", "text"],
            "/bin/text: neither a program nor a script",
        ),
        (&["--entry", "old"], "/bin/old: it is a 32-bit program"),
        (&["-u", "nobody", "--entry", "hello"], "has no `nobody'"),
        (&["-w", "srv", "--entry", "hello"], "not an absolute path"),
        (&["-w", "/bin/hello", "--entry", "hello"], "not a directory"),
        (&["--add", "/etc/hosts:/../x", "--entry", "hello"], "`..`"),
        (
            &["--add", "/etc/hosts:/proc/x", "--entry", "hello"],
            "file system of the kernel",
        ),
    ] {
        let error = of_rootfs(&dir, options).unwrap_err().to_string();
        assert!(error.contains(what), "{options:?}: {error}");
    }
    fs::copy("/bin/true", dir.path().join("bin/dynamic")).unwrap();
    let error = of_rootfs(&dir, &["--entry", "dynamic"]).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("/lib64/ld-linux-x86-64.so.2: not found"),
        "{error}"
    );
    fs::write(dir.path().join("init"), "").unwrap();
    let error = of_rootfs(&dir, &["--entry", "hello"])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("/init: the root directory has this file"),
        "{error}"
    );
    assert!(contents(&["/nonexistent/program"]).is_err());
    assert!(contents(&["--rootfs", "/nonexistent", "--entry", "x"]).is_err());
    assert!(contents(&["--rootfs", "/etc/hosts", "--entry", "x"]).is_err());
}

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ukl-pack"));
    command.args(words).output().unwrap()
}

#[test]
fn errors_have_the_form_of_gnus_tools_and_leave_no_image() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("x.ukl");
    let output = run(&[
        "-o",
        image.to_str().unwrap(),
        "--kernel",
        "/nonexistent",
        "/bin/sh",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("ukl-pack: error: "), "{text}");
    assert!(text.contains("make kernel"), "{text}");
    assert!(output.stdout.is_empty() && fs::read_dir(dir.path()).unwrap().next().is_none());
    let program = dir.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    let program = program.to_str().unwrap();
    let output = run(&["-o", program, program]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("it is also an input"), "{text}");
    assert_eq!(fs::read(program).unwrap(), fs::read("/bin/true").unwrap());
    assert_eq!(run(&["--nonsense"]).status.code(), Some(2));
    let version = String::from_utf8(run(&["--version"]).stdout).unwrap();
    assert!(version.starts_with("ukl-pack ") && version.contains("kernel archive: "));
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("--rootfs") && help.contains("UKL_LIBDIR"));
}
