//! Access logs as nginx writes them: a known load by status, vhost and path, over
//! a rotation.

use crate::lab::Lab;
use crate::support::{free_port, http, run};
use std::process::Command;

#[test]
fn nginx_s_requests_are_counted_over_a_rotation() {
    let mut lab = Lab::new();
    let port = free_port();
    let log = lab.site.path("access.log");
    let conf = lab.site.path("nginx.conf");
    let dir = lab.site.dir.path().display().to_string();
    let text = format!(
        "daemon off;\nmaster_process off;\nuser root;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\n\
         events {{}}\nhttp {{\n\
         log_format timed '$host:$server_port $remote_addr - $remote_user [$time_local] \
         \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" \
         $request_time';\n\
         access_log {log} timed;\n\
         client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;\n\
         uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;\n\
         server {{ listen 127.0.0.1:{port};\n\
         location / {{ return 200 ok; }} location /api/ {{ return 503; }}\n\
         location /old {{ return 301 /new; }} }} }}\n",
        log = log.display(),
    );
    std::fs::write(&conf, text).expect("writes");
    std::fs::write(&log, "an old line that is no request\n").expect("writes");
    let mut command = Command::new("nginx");
    lab.daemon(command.arg("-p").arg(lab.site.dir.path()).arg("-c").arg(&conf), port);
    lab.watch(&format!(
        "[probe.access_log]\nfiles = [{log:?}]\n[probe.access_log.paths]\napi = \"/api/*\"\n"
    ));
    assert_eq!(lab.newest("web_requests", "status_2xx"), 0.0);
    let ask = |path: &str, n: usize, status: u16| {
        for _ in 0..n {
            let url = format!("http://127.0.0.1:{port}{path}?q=1");
            // Redirects are followed: /new is a request of its own.
            assert_eq!(http(|c| c.get(&url)).expect("answers").status, status);
        }
    };
    ask("/", 20, 200);
    ask("/api/x", 5, 503);
    ask("/old", 3, 200);
    lab.grows("web_requests", "status_2xx", 0.0, 23.0);
    lab.grows("web_requests", "status_3xx", 0.0, 3.0);
    lab.grows("web_requests", "status_5xx", 0.0, 5.0);
    lab.grows("web_requests.path_api", "status_5xx", 0.0, 5.0);
    lab.grows("web_requests.vhost_127_0_0_1", "status_2xx", 0.0, 23.0);
    assert!(lab.newest("web_times", "max") < 1_000.0);
    assert_eq!(lab.newest("web_slow", "all"), 0.0);

    // logrotate's way: away with it, more for the old file, then a new one.
    std::fs::rename(&log, lab.site.path("access.log.1")).expect("renames");
    ask("/", 7, 200);
    let done = run(Command::new("nginx")
        .arg("-p")
        .arg(lab.site.dir.path())
        .arg("-c")
        .arg(&conf)
        .args(["-s", "reopen"]));
    assert!(done.status.success(), "{done:?}");
    crate::support::wait_for("the new file", crate::lab::LIMIT, || log.exists().then_some(()));
    ask("/", 11, 200);
    lab.grows("web_requests", "status_2xx", 0.0, 41.0);
    assert_eq!(lab.settled("web_requests", "status_2xx"), 41.0);
    assert_eq!(lab.newest("web_log", "odd"), 0.0);
}
