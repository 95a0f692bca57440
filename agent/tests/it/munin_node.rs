//! Munin's protocol on a real port, as a master speaks it.

use crate::collector::Collector;
use crate::support::{Agent, COUNTING, Home, free_port};
use std::process::Command;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

struct Client {
    socket: BufReader<TcpStream>,
}

impl Client {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.socket.read_line(&mut line).await.expect("reads");
        line
    }

    async fn ask(&mut self, command: &str) -> String {
        self.socket.write_all(format!("{command}\n").as_bytes()).await.expect("writes");
        self.line().await
    }

    /// An answer that ends with a dot.
    async fn text(&mut self, command: &str) -> String {
        let mut text = self.ask(command).await;
        while !text.ends_with(".\n") || (text.len() > 2 && !text.ends_with("\n.\n")) {
            let line = self.line().await;
            assert!(!line.is_empty(), "ends early: {text}");
            text.push_str(&line);
        }
        text
    }
}

#[tokio::test]
async fn the_dialogue_of_a_master() {
    let (home, collector) = (Home::new(), Collector::start().await);
    home.plugin(
        "plain",
        "[ \"$1\" = config ] && echo graph_title P && echo a.label a && exit
echo a.value 18446744073709551615",
    );
    home.plugin(
        "multi",
        "[ \"$1\" = config ] && echo multigraph m && echo a.label a && exit
echo multigraph m; echo a.value 1",
    );
    home.plugin("fails", "echo a.label a; exit 1");
    let mut config = home.config(&collector);
    let port = free_port();
    config.listen = format!("127.0.0.1:{port}").into();
    let mut agent = Agent::start(config, COUNTING);
    let found = (&mut agent.found).await.expect("ready");
    assert_eq!((found.plugins, found.probes), (3, 2));

    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let mut c = Client { socket: BufReader::new(socket) };
    assert_eq!(c.line().await, "# munin node at test.example\n");
    let names = "counting failing fails plain rookery_agent rookery_duration rookery_success\n";
    assert_eq!(c.ask("list").await, names);
    assert_eq!(c.ask("cap multigraph dirtyconfig").await, "cap multigraph dirtyconfig\n");
    let cap = "cap multigraph dirtyconfig times";
    assert_eq!(c.ask(cap).await, format!("{cap}\n"));
    let timed = c.text("fetch counting").await;
    let value = timed.lines().find_map(|l| l.strip_prefix("n.value ")).expect("n");
    let (time, _) = value.split_once(':').expect("TIME:VALUE");
    let (s, ms) = time.split_once('.').expect("milliseconds");
    assert!(s.parse::<i64>().is_ok_and(|s| s > 1_700_000_000) && ms.len() == 3, "{timed}");
    assert_eq!(c.ask("cap multigraph dirtyconfig").await, "cap multigraph dirtyconfig\n");
    assert!(!c.text("fetch counting").await.contains(':'), "Munin's master gets plain values");
    assert!(c.ask("list TEST.example extra").await.contains(" multi plain "));
    assert_eq!(c.ask("list nosuch").await, "\n");
    assert_eq!(c.ask("listx").await, "\n");
    assert_eq!(c.text("nodes").await, "test.example\n.\n");
    assert!(c.ask("version\r").await.starts_with("munins node on test.example version: "));
    let unknown = "# Unknown command. Try cap, list, nodes, config, fetch, version or quit\n";
    for command in ["help", "", "spoolfetch 0", "starttls"] {
        assert_eq!(c.ask(command).await, unknown, "{command}");
    }
    for command in ["fetch", "fetch nosuch", "config ../../etc/passwd"] {
        assert_eq!(c.text(command).await, "# Unknown service\n.\n", "{command}");
    }
    assert_eq!(c.text("fetch plain").await, "a.value 18446744073709551615\n.\n");
    assert_eq!(c.text("FETCHplain extra").await, "a.value 18446744073709551615\n.\n");
    assert_eq!(c.text("config plain\r").await, "graph_title P\na.label a\n.\n");
    assert_eq!(c.text("fetch multi").await, "multigraph m\na.value 1\n.\n");
    assert_eq!(c.text("fetch fails").await, "# Bad exit\n.\n");
    let text = c.text("config counting").await;
    assert!(text.starts_with("graph_title Counting\ngraph_category test\n"), "{text}");
    let text = c.text("fetch counting").await;
    let n: u64 = text
        .lines()
        .find_map(|l| l.strip_prefix("n.value "))
        .and_then(|v| v.parse().ok())
        .expect("an exact integer");
    assert!(n > 1 << 53, "{n}");
    assert!(c.text("fetch rookery_success").await.contains("probe_counting.value 1\n"));

    assert_eq!(c.ask("quit").await, "", "the connection is closed");
    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let mut c = Client { socket: BufReader::new(socket) };
    c.line().await;
    assert_eq!(c.ask(&"x".repeat(5000)).await, "", "a line without end");
    agent.stop().await.expect("stops");
}

