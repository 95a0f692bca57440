//! Tests of Perlbal's probe against made-up management services.

use super::*;
use crate::support::testing::{Said as Told, ask, make, reply, serve};
use proptest::prelude::*;
use rookery_plugins::Value;
use std::io::{BufRead, BufReader, Write};

/// Answers each command from the recordings, `queues` from this one.
fn recorded(queues: &'static str) -> String {
    serve(move |s| {
        let mut to = s.try_clone().expect("clones");
        for command in BufReader::new(s).lines().map_while(Result::ok) {
            let text = match command.as_str() {
                "uptime" => "starttime 1795209500\nuptime 43200\nversion 1.80\n.\n".to_owned(),
                "queues" => reply(&format!("perlbal/{queues}.queues.txt")),
                "fd" => "ERROR: This command is not available\n".to_owned(),
                other => reply(&format!("perlbal/1.{other}.txt")),
            };
            let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
            if to.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    })
}

fn said(at: &str) -> Result<Told, ProbeError> {
    ask(make("perlbal", &format!("address = {at:?}\ntimeout = \"500ms\"")).as_mut())
}

#[test]
fn a_recorded_one_is_read() {
    let (specs, values) = said(&recorded("busy")).expect("answers");
    for (name, want) in [
        ("perlbal_queue.web", 8),
        ("perlbal_queue_age.web", 0),
        ("perlbal_queue.web.normal", 8),
        ("perlbal_queue.web.lowpri", 0),
        ("perlbal_requests.reqs", 700),
        ("perlbal_backend_states.bored", 2),
        ("perlbal_nodes._127_0_0_1_18090", 700),
        ("perlbal_nodes._127_0_0_1_18090.connects", 460),
        ("perlbal_backends._127_0_0_1_18090", 2),
        ("perlbal_errors._127_0_0_1_18090", 0),
    ] {
        assert_eq!(values.get(name), Some(&Value::Int(want)), "{name}");
    }
    assert_eq!(values["perlbal_uptime.uptime"], Value::Float(0.5));
    assert_eq!(values["perlbal_cpu.utime"], Value::Float(0.268_071 * 100.0));
    assert!(specs.iter().all(|s| s.name != "perlbal_fd"), "refused");
    assert_eq!(specs[0].fields[0].warning.as_deref(), Some("0"));
}

#[test]
fn a_state_that_was_seen_once_is_nought_afterwards() {
    let mut seen = BTreeMap::new();
    let mut states = |text: &str| {
        let said = Said { states: text.to_owned(), ..Said::default() };
        let mut cells = rookery_plugins::Cells::new();
        said.write_states(&mut seen, &mut Names::default(), &mut Sheet::new(&mut cells, false));
        (0..cells.len()).filter_map(|i| cells.get(i)).collect::<Vec<_>>()
    };
    let (two, none) = (Value::Int(2), Value::Int(0));
    assert_eq!(states("Perlbal::BackendHTTP bored 2\r\nPerlbal::ClientManage x 1"), [two]);
    assert_eq!(states("Perlbal::ClientProxy wait_backend 2\r\n"), [none, two]);
}

#[test]
fn nodes_and_services_of_any_name_are_told_apart() {
    let text = "10.0.0.1:80 responsecodes 503 4\n10.0.0.1:80 responsecodes 500 3\n\
                10.0.0.1:80 responsecodes 99999999999999999999 3\n10.0.0.1:80 requests 9\n\
                10.0.0.1-80 requests 7\nrubbish\n";
    let all = nodes(text);
    assert_eq!(all["10.0.0.1:80"].codes[5], 7);
    let queues_text = "web-normal.count 8\n\nodd\nweb-normal.count many\n".to_owned();
    let said = Said { nodes: text.to_owned(), queues: queues_text, ..Said::default() };
    let odd: Vec<&str> = said.odd_lines().collect();
    assert_eq!((odd.len(), odd[0]), (4, "odd"), "{odd:?}");
    let mut cells = rookery_plugins::Cells::new();
    let mut sheet = Sheet::new(&mut cells, true);
    said.write(&mut BTreeMap::new(), &mut Names::default(), &mut sheet);
    let specs = sheet.into_specs();
    let service = specs.iter().find(|s| s.name == "perlbal_nodes").expect("a service");
    let fields: Vec<&str> = service.fields.iter().map(|f| f.name.as_str()).collect();
    assert!(fields[0] != fields[1] && fields.iter().all(|f| f.starts_with("_10_0_0_1_80_")));
    assert_eq!(service.fields[1].old_names().collect::<Vec<_>>(), ["_10_0_0_1_80_2"]);
    let all = queues("a-b-normal.count 1\na-b-normal.age 7\na-b-lowpri.age 9\nx 1\n");
    assert_eq!((all["a-b"].counts["normal"], all["a-b"].age), (1, Some(9)));
}

#[test]
fn foreign_cut_and_refusing_ones_give_errors() {
    for (text, want) in [
        ("ERROR: unknown command\r\n", "CREATE SERVICE mgmt"),
        ("hello\r\n.\r\n", "CREATE SERVICE mgmt"),
        (".\r\n", "CREATE SERVICE mgmt"),
        ("uptime 5\r\n", "hung up after"),
        ("", "hung up after 0 bytes"),
        ("uptime 5\r\n.\r\ntime: 5\r\n", "hung up after"),
    ] {
        let at = serve(move |mut s| {
            let _ = s.write_all(text.as_bytes());
            let _ = s.shutdown(std::net::Shutdown::Write);
            // Read to the end, so that it is no reset.
            let _ = std::io::copy(&mut s, &mut std::io::sink());
        });
        let error = said(&at).expect_err(text).to_string();
        assert!(error.starts_with("perlbal at 127.0.0.1:") && error.contains(want), "{error}");
    }
}

proptest! {
    #[test]
    fn replies_never_panic(text: String, bytes: Vec<u8>) {
        let _ = end(&bytes);
        let _ = value(&text, "reqs");
        let _ = (queues(&text), nodes(&text));
        let said = Said {
            proc: text.clone(), states: text.clone(), nodes: text.clone(),
            queues: text.clone(), fd: Some(text), ..Said::default()
        };
        let mut cells = rookery_plugins::Cells::new();
        said.write(&mut BTreeMap::new(), &mut Names::default(), &mut Sheet::new(&mut cells, true));
    }
}
