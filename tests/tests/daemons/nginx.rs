//! nginx: requests of a known number, connections in known states.

use crate::lab::Lab;
use crate::origin::{Origin, done, get_all, get_and_stay, get_at_once};
use crate::support::free_port;
use std::process::Command;

#[test]
fn a_known_load_is_counted() {
    let mut lab = Lab::new();
    let origin = Origin::new();
    let port = free_port();
    let dir = lab.site.path("nginx").display().to_string();
    std::fs::create_dir(&dir).expect("a folder");
    // One process, so that none is left when it is killed.
    let text = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/err;\n\
         events {{ worker_connections 128; }}\n\
         http {{ access_log off; keepalive_timeout 300s; client_body_temp_path {dir}/b;\n\
         proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;\n\
         scgi_temp_path {dir}/s; proxy_read_timeout 300s;\n\
         server {{ listen 127.0.0.1:{port};\n\
         location = /nginx_status {{ stub_status; allow 127.0.0.1; deny all; }}\n\
         location / {{ proxy_pass http://127.0.0.1:{}; }} }} }}\n",
        origin.port
    );
    let config = format!("{dir}/conf");
    std::fs::write(&config, text).expect("writes");
    lab.daemon(Command::new("nginx").args(["-e", &format!("{dir}/err"), "-c", &config]), port);
    lab.watch(&format!("[probe.nginx]\nurl = \"http://127.0.0.1:{port}/nginx_status\"\n"));

    let requests = lab.now("nginx_request", "request");
    let accepts = lab.now("nginx_connections", "accepts");
    get_all(port, "/x", 40, 200);
    lab.grows_beside_readings("nginx_request", "request", requests, 40.0);
    lab.grows_beside_readings("nginx_connections", "accepts", accepts, 40.0);
    assert_eq!(lab.newest("nginx_connections", "dropped"), 0.0);

    // Three stay without a request, seven wait for the server behind, and one
    // is the agent.
    let kept: Vec<_> = (0..3).map(|_| get_and_stay(port, "/x")).collect();
    origin.hold();
    let clients = get_at_once(port, "/hold", 7);
    origin.until_held(7);
    lab.until("nginx_status", "writing", |v| v == 8.0);
    lab.until("nginx_status", "waiting", |v| v == 3.0);
    lab.until("nginx_status", "total", |v| v == 11.0);
    assert_eq!(lab.newest("nginx_status", "reading"), 0.0);
    origin.release();
    done(clients);
    drop(kept);
    lab.until("nginx_status", "total", |v| v == 1.0);
    lab.grows_beside_readings("nginx_request", "request", requests, 50.0);
}
