//! Asks a replica on this host whether it serves: an empty image has no other program to ask.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::settings::{Settings, SettingsError, parse_address};

const TIMEOUT: Duration = Duration::from_secs(2);

/// Where the control interface of a replica with these settings is reached from its own host.
pub fn control_address(settings: &Settings) -> Result<SocketAddr, SettingsError> {
    let mut address = parse_address("listen.control", &settings.listen.control)?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(address)
}

/// Succeeds when `GET /healthz` answers 200.
pub fn check(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut status = [0_u8; 12];
    stream.read_exact(&mut status)?;
    if &status == b"HTTP/1.1 200" {
        return Ok(());
    }
    Err(io::Error::other("the control interface is not healthy"))
}
