//! Dialogues with Debian's munin-node 2.0.73, recorded byte by byte, replayed
//! against the agent with equal plugins.
//!
//! What differs on purpose, and is evened out in [`intended`]: `list` is sorted
//! (munin-node's order is that of a Perl hash) and names the agent's own
//! services too; `version` is ours; `starttls` without a certificate is an
//! unknown command (munin-node says TLS MAYBE and then acts as the client); a
//! lone `.` that a plugin prints is left out, so that it does not end the
//! answer.

use crate::collector::Collector;
use crate::support::{Agent, Home, free_port};
use rookery_agent::{Config, Span};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What was said, and what came back.
struct Exchange {
    said: Vec<u8>,
    answer: Vec<u8>,
}

/// A recording: `TIME C> b'…'` is the client, `TIME N< b'…'` the node.
fn recording(name: &str) -> Vec<Exchange> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/munin").join(name);
    let text = std::fs::read_to_string(path).expect("a fixture");
    let mut all = vec![Exchange { said: vec![], answer: vec![] }];
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let words = line.trim_start().split_once(' ').expect("a time").1;
        if let Some(said) = words.strip_prefix("C> ") {
            all.push(Exchange { said: bytes(said), answer: vec![] });
        } else if let Some(answer) = words.strip_prefix("N< ") {
            all.last_mut().expect("one").answer.extend(bytes(answer));
        }
    }
    assert!(all.len() > 5, "{name} holds a dialogue");
    all
}

/// Python's notation of bytes.
fn bytes(repr: &str) -> Vec<u8> {
    let inner = repr.trim_end().strip_prefix('b').expect("b'…'");
    let mut from = inner[1..inner.len() - 1].bytes();
    let mut out = Vec::new();
    while let Some(b) = from.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        match from.next().expect("an escape") {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'x' => {
                let digits: Vec<u8> = from.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).expect("digits");
                out.push(u8::from_str_radix(digits, 16).expect("hex"));
            }
            other => out.push(other),
        }
    }
    out
}

/// The name that an exchange asks for with this verb.
fn asked(exchange: &Exchange, verb: &str) -> Option<String> {
    let said = String::from_utf8_lossy(&exchange.said).to_lowercase();
    let name = said.strip_prefix(verb)?.split_whitespace().next()?;
    Some(name.to_owned())
}

/// Plugins that print what was recorded of them.
fn plugins_of(exchanges: &[Exchange], home: &Home) {
    let mut texts: BTreeMap<String, [Vec<u8>; 2]> = BTreeMap::new();
    for exchange in exchanges {
        if exchange.said.to_ascii_lowercase().starts_with(b"list") {
            for name in String::from_utf8_lossy(&exchange.answer).split_whitespace() {
                // Those that are listed only after `cap multigraph`.
                let first = if ["diskstats", "netstat"].contains(&name) {
                    "multigraph x\ngraph_title x\n"
                } else {
                    "graph_title x\n"
                };
                let new = [first.as_bytes().to_vec(), b"x.value 1\n".to_vec()];
                texts.entry(name.to_owned()).or_insert(new);
            }
        }
    }
    for exchange in exchanges {
        for (i, verb) in ["config", "fetch"].into_iter().enumerate() {
            let known = asked(exchange, verb).filter(|n| texts.contains_key(n));
            if let Some(text) = known.and_then(|n| texts.get_mut(&n)) {
                text[i] = exchange.answer.strip_suffix(b".\n").expect("a dot").to_vec();
            }
        }
    }
    let path = |name: &str| home.dir.path().join(name);
    for (name, text) in texts {
        for (verb, text) in ["config", "fetch"].into_iter().zip(text) {
            std::fs::write(path(&format!("{name}.{verb}")), text).expect("writes");
        }
        let file = path(&name).display().to_string();
        home.plugin(&name, &format!("exec cat {file}.${{1:-fetch}}"));
    }
}

