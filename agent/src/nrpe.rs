//! `rookery-agent nrpe-config`: a snippet for `nrpe.d` with a command for each
//! service of this host, for a Nagios server that has nothing but check_nrpe.
//! Debian's nrpe takes no arguments, so all of a command stands in it.

use crate::cli::Outcome;
use crate::config::Config;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Where the package puts check_rookery.
pub const CHECK: &str = "/usr/lib/nagios/plugins/check_rookery";
/// How long the running agent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of its list.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// The snippet, of the services that the running agent offers; `check` is the
/// path of check_rookery.
pub fn nrpe_config(config: &Config, check: &str) -> Outcome {
    let failed = |why: String| Outcome {
        err: format!("rookery-agent: nrpe-config: {why}\n"),
        code: 1,
        ..Outcome::default()
    };
    let addrs = match config.listen.addrs() {
        Ok(addrs) => addrs,
        Err(e) => return failed(e),
    };
    let Some(addr) = addrs.first().map(|a| asked_at(*a)) else {
        let why = "listen = \"none\": check_rookery asks the agent there; give it an address";
        return failed(why.to_owned());
    };
    match list(addr) {
        Ok(services) => {
            Outcome { out: snippet(&services, addr, check).into_bytes(), ..Outcome::default() }
        }
        Err(e) => failed(format!("the agent at {addr}: {e}; is it running?")),
    }
}

/// Where one asks who listens everywhere.
fn asked_at(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// The agent's services, by Munin's protocol.
fn list(addr: SocketAddr) -> io::Result<Vec<String>> {
    let mut to = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    to.set_read_timeout(Some(TIMEOUT))?;
    to.set_write_timeout(Some(TIMEOUT))?;
    let mut from = BufReader::new(io::Read::take(to.try_clone()?, LIST_BYTES_MAX));
    let mut line = String::new();
    from.read_line(&mut line)?;
    if !line.starts_with("# munin node at ") {
        return Err(io::Error::other("it does not greet as a node does"));
    }
    let mut answer = |question: &str| -> io::Result<String> {
        to.write_all(question.as_bytes())?;
        let mut line = String::new();
        from.read_line(&mut line)?;
        Ok(line)
    };
    answer("cap multigraph dirtyconfig\n")?;
    let services = answer("list\n")?;
    Ok(services.split_whitespace().map(str::to_owned).collect())
}

fn snippet(services: &[String], addr: SocketAddr, check: &str) -> String {
    let mut out = String::from(
        "# Written by rookery-agent nrpe-config: a command for each service of this host.\n\
         # For /etc/nagios/nrpe.d/rookery.cfg; then restart nrpe. On the Nagios server:\n\
         #   check_nrpe -H HOST -c check_rookery_load\n\
         # Limits are the services' own; add -w and -c where others are to hold.\n",
    );
    let mut left_out = 0;
    for service in services {
        // nrpe hands the line to a shell, and reads names up to the bracket.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !service.chars().all(plain) {
            left_out += 1;
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(out, "command[check_rookery_{service}]={check} -H {addr} -s {service}");
    }
    if left_out > 0 {
        let _ = writeln!(out, "# {left_out} services with odd names are left out.");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_a_command() {
        let addr = asked_at("0.0.0.0:4949".parse().expect("an address"));
        let services = ["load", "x;reboot", "diskstats_iops.sda"].map(str::to_owned);
        let text = snippet(&services, addr, "/c");
        assert!(text.contains("command[check_rookery_load]=/c -H 127.0.0.1:4949 -s load\n"));
        assert!(text.contains("[check_rookery_diskstats_iops.sda]"));
        assert!(!text.contains("reboot") && text.contains("# 1 services with odd names"));
        let six = asked_at("[::]:4949".parse().expect("an address"));
        assert_eq!(six.to_string(), "[::1]:4949");
    }

    #[test]
    fn an_agent_that_is_not_there_is_told() {
        let mut config = Config { listen: "none".into(), ..Config::default() };
        assert!(nrpe_config(&config, CHECK).err.contains("listen = \"none\""));
        config.listen = "127.0.0.1:1".into();
        let outcome = nrpe_config(&config, CHECK);
        assert!(outcome.code == 1 && outcome.err.contains("is it running?"), "{outcome:?}");
    }
}
