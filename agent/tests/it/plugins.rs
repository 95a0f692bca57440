//! Plugin executables, good and bad.

use crate::collector::{Collector, Kept};
use crate::support::{Agent, Home};
use rookery_agent::{Span, cli};
use rookery_plugins::Value;
use std::path::Path;
use std::time::Duration;

const GOOD: &str = "if [ \"$1\" = config ]; then
echo 'graph_title Good'; echo 'a.label a'; echo 'a.type DERIVE'; exit; fi
echo 'a.value 9007199254740993'; echo 'b.value 0.1'; echo 'c.value U'";

fn success(kept: &Kept, plugin: &str) -> Vec<Value> {
    kept.values("rookery_success", &format!("plugin_{plugin}"))
}

#[tokio::test]
async fn bad_plugins_leave_the_others_alone() {
    let (home, collector) = (Home::new(), Collector::start().await);
    home.plugin("good", GOOD);
    let bad = [
        ("garbage", "echo 'all is lost'; echo 'x.value 50%'; exit 1"),
        ("binary", "head -c 100000 /dev/urandom; exit 1"),
        ("flood", "head -c 10000000 /dev/zero"),
        ("stderrflood", "head -c 1000000 /dev/zero >&2; exit 3"),
        ("fails", "echo 'a.value 1'; echo 'no such thing' >&2; exit 1"),
        ("hangs", "sleep 31536001"),
        ("killself", "kill -9 $$"),
        ("stubborn", "trap '' TERM HUP; sleep 31536002; sleep 31536003"),
    ];
    for (name, script) in bad {
        home.plugin(name, script);
    }
    // The output of these counts.
    home.plugin("silent", "exit 0");
    home.plugin("nonewline", "printf 'a.value 7'");
    home.plugin("forks", "sleep 31536004 & echo 'a.value 5'");
    home.plugin("noise", "echo 'hello world'; printf 'a.value 3\\r\\n\\377\\376\\n'");
    let mut config = home.config(&collector);
    config.plugin_timeout = Span { ms: 700 };
    let agent = Agent::start(config, &[]);
    collector
        .until("all plugins, twice", |k| {
            let all = bad.iter().map(|b| b.0).chain(["silent", "forks"]);
            all.into_iter().all(|p| success(k, p).len() >= 2) && success(k, "good").len() >= 12
        })
        .await;
    agent.stop().await.expect("stops");
    collector.with(|k| {
        for (name, _) in bad {
            assert!(success(k, name).iter().all(|v| *v == Value::Int(0)), "{name}");
        }
        for name in ["good", "silent", "nonewline", "forks", "noise"] {
            assert!(success(k, name).iter().all(|v| *v == Value::Int(1)), "{name}");
        }
        let n = success(k, "good").len();
        assert_eq!(k.values("good", "a"), vec![Value::Int(9_007_199_254_740_993); n]);
        assert_eq!(k.values("good", "b"), vec![Value::Float(0.1); n]);
        assert_eq!(k.values("good", "c"), vec![Value::Unknown; n]);
        assert_eq!(k.values("nonewline", "a")[0], Value::Int(7));
        assert_eq!(k.values("forks", "a")[0], Value::Int(5));
        assert_eq!(k.values("noise", "a")[0], Value::Int(3));
        assert!(k.values("fails", "a").is_empty(), "what a failed plugin printed is not kept");
    });
    // They were told to die; that they have is seen a moment later.
    crate::support::until_true("no child is left", || sleepers("3153600").is_empty()).await;
}

/// The command lines of processes that sleep for this long.
fn sleepers(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let lines = entries.filter_map(|e| std::fs::read(e.path().join("cmdline")).ok());
    let lines = lines.map(|l| String::from_utf8_lossy(&l).replace('\0', " "));
    lines.filter(|l| l.starts_with(&format!("sleep {prefix}"))).collect()
}

