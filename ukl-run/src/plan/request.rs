//! The request to init: the program's arguments, environment and directories.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::fs;
use std::num::NonZeroU8;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::path::PathBuf;

use ukl_proto::policy::Policy;
use ukl_proto::run;
use ukl_proto::run::Address;
use ukl_proto::run::Link;
use ukl_proto::run::Mount;
use ukl_proto::run::Network;
use ukl_proto::run::Ring;
use ukl_proto::run::Run;

use crate::args::Args;
use crate::error::Error;
use crate::error::Result;
use crate::terminal;

/// The guest's address in QEMU's user network (`-netdev user`).
const NETWORK: &str = "10.0.2.15/24,10.0.2.2,10.0.2.3";
/// The directories of the host that tools need.
const TOOLS: &[&str] = &["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc"];

/// How the program's streams are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Each has its own port.
    Ports {
        /// Whether stderr goes where stdout goes.
        merged: bool,
    },
    /// They are a terminal, connected to the caller's.
    Tty,
}

/// A directory that QEMU serves to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The directory.
    pub host: PathBuf,
    /// The name by which the guest asks for it.
    pub tag: String,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// What to run, and the directories that QEMU has to serve for it.
pub fn build(args: &Args, stdio: Stdio) -> Result<(Run, Vec<Share>)> {
    let mut request = Request {
        run: Run {
            args: args.command[1..].to_vec(),
            cwd: args.workdir.clone(),
            ring: if args.ring3 { Ring::Three } else { Ring::Zero },
            beside: args.beside.iter().map(|words| words.0.clone()).collect(),
            wrap: args.wrap.clone().map_or(Vec::new(), |words| words.0),
            policy: Policy {
                transition: args.transition,
                bypass_limit: args.bypass_limit.and_then(NonZeroU8::new),
                return_by: args.return_by,
                stack: args.stack,
            },
            ..Run::default()
        },
        shares: Vec::new(),
    };
    if !args.no_net
        && let Some(address) = Address::parse(NETWORK)
    {
        request.run.network = Network::Static(address);
    }
    match stdio {
        Stdio::Ports { merged } => {
            request.run.stdio = run::Stdio::Ports;
            request.run.merge_stderr = merged;
        }
        Stdio::Tty => {
            request.run.stdio = run::Stdio::Tty;
            request.run.window = terminal::size();
            let term = std::env::var_os("TERM");
            let term = term.map(|term| ("TERM".into(), term));
            request.run.env.extend(term);
        }
    }
    for variable in &args.env {
        request.run.env.extend(environment(variable)?);
    }
    if args.host_tools {
        request.add_host_tools()?;
    }
    request.add_volumes(args)?;
    Ok((request.run, request.shares))
}

struct Request {
    run: Run,
    shares: Vec<Share>,
}

impl Request {
    fn add_volumes(&mut self, args: &Args) -> Result<()> {
        for (index, volume) in args.volume.iter().enumerate() {
            let host = volume
                .host
                .canonicalize()
                .map_err(Error::file(&volume.host))?;
            if !host.is_dir() {
                return Err(Error::Request(format!(
                    "{}: not a directory; only directories can be volumes",
                    host.display()
                )));
            }
            let (tag, read_only) = (format!("volume{index}"), volume.read_only);
            self.run.mounts.push(Mount {
                tag: tag.clone(),
                dir: volume.guest.clone().into(),
                writable: !read_only,
                cached: false,
            });
            self.shares.push(Share {
                host,
                tag,
                read_only,
            });
        }
        Ok(())
    }

    fn add_host_tools(&mut self) -> Result<()> {
        for path in TOOLS.iter().map(Path::new) {
            let Ok(meta) = path.symlink_metadata() else {
                continue;
            };
            if meta.is_symlink() {
                let target = fs::read_link(path).map_err(Error::file(path))?;
                self.run.links.push(Link {
                    path: path.to_path_buf(),
                    target,
                });
            } else if meta.is_dir() {
                let tag = format!("tools{}", self.shares.len());
                self.run.mounts.push(Mount {
                    tag: tag.clone(),
                    dir: path.to_path_buf(),
                    writable: false,
                    cached: true,
                });
                self.shares.push(Share {
                    host: path.to_path_buf(),
                    tag,
                    read_only: true,
                });
            }
        }
        Ok(())
    }
}

/// A variable of the environment: `NAME=VALUE`, or `NAME` with its value on the host. `None` if it
/// is not set there.
fn environment(variable: &OsStr) -> Result<Option<(OsString, OsString)>> {
    let bytes = variable.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(0) => Err(Error::Request(format!(
            "-e {}: a variable needs a name",
            variable.display()
        ))),
        Some(at) => {
            let part = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
            Ok(Some((part(&bytes[..at]), part(&bytes[at + 1..]))))
        }
        None if variable.is_empty() => Err(Error::Request("-e: a variable needs a name".into())),
        None => Ok(std::env::var_os(variable).map(|value| (variable.to_owned(), value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let value = |text: &str| environment(OsStr::new(text));
        assert_eq!(value("A=b=c").unwrap(), Some(("A".into(), "b=c".into())));
        assert_eq!(value("A=").unwrap(), Some(("A".into(), "".into())));
        assert_eq!(value("UKL_RUN_NO_SUCH_VARIABLE").unwrap(), None);
        let (name, path) = value("PATH").unwrap().unwrap();
        assert_eq!(
            (name, Some(path)),
            ("PATH".into(), std::env::var_os("PATH"))
        );
        assert!(value("=x").is_err());
        assert!(value("").is_err());
    }

    #[test]
    fn the_network_is_an_address() {
        assert!(Address::parse(NETWORK).is_some());
    }
}
