//! HAProxy: requests, errors and a queue of known length.

use crate::lab::Lab;
use crate::origin::{Origin, done, get_all, get_at_once};
use crate::support::{bin, free_port, stdout};
use std::process::Command;

/// Starts it before `origin`; its port and the path of its socket.
fn start(lab: &mut Lab, origin: &Origin, mode: &str) -> (u16, String) {
    let (port, closed) = (free_port(), free_port());
    let socket = lab.site.path("haproxy.sock").display().to_string();
    let config = lab.site.path("haproxy.cfg");
    let text = format!(
        "global\n  stats socket {socket} mode {mode} level operator\n  maxconn 200\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  timeout queue 60s\n\
         frontend fe\n  bind 127.0.0.1:{port}\n  use_backend dead if {{ path_beg /bad }}\n  \
         default_backend be\n\
         backend be\n  server s-1 127.0.0.1:{} maxconn 1\n\
         backend dead\n  server d 127.0.0.1:{closed} check inter 100ms fall 1\n",
        origin.port
    );
    std::fs::write(&config, text).expect("writes");
    lab.daemon(Command::new("haproxy").arg("-db").arg("-f").arg(config), port);
    (port, socket)
}

#[test]
fn a_known_load_and_queue_are_counted() {
    let mut lab = Lab::new();
    let origin = Origin::new();
    let (port, socket) = start(&mut lab, &origin, "600");
    lab.watch(&format!("[probe.haproxy]\naddress = {socket:?}\n"));
    let fields = [
        ("haproxy_rates", "be_stot", 25.0),
        ("haproxy_rates.be", "s_1_stot", 25.0),
        ("haproxy_requests", "fe_req_tot", 30.0),
        ("haproxy_responses", "hrsp_2xx", 25.0),
        ("haproxy_responses", "hrsp_5xx", 5.0),
        ("haproxy_responses.dead", "hrsp_5xx", 5.0),
    ];
    lab.until("haproxy_servers", "dead_act", |v| v == 0.0);
    let before: Vec<f64> = fields.iter().map(|f| lab.newest(f.0, f.1)).collect();
    get_all(port, "/x", 25, 200);
    get_all(port, "/bad", 5, 503);
    for ((service, field, by), before) in fields.iter().zip(&before) {
        lab.grows(service, field, *before, *by);
    }
    assert_eq!(lab.newest("haproxy_servers", "be_act"), 1.0);
    assert_eq!(lab.newest("haproxy_servers.be", "s_1_up"), 1.0);
    assert_eq!(lab.newest("haproxy_servers.dead", "d_up"), 0.0);
    assert_eq!(lab.newest("haproxy_connections", "Maxconn"), 200.0);

    // One is served, eleven wait; the last of those before has gone by then.
    lab.until("haproxy_frontends", "fe_scur", |v| v == 0.0);
    origin.hold();
    let clients = get_at_once(port, "/hold", 12);
    origin.until_held(1);
    lab.until("haproxy_queue", "be_qcur", |v| v == 11.0);
    lab.until("haproxy_queue.be", "backend_qcur", |v| v == 11.0);
    lab.until("haproxy_sessions", "be_scur", |v| v == 12.0);
    assert_eq!(lab.newest("haproxy_sessions.be", "s_1_scur"), 1.0);
    lab.until("haproxy_frontends", "fe_scur", |v| v == 12.0);
    origin.release();
    done(clients);
    lab.until("haproxy_queue", "be_qcur", |v| v == 0.0);
    lab.grows("haproxy_rates", "be_stot", before[0], 37.0);
    assert_eq!(lab.newest("haproxy_queue.be", "backend_qmax"), 11.0);
    assert_eq!(lab.newest("haproxy_frontends.fe", "smax"), 12.0);
    assert_eq!(lab.newest("haproxy_frontends.fe", "slim"), 200.0);
}

#[test]
fn who_may_not_open_the_socket_is_told_what_to_do() {
    let mut lab = Lab::new();
    let origin = Origin::new();
    let (_, socket) = start(&mut lab, &origin, "600");
    // Writes the configuration; it is another user who starts the agent.
    lab.site.agent_command("host", &format!("[probe.haproxy]\naddress = {socket:?}\n"));
    let said = stdout(
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(bin("rookery-agent"))
            .arg("--config")
            .arg(lab.site.path("host.toml"))
            .args(["list", "--available"]),
    );
    assert!(said.contains("permission denied: add the agent's user"), "{said}");
}
