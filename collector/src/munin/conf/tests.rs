//! What munin.conf(5) allows, and what is named instead.

use super::*;
use proptest::prelude::*;

fn read_text(text: &str) -> Result<Remotes, String> {
    let mut reader = Reader::default();
    reader.text("munin.conf", text);
    reader.remotes()
}

const EXAMPLE: &str = "# A comment\n\
    includedir /etc/munin/munin-conf.d\n\
    dbdir /var/lib/munin\n\
    contact.ops.command mail -s \"x\" ops\n\
    [localhost.localdomain]\n    address 127.0.0.1\n    use_node_name yes\n\
    [db;]\n  df._dev_sda1.warning 80 # percent\n  port 5000\n\
    [db;db1.example.com]\n  address db1\n  df._dev_sda1.critical \\\n    95\n\
    \x20 mysql.graph_title Our \\#1\n\
    [db;old]\n address x\n update no\n\
    [web1]\n address [::1]\n use_default_node yes\n sums.graph_order a=web1:load.load\n\
    weird\n";

#[test]
fn a_tree_as_munin_has_it() {
    let found = read_text(EXAMPLE).expect("reads");
    let names: Vec<&str> = found.nodes.iter().map(|n| n.node.as_str()).collect();
    assert_eq!(names, ["localdomain;localhost.localdomain", "db;db1.example.com", "web1;web1"]);
    let [local, db1, web1] = &found.nodes[..] else { panic!("{found:?}") };
    assert_eq!(local.list_as, ListAs::Banner);
    assert_eq!(db1.address, Address::Tcp("db1:5000".to_owned()));
    assert_eq!(db1.list_as, ListAs::Host("db1.example.com".to_owned()));
    let item = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        db1.overrides,
        [
            item("df", "_dev_sda1.warning 80"),
            item("df", "_dev_sda1.critical 95"),
            item("mysql", "graph_title Our #1")
        ]
    );
    assert_eq!(
        (&web1.address, &web1.list_as),
        (&Address::Tcp("[::1]:4949".to_owned()), &ListAs::Own)
    );
    let [sums] = &found.borrowed[..] else { panic!("{found:?}") };
    assert_eq!((sums.node.as_str(), sums.spec.name.as_str()), ("web1;web1", "sums"));
    assert!(web1.overrides.is_empty(), "not for the node: {web1:?}");
    let notes = found.notes.join("\n");
    for want in
        ["munin.conf:3: dbdir", "munin.conf:16: [db;old]: update no", "munin.conf:23: \"weird\""]
    {
        assert!(notes.contains(want), "{want}\n{notes}");
    }
}

/// Of munin.conf(5) and Munin's documentation: what is not honoured has its line.
#[test]
fn what_is_not_honoured_is_named() {
    let named = "dbdir logdir htmldir rundir tmpldir staticdir cgitmpdir cgiurl_graph fork \
        palette graph_data_size graph_strategy html_strategy local_address max_processes \
        max_graph_jobs max_cgi_graph_jobs munin_cgi_graph_jobs timeout graph_period \
        timeout_fetch_all_nodes timeout_fetch_one_node update_rate tls_verify_depth \
        rrdcached_socket max_size_x max_size_y dropdownlimit domain_order \
        node_order group_order nsca nsca_server nsca_config graph_width graph_height \
        contact.a.max_messages contact.a.always_send contact.a.odd weird";
    for key in named.split_whitespace() {
        let found = read_text(&format!("{key} x\ncontact.a.command x\n")).expect("reads");
        let want = format!("munin.conf:1: {key}");
        assert!(found.notes.iter().any(|n| n.starts_with(&want)), "{key}: {:?}", found.notes);
    }
    for key in "local_address node_order group_order odd tls_verify_depth".split_whitespace() {
        let found = read_text(&format!("[a;b]\naddress x\n{key} y\n")).expect("reads");
        let want = format!("munin.conf:3: {key}");
        assert!(found.notes.iter().any(|n| n.starts_with(&want)), "{key}: {:?}", found.notes);
    }
    let honoured = "includedir /etc/x\ntls enabled\ntls_verify_certificate yes\n\
        tls_ca_certificate a\ntls_certificate b\ntls_private_key c\nssh_command s\n\
        ssh_options -v -x\ncontacts a\ncontact.a.command x\ncontact.a.text y\n\
        [g;]\nnotify_alias G\n[g;b]\naddress ssh://u@h:7/bin/x y\nport 1\nupdate yes\n\
        use_node_name yes\nuse_default_node no\ncontacts a\nnotify_alias B\n\
        load.graph_title x\nload.load.warning 5\nload.contacts none\n\
        sum.graph_order a=c:d.e\n";
    let found = read_text(honoured).expect("reads");
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    let [node] = &found.nodes[..] else { panic!("{found:?}") };
    assert_eq!(node.address.to_string(), "s -v -x -o BatchMode=yes -p 7 u@h /bin/x y");
    assert_eq!((node.tls.wish, node.tls.verify), (Wish::Enabled, true));
    assert_eq!(found.contacts[0].name, "a");
    let munin = found.contacts[0].munin.as_ref().expect("munin's");
    assert!(!munin.routes.tells("a", "g;b", Some("load")));
}