#[tokio::test]
async fn strangers_hear_nothing_and_a_taken_port_is_said() {
    let (home, collector) = (Home::new(), Collector::start().await);
    let mut config = home.config(&collector);
    let port = free_port();
    config.listen = format!("127.0.0.1:{port}").into();
    config.allow = vec!["10.0.0.0/8".to_owned()];
    let mut agent = Agent::start(config.clone(), COUNTING);
    (&mut agent.found).await.expect("ready");
    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let mut c = Client { socket: BufReader::new(socket) };
    assert_eq!(c.line().await, "");

    config.spool = home.dir.path().join("other");
    let e = Agent::start(config.clone(), COUNTING).stop().await.expect_err("taken").to_string();
    assert!(e.contains("the port is taken") && !e.contains('\n'), "{e}");
    config.listen = "none".into();
    config.spool = home.spool();
    let e = Agent::start(config, COUNTING).stop().await.expect_err("busy").to_string();
    assert!(e.contains("another agent uses it") && !e.contains('\n'), "{e}");
    agent.stop().await.expect("stops");
}

#[test]
fn the_command_line_says_what_is_wrong() {
    let dir = tempfile::tempdir().expect("tmp");
    let file = dir.path().join("agent.toml");
    let run = |text: &str, args: &[&str]| {
        std::fs::write(&file, text).expect("writes");
        let out = Command::new(env!("CARGO_BIN_EXE_rookery-agent"))
            .args(["--config", file.to_str().expect("UTF-8")])
            .args(args)
            .output()
            .expect("runs");
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned(), err)
    };
    let (code, out, _) = run("", &["--check-config"]);
    assert!(code == Some(0) && out.contains("is right"), "{out}");
    let munin = dir.path().join("munin-node.conf");
    std::fs::write(&munin, "host_name m\nallow ^::1$\nallow (\n").expect("writes");
    let text = format!("munin_node_conf = {munin:?}\n");
    let (code, out, _) = run(&text, &["--check-config"]);
    let note = format!("not honoured: {}:3: allow: ", munin.display());
    assert!(code == Some(0) && out.contains(&note), "{out}");
    let (code, _, err) = run("munin = 1", &["--check-config"]);
    assert!(code == Some(1) && err.contains("unknown key \"munin\""), "{err}");
    let (code, _, err) = run("\nstepp = \"1s\"\n", &["--check-config"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("agent.toml:2: unknown key \"stepp\"; did you mean \"step\"?"), "{err}");
    let (code, _, err) = run("plugin_dirs = []", &["run", "nosuch"]);
    assert!(code == Some(1) && err.contains("no plugin or service \"nosuch\""), "{err}");
    let (code, out, _) = run("plugin_dirs = []", &["list"]);
    assert!(code == Some(0) && out.starts_with("KIND"), "{out}");
    let (code, out, _) = run("", &["--help"]);
    assert!(code == Some(0) && out.contains("Examples:"), "{out}");
}

async fn client(port: u16) -> Client {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let mut c = Client { socket: BufReader::new(socket) };
    assert!(c.line().await.starts_with("# munin node at "));
    c
}

