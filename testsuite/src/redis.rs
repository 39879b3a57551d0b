//! A client of redis.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::process::WAIT;
use crate::tools::patient;

/// A connection to a redis server.
#[derive(Debug)]
pub struct Redis {
    lines: BufReader<TcpStream>,
}

impl Redis {
    /// Connects, and makes sure that the server answers.
    pub fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(patient(Duration::from_secs(60)) * WAIT))?;
        stream.set_nodelay(true)?;
        let mut redis = Redis {
            lines: BufReader::new(stream),
        };
        let pong = redis.command(&["PING"])?;
        ensure!(pong == "PONG", "PING: {pong}");
        Ok(redis)
    }

    /// Sends one command and returns its reply, `(nil)` for none.
    pub fn command(&mut self, words: &[&str]) -> Result<String> {
        self.send(words)?;
        self.reply()
    }

    /// Sends one command.
    pub fn send(&mut self, words: &[&str]) -> Result<()> {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.lines.get_ref().write_all(text.as_bytes())?;
        Ok(())
    }

    /// Reads the next reply.
    pub fn reply(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "redis hung up");
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+" | ":", text)) => Ok(text.to_owned()),
            Some(("-", text)) => bail!("redis: {text}"),
            Some(("$", "-1")) => Ok("(nil)".into()),
            Some(("$", length)) => {
                let mut data = vec![0; length.parse::<usize>()? + 2];
                self.lines.read_exact(&mut data)?;
                data.truncate(data.len() - 2);
                Ok(String::from_utf8(data)?)
            }
            _ => bail!("redis: reply `{line}` is not understood here"),
        }
    }
}
