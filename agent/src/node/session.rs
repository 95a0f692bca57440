//! One client's dialogue: lines in, answers out, in the clear or within TLS.

use super::reply::{Client, Step};
use super::{HANDSHAKE_MAX, IDLE_MAX, LINE_BYTES_MAX, Node};
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How a dialogue ended.
enum End {
    /// With good-bye, EOF, or silence.
    Left,
    /// The client wants TLS from here on.
    StartTls,
}

/// Speaks until the client leaves.
pub(super) async fn run(socket: TcpStream, peer: IpAddr, node: &Node) -> io::Result<()> {
    let mut client = Client::new(peer);
    let mut socket = BufReader::new(socket);
    let banner = format!("# munin node at {}\n", node.name);
    socket.write_all(banner.as_bytes()).await?;
    match (talk(&mut socket, node, &mut client).await?, &node.tls) {
        (End::StartTls, Some(acceptor)) => {
            // What was sent before the handshake must not count as sent in it.
            if !socket.buffer().is_empty() {
                return Err(io::Error::other("bytes between starttls and the handshake"));
            }
            socket.write_all(b"TLS OK\n").await?;
            let secure = timeout(HANDSHAKE_MAX, acceptor.accept(socket.into_inner())).await??;
            client.secure = true;
            let mut secure = BufReader::new(secure);
            talk(&mut secure, node, &mut client).await?;
            // Who has hung up already does not care for our good-bye.
            let _ = timeout(HANDSHAKE_MAX, secure.shutdown()).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut BufReader<S>,
    node: &Node,
    client: &mut Client,
) -> io::Result<End> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut *socket).take(LINE_BYTES_MAX as u64);
        match timeout(IDLE_MAX, limited.read_until(b'\n', &mut line)).await {
            Ok(Ok(n)) if n > 0 && line.ends_with(b"\n") => {}
            Ok(Err(e)) => return Err(e),
            // The end, silence for too long, or a line without end.
            _ => return Ok(End::Left),
        }
        let text = String::from_utf8_lossy(&line);
        match client.answer(text.trim_end(), node).await {
            Step::Say(reply) if client.secure => {
                // Munin's master takes each TLS record for one line.
                for line in reply.split_inclusive(|b| *b == b'\n') {
                    timeout(IDLE_MAX, socket.write_all(line)).await??;
                }
                timeout(IDLE_MAX, socket.flush()).await??;
            }
            Step::Say(reply) => timeout(IDLE_MAX, socket.write_all(&reply)).await??,
            Step::SayAndLeave(reply) => {
                timeout(IDLE_MAX, socket.write_all(reply.as_bytes())).await??;
                return Ok(End::Left);
            }
            Step::Leave => return Ok(End::Left),
            Step::StartTls => return Ok(End::StartTls),
        }
    }
}
