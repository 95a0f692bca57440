//! kill -9 of the real binary, at odd moments: what the collector acknowledged
//! or the spool held is there afterwards, once, unchanged.

use crate::collector::{Collector, Kept};
use crate::support::{Home, until_true};
use rookery_plugins::Value;
use rookery_plugins::wire::Frame;
use std::collections::HashSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROUNDS: u64 = 12;

/// One number more at each fetch, from a file that outlives the agent.
const SERIES: &str = "[ \"$1\" = config ] && echo 'graph_title S' && echo 'n.label n' && exit
f=$MUNIN_PLUGSTATE/series; n=$(( $(cat $f 2>/dev/null || echo 9007199254740992) + 1 ))
echo $n > $f.new && mv $f.new $f && echo n.value $n";

fn start(home: &Home, collector: &Collector) -> Child {
    let file = home.dir.path().join("agent.toml");
    let path = |sub: &str| home.dir.path().join(sub).display().to_string();
    let text = format!(
        "node = \"test.example\"\ncollector = {:?}\nstep = \"50ms\"\nlisten = \"none\"\n\
         spool = {:?}\nplugin_dirs = [{:?}]\nplugin_conf_dirs = []\nplugin_state = {:?}\n\
         plugin_step = \"60ms\"\n",
        collector.url(),
        path("spool"),
        path("plugins"),
        path("state"),
    );
    std::fs::write(&file, text).expect("writes");
    Command::new(env!("CARGO_BIN_EXE_rookery-agent"))
        .arg("--config")
        .arg(file)
        .stderr(Stdio::null())
        .spawn()
        .expect("runs")
}

/// The batches in the spool's files, by boot and sequence.
fn spooled(home: &Home) -> HashSet<(u64, u64)> {
    let mut found = HashSet::new();
    for entry in std::fs::read_dir(home.spool()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().ends_with(".seg") {
            continue;
        }
        let bytes = std::fs::read(entry.path()).expect("reads");
        let mut rest = bytes.as_slice();
        while let Some((len, tail)) = rest.split_first_chunk::<4>() {
            let Some((frame, tail)) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)
            else {
                break;
            };
            if let Ok(frame) = Frame::parse(frame) {
                found.insert((frame.boot, frame.sequence));
            }
            rest = tail;
        }
    }
    found
}

fn series(kept: &Kept) -> Vec<i64> {
    let number = |v: Value| match v {
        Value::Int(v) => v,
        other => panic!("{other:?} is no integer"),
    };
    kept.values("series", "n").into_iter().map(number).collect()
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged_or_spooled() {
    let (home, mut collector) = (Home::new(), Collector::start().await);
    home.plugin("series", SERIES);
    let mut held = HashSet::new();
    let mut here = true;
    for round in 0..ROUNDS {
        let mut agent = start(&home, &collector);
        let n_posts = collector.with(|k| k.n_posts);
        if here {
            collector.until("posts", |k| k.n_posts > n_posts + 3).await;
        }
        // The collector leaves or comes in the middle of every second life.
        if round % 2 == 1 {
            if here {
                collector.go_away().await;
            } else {
                collector.come_back().await;
            }
            here = !here;
        }
        tokio::time::sleep(Duration::from_millis(150 + 67 * round)).await;
        agent.kill().expect("kills");
        agent.wait().expect("ends");
        held.extend(spooled(&home));
    }
    if !here {
        collector.come_back().await;
    }
    let mut agent = start(&home, &collector);
    let all = |k: &Kept| held.iter().all(|h| k.seen.contains(h));
    collector.until("what the spool held", all).await;
    until_true("an empty spool", || home.n_segments() == 0).await;
    agent.kill().expect("kills");
    agent.wait().expect("ends");
    assert!(held.len() > 10, "the spool was used: {}", held.len());
    collector.with(|k| {
        let got = series(k);
        assert!(got.len() > 20, "{got:?}");
        assert!(got.is_sorted_by(|a, b| a < b), "in order, none twice: {got:?}");
        assert!(got[0] > 1 << 53);
        assert!(k.order.is_sorted_by(|a, b| a < b), "batches in order");
    });
}
