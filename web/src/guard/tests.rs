//! The guard over real sockets, with short times.

use super::*;
use axum::routing::{get, post};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Long enough for loopback, short enough for a test.
const SOON: Duration = Duration::from_secs(5);

fn quick() -> Limits {
    let of = Duration::from_millis;
    Limits {
        head: of(300),
        idle: of(700),
        idle_known: of(20_000),
        stall: of(800),
        stall_short: of(100),
        per_address: 5,
        ..Limits::for_descriptors(1024)
    }
}

/// Serves until the sender is dropped.
async fn started(limits: Limits) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let large = || async { vec![b'x'; 32 << 20] };
    let router = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/large", get(large))
        .route("/echo", post(|body: axum::body::Bytes| async move { body.len().to_string() }));
    let knows: Knows = Arc::new(|h| h.get("authorization").is_some());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let (stop, stopped) = watch::channel(false);
    let guard = Guard::new(router, knows, limits);
    (addr, stop, tokio::spawn(guard.serve(listener, stopped)))
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.expect("connects")
}

/// What comes until the connection ends.
async fn rest(io: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A reset ends it as well.
    let _ = tokio::time::timeout(SOON, io.read_to_end(&mut all)).await.expect("it ends soon");
    String::from_utf8_lossy(&all).into_owned()
}

async fn asked(io: &mut TcpStream, head: &str) -> String {
    io.write_all(head.as_bytes()).await.expect("sends");
    let mut buf = [0; 4096];
    let n = tokio::time::timeout(SOON, io.read(&mut buf)).await.expect("in time").expect("reads");
    String::from_utf8_lossy(&buf[..n]).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const KNOWN: &str = "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: y\r\n\r\n";

#[tokio::test]
async fn half_a_head_and_silence_end() {
    let (addr, _stop, _serving) = started(quick()).await;
    let (mut silent, mut half, mut idle) =
        (connect(addr).await, connect(addr).await, connect(addr).await);
    half.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-a: ").await.expect("sends");
    assert!(asked(&mut idle, GET).await.ends_with("here"));
    let began = Instant::now();
    // It trickles on, which does not help it.
    while half.write_all(b"b").await.is_ok() && began.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() < SOON, "half a head is closed");
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(rest(&mut idle).await, "");
    // What is no HTTP at all, such as a TLS hello, is answered or closed at once.
    let mut tls = connect(addr).await;
    tls.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.expect("sends");
    rest(&mut tls).await;
}

#[tokio::test]
async fn who_does_not_read_loses_the_connection_and_nobody_waits_for_it() {
    let (addr, _stop, _serving) = started(quick()).await;
    let mut slow = Vec::new();
    for method in ["GET", "GET", "HEAD", "GET"] {
        let mut io = connect(addr).await;
        let head = format!("{method} /large HTTP/1.1\r\nHost: x\r\n\r\n");
        io.write_all(head.as_bytes()).await.expect("sends");
        slow.push(io);
    }
    let began = Instant::now();
    assert!(asked(&mut connect(addr).await, GET).await.ends_with("here"));
    assert!(began.elapsed() < Duration::from_secs(2));
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (i, mut io) in slow.into_iter().enumerate() {
        let got = rest(&mut io).await.len();
        assert!(got < 32 << 20, "{i}: {got} bytes came: it was not cut off");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_ends_and_a_strangers_body_is_short() {
    let (addr, _stop, _serving) = started(quick()).await;
    let mut io = connect(addr).await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nAuthorization: y\r\nContent-Length: 1000\r\n\r\n";
    io.write_all(head.as_bytes()).await.expect("sends");
    io.write_all(b"some").await.expect("sends");
    assert_eq!(rest(&mut io).await, "");
    for (who, n, wanted) in [
        ("X: x", STRANGERS_BODY_MAX, "200"),
        ("X: x", STRANGERS_BODY_MAX + 1, "413"),
        ("Authorization: y", STRANGERS_BODY_MAX + 1, "200"),
    ] {
        let mut io = connect(addr).await;
        let head = format!(
            "POST /echo HTTP/1.1\r\nHost: x\r\n{who}\r\nConnection: close\r\n\
             Content-Length: {n}\r\n\r\n{}",
            "x".repeat(n)
        );
        let (mut read, mut write) = io.split();
        let sending = write.write_all(head.as_bytes());
        let mut answer = Vec::new();
        let (_, _) = tokio::join!(sending, read.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted}")), "{who} {n}: {answer}");
    }
}

#[tokio::test]
async fn strangers_of_an_address_are_few_and_agents_are_not() {
    let limits = Limits { idle: Duration::from_secs(60), ..quick() };
    let (addr, _stop, _serving) = started(limits).await;
    let mut agents = Vec::new();
    for _ in 0..40 {
        let mut io = connect(addr).await;
        assert!(asked(&mut io, KNOWN).await.ends_with("here"));
        agents.push(io);
    }
    let mut strangers = Vec::new();
    for _ in 0..20 {
        let mut io = connect(addr).await;
        assert!(asked(&mut io, GET).await.ends_with("here"));
        strangers.push(io);
    }
    tokio::time::sleep(LOOK * 2).await;
    let mut n_open = 0;
    for io in &mut strangers {
        let mut buf = [0; 1];
        let read = tokio::time::timeout(Duration::from_millis(5), io.read(&mut buf)).await;
        n_open += usize::from(read.is_err());
    }
    assert_eq!(n_open, 5, "of one address");
    for io in &mut agents {
        assert!(asked(io, KNOWN).await.ends_with("here"), "an agent's connection stays");
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let (addr, _stop, _serving) = started(quick()).await;
    let mut io = connect(addr).await;
    let last = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    io.write_all(format!("{}{last}", GET.repeat(200)).as_bytes()).await.expect("sends");
    assert_eq!(rest(&mut io).await.matches("\r\n\r\nhere").count(), 201);
}

#[tokio::test]
async fn a_stop_is_prompt_whoever_is_stuck() {
    let (addr, stop, serving) = started(Limits { stall: SOON * 10, ..quick() }).await;
    let mut slow = connect(addr).await;
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sends");
    let mut idle = connect(addr).await;
    assert!(asked(&mut idle, GET).await.ends_with("here"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    stop.send(true).expect("it listens");
    assert_eq!(rest(&mut idle).await, "", "an idle connection ends at once");
    assert!(began.elapsed() < GRACE);
    serving.await.expect("ends");
    assert!(began.elapsed() < GRACE * 2, "{:?}", began.elapsed());
}
