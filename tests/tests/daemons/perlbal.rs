//! Perlbal: requests of a known number, and a queue of known length.

use crate::lab::Lab;
use crate::origin::{Origin, done, get_all, get_at_once, is_answered};
use crate::support::free_port;
use std::process::Command;

#[test]
fn a_known_load_and_queue_are_counted() {
    let mut lab = Lab::new();
    let origin = Origin::new();
    let (port, checked, management) = (free_port(), free_port(), free_port());
    let config = lab.site.path("perlbal.conf");
    // Both keep their connections to the backend: with a new one for each request
    // Perlbal now and then, on a busy machine, lets a client wait for its 30 s of
    // idleness and hangs up. In the second one a backend is asked whether it has
    // attention before it is given a request: one that does not say so leaves
    // clients in the queue.
    let text = format!(
        "CREATE POOL p\n  POOL p ADD 127.0.0.1:{}\n\
         CREATE SERVICE web\n  SET role = reverse_proxy\n  SET listen = 127.0.0.1:{port}\n  \
         SET pool = p\n  SET verify_backend = off\n  \
         SET persist_backend = on\nENABLE web\n\
         CREATE SERVICE checked\n  SET role = reverse_proxy\n  \
         SET listen = 127.0.0.1:{checked}\n  SET pool = p\n  SET persist_backend = on\n  \
         SET verify_backend = on\n  SET verify_backend_path = /hold\nENABLE checked\n\
         CREATE SERVICE mgmt\n  SET role = management\n  \
         SET listen = 127.0.0.1:{management}\nENABLE mgmt\n",
        origin.port
    );
    std::fs::write(&config, text).expect("writes");
    let mut command = Command::new("perlbal");
    lab.daemon(command.arg(format!("--config={}", config.display())), management);
    lab.watch(&format!("[probe.perlbal]\naddress = \"127.0.0.1:{management}\"\n"));

    // Its management answers before its services do.
    crate::support::wait_for("Perlbal's first answer", crate::lab::LIMIT, || {
        is_answered(port, "/x").then_some(())
    });
    let node = format!("_127_0_0_1_{}", origin.port);
    lab.until("perlbal_nodes", &node, |v| v > 0.0);
    let requests = lab.settled("perlbal_requests", "reqs");
    let passed = lab.settled("perlbal_nodes", &node);
    get_all(port, "/x", 30, 200);
    lab.grows("perlbal_requests", "reqs", requests, 30.0);
    lab.until("perlbal_nodes", &node, |v| v == passed + 30.0);
    assert_eq!(lab.newest("perlbal_errors", &node), 0.0);
    assert_eq!(lab.newest("perlbal_queue", "web"), 0.0);

    origin.hold();
    let clients = get_at_once(checked, "/y", 9);
    lab.until("perlbal_queue", "checked", |v| v == 9.0);
    lab.until("perlbal_queue.checked", "normal", |v| v == 9.0);
    lab.until("perlbal_queue_age", "checked", |v| v >= 1.0);
    lab.until("perlbal_client_states", "ClientProxy_wait_backend", |v| v == 9.0);
    lab.until("perlbal_backend_states", "verifying_backend", |v| v >= 1.0);
    origin.release();
    done(clients);
    lab.until("perlbal_queue", "checked", |v| v == 0.0);
    lab.until("perlbal_client_states", "ClientProxy_wait_backend", |v| v == 0.0);
    lab.grows("perlbal_requests", "reqs", requests, 39.0);
    lab.until("perlbal_nodes", &node, |v| v == passed + 39.0);
}
