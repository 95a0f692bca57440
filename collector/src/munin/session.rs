//! One dialogue with a munin-node, as its client (Munin's network protocol, with
//! the oddities of munin-node 2.0.73).

use super::tls::{Secure, Wish};
use super::{Address, ListAs};
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::rustls::pki_types::ServerName;

/// The longest line that is read, bytes.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// The longest answer of a plugin, bytes.
pub const ANSWER_BYTES_MAX: usize = 4 << 20;
/// The longest answer to `spoolfetch`, bytes.
pub const SPOOL_BYTES_MAX: usize = 64 << 20;
/// Lines before the banner that are passed over (a login's greeting).
const GREETING_LINES_MAX: usize = 50;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Why TLS is not spoken with a node that has none.
const NO_CERTIFICATE: &str = "tls: the node has no certificate (tls_certificate there): it is \
    spoken with by a tls_certificate here, and without tls_verify_certificate";

/// Why a service has no values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What the plugin printed.
    Text(Vec<u8>),
    /// What the node said instead.
    Refused(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection.
pub struct Session {
    stream: BufReader<Box<dyn Stream>>,
    limit: Duration,
    /// What the node calls itself.
    pub name: String,
    /// It offers `spoolfetch`.
    pub has_spool: bool,
    /// Lives as long as the session.
    _child: Option<tokio::process::Child>,
}

/// Connects, from an address of this host if one is said: to the first of the place's
/// addresses, of the same kind, that answers.
async fn dial(place: &str, local: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let Some(local) = local else { return TcpStream::connect(place).await };
    let places = tokio::net::lookup_host(place).await?.filter(|p| p.is_ipv4() == local.is_ipv4());
    let mut last = std::io::Error::other(format!("{place}: no address of {local}'s kind"));
    for to in places {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let bound = socket.bind((local, 0).into());
        bound.map_err(|e| std::io::Error::new(e.kind(), format!("local_address {local}: {e}")))?;
        match socket.connect(to).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

impl Session {
    /// Connects, and agrees on what both understand.
    pub async fn open(
        (address, local): (&Address, Option<IpAddr>),
        tls: Option<(&Secure, Wish)>,
        limit: Duration,
    ) -> Result<Session, String> {
        let opened = Session::connect((address, local), tls, limit).await;
        let may_be_clear = tls.is_some_and(|(secure, wish)| {
            wish == Wish::Auto && !secure.is_checked && secure.acceptor.is_none()
        });
        match opened {
            // Neither has a certificate.
            Err(e) if may_be_clear && e == NO_CERTIFICATE => {
                Session::connect((address, local), None, limit).await
            }
            other => other,
        }
    }

    async fn connect(
        (address, local): (&Address, Option<IpAddr>),
        tls: Option<(&Secure, Wish)>,
        limit: Duration,
    ) -> Result<Session, String> {
        let (stream, child): (Box<dyn Stream>, _) = match address {
            Address::Tcp(place) => {
                let connect = timeout(CONNECT.min(limit), dial(place, local)).await;
                let stream = connect
                    .map_err(|_| "no connection in time".to_owned())?
                    .map_err(|e| e.to_string())?;
                // Small questions, each waiting for its answer.
                stream.set_nodelay(true).map_err(|e| e.to_string())?;
                (Box::new(stream), None)
            }
            Address::Command(words) => {
                let mut child = Command::new(&words[0])
                    .args(&words[1..])
                    .stdin(std::process::Stdio::piped())
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
                    .map_err(|e| format!("{}: {e}", words[0]))?;
                let pipes = child.stdout.take().zip(child.stdin.take());
                let (stdout, stdin) = pipes.ok_or("no pipes to the command")?;
                (Box::new(tokio::io::join(stdout, stdin)), Some(child))
            }
        };
        Session::agree(stream, child, tls, limit).await
    }

    async fn agree(
        stream: Box<dyn Stream>,
        child: Option<tokio::process::Child>,
        tls: Option<(&Secure, Wish)>,
        limit: Duration,
    ) -> Result<Session, String> {
        let stream = BufReader::new(stream);
        let mut session =
            Session { stream, limit, name: String::new(), has_spool: false, _child: child };
        let by = Instant::now() + limit;
        for _ in 0..GREETING_LINES_MAX {
            let line = session.line(by).await?;
            if let Some(name) = banner(&line) {
                session.name = name;
                break;
            }
        }
        if session.name.is_empty() {
            return Err("no munin-node: it does not greet as one".to_owned());
        }
        if let Some((secure, wish)) = tls {
            session = session.start_tls(secure, wish).await?;
        }
        let answer = session.ask("cap multigraph dirtyconfig times").await?;
        let words = answer.split_whitespace();
        session.has_spool = answer.starts_with("cap") && words.skip(1).any(|w| w == "spool");
        Ok(session)
    }

    /// From here on by TLS, if the node can.
    async fn start_tls(mut self, secure: &Secure, wish: Wish) -> Result<Session, String> {
        let answer = self.ask("starttls").await?;
        let is_server = answer.starts_with("TLS OK");
        let acceptor = match (wish, answer.starts_with("TLS")) {
            (_, true) if is_server => None,
            // It has become the client already: nothing can be said in the clear.
            (_, true) => Some(secure.acceptor.as_ref().ok_or(NO_CERTIFICATE)?),
            (Wish::Enabled, _) => return Err("tls: the node does not offer it".to_owned()),
            (_, false) => return Ok(self),
        };
        if !self.stream.buffer().is_empty() {
            return Err("tls: the node goes on in the clear".to_owned());
        }
        // Names are not checked, see there.
        let name = ServerName::try_from("munin-node").map_err(|e| format!("BUG: {e}"))?;
        let Session { stream, limit, name: node, _child, .. } = self;
        let stream = stream.into_inner();
        let handshake = async {
            Ok::<Box<dyn Stream>, std::io::Error>(match acceptor {
                None => Box::new(secure.connector.connect(name, stream).await?),
                Some(acceptor) => Box::new(acceptor.accept(stream).await?),
            })
        };
        let stream = match timeout(limit, handshake).await {
            Err(_) => return Err("tls: no handshake in time".to_owned()),
            Ok(done) => done.map_err(|e| format!("tls: {e}"))?,
        };
        let stream = BufReader::new(stream);
        Ok(Session { stream, limit, name: node, has_spool: false, _child })
    }

    /// The services.
    pub async fn list(&mut self, of: &ListAs) -> Result<Vec<String>, String> {
        let question = match of {
            ListAs::Host(name) => format!("list {name}"),
            ListAs::Banner => format!("list {}", self.name),
            ListAs::Own => "list".to_owned(),
        };
        let answer = self.ask(&question).await?;
        if answer.starts_with('#') {
            return Err(format!("\"{question}\" is answered: {}", shown(&answer)));
        }
        Ok(answer.split_whitespace().map(str::to_owned).collect())
    }

    /// What a service's plugin prints for `verb`.
    pub async fn plugin(&mut self, verb: &str, service: &str) -> Result<Answer, String> {
        let text = self.block(&format!("{verb} {service}"), ANSWER_BYTES_MAX).await?;
        Ok(refusal(&text).map_or(Answer::Text(text), Answer::Refused))
    }

    /// All that was spooled since this second.
    pub async fn spoolfetch(&mut self, since_s: i64) -> Result<Answer, String> {
        let text = self.block(&format!("spoolfetch {since_s}"), SPOOL_BYTES_MAX).await?;
        Ok(refusal(&text).map_or(Answer::Text(text), Answer::Refused))
    }

    /// Takes leave; whether the node hears it does not matter.
    pub async fn quit(mut self) {
        let _ = timeout(self.limit, self.stream.get_mut().write_all(b"quit\n")).await;
    }

    /// A question with one line for an answer.
    async fn ask(&mut self, question: &str) -> Result<String, String> {
        self.send(question).await?;
        let line = self.line(Instant::now() + self.limit).await?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// A question whose answer ends with a line of a dot.
    async fn block(&mut self, question: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
        self.send(question).await?;
        let by = Instant::now() + self.limit;
        let mut text = Vec::new();
        loop {
            let line = self.line(by).await.map_err(|e| format!("\"{question}\": {e}"))?;
            if line.trim_ascii_end() == b"." {
                break;
            }
            if text.len() + line.len() > bytes_max {
                return Err(format!("\"{question}\": more than {bytes_max} bytes"));
            }
            text.extend_from_slice(&line);
        }
        // A plugin's own lone dot ends the answer early; what follows would be taken
        // for the next one's.
        if !self.stream.buffer().is_empty() {
            return Err(format!("\"{question}\": its answer goes on after its end"));
        }
        Ok(text)
    }

    async fn send(&mut self, question: &str) -> Result<(), String> {
        let line = format!("{question}\n");
        let stream = self.stream.get_mut();
        let write = async {
            stream.write_all(line.as_bytes()).await?;
            stream.flush().await
        };
        match timeout(self.limit, write).await {
            Ok(done) => done.map_err(|e| e.to_string()),
            Err(_) => Err(format!("\"{question}\" is not taken in time")),
        }
    }

    /// A line with its end.
    async fn line(&mut self, by: Instant) -> Result<Vec<u8>, String> {
        let mut line = Vec::new();
        loop {
            let chunk = timeout_at(by, self.stream.fill_buf()).await;
            let chunk = chunk
                .map_err(|_| format!("no answer in {} s", self.limit.as_secs_f32()))?
                .map_err(|e| e.to_string())?;
            if chunk.is_empty() {
                return Err("the connection was closed".to_owned());
            }
            let end = chunk.iter().position(|b| *b == b'\n').map(|i| i + 1);
            let n = end.unwrap_or(chunk.len());
            line.extend_from_slice(&chunk[..n]);
            self.stream.consume(n);
            if line.len() > LINE_BYTES_MAX {
                return Err(format!("a line of more than {LINE_BYTES_MAX} bytes"));
            }
            if end.is_some() {
                return Ok(line);
            }
        }
    }
}

/// The name in `# munin node at NAME`; the master's own pattern.
fn banner(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let lower = line.to_ascii_lowercase();
    if !line.contains('#') {
        return None;
    }
    let starts = ["munin node at ", "munin client at ", "lrrd node at ", "lrrd client at "];
    let at = starts.iter().find_map(|s| lower.find(s).map(|i| i + s.len()))?;
    line.get(at..)?.split_whitespace().next().map(str::to_owned)
}

/// `# Timed out`, `# Bad exit`, `# Unknown service`: what a node says for a plugin
/// that gave nothing.
fn refusal(text: &[u8]) -> Option<String> {
    let line = text.trim_ascii();
    let is_one_line = !line.contains(&b'\n');
    let known: [&[u8]; 4] = [b"# Timed out", b"# Bad exit", b"# Unknown", b"# timeout"];
    let is_refusal = is_one_line && known.iter().any(|k| line.starts_with(k));
    is_refusal.then(|| shown(&String::from_utf8_lossy(line)))
}

/// A node's word for a log: short, and on its line.
fn shown(text: &str) -> String {
    let text = text.trim_start_matches(['#', ' ']);
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// A node that says this, whatever it is asked.
    async fn talk(said: &str) -> Result<Session, String> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let said = said.to_owned();
        tokio::spawn(async move {
            theirs.write_all(said.as_bytes()).await.expect("says");
            let mut asked = Vec::new();
            let _ = theirs.read_to_end(&mut asked).await;
        });
        Session::agree(Box::new(ours), None, None, Duration::from_millis(300)).await
    }

    const HELLO: &str = "motd\n# munin node at db1.example\ncap multigraph dirtyconfig\n";

    #[tokio::test]
    async fn the_dialogue_as_recorded() {
        let mut s =
            talk("# munin node at a.b\ncap multigraph dirtyconfig\n").await.expect("greets");
        assert_eq!((s.name.as_str(), s.has_spool), ("a.b", false));
        assert!(s.list(&ListAs::Own).await.expect_err("silent").contains("no answer in 0.3 s"));
        let s = talk(&format!("{HELLO}cpu load df\n")).await;
        let list = s.expect("greets").list(&ListAs::Banner).await;
        assert_eq!(list, Ok(vec!["cpu".to_owned(), "load".to_owned(), "df".to_owned()]));
        // An unknown host: a bare line.
        let list = talk(&format!("{HELLO}\n")).await.expect("greets").list(&ListAs::Own).await;
        assert_eq!(list, Ok(vec![]));
        let answer = talk(&format!("{HELLO}load.value 0.5\n.\n")).await.expect("greets");
        let mut answer = answer;
        let answer = answer.plugin("fetch", "load").await;
        assert_eq!(answer, Ok(Answer::Text(b"load.value 0.5\n".to_vec())));
        for (said, want) in [
            ("# Timed out\n.\n", "Timed out"),
            ("# Bad exit\n.\n", "Bad exit"),
            ("# Unknown service\n.\n", "Unknown service"),
        ] {
            let mut s = talk(&format!("{HELLO}{said}")).await.expect("greets");
            assert_eq!(s.plugin("fetch", "x").await, Ok(Answer::Refused(want.to_owned())));
        }
        let s = talk("# lrrd client at old\ncap spool\n").await.expect("greets");
        assert!(s.has_spool);
    }

    #[tokio::test]
    async fn nonsense_is_refused_and_bounded() {
        for (said, want) in [
            ("SSH-2.0-OpenSSH\n", "no answer"),
            ("# munin node at x\n", "no answer"),
            (&"x\n".repeat(60), "does not greet"),
            (&"x".repeat(LINE_BYTES_MAX + 9), "a line of more than"),
        ] {
            let e = talk(said).await.err().unwrap_or_else(|| panic!("{said:.20}"));
            assert!(e.contains(want), "{e}");
        }
        let mut s = talk(&format!("{HELLO}a.value 1\n.\nb.value 2\n.\n")).await.expect("greets");
        let e = s.plugin("fetch", "x").await.expect_err("goes on");
        assert!(e.contains("goes on after its end"), "{e}");
        let mut s = talk(&format!("{HELLO}a.value 1\n")).await.expect("greets");
        assert!(s.plugin("fetch", "x").await.expect_err("no end").contains("no answer"));
        let flood = "flood.value 12345678901234567890\n".repeat(ANSWER_BYTES_MAX / 30);
        let mut s = talk(&format!("{HELLO}{flood}")).await.expect("greets");
        assert!(s.plugin("fetch", "x").await.expect_err("floods").contains("more than 4194304"));
    }
}
