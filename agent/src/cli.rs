//! `rookery-agent run` and `rookery-agent list`: looking at single services.

use crate::config::Config;
use crate::event::Outlet;
use crate::plugin::env::Asker;
use crate::plugin::exec::Ran;
use crate::plugin::find::find;
use crate::plugin::task::Plugin;
use crate::plugin::{Context, exec::Ending};
use crate::probes::{Labelled, of_entry};
use crate::sampler::Live;
use rookery_plugins::munin::{parse, render_config, render_values};
use rookery_plugins::{Cells, Host, Probe, ProbeEntry, ProbeError, ServiceSpec};
use std::fmt::Write;
use std::sync::Arc;

/// What a command prints and exits with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output.
    pub out: Vec<u8>,
    /// For standard error.
    pub err: String,
    /// The exit code.
    pub code: u8,
}

pub(crate) fn context(config: &Config) -> Context {
    let (outlet, _) = Outlet::new();
    Context::new(config, outlet, Arc::new(Live::default()))
}

/// Runs one plugin, or reads one service of a probe, as munin-run does.
pub async fn run_service(
    config: &Config,
    probes: &[ProbeEntry],
    name: &str,
    verb: &str,
) -> Outcome {
    if let Some(file) = find(&config.plugin_dirs).remove(name) {
        let verb = (verb != "fetch").then_some(verb);
        let ran = Plugin::new(file).run(&context(config), verb, &Asker::default()).await;
        let mut err = String::from_utf8_lossy(&ran.stderr).into_owned();
        if !matches!(ran.ending, Ending::Exit(_)) {
            let _ = writeln!(err, "rookery-agent: {name}: {}", ran.why());
        }
        let code = match ran.ending {
            Ending::Exit(code) => u8::try_from(code).unwrap_or(1),
            _ => 1,
        };
        return Outcome { out: ran.stdout, err, code };
    }
    if let Some(check) = config.check.iter().find(|c| c.name == name) {
        let ran = check.run(&context(config)).await;
        let mut err = String::from_utf8_lossy(&ran.stderr).into_owned();
        if !matches!(ran.ending, Ending::Exit(_)) {
            let _ = writeln!(err, "rookery-agent: {name}: {}", ran.why());
        }
        let code = match ran.ending {
            Ending::Exit(code) => u8::try_from(code).unwrap_or(3),
            _ => 3,
        };
        return Outcome { out: ran.stdout, err, code };
    }
    let all: Vec<Labelled> = enabled(config, probes).collect();
    let (host, asked, what) = (config.host(), name.to_owned(), verb.to_owned());
    let found = blocking(move || of_probes(all, &host, &asked, &what)).await;
    if let Some(outcome) = found.flatten() {
        return outcome;
    }
    Outcome {
        err: format!(
            "rookery-agent: there is no plugin or service {name:?}; see: rookery-agent list\n"
        ),
        code: 1,
        ..Outcome::default()
    }
}

/// Probes may wait, which async code must not.
async fn blocking<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(f).await.ok()
}

/// The reading of the probe, or of the service of one, that is called so.
fn of_probes(all: Vec<Labelled>, host: &Host, name: &str, verb: &str) -> Option<Outcome> {
    let mut why = None;
    for Labelled { label, mut probe, .. } in all {
        match probe.discover(host) {
            Ok(specs) if label == name || specs.iter().any(|s| s.name == name) => {
                return Some(probe_outcome(host, &label, probe.as_mut(), &specs, name, verb));
            }
            Err(e) if label == name => why = Some(format!("rookery-agent: probe {name}: {e}\n")),
            _ => {}
        }
    }
    why.map(|err| Outcome { err, code: 1, ..Outcome::default() })
}

fn enabled(config: &Config, probes: &[ProbeEntry]) -> impl Iterator<Item = Labelled> {
    // What is wrong with a table was said when the configuration was read.
    probes.iter().flat_map(|entry| of_entry(config, entry).unwrap_or_default())
}

fn probe_outcome(
    host: &Host,
    probe_name: &str,
    probe: &mut dyn Probe,
    specs: &[ServiceSpec],
    name: &str,
    verb: &str,
) -> Outcome {
    let mut out = String::new();
    match verb {
        "autoconf" => out.push_str("yes\n"),
        "suggest" => {}
        _ => {
            let mut cells = Cells::new();
            if let Err(e) = probe.read(host, &mut cells) {
                let err = format!("rookery-agent: probe {probe_name}: {e}\n");
                return Outcome { err, code: 1, ..Outcome::default() };
            }
            let all = probe_name == name && !specs.iter().any(|s| s.name == name);
            let mut at = 0;
            for spec in specs {
                let first = at;
                at += spec.fields.len();
                if !all && spec.name != name {
                    continue;
                }
                if all && specs.len() > 1 {
                    let _ = writeln!(out, "multigraph {}", spec.name);
                }
                if verb == "config" {
                    render_config(spec, &mut out);
                } else {
                    let fields = spec.fields.iter().zip(first..);
                    let values = fields.filter_map(|(f, i)| Some((f.name.as_str(), cells.get(i)?)));
                    render_values(values, &mut out);
                }
            }
        }
    }
    Outcome { out: out.into_bytes(), ..Outcome::default() }
}