#[tokio::test]
async fn plugins_come_change_and_go_without_a_restart() {
    let (home, collector) = (Home::new(), Collector::start().await);
    home.plugin("one", GOOD);
    let agent = Agent::start(home.config(&collector), &[]);
    collector.until("the first", |k| !k.values("one", "a").is_empty()).await;
    home.plugin("two", GOOD);
    collector.until("a new one", |k| !k.values("two", "a").is_empty()).await;
    home.plugin("two", &GOOD.replace("Good", "Better"));
    let better = |k: &Kept| k.services.get("two").is_some_and(|s| s.title == "Better");
    collector.until("a changed one", better).await;
    std::fs::write(home.dir.path().join("conf/x"), "[two]\nenv.a 1\nupdate_rate 7\n").expect("ok");
    collector.until("a changed plugin-conf", |k| k.services["two"].step_ms == 7_000).await;
    std::fs::remove_file(home.dir.path().join("plugins/two")).expect("removes");
    collector.until("a vanished one", |k| k.gone.contains(&"two".to_owned())).await;
    agent.stop().await.expect("stops");
}

#[tokio::test]
async fn multigraph_dirtyconfig_epochs_and_environment() {
    let (home, collector) = (Home::new(), Collector::start().await);
    home.plugin(
        "multi",
        "echo multigraph disk; echo graph_title D; echo a.label a; echo a.value 1
         echo multigraph disk.sda; echo graph_title S; echo b.label b; echo b.value 2",
    );
    home.plugin("epochs", "echo a.value 1795208760:5; echo a.value 1795208820:4");
    home.plugin(
        "environment",
        "echo \"cwd.value $(test \"$(pwd)\" = / && echo 1)\"
         echo \"lc.value $(test \"$LC_ALL\" = C && echo 1)\"
         echo \"leak.value $(test -z \"$CARGO_PKG_NAME\" && echo 1)\"
         echo \"cap.value $MUNIN_CAP_MULTIGRAPH\"
         echo \"state.value $(test -d \"$MUNIN_PLUGSTATE\" && echo 1)\"
         echo \"umask.value $(umask)\"
         echo \"conf.value $number\"
         echo \"uid.value $(id -u)\"",
    );
    std::fs::write(home.dir.path().join("conf/x"), "[env*]\nenv.number 42\n").expect("writes");
    let agent = Agent::start(home.config(&collector), &[]);
    collector
        .until("all three", |k| {
            let n = |s, f| k.values(s, f).len();
            n("disk.sda", "b") > 1 && n("epochs", "a") > 1 && n("environment", "uid") > 0
        })
        .await;
    agent.stop().await.expect("stops");
    collector.with(|k| {
        assert_eq!(k.values("disk", "a")[0], Value::Int(1));
        assert_eq!(k.services["disk.sda"].title, "S");
        assert_eq!(k.times("epochs", "a")[..2], [1_795_208_760_000, 1_795_208_820_000]);
        for (field, want) in [
            ("cwd", 1),
            ("lc", 1),
            ("leak", 1),
            ("cap", 1),
            ("state", 1),
            ("umask", 2),
            ("conf", 42),
        ] {
            assert_eq!(k.values("environment", field)[0], Value::Int(want), "{field}");
        }
        if rustix::process::geteuid().is_root() {
            assert_eq!(k.values("environment", "uid")[0], Value::Int(65534));
        }
    });
}

