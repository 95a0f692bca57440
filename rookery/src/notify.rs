//! What the service manager is told (systemd's `Type=notify`): ready, stopping, and, for
//! its watchdog, that all is alive. Without one nothing happens.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service serves.
pub const READY: &str = "READY=1";
/// The service is about to end.
pub const STOPPING: &str = "STOPPING=1";
/// The service is alive.
pub const ALIVE: &str = "WATCHDOG=1";

/// Tells the service manager, if there is one that wants to know.
pub fn tell(what: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(e) = send(socket.as_bytes(), what) {
        tracing::warn!("the service manager is not told {what}: {e}");
    }
}

fn send(socket: &[u8], what: &str) -> std::io::Result<()> {
    // `@` stands for the NUL of an abstract name.
    let to = match socket.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(what.as_bytes(), &to).map(|_| ())
}

/// How often the watchdog wants to hear of us; `None`: there is none.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    // Half of its patience, as sd_watchdog_enabled(3) advises.
    let us = number("WATCHDOG_USEC").filter(|us| is_ours && *us > 0)?;
    Some(Duration::from_micros(us / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_goes_to_a_path_and_to_an_abstract_name() {
        let pid = std::process::id();
        let path = std::env::temp_dir().join(format!("rookery-notify-{pid}"));
        let by_path = UnixDatagram::bind(&path).expect("binds");
        let name = format!("rookery-notify-{pid}");
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let by_name = UnixDatagram::bind_addr(&address).expect("binds");
        send(path.as_os_str().as_bytes(), READY).expect("sends");
        send(format!("@{name}").as_bytes(), ALIVE).expect("sends");
        let mut buf = [0; 64];
        for (socket, want) in [(by_path, READY), (by_name, ALIVE)] {
            let n = socket.recv(&mut buf).expect("comes");
            assert_eq!(&buf[..n], want.as_bytes());
        }
        std::fs::remove_file(&path).expect("is there");
        assert!(send(path.as_os_str().as_bytes(), READY).is_err(), "nobody listens");
    }
}