#[tokio::test]
async fn virtual_nodes_capabilities_and_states_per_master() {
    let (home, collector) = (Home::new(), Collector::start().await);
    let plain = "[ \"$1\" = config ] && echo graph_title P && echo a.label a && exit";
    home.plugin("own", &format!("{plain}\necho a.value 1"));
    home.plugin(
        "printed",
        &format!("[ \"$1\" = config ] && echo host_name Switch.Example\n{plain}"),
    );
    home.plugin("set", &format!("{plain}\necho a.value 3"));
    home.plugin("Case", &format!("{plain}\necho a.value 4"));
    home.plugin("dirty", "echo graph_title D; echo a.label a; echo a.value 5");
    home.plugin(
        "polite",
        "[ \"$1\" = config ] && echo graph_title $MUNIN_CAP_DIRTYCONFIG/$MUNIN_MASTER_IP \\
         $(basename $MUNIN_STATEFILE) && exit; echo a.value 6",
    );
    home.plugin("silent", "[ \"$1\" = config ] || echo a.value 7");
    std::fs::write(home.dir.path().join("conf/x"), "[set]\nhost_name router\n").expect("writes");
    let mut config = home.config(&collector);
    config.node = "web;Front.example".to_owned();
    let port = free_port();
    config.listen = vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")].into();
    let mut agent = Agent::start(config, &[]);
    (&mut agent.found).await.expect("ready");

    let mut c = client(port).await;
    assert_eq!(c.ask("list").await, "Case own polite rookery_agent\n");
    c.ask("cap dirtyconfig").await;
    assert_eq!(c.ask("list front.EXAMPLE").await, "Case dirty own polite rookery_agent\n");
    assert_eq!(c.ask("list switch.example").await, "printed\n");
    assert_eq!(c.ask("list ROUTER").await, "set\n");
    assert_eq!(c.text("nodes").await, "front.example\nrouter\nswitch.example\n.\n");
    assert_eq!(c.text("fetch set").await, "a.value 3\n.\n");
    assert_eq!(c.text("fetch Case").await, "a.value 4\n.\n");
    assert_eq!(c.text("fetch case").await, "# Unknown service\n.\n");
    assert_eq!(c.text("fetch silent").await, "a.value 7\n.\n");
    assert_eq!(c.text("config dirty").await, "graph_title D\na.label a\na.value 5\n.\n");

    let socket = TcpStream::connect(("::1", port)).await.expect("IPv6");
    let mut c = Client { socket: BufReader::new(socket) };
    assert_eq!(c.line().await, "# munin node at Front.example\n");
    // A plugin's config is the agent's copy while nothing has changed.
    assert_eq!(c.text("config polite").await, "graph_title /rookery polite-rookery\n.\n");
    assert_eq!(c.ask(".now").await, "", "a dot hangs up");
    agent.stop().await.expect("stops");
}

#[tokio::test]
async fn held_readings_are_spoolfetched_exactly() {
    let (home, collector) = (Home::new(), Collector::start().await);
    home.plugin(
        "p",
        "[ \"$1\" = config ] && echo graph_title P && echo a.label a && exit
echo a.value 9007199254740993",
    );
    let mut config = home.config(&collector);
    let port = free_port();
    config.listen = format!("127.0.0.1:{port}").into();
    config.hold = Some(rookery_agent::Span { ms: 60_000 });
    let mut agent = Agent::start(config, COUNTING);
    (&mut agent.found).await.expect("ready");
    collector
        .until("some readings", |k| {
            k.values("counting", "n").len() > 40 && k.values("p", "a").len() > 2
        })
        .await;
    let mut c = client(port).await;
    let cap = "cap multigraph dirtyconfig spool";
    assert_eq!(c.ask(&format!("{cap} times")).await, format!("{cap} times\n"));
    let parsed = rookery_plugins::munin::parse("x", c.text("spoolfetch 0").await.as_bytes());
    let got: Vec<(i64, _)> = parsed
        .readings
        .iter()
        .filter(|r| r.service == "counting" && r.field == "n")
        .map(|r| (r.time_ms.expect("a time"), r.value))
        .collect();
    assert!(got.len() > 40, "{}", got.len());
    collector
        .until("the same", |k| {
            let all = k.times("counting", "n").into_iter().zip(k.values("counting", "n"));
            let all: Vec<_> = all.collect();
            all.len() >= got.len() && all[..got.len()] == got[..]
        })
        .await;
    let last_s = got.last().expect("some").0 / 1000;
    let later = c.text(&format!("spoolfetch {last_s}")).await;
    assert!(!later.contains(&format!(" {last_s}.")), "{later}");
    assert!(parsed.services.iter().any(|s| s.name == "p" && s.title == "P"));
    agent.stop().await.expect("stops");
}

