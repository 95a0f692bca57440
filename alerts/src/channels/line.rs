//! Channels that take one line: an irccat (https://github.com/irccloud/irccat),
//! a file, the system's log.

use crate::message;
use crate::output::{Notice, NoticeKind, Status};
use rookery_plugins::State;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixDatagram};
use tokio::time::timeout;

/// How long an irccat may take to take a line. No answer is read: it gives none.
pub const IRC_SECONDS_MAX: u64 = 2;
/// The longest line for IRC, bytes: the protocol's 512 with room for its own words.
pub const IRC_BYTES_MAX: usize = 400;
/// Where syslog daemons and journald listen.
pub const SYSLOG_SOCKET: &str = "/dev/log";
/// syslog's facility `daemon` (RFC 3164, 4.1.1).
const FACILITY_DAEMON: u8 = 3;

/// An irccat and the channels or people that it is to tell.
#[derive(Clone, Debug)]
pub(super) struct Irc {
    address: String,
    to: String,
}

impl Irc {
    /// From `irc = "HOST:PORT #channel,@nick"`; without recipients irccat's own
    /// default channel is told.
    pub fn new(text: &str) -> Result<Irc, String> {
        let wrong =
            || format!("irc = {text:?}: write \"HOST:PORT\" or \"HOST:PORT #channel,@nick\"");
        let mut words = text.split_whitespace();
        let address = words.next().ok_or_else(wrong)?;
        let to = words.next().unwrap_or("");
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let good = to.is_empty() || to.split(',').all(|t| t.len() > 1 && t.starts_with(['#', '@']));
        match port.is_some() && good && words.next().is_none() {
            true => Ok(Irc { address: address.to_owned(), to: to.to_owned() }),
            false => Err(wrong()),
        }
    }

    /// Sends a line.
    pub async fn send(&self, notice: &Notice, base_url: &str) -> Result<(), String> {
        let line = irc_line(&self.to, notice, base_url);
        let talk = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            stream.write_all(line.as_bytes()).await?;
            stream.shutdown().await
        };
        let limit = Duration::from_secs(IRC_SECONDS_MAX);
        match timeout(limit, talk).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(format!("irccat {}: {e}", self.address)),
            Err(_) => Err(format!("irccat {}: no answer in {IRC_SECONDS_MAX} s", self.address)),
        }
    }
}

/// What has happened, in one line without colours and codes.
fn plain(notice: &Notice, base_url: &str) -> String {
    let mut subject = message::subject(notice);
    if notice.repeated {
        // In front: what is too long is cut.
        subject.push_str(" (told again: it is not sure that it was)");
    }
    let text = match notice.kind {
        NoticeKind::Acknowledgement => format!("{subject} ({})", message::line(&notice.text)),
        _ => format!("{subject}: {}", message::line(&notice.text)),
    };
    format!("{text} {}", message::link(notice, base_url)).trim_end().to_owned()
}

fn irc_line(to: &str, notice: &Notice, base_url: &str) -> String {
    // irccat reads recipients and colours from the text, so none of it may come
    // from a plugin.
    let text: String = plain(notice, base_url).replace('%', "％");
    let text = text.trim_start_matches(['#', '@', '!', '?']);
    let colour = match (notice.kind, notice.state) {
        (NoticeKind::Problem, Status::Service(State::Warning)) => "%YELLOW",
        (NoticeKind::Problem, _) => "%RED",
        (NoticeKind::Recovery, _) => "%GREEN",
        (NoticeKind::Acknowledgement | NoticeKind::Flapping, _) => "%BLUE",
    };
    let cut = &text[..text.floor_char_boundary(IRC_BYTES_MAX)];
    let (state, rest) = cut.split_once(' ').unwrap_or((cut, ""));
    let line = format!("{to} {colour}{state}%NORMAL {rest}");
    format!("{}\n", line.trim())
}

/// Appends a line to a file, with the time first.
pub(super) async fn to_file(path: &Path, notice: &Notice, base_url: &str) -> Result<(), String> {
    let line = format!("{} {}\n", message::time(notice.time_ms), plain(notice, base_url));
    let path = path.to_owned();
    let write = move || -> std::io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
        // One write: lines of several writers do not mix.
        file.write_all(line.as_bytes())?;
        file.sync_data()
    };
    match tokio::task::spawn_blocking(write).await {
        Ok(done) => done.map_err(|e| format!("file: {e}")),
        Err(e) => Err(format!("file: {e}")),
    }
}

/// Sends a line to the system's log (RFC 3164, as `logger` does).
pub(super) async fn to_syslog(path: &Path, notice: &Notice, base_url: &str) -> Result<(), String> {
    let send = async {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.send(syslog_line(notice, base_url).as_bytes()).await
    };
    match send.await {
        Ok(_) => Ok(()),
        Err(e) => Err(format!("syslog {}: {e}", path.display())),
    }
}

fn syslog_line(notice: &Notice, base_url: &str) -> String {
    // crit, warning, notice
    let severity = match (notice.kind, notice.state) {
        (NoticeKind::Problem, Status::Service(State::Warning | State::Unknown)) => 4,
        (NoticeKind::Problem, _) => 2,
        _ => 5,
    };
    format!("<{}>rookery: {}", FACILITY_DAEMON * 8 + severity, plain(notice, base_url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::sample;
    use tokio::io::AsyncReadExt;

    #[test]
    fn a_plugin_cannot_choose_who_is_told_nor_colours() {
        let mut notice = sample(NoticeKind::Problem, 0);
        notice.text = "%TOPIC #ops x\n#all y".to_owned();
        let line = irc_line("#ops,@ann", &notice, "http://c");
        assert!(line.starts_with("#ops,@ann %REDCRITICAL%NORMAL db1/my sql: ％TOPIC"), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        notice.text = "ä".repeat(1000);
        assert!(irc_line("", &notice, "").len() < 450);
        assert_eq!(
            syslog_line(&sample(NoticeKind::Recovery, 1), "").split('>').next(),
            Some("<29")
        );
        notice.repeated = true;
        assert!(plain(&notice, "").contains("told again"));
    }

    #[test]
    fn slips_are_named() {
        for text in ["", "host", "host:x", "host:1 ops", "host:1 #a b", "host:1 #"] {
            assert!(Irc::new(text).is_err_and(|e| e.contains("irc = ")), "{text}");
        }
        assert!(Irc::new("[::1]:12345 #ops,@ann").is_ok());
    }

    #[tokio::test]
    async fn lines_arrive() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let at = listener.local_addr().expect("an address");
        let irc = Irc::new(&format!("{at} #ops")).expect("right");
        let notice = sample(NoticeKind::Problem, 0);
        let taken = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("reads");
            text
        });
        irc.send(&notice, "").await.expect("is taken");
        assert!(taken.await.expect("runs").starts_with("#ops %RED"));
        let dir = tempfile::tempdir().expect("tmp");
        let path = dir.path().join("told");
        for _ in 0..2 {
            to_file(&path, &notice, "").await.expect("writes");
        }
        let text = std::fs::read_to_string(&path).expect("reads");
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with("2025-11-20 12:00:20 UTC CRITICAL db1/my sql: c is"), "{text}");
        assert!(to_file(dir.path(), &notice, "").await.is_err_and(|e| e.starts_with("file: ")));
    }
}