/// An answer, without what differs on purpose; see the module.
fn intended(said: &[u8], answer: &[u8]) -> Vec<u8> {
    let lower = String::from_utf8_lossy(said).to_lowercase();
    let text = String::from_utf8_lossy(answer);
    if lower.starts_with("list") {
        let own = |w: &&str| !w.starts_with("rookery_");
        let mut names: Vec<&str> = text.split_whitespace().filter(own).collect();
        names.sort_unstable();
        return (names.join(" ") + "\n").into_bytes();
    }
    if lower.starts_with("version") {
        let version = text.rsplit(' ').next().expect("a version");
        return text.replace(version, "VERSION\n").into_bytes();
    }
    if lower.trim_end() == "starttls" {
        return b"# Unknown command, or TLS MAYBE".to_vec();
    }
    if lower.starts_with("fetch noise") {
        return text.replacen("\n.\nc.value", "\nc.value", 1).into_bytes();
    }
    answer.to_vec()
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.expect("connects")
}

/// Reads as much as was recorded, evened out, or until the node is silent.
async fn heard(socket: &mut TcpStream, want: &[u8], even: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut got = Vec::new();
    let mut chunk = [0; 65536];
    while got.is_empty() || even(&got) != want {
        let read = tokio::time::timeout(Duration::from_secs(8), socket.read(&mut chunk));
        match read.await {
            Ok(Ok(n)) if n > 0 => got.extend_from_slice(&chunk[..n]),
            _ => break,
        }
    }
    got
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\n")
}

/// Says all that was said, and compares; `even` evens out what depends on the
/// host.
async fn replay(exchanges: &[Exchange], port: u16, even: impl Fn(&[u8]) -> Vec<u8>) {
    let mut socket = connect(port).await;
    for exchange in exchanges {
        if exchange.said.starts_with(b".") && exchange.answer.is_empty() {
            break;
        }
        socket.write_all(&exchange.said).await.expect("writes");
        let even = |answer: &[u8]| even(&intended(&exchange.said, answer));
        let want = even(&exchange.answer);
        let got =
            if exchange.answer.is_empty() { vec![] } else { heard(&mut socket, &want, even).await };
        let got = even(&got);
        assert!(
            got == want,
            "after {}\n--- agent\n{}--- munin-node\n{}",
            shown(&exchange.said),
            shown(&got),
            shown(&want)
        );
    }
    if exchanges.last().is_some_and(|e| e.said == b"quit\n") {
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.expect("EOF");
        assert!(rest.is_empty(), "quit is not answered");
    }
}

async fn start(home: &Home, node: &str) -> (Agent, Config, u16) {
    let collector = Collector::start().await;
    let port = free_port();
    let config = Config {
        node: node.to_owned(),
        listen: format!("127.0.0.1:{port}").into(),
        plugin_step: Span { ms: 60_000 },
        plugin_timeout: Span { ms: 1_000 },
        ..home.config(&collector)
    };
    let mut agent = Agent::start(config.clone(), &[]);
    (&mut agent.found).await.expect("ready");
    (agent, config, port)
}

#[tokio::test]
async fn a_default_node() {
    let home = Home::new();
    let recorded = recording("default-node.txt");
    plugins_of(&recorded, &home);
    let (agent, _, port) = start(&home, "anchor.example").await;
    replay(&recorded, port, <[u8]>::to_vec).await;
    agent.stop().await.expect("stops");
}

#[tokio::test]
async fn commands_that_are_wrong_or_odd() {
    let home = Home::new();
    let recorded = recording("errors.txt");
    plugins_of(&recorded, &home);
    let (agent, _, port) = start(&home, "anchor.example").await;
    replay(&recorded, port, <[u8]>::to_vec).await;
    agent.stop().await.expect("stops");
}

