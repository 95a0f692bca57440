//! Every plugin of Debian's munin-plugins-core and -extra, run by `munin-run`
//! and by `rookery-agent run`: the same services, attributes and values.
//!
//! A value counts where two runs of `munin-run` around the agent's agree; one
//! that moves meanwhile must only be there. The summary that the test prints is
//! the table in docs/munin.md.

use super::munin_configure::snmpd_at;
use super::support::{bin, run};
use rookery_plugins::Value;
use rookery_plugins::munin::{Parsed, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LIBRARY: &str = "/usr/share/munin/plugins";
/// All of it must be over by then: no plugin waits for what never answers.
const ALL_MAX: Duration = Duration::from_secs(240);
/// One run of a plugin, s.
const ONE_MAX_S: &str = "15";
const AT_ONCE: usize = 4;
/// What differs each time differs: a number of threads may be another for just
/// the moment of the agent's run, an interface or a mount may come or go.
const ATTEMPTS: usize = 5;

/// Plugins that differ, and why that is right.
const EXPLAINED: &[(&str, &str)] = &[];
/// Plugins that print their fields in the order of a Perl hash: another one at
/// each run, of munin-run too.
const UNORDERED: &[&str] = &["nut_misc", "nut_volts"];

/// Plugins whose values depend on who runs them: munin-run becomes the plugin,
/// the agent waits for it, and so is one more process with its open files.
const COUNT_THE_ASKER: &[&str] = &[
    "multips_memory",
    "open_files",
    "open_inodes",
    "proc_pri",
    "processes",
    "psu_root",
    "threads",
    "vmstat",
];

/// The name to link a wildcard plugin by: the thing that it is asked about.
fn link_name(plugin: &str) -> String {
    if let Some(kind) = plugin.strip_prefix("snmp__") {
        let index = if kind.ends_with('_') { "1" } else { "" };
        return format!("snmp_localhost_{kind}{index}");
    }
    let about = match plugin {
        "if_" | "if_err_" | "ip_" => "lo",
        "ping_" => "127.0.0.1",
        p if p.ends_with('_') => "root",
        _ => "",
    };
    format!("{plugin}{about}")
}

fn limited(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "2", ONE_MAX_S]).arg(program);
    command
}

/// What a plugin gave, by both.
struct Both {
    /// config, fetch, and fetch again after the agent's if that was another.
    munin: [Output; 3],
    /// config, fetch.
    ours: [Output; 2],
}

fn ask(plugins: &Path, agent_toml: &Path, name: &str) -> Both {
    let munin = |verb: &[&str]| {
        let mut command = limited(Path::new("/usr/sbin/munin-run"));
        run(command.arg("--servicedir").arg(plugins).arg(name).args(verb))
    };
    let ours = |verb: &str| {
        let mut command = limited(&bin("rookery-agent"));
        run(command.arg("--config").arg(agent_toml).args(["run", name, verb]))
    };
    let (config, our_config) = (munin(&["config"]), ours("config"));
    let (fetch, our_fetch) = (munin(&[]), ours("fetch"));
    let again = if fetch.stdout == our_fetch.stdout { fetch.clone() } else { munin(&[]) };
    Both { munin: [config, fetch, again], ours: [our_config, our_fetch] }
}

/// The last value of each field.
fn values(parsed: &Parsed) -> BTreeMap<(String, String), Value> {
    let key = |r: &rookery_plugins::munin::Reading| (r.service.clone(), r.field.clone());
    parsed.readings.iter().map(|r| (key(r), r.value)).collect()
}

/// Why they differ, if they do.
fn difference(name: &str, both: &Both) -> Option<String> {
    let verbs = ["config", "fetch"];
    for (verb, (theirs, ours)) in verbs.iter().zip(both.munin.iter().zip(&both.ours)) {
        if theirs.status.success() != ours.status.success() {
            let err = String::from_utf8_lossy(&ours.stderr).into_owned();
            return Some(format!("{verb}: {} but {}: {err}", theirs.status, ours.status));
        }
    }
    let read = |o: &Output| {
        let mut parsed = parse(name, &o.stdout);
        if UNORDERED.contains(&name) {
            parsed.services.iter_mut().for_each(|s| s.fields.sort_by(|a, b| a.name.cmp(&b.name)));
        }
        parsed
    };
    let theirs = both.munin.each_ref().map(read);
    let ours = both.ours.each_ref().map(read);
    for i in [0, 1] {
        if theirs[i].services != ours[i].services || theirs[i].multigraph != ours[i].multigraph {
            let (t, o) = (&theirs[i].services, &ours[i].services);
            return Some(format!("{}: services or attributes: {t:?}\nbut {o:?}", verbs[i]));
        }
        let fields = |p: &Parsed| values(p).into_keys().collect::<BTreeSet<_>>();
        if fields(&theirs[i]) != fields(&ours[i]) && fields(&theirs[2]) != fields(&ours[i]) {
            return Some(format!("{}: fields {:?}", verbs[i], fields(&ours[i])));
        }
    }
    let (first, second, mid) = (values(&theirs[1]), values(&theirs[2]), values(&ours[1]));
    for (key, value) in &first {
        let same = |other: Option<&Value>| other.is_some_and(|v| v.bits() == value.bits());
        let still = same(second.get(key)) && !COUNT_THE_ASKER.contains(&name);
        if still && !same(mid.get(key)) {
            return Some(format!("fetch: {key:?}: {value} but {:?}", mid.get(key)));
        }
    }
    for (output, parsed) in both.munin.iter().zip(&theirs) {
        if let Some(why) = misread(name, &output.stdout, parsed) {
            return Some(why);
        }
    }
    None
}

