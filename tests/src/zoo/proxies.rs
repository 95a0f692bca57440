//! What speaks HTTP: nginx as the origin of all, Apache, and before them
//! HAProxy, Varnish, Squid, Perlbal.

use super::{Res, Zoo, run};
use rustix::process::Signal;
use std::process::Command;

/// What is slow is so long, at [`SLOW_RATE`] after the first second's share.
const SLOW_BYTES: usize = 24_000;
const SLOW_RATE: &str = "20k";

/// Starts all of them.
pub fn start(zoo: &mut Zoo) -> Res<()> {
    nginx(zoo)?;
    apache(zoo)?;
    haproxy(zoo)?;
    varnish(zoo)?;
    squid(zoo)?;
    perlbal(zoo)
}

fn nginx(zoo: &mut Zoo) -> Res<()> {
    let dir = zoo.folder("nginx")?;
    let port = zoo.ports.nginx;
    std::fs::write(format!("{dir}/slow"), vec![b'x'; SLOW_BYTES])?;
    let body = "x".repeat(1_000);
    // One process, so that none is left when it ends.
    let text = format!(
        "daemon off; master_process off; user root; pid {dir}/pid; error_log {dir}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
         log_format timed '$host:$server_port $remote_addr - $remote_user [$time_local] \
         \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" \
         $request_time';\n\
         access_log {dir}/access.log timed; root {dir};\n\
         client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
         uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
         server {{ listen 127.0.0.1:{port}; server_name shop.example;\n\
         location / {{ return 200 {body}; }}\n\
         location /c/ {{ add_header Cache-Control max-age=600; return 200 {body}; }}\n\
         location /api/ {{ return 200 ok; }} location /broken {{ return 503; }}\n\
         location /old {{ return 301 /new; }} location /gone {{ return 404; }}\n\
         location /slow {{ limit_rate {SLOW_RATE}; }}\n\
         location = /nginx_status {{ stub_status; access_log off; allow 127.0.0.1; deny all; }}\n\
         }} }}\n"
    );
    let config = zoo.file("nginx/conf", &text)?;
    let mut command = Command::new("nginx");
    command.args(["-p", &dir, "-e", &format!("{dir}/error.log"), "-c", &config]);
    zoo.daemon("nginx", Signal::TERM, &mut command, port)
}

fn apache(zoo: &mut Zoo) -> Res<()> {
    let dir = zoo.folder("apache")?;
    let port = zoo.ports.apache;
    std::fs::write(format!("{dir}/page"), vec![b'x'; 5_000])?;
    let mut text = format!(
        "ServerRoot {dir}\nServerName h\nListen 127.0.0.1:{port}\nPidFile {dir}/pid\n\
         ErrorLog {dir}/error.log\nUser www-data\nGroup www-data\n"
    );
    for name in ["mpm_event", "authz_core", "authz_host", "status", "proxy", "proxy_http"] {
        text += &format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    }
    text += &format!(
        "ExtendedStatus On\nDocumentRoot {dir}\n<Directory {dir}>\nRequire all granted\n\
         </Directory>\n<Location /server-status>\nSetHandler server-status\nRequire local\n\
         </Location>\nProxyPass /slow http://127.0.0.1:{}/slow\n",
        zoo.ports.nginx
    );
    let config = zoo.file("apache/conf", &text)?;
    // -X: one process.
    let mut command = Command::new("apache2");
    zoo.daemon("apache", Signal::TERM, command.args(["-X", "-f", &config]), port)
}

