//! The error message for a shared library without a static counterpart.

use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use crate::error::Error;

/// Sanitizers whose runtime works only in dynamically linked programs.
const SANITIZERS: &[&str] = &["asan", "hwasan", "lsan", "msan", "tsan"];

/// The error for gcc's runtime of such a sanitizer, by the name of the library.
pub fn sanitizer(library: &[u8]) -> Option<Error> {
    let name = SANITIZERS.iter().find(|name| name.as_bytes() == library)?;
    Some(unsupported(&format!("-l{name}")))
}

/// The same for clang's runtime, by the path of its archive.
pub fn runtime(archive: &Path) -> Option<Error> {
    let name = archive
        .file_name()?
        .to_str()?
        .strip_prefix("libclang_rt.")?;
    let kind = name.split(['.', '-', '_']).next()?;
    SANITIZERS
        .contains(&kind)
        .then(|| unsupported(&archive.display().to_string()))
}

fn unsupported(file: &str) -> Error {
    Error::Input {
        file: file.to_owned(),
        what: "this sanitizer works only in dynamically linked programs, and the program of an \
               image is static; build without it, or set UKL_IMAGE=0 to make only the host program"
            .into(),
    }
}

/// The message: which library is missing, which symbols need it, and what to install or do. `gone`
/// is an input of the library's own link that no longer exists.
pub fn message(asked: &str, shared: &Path, used: &[&str], gone: Option<&str>) -> String {
    let name = shared.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split(".so").next().unwrap_or(&name);
    let archive = format!("{stem}.a");
    let symbols = used.join("', `");
    let only = shared.display();
    let what = format!(
        "{asked}: the image needs a static {archive} (for `{symbols}'), but there is only {only}"
    );
    if let Some(part) = gone {
        return format!(
            "{what}, and {part}, from which it was linked, no longer exists; link it again"
        );
    }
    let advice = match owner(shared) {
        Some(package) if package.ends_with("-dev") => format!(
            "its Debian package {package} has no {archive}; build the library with static \
             libraries (--enable-static, -DBUILD_SHARED_LIBS=OFF) and pass its directory with -L, or \
             disable its use"
        ),
        Some(package) => format!(
            "install the package that contains it (on Debian probably `apt-get install {}')",
            development_package(stem, &package)
        ),
        None => "link it through ukl-ld, too, or build a static library (--enable-static, \
                 -DBUILD_SHARED_LIBS=OFF, meson's -Ddefault_library=static)"
            .to_owned(),
    };
    format!("{what}; {advice}")
}

/// The Debian package that a file belongs to.
fn owner(path: &Path) -> Option<String> {
    // Paths of gcc contain `..', which dpkg does not understand. The link libfoo.so belongs to the
    // development package, and its target does not, so do not resolve the last part.
    let dir = path.parent().and_then(|dir| dir.canonicalize().ok());
    let plain = dir.zip(path.file_name()).map(|(dir, name)| dir.join(name));
    let real = path.canonicalize().ok();
    [plain, real].into_iter().flatten().find_map(|path| {
        let mut command = Command::new("dpkg-query");
        command
            .arg("-S")
            .arg(path)
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        let output = command
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let text = String::from_utf8(output.stdout).ok()?;
        let package = text.lines().find(|line| !line.starts_with("diversion"))?;
        Some(package.split([':', ',']).next()?.to_owned())
    })
}

/// The usual name of Debian's development package: libfoo-dev for libfoo1.
fn development_package(stem: &str, package: &str) -> String {
    if package.starts_with(stem) {
        return format!("{stem}-dev");
    }
    format!(
        "{}-dev",
        package.trim_end_matches(|last: char| last.is_ascii_digit())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_packages_drop_the_number() {
        assert_eq!(development_package("libz", "zlib1g"), "zlib1g-dev");
        assert_eq!(development_package("libfoo", "libfoo3"), "libfoo-dev");
    }
}