/// Lines of any bytes, whole and torn, leave the node answering.
#[tokio::test]
async fn nonsense_leaves_the_node_answering() {
    let (home, collector) = (Home::new(), Collector::start().await);
    home.plugin("p", "[ \"$1\" = config ] && echo graph_title P && exit; echo a.value 1");
    let mut config = home.config(&collector);
    let port = free_port();
    config.listen = format!("127.0.0.1:{port}").into();
    let mut agent = Agent::start(config, &[]);
    (&mut agent.found).await.expect("ready");
    let words: [&[u8]; 12] = [
        b"fetch",
        b"config ",
        b"list",
        b" p",
        b"cap ",
        b"\xff\xfe",
        b"\0",
        b"\r",
        b"\n",
        b"..",
        "\u{130}\u{212a}".as_bytes(),
        b"starttls",
    ];
    let mut random: u32 = 1;
    let mut next = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) as usize % below
    };
    for _ in 0..200 {
        let mut c = client(port).await;
        let n = next(12);
        let line: Vec<u8> = (0..n).flat_map(|_| words[next(words.len())].to_vec()).collect();
        // It may have hung up at a dot.
        let _ = c.socket.write_all(&line).await;
        let _ = c.socket.write_all(b"\nquit\n").await;
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut c.socket, &mut rest).await;
        let whole = rest.is_empty() || rest.ends_with(b"\n");
        assert!(whole, "{:?} to {:?}", rest.escape_ascii().to_string(), line.escape_ascii());
    }
    assert_eq!(client(port).await.text("fetch p").await, "a.value 1\n.\n");
    agent.stop().await.expect("stops");
}

#[tokio::test]
async fn many_connections_at_once_and_denied_ones() {
    let (home, collector) = (Home::new(), Collector::start().await);
    home.plugin("p", "[ \"$1\" = config ] && echo graph_title P && exit; echo a.value 1");
    let mut config = home.config(&collector);
    let port = free_port();
    config.listen = format!("127.0.0.1:{port}").into();
    config.deny = vec!["127.0.0.2".to_owned()];
    let mut agent = Agent::start(config, &[]);
    (&mut agent.found).await.expect("ready");
    let mut clients = Vec::new();
    for _ in 0..rookery_agent::node::CONNECTIONS_MAX {
        clients.push(client(port).await);
    }
    for c in clients.iter_mut().step_by(50) {
        assert_eq!(c.text("fetch p").await, "a.value 1\n.\n");
    }
    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    let mut one_more = Client { socket: BufReader::new(socket) };
    assert_eq!(one_more.line().await, "", "there is a limit");
    drop(clients.pop());
    let mut banner = String::new();
    for _ in 0..1000 {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
        let mut c = Client { socket: BufReader::new(socket) };
        banner = c.line().await;
        if !banner.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(banner.starts_with("# munin node"), "a place is free again");
    let from = tokio::net::TcpSocket::new_v4().expect("socket");
    from.bind("127.0.0.2:0".parse().expect("address")).expect("binds");
    let to = format!("127.0.0.1:{port}").parse().expect("address");
    let mut denied = Client { socket: BufReader::new(from.connect(to).await.expect("connects")) };
    assert_eq!(denied.line().await, "");
    agent.stop().await.expect("stops");
}
