//! `starttls` with certificates that openssl makes.

use crate::collector::Collector;
use crate::support::{Agent, Home, free_port};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

fn openssl(dir: &Path, args: &str) {
    let run = Command::new("openssl").current_dir(dir).args(args.split(' ')).output();
    let out = run.expect("openssl is installed");
    assert!(out.status.success(), "{args}: {}", String::from_utf8_lossy(&out.stderr));
}

/// An authority `ca.pem`, and `node.pem` and `master.pem` that it has signed.
fn certificates(dir: &Path) {
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(dir, &format!("{new} -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem"));
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:test.example\n").expect("writes");
    for name in ["node", "master"] {
        openssl(dir, &format!("{new} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        let signed = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext";
        openssl(dir, &format!("x509 -req -in {name}.csr {signed} -out {name}.pem"));
    }
    // One that an authority below `ca` has signed.
    std::fs::write(dir.join("ca.ext"), "basicConstraints=CA:TRUE\n").expect("writes");
    openssl(dir, &format!("{new} -subj /CN=mid -keyout mid.key -out mid.csr"));
    let by_ca = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ca.ext";
    openssl(dir, &format!("x509 -req -in mid.csr {by_ca} -out mid.pem"));
    openssl(dir, &format!("{new} -subj /CN=far -keyout far.key -out far.csr"));
    let by_mid = "-CA mid.pem -CAkey mid.key -CAcreateserial -days 2 -extfile ext";
    openssl(dir, &format!("x509 -req -in far.csr {by_mid} -out far.pem"));
}

async fn plain(port: u16) -> BufReader<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let mut socket = BufReader::new(socket);
    assert_eq!(line(&mut socket).await, "# munin node at test.example\n");
    socket
}

async fn line<S: tokio::io::AsyncRead + Unpin>(socket: &mut BufReader<S>) -> String {
    let mut line = String::new();
    // A connection that is torn down is no answer either.
    let _ = socket.read_line(&mut line).await;
    line
}

/// `starttls`, the handshake, and a first command.
async fn secure(port: u16, dir: &Path, with_certificate: bool) -> std::io::Result<Secure> {
    let master = if with_certificate { &["master"][..] } else { &[] };
    secure_as(port, dir, master).await
}

/// The same with the certificate of the first of these, and those that vouch for it.
async fn secure_as(port: u16, dir: &Path, chain: &[&str]) -> std::io::Result<Secure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join("ca.pem")).expect("PEM")).expect("a CA");
    let config = ClientConfig::builder().with_root_certificates(roots);
    let pem = |name: &&str| CertificateDer::from_pem_file(dir.join(format!("{name}.pem")));
    let config = match chain.first() {
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).expect("PEM");
            let chain = chain.iter().map(pem).collect::<Result<Vec<_>, _>>().expect("PEM");
            config.with_client_auth_cert(chain, key).expect("fits")
        }
        None => config.with_no_client_auth(),
    };
    let mut socket = plain(port).await;
    socket.write_all(b"starttls\r\n").await?;
    assert_eq!(line(&mut socket).await, "TLS OK\n");
    let name = "test.example".try_into().expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket.into_inner()).await?;
    let mut secure = BufReader::new(stream);
    secure.write_all(b"version\n").await?;
    let mut version = String::new();
    secure.read_line(&mut version).await?;
    assert!(version.starts_with("munins node on test.example version: "), "{version}");
    Ok(secure)
}

type Secure = BufReader<TlsStream<TcpStream>>;

#[tokio::test]
async fn masters_speak_within_tls() {
    let (home, collector) = (Home::new(), Collector::start().await);
    home.plugin("p", "[ \"$1\" = config ] && echo graph_title P && exit; echo a.value 1");
    let dir = home.dir.path().to_owned();
    certificates(&dir);
    let mut config = home.config(&collector);
    config.tls_certificate = Some(dir.join("node.pem"));
    config.tls_private_key = Some(dir.join("node.key"));
    let port = free_port();
    config.listen = format!("127.0.0.1:{port}").into();
    let mut agent = Agent::start(config.clone(), &[]);
    (&mut agent.found).await.expect("ready");
    let mut c = secure(port, &dir, false).await.expect("TLS");
    c.write_all(b"fetch p\n").await.expect("writes");
    assert_eq!((line(&mut c).await, line(&mut c).await), ("a.value 1\n".into(), ".\n".into()));
    c.write_all(b"starttls\n").await.expect("writes");
    assert!(line(&mut c).await.starts_with("# Unknown command"), "it has been started");
    c.write_all(b"quit\n").await.expect("writes");
    assert_eq!(c.read_to_end(&mut vec![]).await.expect("a proper end"), 0);
    // In the clear all goes on as before.
    let mut c = plain(port).await;
    c.write_all(b"fetch p\n").await.expect("writes");
    assert_eq!(line(&mut c).await, "a.value 1\n");
    // What is sent before the handshake does not count as sent within it.
    let mut c = plain(port).await;
    c.write_all(b"starttls\nfetch p\n").await.expect("writes");
    assert_eq!(line(&mut c).await, "");
    agent.stop().await.expect("stops");

    config.tls_ca = Some(dir.join("ca.pem"));
    config.tls_required = true;
    let agent = Agent::start(config.clone(), &[]);
    crate::support::until_true("it listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;
    let mut c = plain(port).await;
    c.write_all(b"list\n").await.expect("writes");
    assert_eq!(line(&mut c).await, "# I require TLS. Closing.\n");
    assert_eq!(line(&mut c).await, "");
    assert!(secure(port, &dir, false).await.is_err(), "without a certificate");
    secure(port, &dir, true).await.expect("with one");
    agent.stop().await.expect("stops");

    // Whose certificate it is, too.
    for (matches, is_let_in) in [("/CN=node\n", false), ("/CN=master\n", true)] {
        config.tls_match = Some(matches.to_owned());
        let agent = Agent::start(config.clone(), &[]);
        crate::support::until_true("it listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        assert_eq!(secure(port, &dir, true).await.is_ok(), is_let_in, "{matches}");
        agent.stop().await.expect("stops");
    }
    config.tls_match = None;
    // At most so many authorities between.
    for (depth, is_let_in) in [(0, false), (1, true)] {
        config.tls_verify_depth = Some(depth);
        let agent = Agent::start(config.clone(), &[]);
        crate::support::until_true("it listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        secure(port, &dir, true).await.expect("none between");
        assert_eq!(secure_as(port, &dir, &["far", "mid"]).await.is_ok(), is_let_in, "{depth}");
        agent.stop().await.expect("stops");
    }
    config.tls_verify_depth = None;

    config.tls_private_key = Some(dir.join("ext"));
    let e = config.check(&[]).expect_err("no key");
    assert!(e.contains("tls_private_key") && e.contains("ext") && e.contains("PEM"), "{e}");
}
