//! A relay between the clients on this machine and the server in a guest.
//!
//! QEMU's user network listens on a forwarded port with a backlog of one. While QEMU does something
//! else, a further connection loses its packets, and comes seconds later or is reset, without the
//! guest having seen it (docs/bugs.md). The relay listens with a longer backlog, and connects to QEMU
//! only when QEMU has accepted all connections before. So any client may open many connections at
//! once, and a connection that is reset was reset by the guest.

use std::fs;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// The state of a listening socket in /proc/net/tcp, `TCP_LISTEN` of net/tcp_states.h.
const LISTEN: &str = "0A";

/// A relay, which accepts connections until it is dropped. Connections that exist then live on.
#[derive(Debug)]
pub struct Relay {
    /// The port for clients.
    pub port: u16,
    over: Arc<AtomicBool>,
}

impl Relay {
    /// Starts a relay to this port of 127.0.0.1.
    pub fn start(to: u16) -> io::Result<Relay> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                // QEMU has gone, or has not come yet: the client sees that its connection ends.
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
                    continue;
                };
                let _ = join(client, server);
                while waiting(to) > 0 && !is_over.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Ok(Relay { port, over })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Ends the wait for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// How many connections to a port the process that listens there has not accepted yet. For a
/// listening socket, the kernel shows this as the length of its receive queue (`tcp_get_info()` and
/// `get_tcp4_sock()` of net/ipv4).
fn waiting(port: u16) -> u32 {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table
        .lines()
        .find_map(|line| waiting_in(line, port))
        .unwrap_or(0)
}

/// The same from a line of /proc/net/tcp, if it is about this port.
fn waiting_in(line: &str, port: u16) -> Option<u32> {
    let mut words = line.split_whitespace().skip(1);
    let (_, local_port) = words.next()?.split_once(':')?;
    let (_, state) = (words.next()?, words.next()?);
    let (_, received) = words.next()?.split_once(':')?;
    let is_it = state == LISTEN && u16::from_str_radix(local_port, 16) == Ok(port);
    let count = u32::from_str_radix(received, 16).ok()?;
    is_it.then_some(count)
}

/// Copies between two connections, in both directions, until both directions have ended.
fn join(client: TcpStream, server: TcpStream) -> io::Result<()> {
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (client2, server2) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(client, server));
    thread::spawn(move || copy(server2, client2));
    Ok(())
}

/// Copies in one direction. An end is passed on as an end, and an error as a reset.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16384];
    loop {
        let result = from.read(&mut buffer).and_then(|count| {
            to.write_all(&buffer[..count])?;
            Ok(count)
        });
        match result {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                for stream in [&from, &to] {
                    reset(stream);
                    // Wakes the thread of the other direction, which closes the connection then.
                    let _ = stream.shutdown(Shutdown::Read);
                }
                return;
            }
        }
    }
}

/// Has the connection end by a reset when it is closed, by socket(7) `SO_LINGER`.
fn reset(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option's value is a `struct linger` of that size. `TcpStream::set_linger()` is not
    // stable.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_backlog_of_a_listener() {
        let line =
            "   1: 0100007F:3FFB 00000000:0000 0A 00000000:00000002 00:00000000 00000000 0 0 1";
        assert_eq!(waiting_in(line, 0x3ffb), Some(2));
        assert_eq!(waiting_in(line, 0x3ffc), None);
        assert_eq!(waiting_in(&line.replace(" 0A ", " 01 "), 0x3ffb), None);
        let title = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt";
        assert_eq!(waiting_in(title, 0x3ffb), None);
    }

    #[test]
    fn one_connection_at_a_time_waits_to_be_accepted() {
        const CLIENTS: u8 = 20;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Relay::start(port).unwrap();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let mut stream = TcpStream::connect(("127.0.0.1", relay.port)).unwrap();
                stream.write_all(&[number]).unwrap();
                stream
            })
            .collect();
        for _ in 0..CLIENTS {
            while waiting(port) == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(20));
            assert_eq!(waiting(port), 1);
            let (mut server, _) = listener.accept().unwrap();
            let mut byte = [0];
            server.read_exact(&mut byte).unwrap();
            server.write_all(&[byte[0] + 100]).unwrap();
        }
        for (number, mut client) in clients.into_iter().enumerate() {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, [number as u8 + 100]);
        }
    }

    #[test]
    fn ends_and_resets_are_passed_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay::start(listener.local_addr().unwrap().port()).unwrap();
        let connect = || {
            let client = TcpStream::connect(("127.0.0.1", relay.port)).unwrap();
            (client, listener.accept().unwrap().0)
        };
        // The client ends its half, and still gets an answer.
        let (mut client, mut server) = connect();
        client.write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        server.write_all(b"answer").unwrap();
        drop(server);
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
        let (mut client, server) = connect();
        reset(&server);
        drop(server);
        let error = client.read_to_string(&mut text).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