fn haproxy(zoo: &mut Zoo) -> Res<()> {
    let p = zoo.ports;
    let socket = zoo.text("haproxy.sock");
    let text = format!(
        "global\n  stats socket {socket} mode 660 level operator\n  maxconn 200\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  timeout queue 60s\n\
         frontend shop\n  bind 127.0.0.1:{}\n  use_backend images if {{ path_beg /img }}\n  \
         use_backend lost if {{ path_beg /lost }}\n  default_backend app\n\
         backend app\n  balance roundrobin\n  server app1 127.0.0.1:{} check maxconn 2\n  \
         server app2 127.0.0.1:{} check maxconn 2\n  server app3 127.0.0.1:{} check\n\
         backend images\n  http-request set-path /page\n  server img1 127.0.0.1:{} check\n\
         backend lost\n  server lost1 127.0.0.1:{} check\n\
         frontend stats\n  bind 127.0.0.1:{}\n  stats enable\n  stats uri /\n",
        p.haproxy, p.nginx, p.nginx, p.closed, p.apache, p.closed, p.haproxy_page
    );
    let config = zoo.file("haproxy.cfg", &text)?;
    let mut command = Command::new("haproxy");
    zoo.daemon("haproxy", Signal::TERM, command.args(["-db", "-f", &config]), p.haproxy)
}

fn varnish(zoo: &mut Zoo) -> Res<()> {
    let p = zoo.ports;
    let text = format!(
        "vcl 4.0;\n\
         backend nginx {{ .host = \"127.0.0.1\"; .port = \"{}\";\n\
         .probe = {{ .url = \"/api/\"; .interval = 2s; }} }}\n\
         backend lost {{ .host = \"127.0.0.1\"; .port = \"{}\"; }}\n\
         sub vcl_recv {{\n\
         if (req.url ~ \"^/lost\") {{ set req.backend_hint = lost; return (pass); }}\n\
         if (req.url ~ \"^/slow\") {{ return (pass); }} }}\n",
        p.nginx, p.closed
    );
    let vcl = zoo.file("varnish.vcl", &text)?;
    let mut command = Command::new("varnishd");
    command.args(["-F", "-j", "none", "-s", "malloc,2m", "-n", &zoo.text("varnish")]);
    command.args(["-f", &vcl, "-p", "thread_pools=1", "-p", "thread_pool_min=10"]);
    command.args(["-a", &format!("127.0.0.1:{}", p.varnish)]);
    zoo.daemon("varnishd", Signal::TERM, &mut command, p.varnish)
}

fn squid(zoo: &mut Zoo) -> Res<()> {
    let dir = zoo.folder("squid")?;
    run(Command::new("chown").args(["proxy", &dir]))?;
    let port = zoo.ports.squid;
    let text = format!(
        "http_port 127.0.0.1:{port}\ncache_effective_user proxy\npid_filename {dir}/pid\n\
         access_log none\ncache_log {dir}/log\ncoredump_dir {dir}\ncache_mem 16 MB\n\
         acl lo src 127.0.0.1/32\nhttp_access allow lo\nhttp_access deny all\nicp_port 0\n\
         pinger_enable off\nshutdown_lifetime 1 second\n"
    );
    let config = zoo.file("squid/conf", &text)?;
    let mut command = Command::new("squid");
    // Its files in shared memory are called by this name.
    let name = format!("rookery{port}");
    zoo.daemon("squid", Signal::TERM, command.args(["-N", "-n", &name, "-f", &config]), port)
}

fn perlbal(zoo: &mut Zoo) -> Res<()> {
    let p = zoo.ports;
    let text = format!(
        "CREATE POOL p\n  POOL p ADD 127.0.0.1:{}\n\
         CREATE SERVICE web\n  SET role = reverse_proxy\n  SET listen = 127.0.0.1:{}\n  \
         SET pool = p\n  SET verify_backend = off\nENABLE web\n\
         CREATE SERVICE mgmt\n  SET role = management\n  SET listen = 127.0.0.1:{}\nENABLE mgmt\n",
        p.nginx, p.perlbal, p.perlbal_management
    );
    let config = zoo.file("perlbal.conf", &text)?;
    let mut command = Command::new("perlbal");
    command.arg(format!("--config={config}"));
    zoo.daemon("perlbal", Signal::TERM, &mut command, p.perlbal_management)
}