/// Debian's own plugins, where munin-plugins-core is installed.
#[tokio::test]
async fn debians_plugins_run_unchanged() {
    let debian = Path::new("/usr/share/munin/plugins");
    if !debian.join("load").exists() {
        eprintln!("munin-plugins-core is not installed: nothing tested");
        return;
    }
    let (home, collector) = (Home::new(), Collector::start().await);
    for (name, file) in [("load", "load"), ("cpu", "cpu"), ("df", "df"), ("if_lo", "if_")] {
        let link = home.dir.path().join("plugins").join(name);
        std::os::unix::fs::symlink(debian.join(file), link).expect("links");
    }
    let mut config = home.config(&collector);
    config.plugin_step = Span { ms: 1000 };
    let agent = Agent::start(config.clone(), &[]);
    let names = ["load", "cpu", "df", "if_lo"];
    collector
        .until("all four", |k| names.iter().all(|n| k.samples.iter().any(|s| s.0.service == *n)))
        .await;
    agent.stop().await.expect("stops");
    collector.with(|k| {
        for name in names {
            assert_eq!(success(k, name)[0], Value::Int(1), "{name}");
            assert!(!k.services[name].title.is_empty() && k.services[name].title != name);
        }
        assert!(matches!(k.values("cpu", "user")[0], Value::Int(n) if n > 0));
        assert!(k.values("if_lo", "down").len() + k.values("if_lo", "up").len() > 1);
    });
    let ran = cli::run_service(&config, &[], "load", "config").await;
    assert!(String::from_utf8_lossy(&ran.out).contains("graph_title Load average"));
    assert_eq!(ran.code, 0);
    let table = cli::list(&config, &[]).await;
    assert!(String::from_utf8_lossy(&table.out).contains("plugin  if_lo"));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_hanging_plugin() {
    let (home, collector) = (Home::new(), Collector::start().await);
    home.plugin("hangs", "[ \"$1\" = config ] && exit; sleep 27182818");
    let agent = Agent::start(home.config(&collector), &[]);
    crate::support::until_true("it hangs", || !sleepers("27182818").is_empty()).await;
    tokio::time::timeout(Duration::from_secs(5), agent.stop())
        .await
        .expect("in time")
        .expect("stops");
    crate::support::until_true("it is gone", || sleepers("27182818").is_empty()).await;
}

/// A `host_name`, of the plugin or of plugin-conf.d, makes a node of its own,
/// shipped and spooled under that name.
#[tokio::test]
async fn a_host_name_makes_a_virtual_node() {
    let (home, collector) = (Home::new(), Collector::start().await);
    let ports = "[ \"$1\" = config ] && echo host_name switch.example
echo multigraph ports; [ \"$1\" = config ] && echo graph_title P && echo a.label a
echo multigraph ports.one; [ \"$1\" = config ] && echo graph_title O && echo b.label b && exit
echo b.value 4; echo multigraph ports; echo a.value 24";
    home.plugin("ports", ports);
    home.plugin("good", GOOD);
    home.plugin(
        "own",
        "[ \"$1\" = config ] && echo host_name TEST.example && exit; echo o.value 1",
    );
    home.plugin("broken", "[ \"$1\" = config ] && exit 1; echo x.value 8");
    let conf = "[good]\nhost_name router\n[broken]\nhost_name router\n";
    std::fs::write(home.dir.path().join("conf/x"), conf).expect("writes");
    // The collector is away at first: all goes by the spool.
    collector.with(|k| k.mode = crate::collector::Mode::Status(503));
    let agent = Agent::start(home.config(&collector), &[]);
    crate::support::until_true("batches are spooled", || home.n_segments() > 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    collector.with(|k| k.mode = crate::collector::Mode::Right);
    collector
        .until("all nodes", |k| {
            k.nodes.len() == 3
                && !k.values("broken", "x").is_empty()
                && k.values("ports", "a").len() > 1
                && !k.values("own", "o").is_empty()
        })
        .await;
    agent.stop().await.expect("stops");
    collector.with(|k| {
        let of = |node: &str| k.nodes[node].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(of("switch.example"), ["ports", "ports.one"]);
        assert_eq!(of("router"), ["broken", "good"]);
        let own = ["own", "rookery_agent", "rookery_duration", "rookery_success"];
        assert_eq!(of("test.example"), own);
        assert_eq!(k.values("ports", "a")[0], Value::Int(24));
        assert_eq!(k.values("good", "a")[0], Value::Int(9_007_199_254_740_993));
        assert_eq!(success(k, "ports")[0], Value::Int(1));
    });
}
