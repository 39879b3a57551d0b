//! Files that libraries read at run time, which no dynamic section names.

use std::collections::BTreeSet;

use crate::elf;
use crate::elf::Kind;
use crate::error::Result;
use crate::root::Root;

/// The files and directories that a library needs, by the beginning of the library's name.
const RULES: [(&str, &[&str]); 5] = [
    // Certificates: the directory is that of OpenSSL in Debian, which leads to /etc/ssl.
    (
        "libssl.so",
        &[
            "/usr/lib/ssl/openssl.cnf",
            "/usr/lib/ssl/certs/ca-certificates.crt",
            "/usr/lib/ssl/cert.pem",
            "/etc/ssl/openssl.cnf",
            "/etc/ssl/certs/ca-certificates.crt",
        ],
    ),
    (
        "libgnutls.so",
        &["/etc/ssl/certs/ca-certificates.crt", "/etc/gnutls/config"],
    ),
    // Terminal descriptions.
    ("libtinfo.so", &["/lib/terminfo", "/etc/terminfo"]),
    // The locale C.UTF-8 (Debian has it in libc-bin).
    ("libc.so.6", &["/usr/lib/locale/C.utf8"]),
    // Name services that are loaded by name (nsswitch.conf(5)).
    (
        "libc.so.6",
        &[
            "/lib/x86_64-linux-gnu/libnss_files.so.2",
            "/lib/x86_64-linux-gnu/libnss_dns.so.2",
            "/lib64/libnss_files.so.2",
            "/lib64/libnss_dns.so.2",
        ],
    ),
];

/// The directories with glibc's character sets.
const GCONV: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/gconv", "/usr/lib64/gconv"];

/// Copies the files that these objects need and that the host has. Each path has no symbolic links.
pub fn add(root: &mut Root, objects: &BTreeSet<Vec<u8>>) -> Result<()> {
    let names: Vec<&[u8]> = objects
        .iter()
        .filter_map(|path| path.rsplit(|byte| *byte == b'/').next())
        .collect();
    for (name, paths) in RULES {
        if !names.iter().any(|other| other.starts_with(name.as_bytes())) {
            continue;
        }
        for path in paths {
            root.find_all(path.as_bytes())?;
        }
    }
    let uses_iconv =
        |path: &Vec<u8>| matches!(elf::read(root.data(path)), Kind::Elf(elf) if elf.uses_iconv);
    if objects.iter().any(uses_iconv) {
        for dir in GCONV {
            root.find_all(dir.as_bytes())?;
        }
    }
    Ok(())
}
