//! What the checks of foreign services share: their connection, in the clear or
//! by TLS, with one deadline; and the services that all of them have.

use super::certificate::{Certificate, Seen};
use super::{REPLY_BYTES_MAX, Sheet, certificate};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// What was found out; all but `up` may be unknown.
#[derive(Debug, Default)]
pub struct Found {
    /// Why it does not count as up; `None`: it is.
    pub down: Option<String>,
    /// Seconds to the end of the TCP connection's beginning.
    pub connect: Option<f64>,
    /// Seconds to the end of TLS's beginning.
    pub tls: Option<f64>,
    /// Seconds to the end of the reply.
    pub response: Option<f64>,
    /// The server's certificate.
    pub certificate: Option<Certificate>,
}

/// A connection to a service.
pub struct Wire {
    stream: Kind,
    /// When it was begun.
    pub started: Instant,
}

enum Kind {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// A TCP connection each of whose calls ends at the deadline.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(to)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Wire {
    /// Connects to `HOST:PORT`, by TLS with this name if there is one. An error
    /// says in a text why not.
    pub fn open(
        address: &str,
        tls: Option<&str>,
        timeout: Duration,
        found: &mut Found,
    ) -> Result<Wire, String> {
        let started = Instant::now();
        let deadline = started + timeout;
        let mut why = "no such host".to_owned();
        let addresses = address.to_socket_addrs().map_err(|e| format!("{address}: {e}"))?;
        let mut stream = None;
        for to in addresses {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                why = "it did not answer in time".to_owned();
                break;
            }
            match TcpStream::connect_timeout(&to, left) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(e) => why = format!("{to}: {}", said(&e)),
            }
        }
        let stream = stream.ok_or(why)?;
        found.connect = Some(started.elapsed().as_secs_f64());
        let mut timed = Timed { stream, deadline };
        let Some(name) = tls else { return Ok(Wire { stream: Kind::Plain(timed), started }) };
        let seen = Seen::default();
        let mut connection = certificate::client(name, &seen)?;
        while connection.is_handshaking() {
            if let Err(e) = connection.complete_io(&mut timed) {
                found.certificate = seen.take();
                return Err(format!("TLS: {}", said(&e)));
            }
        }
        found.certificate = seen.take();
        found.tls = Some(started.elapsed().as_secs_f64());
        let stream = Kind::Tls(Box::new(StreamOwned::new(connection, timed)));
        Ok(Wire { stream, started })
    }

    /// Sends.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = match &mut self.stream {
            Kind::Plain(s) => s.write_all(bytes),
            Kind::Tls(s) => s.write_all(bytes).and_then(|()| s.flush()),
        };
        sent.map_err(|e| said(&e))
    }

    /// Reads until `is_whole` says so, or to the end.
    pub fn read(&mut self, is_whole: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, String> {
        let mut all = vec![];
        let mut chunk = [0; 16 << 10];
        while !is_whole(&all) {
            let read = match &mut self.stream {
                Kind::Plain(s) => s.read(&mut chunk),
                Kind::Tls(s) => s.read(&mut chunk),
            };
            match read {
                Ok(0) => break,
                Ok(n) => all.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Many a server hangs up without TLS's own goodbye.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(said(&e)),
            }
            if all.len() > REPLY_BYTES_MAX {
                return Err(format!("a reply of more than {REPLY_BYTES_MAX} bytes"));
            }
        }
        Ok(all)
    }
}

fn said(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            "it did not answer in time".to_owned()
        }
        io::ErrorKind::ConnectionRefused => "nobody listens there (refused)".to_owned(),
        _ => e.to_string(),
    }
}

/// How a kind of check calls itself.
pub struct Names {
    /// `http`: what its services begin with.
    pub root: &'static str,
    /// `HTTP`.
    pub title: &'static str,
}

const CATEGORY: &str = "checks";

