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
/// The longest line for the system's log, bytes: what RFC 5424 (6.1) wants taken by all.
pub const SYSLOG_BYTES_MAX: usize = 2048;
/// The longest line of a file, bytes.
pub const FILE_BYTES_MAX: usize = 8192;
/// The longest link that goes into a line, bytes; of a longer one the start is of no use.
const LINK_BYTES_MAX: usize = 500;
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

/// What has happened, in one line without colours and codes, of `bytes_max` bytes at
/// most. What is too long is cut in its middle: the link stays.
fn plain(notice: &Notice, base_url: &str, bytes_max: usize) -> String {
    let mut subject = message::subject(notice);
    if notice.repeated {
        subject.push_str(" (told again: it is not sure that it was)");
    }
    let link = message::link(notice, base_url);
    let is_short = link.len() <= LINK_BYTES_MAX.min(bytes_max / 3);
    let link = if is_short { format!(" {link}") } else { String::new() };
    let text = match notice.kind {
        NoticeKind::Acknowledgement => format!("{subject} ({})", message::line(&notice.text)),
        _ => format!("{subject}: {}", message::line(&notice.text)),
    };
    format!("{}{link}", message::cut(&text, bytes_max.saturating_sub(link.len())))
}

fn irc_line(to: &str, notice: &Notice, base_url: &str) -> String {
    // irccat reads recipients and colours from the text, so none of it may come
    // from a plugin.
    let n_signs = plain(notice, base_url, IRC_BYTES_MAX).matches('%').count();
    let room = IRC_BYTES_MAX.saturating_sub(n_signs * ('％'.len_utf8() - 1));
    let text: String = plain(notice, base_url, room).replace('%', "％");
    let text = text.trim_start_matches(['#', '@', '!', '?']);
    let colour = match (notice.kind, notice.state) {
        (NoticeKind::Problem, Status::Service(State::Warning)) => "%YELLOW",
        (NoticeKind::Problem, _) => "%RED",
        (NoticeKind::Recovery, _) => "%GREEN",
        (NoticeKind::Acknowledgement | NoticeKind::Flapping, _) => "%BLUE",
    };
    let (state, rest) = text.split_once(' ').unwrap_or((text, ""));
    let line = format!("{to} {colour}{state}%NORMAL {rest}");
    format!("{}\n", line.trim())
}

/// Appends a line to a file, with the time first.
pub(super) async fn to_file(path: &Path, notice: &Notice, base_url: &str) -> Result<(), String> {
    let text = plain(notice, base_url, FILE_BYTES_MAX);
    let line = format!("{} {text}\n", message::time(notice.time_ms));
    let path = path.to_owned();
    let write = move || -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        // Of a pipe that nobody reads it is an error, where it would wait forever.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).custom_flags(flags).open(path)?;
        // One write: lines of several writers do not mix.
        file.write_all(line.as_bytes())?;
        match file.metadata()?.is_file() {
            true => file.sync_data(),
            // Pipes and terminals have nothing to sync.
            false => Ok(()),
        }
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
    let head = format!("<{}>rookery: ", FACILITY_DAEMON * 8 + severity);
    let text = plain(notice, base_url, SYSLOG_BYTES_MAX - head.len());
    format!("{head}{text}")
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
        let line = irc_line("", &notice, "http://c");
        assert!(line.len() < 450, "{line}");
        assert!(line.ends_with("ä (cut) http://c/node/db1/my％20sql\n"), "{line}");
        for max in [SYSLOG_BYTES_MAX, FILE_BYTES_MAX] {
            notice.text = "ä".repeat(90_000);
            let line = plain(&notice, "http://c", max);
            assert!(line.len() <= max && line.ends_with("ä (cut) http://c/node/db1/my%20sql"));
        }
        assert!(syslog_line(&notice, "").len() <= SYSLOG_BYTES_MAX);
        // A link that would take all the room is left out.
        notice.node = "ä".repeat(120);
        assert!(irc_line("", &notice, "http://c").ends_with(" (cut)\n"));
        assert_eq!(
            syslog_line(&sample(NoticeKind::Recovery, 1), "").split('>').next(),
            Some("<29")
        );
        notice.repeated = true;
        assert!(plain(&notice, "", 400).contains("told again"));
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
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        let sent = timeout(Duration::from_secs(5), to_file(&pipe, &notice, "")).await;
        assert!(sent.expect("an error at once").is_err(), "nobody reads it");
    }
}
