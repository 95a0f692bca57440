//! Tests of HAProxy's probe against made-up sockets and recorded replies.

use super::*;
use crate::support::testing::{Said, ask, make, reply, serve};
use rookery_plugins::Value;
use std::io::{BufRead, BufReader, Write};

const INFO: &str = "Name: HAProxy\nVersion: 1.5.8\nMaxconn: 100\nCurrConns: 3\n\n";

/// Answers each connection's one command from these.
fn socket(info: String, stat: String) -> String {
    serve(move |mut s| {
        let mut line = String::new();
        let _ = BufReader::new(s.try_clone().expect("clones")).read_line(&mut line);
        let text = match line.as_str() {
            "show info\n" => &info,
            "show stat\n" => &stat,
            other => panic!("asked {other:?}"),
        };
        let _ = s.write_all(text.as_bytes());
    })
}

fn said(info: &str, stat: &str) -> Result<Said, ProbeError> {
    let at = socket(info.to_owned(), stat.to_owned());
    ask(make("haproxy", &format!("address = {at:?}")).as_mut())
}

#[test]
fn a_queue_is_seen_where_it_is() {
    let (info, stat) = ("haproxy/1.show_info.txt", "haproxy/queue_now.show_stat.txt");
    let (specs, values) = said(&reply(info), &reply(stat)).expect("answers");
    for (name, want) in [
        ("haproxy_connections.Maxconn", Value::Int(200)),
        ("haproxy_queue.be_qcur", Value::Int(36)),
        ("haproxy_queue.be.backend_qcur", Value::Int(36)),
        ("haproxy_queue.be.backend_qmax", Value::Int(37)),
        ("haproxy_queue.be.s1_qcur", Value::Int(0)),
        ("haproxy_servers.be_act", Value::Int(2)),
        ("haproxy_servers.be.s2_up", Value::Float(1.0)),
        ("haproxy_servers.be.dead_up", Value::Float(0.0)),
        ("haproxy_sessions.be_scur", Value::Int(40)),
        ("haproxy_rates.be_stot", Value::Int(1725)),
        ("haproxy_rates.be.s2_stot", Value::Int(845)),
        ("haproxy_times.be_rtime", Value::Int(19)),
        ("haproxy_phases.be.qtime", Value::Int(147)),
        ("haproxy_frontends.fe_scur", Value::Int(40)),
        ("haproxy_frontends.fe.slim", Value::Int(200)),
        ("haproxy_frontends.fe.smax", Value::Int(41)),
        ("haproxy_sessions.be.s1_smax", Value::Int(2)),
        ("haproxy_frontend_errors.fe_ereq", Value::Int(1)),
        ("haproxy_responses.hrsp_2xx", Value::Int(1686)),
        ("haproxy_responses.be.hrsp_2xx", Value::Int(1685)),
        ("haproxy_bandwidth.fe_bout", Value::Int(348_990)),
        ("haproxy_errors.be.dead_econ", Value::Int(0)),
    ] {
        assert_eq!(values.get(name), Some(&want), "{name}");
    }
    assert!(specs[0].info.starts_with("HAProxy 2.6.12-1+deb12u4. "), "{}", specs[0].info);
    assert!(!values.contains_key("haproxy_queue.stats_qcur"), "no servers, no queue");
    let spec = |name: &str| specs.iter().find(|s| s.name == name).expect(name);
    let act = spec("haproxy_servers").field("be_act").expect("a field");
    assert_eq!(act.critical.as_deref(), Some("1:"));
    let queue = spec("haproxy_queue").field("be_qcur").expect("a field");
    assert_eq!(queue.warning.as_deref(), Some("0"));
    let near = spec("haproxy_frontends.fe").field("scur").expect("a field");
    assert_eq!((near.warning.as_deref(), near.critical.as_deref()), (Some("160"), Some("196")));
    let out = spec("haproxy_bandwidth").field("fe_bout").expect("a field");
    assert_eq!(out.negative.as_deref(), Some("fe_bin"));
}

#[test]
fn the_page_is_read_as_the_socket_is() {
    let body = reply("haproxy/1.http_csv.txt");
    let at = serve(move |mut s| {
        let mut line = String::new();
        let _ = BufReader::new(s.try_clone().expect("clones")).read_line(&mut line);
        assert!(line.starts_with("GET /;csv "), "{line}");
        let _ = write!(s, "HTTP/1.0 200 OK\r\n\r\n{body}");
    });
    let mut probe = make("haproxy", &format!("url = \"http://{at}/;csv\""));
    let (_, values) = ask(probe.as_mut()).expect("answers");
    assert_eq!(values["haproxy_servers.be_act"], Value::Int(2));
    assert!(!values.contains_key("haproxy_connections.Maxconn"));
}

#[test]
fn old_ones_have_less_and_backups_count() {
    let stat = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,\
                eresp,wretr,wredis,status,weight,act,bck,\n\
                www,FRONTEND,,,3,4,100,9,1,2,0,0,0,,,,,OPEN,,,,\n\
                www,a,2,3,1,2,,5,1,2,,0,,0,0,0,0,DOWN 1/2,1,1,0,\n\
                www,b,0,0,1,2,,4,1,2,,0,,0,0,0,0,MAINT,1,0,1,\n\
                www,BACKEND,1,3,2,4,10,9,1,2,0,0,,0,0,0,0,UP,2,0,1,\n\n";
    let (specs, values) = said(INFO, stat).expect("answers");
    let servers = specs.iter().find(|s| s.name == "haproxy_servers").expect("a service");
    let limits = |name: &str| {
        let field = servers.field(name).expect(name);
        (field.warning.as_deref(), field.critical.as_deref())
    };
    assert_eq!(limits("www_act"), (Some("1:"), None));
    assert_eq!(limits("www_usable"), (None, Some("1:")));
    assert_eq!(values["haproxy_servers.www_act"], Value::Int(0));
    assert_eq!(values["haproxy_servers.www_usable"], Value::Int(1));
    assert_eq!(values["haproxy_queue.www_qcur"], Value::Int(3), "2 wait for one server");
    assert_eq!(values["haproxy_servers.www.a_up"], Value::Float(0.0));
    assert_eq!(values["haproxy_servers.www.b_up"], Value::Float(0.5));
    assert!(specs.iter().all(|s| !s.name.starts_with("haproxy_times")), "no such columns");
}