/// Both sides are read by one parser: here is another, small one, for what may
/// not be lost: each label, and each value.
fn misread(name: &str, output: &[u8], parsed: &Parsed) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let mut service = rookery_plugins::names::clean_service(name);
    let known = values(parsed);
    for line in text.split(['\n', '\r']).map(str::trim) {
        let Some((key, rest)) = line.split_once([' ', '\t']) else { continue };
        if key == "multigraph" {
            service = rest.trim().to_owned();
        }
        let Some((field, attribute)) = key.split_once('.') else { continue };
        let field = rookery_plugins::names::clean_field(field);
        let told = match attribute {
            "label" => parsed
                .services
                .iter()
                .filter(|s| s.name == service)
                .filter_map(|s| s.field(&field))
                .any(|f| f.label == rest.trim()),
            "value" => match rest.trim().parse::<f64>() {
                // The last of several lines counts here.
                Ok(number) => known.get(&(service.clone(), field)).is_some_and(|v| {
                    v.as_f64().is_some_and(|v| v == number || text.matches(key).count() > 1)
                }),
                Err(_) => true,
            },
            _ => true,
        };
        if !told {
            return Some(format!("the line {line:?} was not understood"));
        }
    }
    None
}

/// How a plugin fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fare {
    Values,
    NoValues,
    NotRunnable,
    Differs,
}

fn fare(name: &str, both: &Both) -> (Fare, Option<String>) {
    if let Some(why) = difference(name, both) {
        return (Fare::Differs, Some(why));
    }
    let ok = both.munin[0].status.success() && both.munin[1].status.success();
    let any = values(&parse(name, &both.munin[1].stdout)).values().any(|v| *v != Value::Unknown);
    let fare = match (ok, any) {
        (false, _) => Fare::NotRunnable,
        (true, true) => Fare::Values,
        (true, false) => Fare::NoValues,
    };
    (fare, None)
}

#[test]
fn every_debian_plugin_gives_what_munin_run_gives() {
    let start = Instant::now();
    let dir = tempfile::tempdir().expect("a folder");
    let plugins = dir.path().join("plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    for path in [dir.path(), &plugins] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
    }
    let toml = dir.path().join("agent.toml");
    let text = format!("plugin_dirs = [{plugins:?}]\nplugin_timeout = \"{ONE_MAX_S}s\"\n");
    std::fs::write(&toml, text).expect("writes");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(LIBRARY).expect("munin-plugins-core").flatten() {
        if entry.metadata().expect("a file").permissions().mode() & 0o111 != 0 {
            let name = link_name(&entry.file_name().into_string().expect("UTF-8"));
            symlink(entry.path(), plugins.join(&name)).expect("links");
            names.push(name);
        }
    }
    assert!(names.len() > 200, "{} plugins: is munin-plugins-extra there?", names.len());
    names.sort();
    // The SNMP plugins ask a device at its usual port; without one each waits in vain.
    let _snmpd = snmpd_at(dir.path(), 161);

    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut fared = fare(name, &ask(&plugins, &toml, name));
                    for _ in 1..ATTEMPTS {
                        if fared.0 == Fare::Differs {
                            fared = fare(name, &ask(&plugins, &toml, name));
                        }
                    }
                    results.lock().expect("no panic").push((name.clone(), fared));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no panic");
    results.sort();
    let mut counts: BTreeMap<Fare, usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for (name, (fare, why)) in results {
        *counts.entry(fare).or_default() += 1;
        let explained = EXPLAINED.iter().find(|(n, _)| *n == name);
        match (&why, explained) {
            (Some(why), None) => unexplained.push(format!("{name}: {why}")),
            (Some(_), Some((_, reason))) => println!("{name} differs: {reason}"),
            (None, Some(_)) if fare == Fare::Values => {
                println!("{name} agrees, although it is listed as differing");
            }
            (None, _) => {}
        }
    }
    println!("{} plugins in {:?}: {counts:?}", names.len(), start.elapsed());
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n\n"));
    assert!(counts[&Fare::Values] >= 40, "so few run here: {counts:?}");
    assert!(start.elapsed() < ALL_MAX, "took {:?}", start.elapsed());
}