/// A table of all probes and plugins, with what is wrong with them.
pub async fn list(config: &Config, probes: &[ProbeEntry]) -> Outcome {
    let mut out = String::from("KIND    NAME                 SERVICES FIELDS STATE\n");
    let mut line = |kind: &str, name: &str, services: usize, fields: usize, state: &str| {
        let _ = writeln!(out, "{kind:<7} {name:<20} {services:>8} {fields:>6} {state}");
    };
    for entry in probes {
        let enabled = config.probe_settings(entry.name).is_ok_and(|s| s.enabled);
        if !enabled {
            line("probe", entry.name, 0, 0, "disabled in agent.toml");
        }
    }
    for (label, (services, fields, state)) in all_found(config, enabled(config, probes)).await {
        line("probe", &label, services, fields, &state);
    }
    let context = Arc::new(context(config));
    let mut runs = Vec::new();
    for (name, file) in find(&config.plugin_dirs) {
        let context = Arc::clone(&context);
        let run = tokio::spawn(async move {
            let plugin = Plugin::new(file);
            let asked = plugin.run(&context, Some("config"), &Asker::default()).await;
            (asked, plugin.run(&context, None, &Asker::default()).await)
        });
        runs.push((name, run));
    }
    for (name, run) in runs {
        let Ok((asked, fetched)) = run.await else { continue };
        let specs = parse(&name, &asked.stdout).services;
        let fields = specs.iter().map(|s| s.fields.len()).sum();
        line("plugin", &name, specs.len(), fields, &plugin_state(&asked, &fetched));
    }
    for check in &config.check {
        let ran = check.run(&context).await;
        let text = String::from_utf8_lossy(&ran.stdout);
        let first = text.lines().next().unwrap_or("");
        let state = match ran.ending {
            Ending::Exit(code @ 0..=3) => {
                format!("{}: {first}", rookery_plugins::State::from_exit_code(code).word())
            }
            _ => format!("UNKNOWN: {}", ran.why().replace('\n', " | ")),
        };
        line("check", &check.name, 1, 1, &state);
    }
    Outcome { out: out.into_bytes(), ..Outcome::default() }
}

/// How many services and fields a probe offers here, and `ok` or why none.
type Found = (usize, usize, String);

/// Asks probes, all at the same time.
async fn all_found(config: &Config, all: impl Iterator<Item = Labelled>) -> Vec<(String, Found)> {
    let ask = |mut made: Labelled| {
        let host = config.host();
        let found = move || match made.probe.discover(&host) {
            Ok(specs) => (specs.len(), specs.iter().map(|s| s.fields.len()).sum(), "ok".to_owned()),
            Err(ProbeError::NotHere(why)) => (0, 0, format!("not here: {why}")),
            Err(e) => (0, 0, format!("FAILS: {e}")),
        };
        (made.label, tokio::task::spawn_blocking(found))
    };
    let asked: Vec<_> = all.map(ask).collect();
    let mut all = Vec::with_capacity(asked.len());
    for (label, found) in asked {
        let found = found.await.unwrap_or_else(|e| (0, 0, format!("FAILS: {e}")));
        all.push((label, found));
    }
    all
}

/// Every probe there is, with what it watches, and what is found or missing.
pub async fn available(config: &Config, probes: &[ProbeEntry]) -> Outcome {
    let mut out = String::new();
    let all = all_found(config, enabled(config, probes)).await;
    for entry in probes {
        let _ = writeln!(out, "{:<12} {}", entry.name, entry.about);
        let is_mine = |label: &str| label.split('.').next() == Some(entry.name);
        let mine: Vec<_> = all.iter().filter(|(label, _)| is_mine(label)).collect();
        if mine.is_empty() {
            let _ = writeln!(out, "{:<12} - disabled in agent.toml", "");
        }
        for (label, (services, fields, state)) in mine {
            let which = if label == entry.name { String::new() } else { format!("{label}: ") };
            let text = match state.as_str() {
                "ok" => format!("+ {which}found: {services} services, {fields} fields"),
                why => format!("- {which}{why}"),
            };
            let _ = writeln!(out, "{:<12} {text}", "");
        }
    }
    Outcome { out: out.into_bytes(), ..Outcome::default() }
}

fn plugin_state(asked: &Ran, fetched: &Ran) -> String {
    for (verb, ran) in [("config", asked), ("fetch", fetched)] {
        if !ran.ok() {
            return format!("FAILS: {verb}: {}", ran.why().replace('\n', " | "));
        }
    }
    let took = (asked.took + fetched.took).as_millis();
    format!("ok ({took} ms for config and fetch)")
}
