//! A small DHCP client (RFC 2131) that gets one lease at boot and never renews it. It is needed
//! only for boots without ukl-run, which passes the address to init.

use std::io;
use std::net::Ipv4Addr;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::time::Duration;
use std::time::Instant;

use ukl_proto::run::Address;

use crate::sys;

const PATIENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(500);

const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const OPTIONS: usize = 240;
/// Message types.
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
/// Options.
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const DNS: u8 = 6;
const WANTED: u8 = 50;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;

/// Gets an address for the interface `name`, which must be up.
pub fn lease(name: &str, mac: [u8; 6]) -> io::Result<Address> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68))?;
    socket.set_broadcast(true)?;
    socket.set_read_timeout(Some(RETRY))?;
    // There are no routes yet, so the socket is bound to the interface. SAFETY: a pointer and its
    // length.
    sys::check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    })?;
    let id = std::process::id() ^ u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]]);
    let start = Instant::now();
    let mut offer = None;
    while start.elapsed() < PATIENCE {
        socket.send_to(&message(id, mac, offer.as_ref()), (Ipv4Addr::BROADCAST, 67))?;
        let mut buffer = [0; 1500];
        let Ok(count) = socket.recv(&mut buffer) else {
            continue;
        };
        let Some(answer) = Answer::parse(&buffer[..count], id) else {
            continue;
        };
        match answer.kind {
            ACK if offer.is_some() => return Ok(answer.address()),
            OFFER => offer = Some(answer),
            // The server refused the request, so start again.
            _ => offer = None,
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "no DHCP server answers",
    ))
}

/// The message to send: a request for the offer, or a discovery if there is none.
fn message(id: u32, mac: [u8; 6], offer: Option<&Answer>) -> Vec<u8> {
    let mut out = vec![0; OPTIONS];
    out[..4].copy_from_slice(&[1, 1, 6, 0]);
    out[4..8].copy_from_slice(&id.to_be_bytes());
    out[10] = 0x80; // answer by broadcast: we have no address yet
    out[28..34].copy_from_slice(&mac);
    out[236..240].copy_from_slice(&COOKIE);
    out.extend_from_slice(&[KIND, 1, if offer.is_some() { REQUEST } else { DISCOVER }]);
    if let Some(offer) = offer {
        out.extend_from_slice(&[WANTED, 4]);
        out.extend_from_slice(&offer.yours.octets());
        if let Some(server) = offer.server {
            out.extend_from_slice(&[SERVER, 4]);
            out.extend_from_slice(&server.octets());
        }
    }
    out.extend_from_slice(&[PARAMETERS, 3, MASK, ROUTER, DNS, 255]);
    // Old servers drop messages that are shorter than a BOOTP message, so pad it.
    out.resize(out.len().max(300), 0);
    out
}

#[derive(Debug)]
struct Answer {
    kind: u8,
    yours: Ipv4Addr,
    mask: Option<Ipv4Addr>,
    router: Option<Ipv4Addr>,
    dns: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

impl Answer {
    fn parse(data: &[u8], id: u32) -> Option<Self> {
        if data.first() != Some(&2)
            || data.get(4..8)? != id.to_be_bytes()
            || data.get(236..240)? != COOKIE
        {
            return None;
        }
        let ip = |bytes: &[u8]| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?));
        let mut answer = Answer {
            kind: 0,
            yours: ip(&data[16..])?,
            mask: None,
            router: None,
            dns: None,
            server: None,
        };
        let mut rest = &data[OPTIONS..];
        while let Some((code, after)) = rest.split_first() {
            match *code {
                0 => rest = after,
                255 => break,
                code => {
                    let (length, after) = after.split_first()?;
                    let value = after.get(..usize::from(*length))?;
                    match code {
                        KIND => answer.kind = *value.first()?,
                        MASK => answer.mask = ip(value),
                        ROUTER => answer.router = ip(value),
                        DNS => answer.dns = ip(value),
                        SERVER => answer.server = ip(value),
                        _ => {}
                    }
                    rest = &after[usize::from(*length)..];
                }
            }
        }
        Some(answer)
    }

    fn address(&self) -> Address {
        let mask = self.mask.unwrap_or(Ipv4Addr::new(255, 255, 255, 0));
        Address {
            address: self.yours,
            prefix: u32::from(mask).leading_ones() as u8,
            gateway: self.router,
            dns: self.dns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(options: &[u8]) -> Vec<u8> {
        let mut data = message(7, [1, 2, 3, 4, 5, 6], None);
        data.truncate(OPTIONS);
        data[0] = 2;
        data[16..20].copy_from_slice(&[10, 0, 2, 15]);
        data.extend_from_slice(options);
        data
    }

    #[test]
    fn an_answer_is_understood() {
        let data = answer(&[
            0, KIND, 1, ACK, MASK, 4, 255, 255, 240, 0, ROUTER, 4, 10, 0, 2, 2, DNS, 8, 10, 0, 2,
            3, 1, 1, 1, 1, 255,
        ]);
        let answer = Answer::parse(&data, 7).unwrap();
        assert_eq!(answer.kind, ACK);
        let address = answer.address();
        assert_eq!(
            (address.address, address.prefix),
            (Ipv4Addr::new(10, 0, 2, 15), 20)
        );
        assert_eq!(address.gateway, Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(address.dns, Some(Ipv4Addr::new(10, 0, 2, 3)));
    }

    #[test]
    fn other_answers_are_ignored() {
        assert!(Answer::parse(&answer(&[255]), 8).is_none());
        assert!(Answer::parse(&message(7, [0; 6], None), 7).is_none());
        let good = answer(&[KIND, 1, ACK, MASK, 4, 255, 255, 255, 0]);
        for length in 0..good.len() {
            // No truncation causes a panic.
            let _ = Answer::parse(&good[..length], 7);
        }
    }
}
