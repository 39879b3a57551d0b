//! Decides whether a link makes an image, and where.
//!
//! Every link makes the host output. If the output is or may be a program, the link also makes an
//! image. Shared libraries, partial links, and the probes by which build tools test the compiler
//! get no image.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use crate::args::Args;
use crate::args::table::Role;
use crate::args::ukl_options;
use crate::args::ukl_options::UklOptions;

/// What a link makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Only the host output. The value says why.
    Host(&'static str),
    /// The program, and an image at this path if there is one.
    Program(Option<PathBuf>),
}

/// The environment on which the decision depends.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `UKL_IMAGE`.
    pub ukl_image: Option<OsString>,
    /// `CARGO_CRATE_NAME`, set by cargo around rustc.
    pub crate_name: Option<OsString>,
    /// `CARGO_BIN_NAME`, the same for the program's own crate.
    pub bin_name: Option<OsString>,
    /// The working directory.
    pub cwd: PathBuf,
}

impl Surroundings {
    /// The environment of this process.
    pub fn here() -> Surroundings {
        Surroundings {
            ukl_image: std::env::var_os("UKL_IMAGE"),
            crate_name: std::env::var_os("CARGO_CRATE_NAME"),
            bin_name: std::env::var_os("CARGO_BIN_NAME"),
            cwd: std::env::current_dir().unwrap_or_default(),
        }
    }
}

/// Why a shared library has no image.
pub const SHARED: &str = "-shared";

/// The suffix of an image's name.
pub const SUFFIX: &str = ".ukl";

/// The default path of an output's image.
pub fn beside(output: &Path) -> PathBuf {
    ukl_options::beside(output, SUFFIX)
}

/// The name under which cargo installs the output after the link: `target/debug/x` for
/// `target/debug/deps/x-0123456789abcdef`, `target/debug/examples/x` for
/// `target/debug/examples/x-0123456789abcdef`. Files next to the output belong next to that, too.
pub fn uplifted(args: &Args, around: &Surroundings) -> Option<PathBuf> {
    let name = around.bin_name.as_deref().filter(|name| !name.is_empty())?;
    let output = args.output();
    let dir = output.parent()?;
    let place = match dir.file_name()?.as_bytes() {
        b"deps" => dir.parent()?,
        b"examples" => dir,
        _ => return None,
    };
    // The program's unit tests have the same name, but are not moved.
    let test = args.inputs().any(|path| {
        let name = Path::new(path).file_name().unwrap_or_default().as_bytes();
        name.starts_with(b"libtest-") && name.ends_with(b".rlib")
    });
    if test {
        None
    } else {
        Some(place.join(name)).filter(|place| *place != output)
    }
}

/// Makes the decision.
pub fn decide(args: &Args, own: &UklOptions, around: &Surroundings) -> Mode {
    if let Some(why) = never(args) {
        return Mode::Host(why);
    }
    let output = args.output();
    if let Some(path) = own.image.as_ref().filter(|_| !own.no_image) {
        return Mode::Program(Some(path.clone()));
    }
    if is_special(&output) {
        return Mode::Host("the output is not a regular file");
    }
    let image = (!own.no_image).then(|| beside(&output));
    if image.is_none() && own.program.is_none() && own.ring3.is_none() {
        return Mode::Host("--ukl-no-image");
    }
    match around.ukl_image.as_deref().map(OsStr::as_bytes) {
        Some(b"0" | b"no" | b"off") => return Mode::Host("UKL_IMAGE=0"),
        Some(b"") | None => {}
        Some(_) => return Mode::Program(image),
    }
    match probe(args, &output, around) {
        Some(why) => Mode::Host(why),
        None => Mode::Program(image),
    }
}

/// Links that never have an image, even if one is requested.
fn never(args: &Args) -> Option<&'static str> {
    if args.has(Role::Shared) {
        return Some(SHARED);
    }
    if args.has(Role::Relocatable) {
        return Some("a partial link");
    }
    if args
        .last(Role::OutputFormat)
        .is_some_and(|format| format != "elf64-x86-64")
    {
        return Some("--oformat");
    }
    if args
        .last(Role::Emulation)
        .is_some_and(|name| name != "elf_x86_64")
    {
        return Some("not for x86-64");
    }
    if args.inputs().next().is_none() && !args.has(Role::Library) {
        return Some("no input");
    }
    None
}

