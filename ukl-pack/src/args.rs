//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use ukl_common::options::host_and_guest;
use ukl_proto::image_conf::Port;
use ukl_proto::words;

const ENVIRONMENT: &str = "\
Environment:
  UKL_LIBDIR  The directory with kernel/ and init, instead of the installation's";

/// Makes a bootable image of an installed program, a directory tree, a container image or Debian
/// packages.
///
/// The program is not linked again: the image has the program's file, its dynamic loader and its
/// shared libraries. The kernel starts it at ring 0. A script's interpreter starts at ring 0 in
/// place of the script. Other programs in the image are ordinary processes, unless --ring0 names
/// them.
///
/// ukl-run runs the image. Arguments that are given here come before those of ukl-run.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ukl-pack",
    version,
    after_help = ENVIRONMENT,
    override_usage = "ukl-pack -o FILE [OPTION]... PROGRAM [ARGUMENT]...\n       \
                      ukl-pack -o FILE --rootfs DIR|TAR [--entry COMMAND] [OPTION]...",
    max_term_width = 100
)]
pub struct Args {
    /// Write the image to this file.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// Use a directory, a tar archive (also .tar.gz, .tar.xz, .tar.zst), an archive of `docker
    /// save' or an OCI image layout as the root directory, instead of files of the host.
    #[arg(long, value_name = "DIR|TAR")]
    pub rootfs: Option<PathBuf>,

    /// Run this command of the root directory, instead of the container image's.
    #[arg(long, value_name = "COMMAND", conflicts_with = "command", value_parser = command)]
    pub entry: Option<Command>,

    /// Use a Debian package and all packages that it depends on as the root directory. They are
    /// downloaded by apt-get and not installed.
    #[arg(long, value_name = "NAME", conflicts_with = "rootfs")]
    pub package: Vec<String>,

    /// Start programs in the image whose path matches this pattern at ring 0, too.
    #[arg(long, value_name = "PATTERN")]
    pub ring0: Vec<String>,

    /// Copy a file or a directory tree of the host into the image; without GUEST, to the same path.
    #[arg(long, value_name = "HOST[:GUEST]", value_parser = add)]
    pub add: Vec<Add>,

    /// Set a variable in the program's environment.
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// The program's working directory.
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// The user, and group, that the program runs as: names or numbers.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,

    /// A port that the program serves, which `ukl-run --publish-all' forwards.
    #[arg(long, value_name = "PORT[/udp]", value_parser = port)]
    pub expose: Vec<Port>,

    /// Copy the host's time zones (/usr/share/zoneinfo) into the image. --env TZ=... implies it.
    #[arg(long)]
    pub zoneinfo: bool,

    /// Which processes may start programs at ring 0: those with CAP_SYS_MODULE, or all. --user
    /// implies `anyone'.
    #[arg(long, value_name = "WHO", value_parser = ["privileged", "anyone"])]
    pub start: Option<String>,

    /// Add parameters to the image's kernel command line.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub cmdline: Option<String>,

    /// Use this kernel archive.
    #[arg(long, value_name = "DIR")]
    pub kernel: Option<PathBuf>,

    /// Print each file at ring 0 and the number of files.
    #[arg(short, long)]
    pub verbose: bool,

    /// The program, and its first arguments.
    #[arg(value_name = "PROGRAM", num_args = 0.., trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// A file to add: its path on the host and in the guest.
pub type Add = (PathBuf, String);

/// A command as words.
pub type Command = Vec<OsString>;

fn command(text: &str) -> Result<Command, String> {
    let words = words::split(text.as_bytes());
    words.ok_or_else(|| "not a command: it is empty, or a quote is open".into())
}

fn add(text: &str) -> Result<Add, String> {
    if let Some(pair) = host_and_guest(text) {
        return Ok(pair);
    }
    let path = PathBuf::from(text);
    let full = path.canonicalize().map_err(|error| error.to_string())?;
    let guest = match path.is_absolute() {
        true => text.to_owned(),
        false => full
            .to_str()
            .ok_or("not UTF-8; give a path in the guest")?
            .to_owned(),
    };
    Ok((path, guest))
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    let variable = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = variable.ok_or("not NAME=VALUE")?;
    Ok((name.into(), value.into()))
}

fn port(text: &str) -> Result<Port, &'static str> {
    Port::parse(text).ok_or("not a port, such as 80 or 53/udp")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn read(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(["ukl-pack", "-o", "x.ukl"].iter().chain(words))
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_follows_the_program_is_the_programs() {
        let args = read(&["--env", "A=b=c", "/bin/echo", "-n", "--env", "x"]).unwrap();
        assert_eq!(args.command, ["/bin/echo", "-n", "--env", "x"]);
        assert_eq!(args.env, [("A".into(), "b=c".into())]);
        let args = read(&["--rootfs", "d", "--entry", "a 'b c'"]).unwrap();
        assert_eq!(args.entry.unwrap(), ["a", "b c"]);
    }

    #[test]
    fn a_file_to_add_has_a_path_in_the_guest() {
        let add = |text| read(&["--add", text, "p"]).map(|args| args.add[0].clone());
        assert_eq!(add("a:/b").unwrap(), ("a".into(), "/b".into()));
        assert_eq!(add("/etc/./passwd").unwrap().1, "/etc/./passwd");
        assert!(
            add("Cargo.toml")
                .unwrap()
                .1
                .ends_with("/ukl-pack/Cargo.toml")
        );
        assert!(add("/nonexistent").is_err());
        assert!(add("a:b").is_err());
    }

    #[test]
    fn bad_arguments_are_refused() {
        for words in [
            &["--env", "A", "p"][..],
            &["--env", "=x", "p"],
            &["--entry", "'x"],
            &["--entry", "a", "p"],
            &["--expose", "0", "p"],
            &["--package", "a", "--rootfs", "b"],
            &["--start", "nobody", "p"],
            &["--nonsense", "p"],
        ] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