#[test]
fn any_product_s_table_is_read_and_odd_rows_are_counted() {
    let info = "Name: hapee-lb\nVersion: 2.8.0-1.0.0\nMaxconn: 5\nCurrConns: 3\n\n";
    let stat = "# pxname,svname,qcur,scur,slim,act,bck,status,type,last_chk\n\
                fe,FRONTEND,,3,5,,,OPEN,0,\nbe,s1,0,1,,1,0,UP,2,\"L7OK\nline two, \"\"q\"\"\"\n\
                be,s2,0,1,1,0,UP,2,\nbe,BACKEND,0,1,,1,0,UP,1,\n\n";
    let (specs, values) = said(info, stat).expect("answers");
    assert!(specs[0].info.starts_with("hapee-lb 2.8.0-1.0.0. "), "{}", specs[0].info);
    for (name, want) in [
        ("haproxy_servers.be_act", Value::Int(1)),
        ("haproxy_servers.be.s1_up", Value::Float(1.0)),
        ("haproxy_odd.odd", Value::Int(1)),
    ] {
        assert_eq!(values.get(name), Some(&want), "{name}");
    }
    assert!(!values.contains_key("haproxy_servers.be.s2_up"));
    let odd = specs.iter().find(|s| s.name == "haproxy_odd").expect("a service");
    assert!(odd.info.contains("be,s2,0,1,1,0,UP,2"), "{}", odd.info);
    // A small limit is one, too.
    let near = specs.iter().find(|s| s.name == "haproxy_frontends.fe").expect("a service");
    let scur = near.field("scur").expect("a field");
    assert_eq!((scur.warning.as_deref(), scur.critical.as_deref()), (Some("4"), Some("4")));
}

#[test]
fn what_is_configured_so_is_no_problem() {
    // Backups alone; a template with more places than servers; one whose name is lost.
    let stat = "# pxname,svname,qcur,act,bck,status,type\n\
                spare,s,0,0,1,UP,2\nspare,BACKEND,0,0,1,UP,1\n\
                pool,web1,0,1,0,UP,2\npool,web2,0,1,0,MAINT (resolution),2\n\
                pool,api,0,1,0,MAINT (resolution),2\npool,new,0,1,0,SOMETHING,2\n\
                pool,BACKEND,0,1,0,UP,1\n\n";
    let (specs, values) = said(INFO, stat).expect("answers");
    let servers = specs.iter().find(|s| s.name == "haproxy_servers").expect("a service");
    let act = servers.field("spare_act").expect("a field");
    assert_eq!((act.warning.as_deref(), act.critical.as_deref()), (None, None));
    assert_eq!(values["haproxy_servers.spare_usable"], Value::Int(1));
    assert_eq!(values["haproxy_servers.pool.web2_up"], Value::Float(0.5));
    assert_eq!(values["haproxy_servers.pool.api_up"], Value::Float(0.0));
    assert!(!values.contains_key("haproxy_servers.pool.new_up"), "a word of another version");
}

#[test]
fn too_many_are_cut_and_it_is_said() {
    let mut stat = "# pxname,svname,qcur,scur,act,status,type\n".to_owned();
    for b in 0..300 {
        stat.push_str(&format!("b{b},BACKEND,0,0,1,UP,1\n"));
        for s in 0..20 {
            stat.push_str(&format!("b{b},s{s},0,0,1,UP,2\n"));
        }
    }
    stat.push('\n');
    let (specs, values) = said(INFO, &stat).expect("answers");
    let queue = specs.iter().find(|s| s.name == "haproxy_queue").expect("a service");
    assert_eq!(queue.fields.len(), 200);
    assert!(queue.info.ends_with("Only the first 200 of 300 are shown."), "{}", queue.info);
    let nested = specs.iter().filter(|s| s.name.starts_with("haproxy_servers.b")).count();
    assert_eq!(nested, 100, "2000 servers");
    assert!(values.len() < 20_000, "{}", values.len());
}

#[test]
fn foreign_cut_and_refusing_ones_give_errors() {
    let good = reply("haproxy/1.show_stat.txt");
    let cut = &good[..good.len() - 700];
    for (info, stat, want) in [
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "", "is it its stats socket?"),
        ("", "", "is it its stats socket?"),
        ("Permission denied\n", "", "level operator"),
        (INFO, "Unknown command.\n", "level operator"),
        (INFO, cut, "cut short"),
        (INFO, "\n\n", "is it HAProxy's?"),
    ] {
        let error = said(info, stat).expect_err(want).to_string();
        assert!(error.starts_with("haproxy at 127.0.0.1:") && error.contains(want), "{error}");
    }
}

#[test]
fn who_is_not_there_is_told_apart_from_who_refuses() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("none.sock");
    let error = ask(make("haproxy", &format!("address = {path:?}")).as_mut()).expect_err("none");
    assert!(error.to_string().contains("see `address` in [probe.haproxy]"), "{error}");
    let both = "address = \"/x\"\nurl = \"http://x/\"".parse().expect("TOML");
    assert!((ENTRY.new)(&both).is_err_and(|e| e.contains("one of them")));
}