fn is_special(output: &Path) -> bool {
    std::fs::metadata(output).is_ok_and(|meta| !meta.is_file())
}

/// The probes of build tools.
fn probe(args: &Args, output: &Path, around: &Surroundings) -> Option<&'static str> {
    let name = output.file_name().unwrap_or_default().as_bytes();
    let full = around.cwd.join(output);
    let dirs = names(&full);
    let within = |wanted: &[u8]| dirs.contains(&wanted);

    // autoconf: conftest, conftest.exe; ruby's mkmf and many hand-written configure scripts use
    // the name, too.
    if name.starts_with(b"conftest") {
        return Some("autoconf's conftest");
    }
    // Python's distutils and its successors.
    if name == b"_configtest" {
        return Some("distutils' _configtest");
    }
    // zstd's makefiles and others modelled on them.
    if matches!(
        name,
        b"have_pthread" | b"have_zlib" | b"have_lzma" | b"have_lz4"
    ) {
        return Some("a makefile's check");
    }
    // The first link of every configure script is that of conftest.c, without -o.
    if !args.has(Role::Output) && has_conftest(&around.cwd) {
        return Some("autoconf's conftest");
    }
    if name.starts_with(b"cmTC_") || (within(b"CMakeFiles") && dirs.iter().any(is_cmakes)) {
        return Some("CMake's try_compile");
    }
    // meson: sanitycheckc.exe and tmpxxxx/output.exe.
    if within(b"meson-private") {
        return Some("meson's check");
    }
    // Configure scripts that belong to one project or family.
    if let Some(why) = known_configure(&full, &dirs) {
        return Some(why);
    }
    // waf's .conf_check_xxxx and scons' .sconf_temp.
    if dirs
        .iter()
        .any(|dir| dir.starts_with(b".conf_check_") || *dir == b".sconf_temp")
    {
        return Some("a configuration check");
    }
    // cargo runs build scripts on the host. Without --target it links them like the program.
    let crate_name = around.crate_name.as_deref().unwrap_or_default().as_bytes();
    if crate_name.starts_with(b"build_script_") || name.starts_with(b"build_script_") {
        return Some("cargo's build script");
    }
    // cgo links a package's C code to find the shared libraries that it needs; Go's linker tests
    // options in its temporary directory.
    if name == b"_cgo_.o" || (name == b"a.out" && within_numbered(&dirs, b"go-link-")) {
        return Some("a trial of Go's");
    }
    // A linker script without C startup code means firmware, a boot loader or a kernel.
    if args.has(Role::Script) && !args.inputs().any(is_startup) {
        return Some("a linker script and no C startup object");
    }
    None
}

/// The names of CMake's directories for probes: try_compile builds below CMakeScratch (CMakeTmp
/// before 3.25), the compiler's identification in CompilerIdC, and check_ipo_supported and
/// FortranCInterface a small project each. A program of the user can be below CMakeFiles, too,
/// in CMakeRelink.dir.
fn is_cmakes(dir: &&[u8]) -> bool {
    [&b"CMakeScratch"[..], b"CMakeTmp", b"FortranCInterface"].contains(dir)
        || dir.starts_with(b"CompilerId")
        || dir.starts_with(b"_CMakeLTOTest-")
}

/// The probes of well-known projects with configure scripts of their own. A name that a program
/// could have, too, counts only if there are other traces of such a script.
fn known_configure(output: &Path, names: &[&[u8]]) -> Option<&'static str> {
    let beside = |name: &str| output.with_file_name(name).is_file();
    let [.., dir, name] = *names else {
        return None;
    };
    // nginx and projects that use its scripts: objs/autotest.
    if name == b"autotest" && beside("autoconf.err") {
        return Some("nginx's autotest");
    }
    // zlib and zlib-ng: ztest and the shell's process ID.
    if is_numbered(name, b"ztest") && beside("configure.log") {
        return Some("zlib's ztest");
    }
    // ffmpeg: /tmp/ffconf.xxxxxxxx/test; in older versions /tmp/ffconf.xxxxxxxx.
    if dir.starts_with(b"ffconf.") || name.starts_with(b"ffconf.") {
        return Some("ffmpeg's check");
    }
    if dir == b"config-temp" && name == b"qemu-conf.exe" {
        return Some("QEMU's check");
    }
    // perl and others whose script was made by metaconfig.
    if dir == b"UU" && name == b"try" {
        return Some("perl's try");
    }
    None
}