/// The services that every check has: whether it is up, and how long it took.
pub fn write(names: &Names, target: &str, found: &Found, tls: bool, sheet: &mut Sheet<'_>) {
    let Names { root, title } = names;
    let why = found.down.as_deref().unwrap_or("");
    sheet.note(why);
    sheet
        .service(&format!("{root}_up"), |n| {
            let info = match why {
                "" => format!("Whether {target} answers as it should."),
                why => format!("Whether {target} answers as it should. It does not: {why}."),
            };
            ServiceSpec::new(n, &format!("{title} check"), CATEGORY)
                .vlabel("1 = up")
                .args("-l 0 -u 1")
                .unscaled()
                .info(&info)
        })
        .field("up", Some(u64::from(found.down.is_none())), |n| {
            let label = if why.is_empty() { "up".to_owned() } else { format!("down: {why}") };
            FieldSpec::gauge(n, &label).draw(Draw::Area).limits("", "1:").info("0: it is down")
        });
    let mut service = sheet.service(&format!("{root}_response"), |n| {
        ServiceSpec::new(n, &format!("{title} response time"), CATEGORY)
            .vlabel("seconds")
            .args("-l 0")
            .info(&format!(
                "How long {target} took to answer, from the first packet on, looking up its name \
                 included. Unknown while it is down."
            ))
    });
    service.field("response", found.response.filter(|_| found.down.is_none()), |n| {
        FieldSpec::gauge(n, "answered").draw(Draw::Area).info("To the end of its answer")
    });
    if *root != "dns" {
        service.field("connect", found.connect, |n| {
            FieldSpec::gauge(n, "connected").info("To the end of TCP's greeting")
        });
    }
    if tls {
        service.field("tls", found.tls, |n| {
            FieldSpec::gauge(n, "encrypted").info("To the end of TLS's greeting")
        });
    }
}

/// The limits of a certificate, days.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// WARNING below.
    pub warning: u32,
    /// CRITICAL below.
    pub critical: u32,
    /// Whether one that the host's authorities do not vouch for is CRITICAL.
    pub verify: bool,
}

impl Expiry {
    /// From what `agent.toml` says; a week is too short for many an authority.
    pub fn new(
        warning: Option<u32>,
        critical: Option<u32>,
        verify: Option<bool>,
    ) -> Result<Expiry, String> {
        let (warning, critical) = (warning.unwrap_or(21), critical.unwrap_or(7));
        if warning < critical {
            return Err(format!(
                "certificate_warning = {warning}: at least certificate_critical ({critical})"
            ));
        }
        Ok(Expiry { warning, critical, verify: verify.unwrap_or(true) })
    }
}

/// The service of a check's certificate.
pub fn write_certificate(
    names: &Names,
    target: &str,
    found: &Found,
    expiry: Expiry,
    sheet: &mut Sheet<'_>,
) {
    let distrust = found.certificate.as_ref().and_then(|c| c.distrust.as_deref()).unwrap_or("");
    sheet.note(distrust);
    let days = found.certificate.as_ref().and_then(|c| c.days_left());
    let mut service = sheet.service(&format!("{}_certificate", names.root), |n| {
        let more = match distrust {
            "" => String::new(),
            why => format!(" Clients that look at it refuse it: {why}."),
        };
        ServiceSpec::new(n, &format!("{} certificate", names.title), CATEGORY)
            .vlabel("days")
            .unscaled()
            .info(&format!(
                "How long the certificate of {target} is still valid; below 0 it has expired.{more}"
            ))
    });
    service.field("days", days, |n| {
        FieldSpec::gauge(n, "days left")
            .draw(Draw::Area)
            .limits(&format!("{}:", expiry.warning), &format!("{}:", expiry.critical))
            .info("Days until its notAfter")
    });
    if expiry.verify {
        let trusted = found.certificate.as_ref().map(|c| u64::from(c.distrust.is_none()));
        service.field("trusted", trusted, |n| {
            FieldSpec::gauge(n, "trusted").hidden().limits("", "1:").info(
                "1: an authority that this host knows vouches for it, and for this name; \
                 verify = false leaves this out",
            )
        });
    }
}
