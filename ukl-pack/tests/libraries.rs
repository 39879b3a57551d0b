//! Libraries are those that the host's dynamic loader finds.

#[path = "../../testsuite/src/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use ukl_pack::libraries::Closure;
use ukl_pack::libraries::Finder;
use ukl_pack::root::Root;

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn closure(program: &Path, library_path: Option<&str>) -> (Closure, Root) {
    let mut root = Root::of_host(Path::new("/"));
    let found = root.find(program.as_os_str().as_bytes()).unwrap().unwrap();
    let mut finder = Finder::new(library_path.map(str::as_bytes));
    (finder.closure(&mut root, &found).unwrap(), root)
}

fn ours(program: &Path, library_path: Option<&str>) -> BTreeSet<PathBuf> {
    let (closure, root) = closure(program, library_path);
    assert_eq!(closure.missing, [], "{}", program.display());
    let paths = closure.libraries.iter().map(|path| {
        assert!(root.is_file(path));
        Path::new("/").join(std::str::from_utf8(path).unwrap())
    });
    paths.collect()
}

/// The libraries that the dynamic loader lists, without symbolic links.
fn theirs(program: &Path, library_path: Option<&str>) -> BTreeSet<PathBuf> {
    let mut command = Command::new(LOADER);
    command
        .arg("--list")
        .arg(program)
        .env_remove("LD_LIBRARY_PATH");
    if let Some(path) = library_path {
        command.env("LD_LIBRARY_PATH", path);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", program.display());
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text.lines().filter_map(|line| {
        let line = line.split(" (").next()?.trim();
        let path = line.rsplit(" => ").next()?;
        path.starts_with('/')
            .then(|| fs::canonicalize(path).unwrap())
    });
    let mut paths: BTreeSet<PathBuf> = paths.collect();
    // The loader does not list itself for programs that it was asked to run.
    paths.insert(fs::canonicalize(LOADER).unwrap());
    paths
}

#[test]
fn the_hosts_programs_have_the_libraries_of_the_dynamic_loader() {
    let mut checked = 0;
    for name in [
        "bash",
        "perl",
        "python3.11",
        "redis-server",
        "curl",
        "gdb",
        "ld.bfd",
    ] {
        let program = Path::new("/usr/bin").join(name);
        if program.exists() {
            assert_eq!(ours(&program, None), theirs(&program, None), "{name}");
            checked += 1;
        }
    }
    assert!(checked >= 3, "{checked}");
}

/// Programs and libraries that are built for a test.
struct Built {
    dir: TempDir,
}

impl Built {
    fn new() -> Built {
        Built {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Links a library, or a program if the name has no `.so`, against others by their paths.
    fn link(&self, name: &str, needed: &[&str], options: &[&str]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let source = self.path("source.c");
        let is_library = name.contains(".so");
        let code = if is_library {
            ""
        } else {
            "int main(void) { return 0; }"
        };
        fs::write(&source, code).unwrap();
        let mut command = Command::new("cc");
        if is_library {
            let soname = path.file_name().unwrap().to_str().unwrap();
            command.arg("-shared").arg(format!("-Wl,-soname,{soname}"));
        }
        command.arg("-Wl,--no-as-needed,--allow-shlib-undefined");
        command.arg("-o").arg(&path).arg(&source).args(options);
        command.args(needed.iter().map(|name| self.path(name)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        path
    }
}

#[test]
fn paths_in_objects_are_searched_as_by_the_dynamic_loader() {
    let built = Built::new();
    // The same name in several directories shows which one is searched first.
    for dir in ["one", "two", "three"] {
        built.link(&format!("{dir}/libdeep.so"), &[], &[]);
    }
    let runpath = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/../one";
    built.link("lib/librun.so", &["one/libdeep.so"], &[runpath]);
    built.link("lib/libplain.so", &["one/libdeep.so"], &[]);
    let old = "-Wl,--disable-new-dtags,-rpath,${ORIGIN}/lib:$ORIGIN/two";
    let new = "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib:$ORIGIN/two";
    let three = built.path("three");
    let three = three.to_str().unwrap();
    let by = |path: &Path, library: &str| path.ends_with(format!("{library}/libdeep.so"));

    // RPATH of the program serves its libraries, and comes before LD_LIBRARY_PATH.
    let program = built.link("rpath", &["lib/libplain.so"], &[old]);
    for path in [None, Some(three)] {
        let found = ours(&program, path);
        assert_eq!(found, theirs(&program, path));
        assert!(found.iter().any(|path| by(path, "two")), "{found:?}");
    }
    // RUNPATH of a library serves itself, and comes after LD_LIBRARY_PATH.
    let program = built.link("runpath", &["lib/librun.so"], &[new]);
    for (path, dir) in [(None, "one"), (Some(three), "three")] {
        let found = ours(&program, path);
        assert_eq!(found, theirs(&program, path));
        assert!(found.iter().any(|path| by(path, dir)), "{found:?}");
    }
    // RUNPATH of the program does not serve its libraries.
    let program = built.link("other", &["lib/libplain.so"], &[new]);
    let (closure, _) = closure(&program, None);
    let [(name, object)] = &closure.missing[..] else {
        panic!("{closure:?}")
    };
    assert_eq!(name, b"libdeep.so");
    assert!(object.ends_with(b"/lib/libplain.so"));
    let error = closure.check().unwrap_err().to_string();
    assert!(error.starts_with("libdeep.so: not found in"), "{error}");
    assert!(error.contains("--add"), "{error}");
}

#[test]
fn files_of_other_machines_are_passed_over() {
    let built = Built::new();
    built.link("good/libx.so", &[], &[]);
    let paths = "-Wl,-rpath,$ORIGIN/bad:$ORIGIN/good";
    let program = built.link("program", &["good/libx.so"], &[paths]);
    fs::create_dir(built.path("bad")).unwrap();
    let mut data = fs::read(built.path("good/libx.so")).unwrap();
    data[18] = 183; // EM_AARCH64
    fs::write(built.path("bad/libx.so"), data).unwrap();
    let found = ours(&program, None);
    assert_eq!(found, theirs(&program, None));
    assert!(found.iter().any(|path| path.ends_with("good/libx.so")));
}

#[test]
fn libraries_that_need_each_other_are_found_once() {
    let built = Built::new();
    built.link("liba.so", &[], &["-Wl,-rpath,$ORIGIN"]);
    built.link("libb.so", &["liba.so"], &["-Wl,-rpath,$ORIGIN"]);
    built.link("liba.so", &["libb.so"], &["-Wl,-rpath,$ORIGIN"]);
    let program = built.link("program", &["liba.so"], &["-Wl,-rpath,$ORIGIN"]);
    assert_eq!(ours(&program, None), theirs(&program, None));
}

#[test]
fn musl_programs_have_musls_loader() {
    let loader = Path::new("/lib/ld-musl-x86_64.so.1");
    let built = Built::new();
    built.link("libx.so", &[], &["-nostdlib"]);
    let rpath = "-Wl,-rpath,$ORIGIN";
    let source = built.path("source.c");
    fs::write(&source, "int main(void) { return 0; }").unwrap();
    let program = built.path("program");
    let compiled = Command::new("musl-gcc")
        .args(["-Wl,--no-as-needed", rpath, "-o"])
        .args([&program, &source, &built.path("libx.so")])
        .status();
    if !compiled.is_ok_and(|status| status.success()) || !loader.exists() {
        skip::skip("no musl-gcc");
        return;
    }
    let expected = [fs::canonicalize(loader).unwrap(), built.path("libx.so")];
    assert_eq!(ours(&program, None), expected.into());
}
