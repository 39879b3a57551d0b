//! Configures loopback and the network card.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;

use ukl_proto::run::Address;
use ukl_proto::run::Network;

use crate::dhcp;
use crate::say;
use crate::sys;

/// The names and addresses of hosts (hosts(5)).
const HOSTS: &str = "/etc/hosts";

/// Adds the machine's own name to /etc/hosts, because programs look it up.
pub fn add_host(name: &str) {
    let hosts = fs::read_to_string(HOSTS).unwrap_or_default();
    if has_host(&hosts, name) {
        return;
    }
    let end = if hosts.is_empty() || hosts.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    if let Err(error) = fs::write(HOSTS, format!("{hosts}{end}127.0.1.1 {name}\n")) {
        say(format_args!("warning: {HOSTS}: {error}"));
    }
}

fn has_host(hosts: &str, name: &str) -> bool {
    let names = |line: &str| {
        let entry = line.split('#').next().unwrap_or_default().to_owned();
        entry.split_whitespace().skip(1).any(|known| known == name)
    };
    hosts.lines().any(names)
}

/// Brings the network up. A failure is only a warning, because not every program needs a network.
pub fn bring_up(network: &Network) {
    if let Err(error) = try_bring_up(network) {
        say(format_args!("warning: the network is not up: {error}"));
    }
}

fn try_bring_up(network: &Network) -> io::Result<()> {
    // Any socket can be used for requests about interfaces.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let socket = socket.as_fd();
    Interface { socket, name: "lo" }.up()?;
    let Some(name) = card() else { return Ok(()) };
    let card = Interface {
        socket,
        name: &name,
    };
    let address = match network {
        Network::Static(address) => *address,
        Network::Dhcp => {
            card.up()?;
            dhcp::lease(&name, card.mac()?)?
        }
    };
    card.configure(&address)?;
    if let Some(dns) = address.dns {
        fs::write("/etc/resolv.conf", format!("nameserver {dns}\n"))?;
    }
    Ok(())
}

/// The first interface of a device. Loopback and tunnels have no device.
fn card() -> Option<String> {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")
        .ok()?
        .flatten()
        .filter(|entry| entry.path().join("device").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.into_iter().next()
}

struct Interface<'a> {
    socket: BorrowedFd<'a>,
    name: &'a str,
}

impl Interface<'_> {
    fn request(&self) -> libc::ifreq {
        let mut request = sys::zeroed_ifreq();
        let room = request.ifr_name.len() - 1;
        for (to, from) in request
            .ifr_name
            .iter_mut()
            .take(room)
            .zip(self.name.bytes())
        {
            *to = from as libc::c_char;
        }
        request
    }

    fn up(&self) -> io::Result<()> {
        let mut request = self.request();
        sys::interface_ioctl(self.socket, libc::SIOCGIFFLAGS as _, &mut request)?;
        // SAFETY: the call has just set the flags.
        unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
        sys::interface_ioctl(self.socket, libc::SIOCSIFFLAGS as _, &mut request)
    }

    fn mac(&self) -> io::Result<[u8; 6]> {
        let mut request = self.request();
        sys::interface_ioctl(self.socket, libc::SIOCGIFHWADDR as _, &mut request)?;
        // SAFETY: the call has just set the address.
        let data = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
        Ok(std::array::from_fn(|at| data[at] as u8))
    }

    fn configure(&self, address: &Address) -> io::Result<()> {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(address.prefix))
            .unwrap_or(0);
        for (command, value) in [
            (libc::SIOCSIFADDR, address.address),
            (libc::SIOCSIFNETMASK, Ipv4Addr::from(mask)),
        ] {
            let mut request = self.request();
            request.ifr_ifru.ifru_addr = socket_address(value);
            sys::interface_ioctl(self.socket, command as _, &mut request)?;
        }
        self.up()?;
        if let Some(gateway) = address.gateway {
            // SAFETY: all zeros are a valid rtentry.
            let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
            route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
            route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
            route.rt_gateway = socket_address(gateway);
            route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
            sys::add_route(self.socket, &route)?;
        }
        Ok(())
    }
}

/// An address in the form that interface requests need.
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0 as libc::c_char; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_by_any_of_its_names() {
        let hosts = "127.0.0.1 localhost here # ukl\n127.0.1.1\tukl2\n";
        for known in ["localhost", "here", "ukl2"] {
            assert!(has_host(hosts, known), "{known}");
        }
        for unknown in ["ukl", "127.0.0.1", "#"] {
            assert!(!has_host(hosts, unknown), "{unknown}");
        }
    }
}
