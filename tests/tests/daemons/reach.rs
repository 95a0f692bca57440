//! Checks of pages, ports and name servers: nginx with certificates that expire
//! soon, late, and are of nobody's making; dnsmasq with names of known addresses.

use crate::lab::{LIMIT, Lab};
use crate::support::{Proc, free_port, run, wait_for};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

fn openssl(dir: &Path, args: &str) {
    let made = run(Command::new("openssl").args(args.split(' ')).current_dir(dir));
    assert!(made.status.success(), "{args}: {}", String::from_utf8_lossy(&made.stderr));
}

/// `NAME.crt` for localhost that this many days are left of, from the authority `ca`.
fn certificate(dir: &Path, name: &str, days: u32) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(dir, &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN=localhost"));
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:localhost\n").expect("writes");
    openssl(
        dir,
        &format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {days} \
             -extfile ext -out {name}.crt"
        ),
    );
}

#[test]
fn pages_and_their_certificates_are_looked_at() {
    let mut lab = Lab::new();
    let dir = lab.site.path("nginx");
    std::fs::create_dir(&dir).expect("a folder");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&dir, &format!("req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=ca -days 900"));
    for (name, days) in [("late", 400), ("soon", 10), ("now", 3)] {
        certificate(&dir, name, days);
    }
    openssl(
        &dir,
        &format!("req -x509 {key} -keyout own.key -out own.crt -subj /CN=localhost -days 400"),
    );
    let names = ["late", "soon", "now", "own"];
    let ports = names.map(|_| free_port());
    let plain = free_port();
    let at = dir.display();
    let servers: String = names
        .iter()
        .zip(ports)
        .map(|(name, port)| {
            format!(
                "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {at}/{name}.crt;\n\
                 ssl_certificate_key {at}/{name}.key; return 200 \"welcome\"; }}\n"
            )
        })
        .collect();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/err;\n\
         events {{ worker_connections 128; }}\n\
         http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n{servers}\
         server {{ listen 127.0.0.1:{plain}; location /broken {{ return 503; }}\n\
         location /moved {{ return 301 /; }} location / {{ return 200 \"welcome\"; }} }} }}\n"
    );
    std::fs::write(dir.join("conf"), text).expect("writes");
    let conf = format!("{at}/conf");
    lab.daemon(Command::new("nginx").args(["-e", &format!("{at}/err"), "-c", &conf]), plain);

    let mut config = String::new();
    // Of an authority that is known, for another name.
    let other = format!(
        "[[probe.http.check]]\nname = \"name\"\nurl = \"https://127.0.0.1:{}/\"\n",
        ports[0]
    );
    config += &other;
    for (name, port) in names.iter().zip(ports) {
        config += &format!(
            "[[probe.http.check]]\nname = {name:?}\nurl = \"https://localhost:{port}/\"\n\
             address = \"127.0.0.1:{port}\"\ntext = \"welcome\"\n"
        );
    }
    let down = free_port();
    for (name, url, more) in [
        ("plain", format!("http://127.0.0.1:{plain}/"), ""),
        ("moved", format!("http://127.0.0.1:{plain}/moved"), ""),
        ("notmoved", format!("http://127.0.0.1:{plain}/moved"), "status = 200\n"),
        ("broken", format!("http://127.0.0.1:{plain}/broken"), ""),
        ("other", format!("http://127.0.0.1:{plain}/"), "text = \"sold out\"\n"),
        ("down", format!("http://127.0.0.1:{down}/"), ""),
    ] {
        config += &format!("[[probe.http.check]]\nname = {name:?}\nurl = {url:?}\n{more}");
    }
    config += &format!(
        "[[probe.tcp.check]]\nname = \"tls\"\naddress = \"localhost:{}\"\ntls = true\n\
         verify = false\n",
        ports[1]
    );
    let mut command = lab.site.agent_command("host", &format!("step = \"500ms\"\n{config}"));
    let _agent = Proc::start(command.env("SSL_CERT_FILE", dir.join("ca.crt")));

    for (check, up, status) in [
        ("late", 1.0, 200.0),
        ("own", 1.0, 200.0),
        ("plain", 1.0, 200.0),
        ("moved", 1.0, 301.0),
        ("notmoved", 0.0, 301.0),
        ("broken", 0.0, 503.0),
        ("other", 0.0, 200.0),
    ] {
        lab.until(&format!("http_up.{check}"), "up", |v| v == up);
        lab.until(&format!("http_status.{check}"), "status", |v| v == status);
    }
    lab.until("http_up.down", "up", |v| v == 0.0);
    assert!(lab.values("http_status.down", "status").is_empty(), "nobody said a status");
    assert!(lab.values("http_response.down", "response").is_empty());
    // Of one reading, each comes after the one before.
    let took = ["connect", "tls", "response"].map(|f| lab.values("http_response.late", f));
    let last = took.iter().filter_map(|all| all.keys().last()).min().expect("a reading");
    let took = took.each_ref().map(|all| all[last]);
    assert!(took.is_sorted() && took[0] > 0.0, "{took:?}");
    for (check, days) in [("late", 400.0), ("soon", 10.0), ("now", 3.0)] {
        let left = lab.newest(&format!("http_certificate.{check}"), "days");
        assert!((days - 0.1..=days).contains(&left), "{check}: {left}");
        lab.until(&format!("http_certificate.{check}"), "trusted", |v| v == 1.0);
    }
    lab.until("http_certificate.own", "trusted", |v| v == 0.0);
    lab.until("http_certificate.name", "trusted", |v| v == 0.0);
    lab.until("tcp_up.tls", "up", |v| v == 1.0);
    let left = lab.newest("tcp_certificate.tls", "days");
    assert!((9.9..=10.0).contains(&left), "{left}");
    assert!(lab.values("tcp_certificate.tls", "trusted").is_empty(), "verify = false");

    let state = |service: &str| {
        let services = lab.site.services("host");
        let of = services.iter().find(|s| s["service"] == service)?;
        Some(of["state"].as_str()?.to_owned())
    };
    for (service, want) in [
        ("http_certificate.late", "OK"),
        ("http_certificate.soon", "WARNING"),
        ("http_certificate.now", "CRITICAL"),
        ("http_certificate.own", "CRITICAL"),
        ("http_up.late", "OK"),
        ("http_up.broken", "CRITICAL"),
        ("http_up.down", "CRITICAL"),
    ] {
        wait_for(&format!("{service} {want}"), LIMIT, || state(service).filter(|s| s == want));
    }
    for (service, want) in [
        ("http_up.broken", "it answers with HTTP 503"),
        ("http_up.other", "its page does not have \"sold out\""),
        ("http_up.down", "nobody listens there (refused)"),
        ("http_certificate.name", "refuse it: it is for another name."),
        ("http_certificate.own", "Clients that look at it refuse it: it vouches for itself."),
    ] {
        let info = lab.info(service);
        assert!(info.contains(want), "{service}: {info}");
    }
}

#[test]
fn ports_that_hang_are_down_and_come_back() {
    let mut lab = Lab::new();
    let port = free_port();
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("binds");
    let mute = silent.local_addr().expect("an address").port();
    lab.watch(&format!(
        "[probe.tcp]\ntimeout = \"400ms\"\n\
         [[probe.tcp.check]]\nname = \"open\"\naddress = \"127.0.0.1:{mute}\"\n\
         [[probe.tcp.check]]\nname = \"mute\"\naddress = \"127.0.0.1:{mute}\"\nexpect = \"220 \"\n\
         [[probe.tcp.check]]\nname = \"late\"\naddress = \"127.0.0.1:{port}\"\nsend = \"HELO\"\n\
         expect = \"220 \"\n"
    ));
    lab.until("tcp_up.open", "up", |v| v == 1.0);
    lab.until("tcp_up.mute", "up", |v| v == 0.0);
    assert!(lab.info("tcp_up.mute").contains("did not answer in time"));
    lab.until("tcp_up.late", "up", |v| v == 0.0);
    let server = TcpListener::bind(("127.0.0.1", port)).expect("binds");
    std::thread::spawn(move || {
        for mut client in server.incoming().flatten() {
            let mut said = [0; 4];
            let heard = std::io::Read::read_exact(&mut client, &mut said);
            if heard.is_ok() && &said == b"HELO" {
                let _ = std::io::Write::write_all(&mut client, b"220 mail.example ESMTP\r\n");
            }
        }
    });
    lab.until("tcp_up.late", "up", |v| v == 1.0);
}

#[test]
fn name_servers_are_asked() {
    let mut lab = Lab::new();
    let port = free_port();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let mute = silent.local_addr().expect("an address").port();
    let options = format!(
        "--keep-in-foreground --no-daemon --no-resolv --no-hosts --conf-file=/dev/null \
         --port={port} --listen-address=127.0.0.1 --bind-interfaces --pid-file= --user=root \
         --host-record=shop.example,10.0.0.7,fd00::7 --host-record=two.example,10.0.0.8 \
         --host-record=two.example,10.0.0.9 --cname=www.shop.example,shop.example \
         --mx-host=shop.example,mail.shop.example,10 --txt-record=shop.example,v=spf1 \
         --local=/example/"
    );
    lab.daemon(Command::new("dnsmasq").args(options.split_whitespace()), port);
    let mut config = "[probe.dns]\ntimeout = \"600ms\"\n".to_owned();
    for (name, query, more) in [
        ("a", "shop.example", "expect = \"10.0.0.7\"\n"),
        ("alias", "www.shop.example", "expect = \"10.0.0.7\"\n"),
        ("aaaa", "shop.example", "type = \"AAAA\"\nexpect = \"fd00::7\"\n"),
        ("mx", "shop.example", "type = \"MX\"\nexpect = \"10 mail.shop.example\"\n"),
        ("txt", "shop.example", "type = \"TXT\"\nexpect = \"v=spf1\"\n"),
        ("wrong", "shop.example", "expect = \"10.0.0.1\"\n"),
        ("none", "nobody.example", ""),
        ("two", "two.example", ""),
    ] {
        config += &format!(
            "[[probe.dns.check]]\nname = {name:?}\nquery = {query:?}\n\
             server = \"127.0.0.1:{port}\"\n{more}"
        );
    }
    config += &format!(
        "[[probe.dns.check]]\nname = \"mute\"\nquery = \"x.example\"\n\
         server = \"127.0.0.1:{mute}\"\n"
    );
    lab.watch(&config);
    for name in ["a", "alias", "aaaa", "mx", "txt"] {
        lab.until(&format!("dns_up.{name}"), "up", |v| v == 1.0);
        lab.until(&format!("dns_answers.{name}"), "answers", |v| v == 1.0);
        lab.until(&format!("dns_response.{name}"), "response", |v| v < 0.6);
    }
    lab.until("dns_answers.two", "answers", |v| v == 2.0);
    for (name, want) in [
        ("wrong", "it says 10.0.0.7, not 10.0.0.1"),
        ("none", "NXDOMAIN"),
        ("mute", "it did not answer in time"),
    ] {
        lab.until(&format!("dns_up.{name}"), "up", |v| v == 0.0);
        let info = lab.info(&format!("dns_up.{name}"));
        assert!(info.contains(want), "{name}: {info}");
    }
}
