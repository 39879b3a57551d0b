//! An HTTP client for one request per connection.

use std::io;
use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;

use crate::tools::patient;

/// QEMU's user network resets connections that it does not get to at once, before the guest has seen
/// them (docs/bugs.md).
const TRIES: u32 = 5;

/// One request; the status and the body.
pub fn get(port: u16, path: &str) -> Result<(u16, String)> {
    request(port, "GET", path, "")
}

/// One request with a body; the status and the answer's body.
pub fn post(port: u16, path: &str, body: &str) -> Result<(u16, String)> {
    request(port, "POST", path, body)
}

fn request(port: u16, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    for _ in 0..TRIES {
        match exchange(port, method, path, body) {
            Err((error, 0)) if error.kind() == ErrorKind::ConnectionReset => {}
            Err((error, _)) => return Err(error.into()),
            Ok(text) => return answer(text),
        }
    }
    bail!("{TRIES} times the connection was reset before there was an answer")
}

/// Returns the answer as received. An error comes with the number of bytes received before it.
fn exchange(
    port: u16,
    method: &str,
    path: &str,
    body: &str,
) -> std::result::Result<Vec<u8>, (io::Error, usize)> {
    let mut text = Vec::new();
    let mut talk = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(patient(Duration::from_secs(60))))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: guest\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        stream.read_to_end(&mut text)
    };
    match talk() {
        Ok(_) => Ok(text),
        Err(error) => Err((error, text.len())),
    }
}

fn answer(text: Vec<u8>) -> Result<(u16, String)> {
    let text = String::from_utf8(text)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("not an answer: {text}");
    };
    let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok((status, body.to_owned()))
}
