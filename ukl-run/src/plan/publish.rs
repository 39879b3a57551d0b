//! The ports that an image names as served.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use ukl_image::payload::Payload;
use ukl_proto::image_conf::Port;

use crate::args::values::Forward;
use crate::args::values::Protocol;
use crate::error::Error;
use crate::error::Result;

/// A forward from the same port of 127.0.0.1 for each port that the image serves and that is not
/// forwarded already.
pub fn all(image: &Path, forwarded: &[Forward]) -> Result<Vec<Forward>> {
    let data = fs::read(image).map_err(Error::file(image))?;
    let conf = Payload::read(&data).and_then(|payload| payload.conf());
    let conf = conf.ok_or_else(|| {
        Error::Request(format!(
            "{}: --publish-all: its configuration cannot be read; forward ports with --publish",
            image.display()
        ))
    })?;
    Ok(missing(&conf.ports, forwarded))
}

fn missing(ports: &[Port], forwarded: &[Forward]) -> Vec<Forward> {
    let forwards = ports.iter().map(|port| Forward {
        address: Ipv4Addr::LOCALHOST,
        host: port.number,
        guest: port.number,
        protocol: if port.udp {
            Protocol::Udp
        } else {
            Protocol::Tcp
        },
    });
    let is_new = |new: &Forward| {
        let same = |old: &Forward| (old.guest, old.protocol) == (new.guest, new.protocol);
        !forwarded.iter().any(same)
    };
    forwards.filter(is_new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_forwarded_once() {
        let ports: Vec<Port> = ["80", "443", "80/udp"]
            .iter()
            .map(|text| Port::parse(text).unwrap())
            .collect();
        let given: Forward = "8080:80".parse().unwrap();
        let expected: Vec<Forward> = ["443:443", "80:80/udp"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(missing(&ports, &[given]), expected);
    }

    #[test]
    fn a_file_without_a_configuration_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.ukl");
        fs::write(&path, "no image").unwrap();
        let error = all(&path, &[]).unwrap_err().to_string();
        assert!(error.contains("--publish-all"), "{error}");
    }
}