#[test]
fn what_a_group_borrows_its_hosts_borrow() {
    let text = "[web;]\nload.graph_order load best=a:load.load\n\
        all.total.sum a:load.load b:load.load\nall.total.critical 5\n\
        [web;a]\naddress a\n[web;in;b]\naddress b\nall.total.critical 7\n\
        load.graph_order load\n[db;c]\naddress c\n";
    let found = read_text(text).expect("reads");
    let of = |b: &Borrowed| {
        let critical = b.spec.field("total").and_then(|f| f.critical.clone());
        format!("{} {} {}", b.node, b.spec.name, critical.unwrap_or_default())
    };
    let all: Vec<String> = found.borrowed.iter().map(of).collect();
    // The nearer word on `load` lends nothing.
    assert_eq!(all, ["web;a all 5", "web;a load ", "web;in;b all 7"]);
    let nodes = &found.borrowed[2].loans[0].sources[0].nodes;
    assert_eq!(nodes, &["web;in;a", "a"], "as seen from the host");
}

/// The forms that munin.conf(5) has for one service, and for a host within its group.
#[test]
fn services_and_hosts_within_groups_have_sections_and_keys() {
    let text = "[Web;]\naddress any\nwww1:df._dev_sda1.warning 70\nwww2:address two\n\
        sub;www3:address three\nwww2:load.contacts none\n\
        [Web;www1]\naddress one\n[Web;www1:df]\n_dev_sda1.critical 98\ngraph_title Disks\n\
        [Web;www1:diskstats_iops.sda]\nrdio.warning 5\n\
        [ Web ; www4 ]\naddress four\n[a.example.com:df]\n_dev.warning 1\n\
        [a.example.com]\naddress a\n";
    let found = read_text(text).expect("reads");
    let names: Vec<&str> = found.nodes.iter().map(|n| n.node.as_str()).collect();
    let want = ["Web;www1", "Web;www2", "Web;sub;www3", "Web;www4", "example.com;a.example.com"];
    assert_eq!(names, want, "{:?}", found.notes);
    let item = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        found.nodes[0].overrides,
        [
            item("df", "_dev_sda1.warning 70"),
            item("df", "_dev_sda1.critical 98"),
            item("df", "graph_title Disks"),
            item("diskstats_iops.sda", "rdio.warning 5")
        ]
    );
    assert_eq!(found.nodes[1].address, Address::Tcp("two:4949".to_owned()));
    assert_eq!(found.nodes[4].overrides, [item("df", "_dev.warning 1")]);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn what_is_no_such_form_is_named_by_its_line_and_invents_no_host() {
    for (text, line) in [
        ("[g;h\naddress x\n", "munin.conf:1: [g;h: [group;host]"),
        ("[]\naddress x\n", "munin.conf:1: []: "),
        ("[:df]\na.warning 1\n", "munin.conf:1: [:df]: "),
        ("[g;h:]\na.warning 1\n", "munin.conf:1: [g;h:]: "),
        ("[g;h:a:b]\na.warning 1\n", "munin.conf:1: [g;h:a:b]: "),
        ("[k;l]\naddress x\nm:df.a.warning 1\n", "munin.conf:3: m:df.a.warning: a host's"),
        ("[k;]\nm:df:a.warning 1\n", "munin.conf:2: m:df:a.warning: host:service"),
        ("[k;l:df]\naddress x\n", "munin.conf:2: address: is said of a host"),
    ] {
        let found = read_text(text).expect("reads");
        assert!(found.notes.iter().any(|n| n.starts_with(line)), "{line}: {:?}", found.notes);
        let names: Vec<&str> = found.nodes.iter().map(|n| n.node.as_str()).collect();
        assert!(names.iter().all(|n| *n == "k;l"), "{text}: {names:?}");
    }
}

#[test]
fn keys_of_overrides() {
    let of = |key: &str| service_and_rest(key);
    let is = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
    assert_eq!(of("df._dev.warning"), is("df", "_dev.warning"));
    assert_eq!(of("df.graph_title"), is("df", "graph_title"));
    assert_eq!(of("diskstats_iops.sda.graph_title"), is("diskstats_iops.sda", "graph_title"));
    assert_eq!(of("diskstats_iops.sda.rdio.warning"), is("diskstats_iops.sda", "rdio.warning"));
    assert_eq!(of(".x"), None);
    assert_eq!(of("x."), None);
}

#[test]
fn a_bad_port_is_named() {
    let e = read_text("[a;b]\naddress x\nport many\n").expect_err("bad");
    assert_eq!(e, "munin.conf:1: [a;b]: port");
}

proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\];a-c.:# \\\\\n]{0,80}") {
        let _ = read_text(&text);
    }
}
