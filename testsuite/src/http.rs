//! An HTTP client for one request per connection.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;

use crate::process::WAIT;
use crate::tools::patient;

/// One request; the status and the body.
pub fn get(port: u16, path: &str) -> Result<(u16, String)> {
    request(port, "GET", path, "")
}

/// One request with a body; the status and the answer's body.
pub fn post(port: u16, path: &str, body: &str) -> Result<(u16, String)> {
    request(port, "POST", path, body)
}

fn request(port: u16, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patient(Duration::from_secs(60)) * WAIT))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: guest\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8(text)?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("not an answer: {text}");
    };
    let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok((status, body.to_owned()))
}