#[tokio::test]
async fn plugins_that_fail() {
    let home = Home::new();
    let config = "[ \"$1\" = config ] && echo graph_title $(basename $0) && echo a.label a && exit";
    for (name, script) in [
        ("fails", format!("{config}\necho a.value 1; exit 3")),
        ("failconfig", "[ \"$1\" = config ] && exit 1\necho a.value 1".to_owned()),
        ("emptyfetch", format!("{config}\nexit 0")),
        ("killself", format!("{config}\necho a.value 1; kill -9 $$")),
        ("slow", format!("{config}\necho a.value 1; sleep 31536005")),
        ("longerok", format!("{config}\nsleep 1.5; echo a.value 1")),
    ] {
        home.plugin(name, &script);
    }
    std::fs::write(home.dir.path().join("conf/x"), "[longerok]\ntimeout 5\n").expect("writes");
    let (agent, _, port) = start(&home, "test.example").await;
    replay(&recording("failures.txt"), port, <[u8]>::to_vec).await;
    agent.stop().await.expect("stops");
}

const SHOWENV: &str = r##"if [ "$1" = config ]; then echo graph_title env; echo a.label a; exit; fi
echo "# args: $# '$1'"
echo "# id: $(id)"
echo "# cwd: $(pwd) umask $(umask) 0=$0"
env | grep -Ev '^(PWD|OLDPWD|SHLVL|_)=' | LC_ALL=C sort | sed 's/^/# /'
echo a.value 1"##;

const SHOWENV_CONF: &str = "[showenv]\nenv.foo bar baz\nenv.path /from/section\n\
    [withcmd]\nuser root\ncommand %c extra\n\
    [wild_*]\nenv.a fromwild\n[wild_eth*]\nenv.a fromwildeth\nenv.b b\ngroup adm\n\
    [wild_eth0*]\nenv.d suffixwild\n[wild_eth0]\nenv.c exact\n";

#[tokio::test]
async fn values_noise_names_and_the_whole_environment() {
    let home = Home::new();
    let recorded = recording("values.txt");
    for name in ["values", "noise", "names", "rate60"] {
        for verb in ["config", "fetch"] {
            let said = format!("{verb} {name}\n").into_bytes();
            let text = recorded.iter().find(|e| e.said == said).map(|e| e.answer.as_slice());
            let text = text.map_or(&b"graph_title x\n"[..], |t| &t[..t.len() - 2]);
            let file = home.dir.path().join(format!("{name}.{verb}"));
            // As such files come: CRLF and no newline at the end.
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            let crlf: Vec<u8> = text.split(|b| *b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
            std::fs::write(file, crlf).expect("writes");
        }
        let file = home.dir.path().join(name).display().to_string();
        home.plugin(name, &format!("exec cat {file}.${{1:-fetch}}"));
    }
    for name in ["showenv", "withcmd", "wild_eth0", "wild_eth0.100", "wild_br-lan@x:y"] {
        home.plugin(name, SHOWENV);
    }
    std::fs::write(home.dir.path().join("conf/x"), SHOWENV_CONF).expect("writes");
    let (agent, config, port) = start(&home, "test.example").await;
    replay(&recorded, port, |text| even(text, &home, &config)).await;
    agent.stop().await.expect("stops");
}

/// Places and numbers that depend on the host, in an answer of `showenv`.
fn even(text: &[u8], home: &Home, config: &Config) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(text) else { return text.to_vec() };
    let root = rustix::process::geteuid().is_root();
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let line = line
            .replace("/lab/etc/plugins", &home.dir.path().join("plugins").to_string_lossy())
            .replace("/lab/state", &config.plugin_state.to_string_lossy())
            .replace("/lab/etc", "/etc/munin")
            .replace("/lab/log", "/var/log/munin")
            .replace("/lab/run", "/var/run/munin");
        // PERL5LIB was the laboratory's, not Munin's.
        let skip = line.starts_with("# PERL5LIB") || (!root && line.starts_with("# id"));
        if !skip {
            let is_id = line.starts_with("# id");
            out.extend(line.chars().filter(|c| !(is_id && c.is_ascii_digit())));
        }
    }
    out.into_bytes()
}
