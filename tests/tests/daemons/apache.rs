//! Apache: requests and bytes of a known number, workers in known states.

use crate::lab::Lab;
use crate::origin::{Origin, done, get, get_at_once};
use crate::support::free_port;
use std::process::Command;

/// The length of the page that is asked for.
const PAGE_BYTES: usize = 100_000;

#[test]
fn a_known_load_is_counted() {
    let mut lab = Lab::new();
    let origin = Origin::new();
    let port = free_port();
    let dir = lab.site.path("apache").display().to_string();
    std::fs::create_dir(&dir).expect("a folder");
    std::fs::write(format!("{dir}/page"), vec![b'x'; PAGE_BYTES]).expect("writes");
    let modules = "/usr/lib/apache2/modules";
    let mut text = format!(
        "ServerRoot {dir}\nServerName h\nListen 127.0.0.1:{port}\nPidFile {dir}/pid\n\
         ErrorLog {dir}/err\nUser www-data\nGroup www-data\n"
    );
    for name in ["mpm_event", "authz_core", "authz_host", "status", "proxy", "proxy_http"] {
        text += &format!("LoadModule {name}_module {modules}/mod_{name}.so\n");
    }
    text += &format!(
        "ExtendedStatus On\nDocumentRoot {dir}\n<Directory {dir}>\nRequire all granted\n\
         </Directory>\n<Location /server-status>\nSetHandler server-status\nRequire local\n\
         </Location>\nProxyTimeout 300\nProxyPass /hold http://127.0.0.1:{}/hold\n",
        origin.port
    );
    let config = format!("{dir}/conf");
    std::fs::write(&config, text).expect("writes");
    // -X: one process, so that none is left when it is killed.
    lab.daemon(Command::new("apache2").args(["-X", "-f", &config]), port);
    lab.watch(&format!("[probe.apache]\nurl = \"http://127.0.0.1:{port}/server-status?auto\"\n"));

    let (accesses, volume) = (format!("accesses{port}"), format!("volume{port}"));
    let before = lab.now("apache_accesses", &accesses);
    let sent = lab.now("apache_volume", &volume);
    let mut bytes = 0;
    for _ in 0..40 {
        let (status, length) = get(port, "/page");
        assert_eq!(status, 200);
        bytes += length;
    }
    lab.grows_beside_readings("apache_accesses", &accesses, before, 40.0);
    // Apache says KiB, and the agent's own pages are among them.
    let bytes = bytes as f64;
    let grown = lab.until("apache_volume", &volume, |v| v - sent.1 > bytes - 1024.0) - sent.1;
    let readings = lab.values("apache_volume", &volume).split_off(&sent.0).len() as f64;
    assert!(grown < bytes + 1024.0 + 4096.0 * readings, "{grown} of {bytes}");

    // Six wait for the server behind, and one answers the agent.
    origin.hold();
    let clients = get_at_once(port, "/hold", 6);
    origin.until_held(6);
    lab.until("apache_processes", &format!("busy{port}"), |v| v == 7.0);
    lab.until("apache_scoreboard", "sending", |v| v == 7.0);
    lab.until("apache_processes", &format!("idle{port}"), |v| v == 18.0);
    assert_eq!(lab.newest("apache_processes", &format!("free{port}")), 375.0);
    assert_eq!(lab.newest("apache_usage", "busy"), 100.0 * 7.0 / 400.0);
    origin.release();
    done(clients);
    lab.until("apache_processes", &format!("busy{port}"), |v| v == 1.0);
    lab.grows_beside_readings("apache_accesses", &accesses, before, 46.0);
}