/// Whether a directory's name consists of this and a number.
fn within_numbered(dirs: &[&[u8]], beginning: &[u8]) -> bool {
    dirs.iter().any(|dir| is_numbered(dir, beginning))
}

fn is_numbered(name: &[u8], beginning: &[u8]) -> bool {
    name.strip_prefix(beginning)
        .is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit))
}

/// Whether the output is in a directory that the build removes at the end, after moving only the
/// output out of it: that of `go build` or of `cargo install`.
pub fn passing(output: &Path, around: &Surroundings) -> bool {
    let full = around.cwd.join(output);
    let names = names(&full);
    let of_cargo = |dir: &&[u8]| dir.starts_with(b"cargo-install") && dir.len() == 19;
    within_numbered(&names, b"go-build") || names.iter().any(of_cargo)
}

/// The components of a path.
fn names(path: &Path) -> Vec<&[u8]> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        })
        .collect()
}

fn has_conftest(dir: &Path) -> bool {
    let languages = [
        "c", "cc", "cpp", "C", "cxx", "c++", "m", "mm", "f", "f90", "go", "d", "err",
    ];
    languages
        .iter()
        .any(|kind| dir.join(format!("conftest.{kind}")).is_file())
}

/// Whether this is the object that holds `_start` of a hosted program.
pub fn is_startup(path: &OsStr) -> bool {
    let name = Path::new(path).file_name().unwrap_or_default();
    [
        "crt1.o", "Scrt1.o", "rcrt1.o", "gcrt1.o", "grcrt1.o", "Mcrt1.o", "crt0.o",
    ]
    .iter()
    .any(|known| name == *known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_in(cwd: &str, words: &[&str]) -> Mode {
        let around = Surroundings {
            cwd: cwd.into(),
            ..Surroundings::default()
        };
        decide(
            &Args::parse(words.iter().map(OsString::from)),
            &UklOptions::default(),
            &around,
        )
    }

    fn mode(words: &[&str]) -> Mode {
        mode_in("/src", words)
    }

    fn image(path: &str) -> Mode {
        Mode::Program(Some(path.into()))
    }

    #[test]
    fn a_program_has_its_image_beside_it() {
        assert_eq!(mode(&["-o", "dir/prog", "x.o"]), image("dir/prog.ukl"));
        assert_eq!(mode(&["x.o"]), image("a.out.ukl"));
    }

    #[test]
    fn libraries_and_partial_links_have_none() {
        assert!(matches!(mode(&["-shared", "x.o"]), Mode::Host(_)));
        assert!(matches!(mode(&["-r", "x.o"]), Mode::Host(_)));
        assert!(matches!(mode(&["-m", "elf_i386", "x.o"]), Mode::Host(_)));
    }

    #[test]
    fn configure_probes_have_none() {
        for out in [
            "conftest",
            "./conftest.exe",
            "cmTC_1a2b3",
            "have_zlib",
            "_configtest",
            "CMakeFiles/_CMakeLTOTest-C/bin/boo",
            "CMakeFiles/FortranCInterface/FortranCInterface",
            "meson-private/sanitycheckc.exe",
            "/t/b1/_cgo_.o",
        ] {
            assert!(matches!(mode(&["-o", out, "x.o"]), Mode::Host(_)), "{out}");
        }
        for cwd in [
            "/b/CMakeFiles/CMakeScratch/TryCompile-x",
            "/b/CMakeFiles/CMakeTmp",
            "/b/CMakeFiles/3.25.1/CompilerIdC",
            "/b/meson-private/tmpabc",
            "/tmp/go-link-123",
        ] {
            assert!(matches!(mode_in(cwd, &["x.o"]), Mode::Host(_)), "{cwd}");
        }
    }

    #[test]
    fn programs_with_names_like_a_probes_have_one() {
        for out in [
            "have_fun",
            "CMakeScratch/x",
            "CompilerIdC/x",
            "CMakeFiles/CMakeRelink.dir/x",
        ] {
            assert_eq!(mode(&["-o", out, "x.o"]), image(&format!("{out}.ukl")));
        }
    }

    #[test]
    fn probes_of_single_projects_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path().to_str().unwrap();
        for dir in ["objs", "UU", "config-temp", "ffconf.a1B2c3D4"] {
            std::fs::create_dir(Path::new(cwd).join(dir)).unwrap();
        }
        let try_out = |output: &str| mode_in(cwd, &["-o", output, "x.o"]);
        // Names that a user's program may have.
        let names = ["objs/autotest", "ztest", "ztest123", "try", "objs/try"];
        for output in names {
            assert_eq!(try_out(output), image(&format!("{output}.ukl")));
        }
        for trace in ["objs/autoconf.err", "configure.log"] {
            std::fs::write(Path::new(cwd).join(trace), "").unwrap();
        }
        for output in [
            "objs/autotest",
            "ztest123",
            "UU/try",
            "config-temp/qemu-conf.exe",
            "ffconf.a1B2c3D4/test",
            "/tmp/ffconf.a1B2c3D4.exe",
        ] {
            assert!(matches!(try_out(output), Mode::Host(_)), "{output}");
        }
        for output in ["autotest", "objs/nginx", "ztest", "ztest-123", "try"] {
            assert_eq!(try_out(output), image(&format!("{output}.ukl")));
        }
        assert!(matches!(
            mode_in(&format!("{cwd}/UU"), &["-otry", "x.o"]),
            Mode::Host(_)
        ));
    }

    #[test]
    fn build_scripts_have_none() {
        let around = Surroundings {
            crate_name: Some("build_script_build".into()),
            ..Surroundings::default()
        };
        let args = Args::parse(["x.o".into()]);
        assert!(matches!(
            decide(&args, &UklOptions::default(), &around),
            Mode::Host(_)
        ));
    }

    #[test]
    fn cargo_puts_programs_into_place() {
        let around = Surroundings {
            bin_name: Some("x".into()),
            ..Surroundings::default()
        };
        let place = |words: &[&str], around| {
            uplifted(&Args::parse(words.iter().map(OsString::from)), around)
        };
        let output = "-o/t/debug/deps/x-0123456789abcdef";
        assert_eq!(place(&[output, "x.o"], &around), Some("/t/debug/x".into()));
        assert_eq!(place(&[output, "/lib/libtest-1.rlib"], &around), None);
        let example = "-o/t/debug/examples/x-0123456789abcdef";
        let wanted = Some("/t/debug/examples/x".into());
        assert_eq!(place(&[example, "x.o"], &around), wanted);
        assert_eq!(place(&["-o/t/examples/x", "x.o"], &around), None);
        assert_eq!(place(&["-ox", "x.o"], &around), None);
        assert_eq!(place(&[output, "x.o"], &Surroundings::default()), None);
    }

    #[test]
    fn some_take_the_program_away() {
        let around = Surroundings {
            cwd: "/src/go-builder".into(),
            ..Surroundings::default()
        };
        let output = "/tmp/go-build123/b001/exe/a.out";
        assert!(passing(Path::new(output), &around));
        assert!(!passing(Path::new("a.out"), &around));
        let installed = "/tmp/cargo-installq1W2e3/release/deps/x-0123456789abcdef";
        assert!(passing(Path::new(installed), &around));
        let words = ["-o", output, "/tmp/go-link-1/go.o"];
        assert_eq!(mode(&words), image(&format!("{output}.ukl")));
    }

    #[test]
    fn the_environment_overrides_the_probes() {
        let around = |value: &str| Surroundings {
            ukl_image: Some(value.into()),
            ..Surroundings::default()
        };
        let args = Args::parse(["-oconftest", "x.o"].map(OsString::from));
        assert_eq!(
            decide(&args, &UklOptions::default(), &around("1")),
            image("conftest.ukl")
        );
        let args = Args::parse(["-oprog", "x.o"].map(OsString::from));
        assert!(matches!(
            decide(&args, &UklOptions::default(), &around("0")),
            Mode::Host(_)
        ));
    }

    #[test]
    fn the_environment_makes_no_image_of_a_library() {
        let around = Surroundings {
            ukl_image: Some("1".into()),
            ..Surroundings::default()
        };
        let args = Args::parse(["-shared", "x.o"].map(OsString::from));
        assert!(matches!(
            decide(&args, &UklOptions::default(), &around),
            Mode::Host(_)
        ));
    }

    #[test]
    fn dev_null_has_none() {
        assert!(matches!(mode(&["-o", "/dev/null", "x.o"]), Mode::Host(_)));
    }

    #[test]
    fn firmware_has_none() {
        assert!(matches!(mode(&["-T", "x.ld", "x.o"]), Mode::Host(_)));
        assert_eq!(
            mode(&["-T", "x.ld", "/lib/crt1.o", "x.o"]),
            image("a.out.ukl")
        );
    }
}
