//! The truth table of Nagios' ranges through the built `check_rookery`: each range
//! against each value, as a warning and as a critical limit; what is no range is
//! refused with its text.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;

/// A munin-node that says of the service `v` what it was given as its port's value.
fn node() -> (String, std::sync::Arc<std::sync::Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let value = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let given = value.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut out = stream.try_clone().expect("clones");
            let _ = out.write_all(b"# munin node at n\n");
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let answer = match line.split_whitespace().next() {
                    Some("cap") => "cap multigraph\n".to_owned(),
                    Some("list") => "v\n".to_owned(),
                    Some("config") => "graph_title V\nv.label v\n.\n".to_owned(),
                    Some("fetch") => {
                        format!("v.value {}\n.\n", given.lock().expect("nobody panics"))
                    }
                    _ => break,
                };
                let _ = out.write_all(answer.as_bytes());
            }
        }
    });
    (address, value)
}

#[test]
fn each_row_of_the_truth_table_is_an_exit_code() {
    let (address, given) = node();
    let table = include_str!("../../plugins/testdata/ranges.csv");
    let mut n = 0;
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        cells[1].clone_into(&mut given.lock().expect("nobody panics"));
        for (option, bad) in [("-w", 1), ("-c", 2)] {
            let output = Command::new(env!("CARGO_BIN_EXE_check_rookery"))
                .args(["--munin", "-H", &address, "-s", "v", option, cells[0]])
                .output()
                .expect("runs");
            let text = String::from_utf8_lossy(&output.stdout);
            let want = match cells[2] {
                "yes" => bad,
                "no" => 0,
                _ => 3,
            };
            assert_eq!(output.status.code(), Some(want), "{option} {line}: {text}");
            let names_it = text.contains(&format!("{:?}", cells[0]));
            assert_eq!(want == 3, names_it, "{option} {line}: {text}");
        }
        n += 1;
    }
    assert_eq!(n, 87);
}
