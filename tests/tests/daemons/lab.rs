//! A collector, an agent, and the daemons that it watches.

use crate::support::{Proc, Site, wait_for};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// The longest wait for a daemon, or for a number to arrive.
pub const LIMIT: Duration = Duration::from_secs(60);
/// How often the agent asks.
pub const STEP: &str = "500ms";

/// All of it; dropped, all is killed.
pub struct Lab {
    agents: Vec<Proc>,
    daemons: Vec<(u16, Proc)>,
    _collector: Proc,
    pub site: Site,
}

impl Lab {
    /// A collector, and nothing to watch yet.
    pub fn new() -> Lab {
        Lab::with(|_| String::new())
    }

    /// The same; the collector has more configuration.
    pub fn with(config: impl FnOnce(&Site) -> String) -> Lab {
        let site = Site::new();
        let collector = site.collector(&config(&site));
        Lab { agents: vec![], daemons: vec![], _collector: collector, site }
    }

    /// Starts a daemon that stays in the foreground, and waits for its port.
    pub fn daemon(&mut self, command: &mut Command, port: u16) {
        let mut daemon = Proc::start(command.process_group(0));
        wait_for(&format!("{command:?} on port {port}"), LIMIT, || {
            assert!(!daemon.is_gone(), "{command:?} ended: {}", daemon.said());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        self.daemons.push((port, daemon));
    }

    /// kill -9 of the daemon of this port.
    pub fn kill(&mut self, port: u16) {
        let at = self.daemons.iter().position(|(p, _)| *p == port).expect("it was started");
        self.daemons.remove(at).1.kill9();
    }

    /// Waits until the agent has said this.
    pub fn said(&mut self, text: &str) -> String {
        let agent = self.agents.last_mut().expect("an agent");
        match agent.seen.iter().find(|line| line.contains(text)) {
            Some(line) => line.clone(),
            None => agent.line(text, LIMIT),
        }
    }

    /// Starts an agent called `host` with this configuration beside a step of
    /// [`STEP`].
    pub fn watch(&mut self, config: &str) {
        let config = format!("step = \"{STEP}\"\n{config}");
        self.agents.push(self.site.agent("host", &config));
    }

    /// Whether the collector knows a service of a node.
    pub fn knows(&self, node: &str, service: &str) -> bool {
        self.site.services(node).iter().any(|s| s["service"] == service)
    }

    /// What a service of the agent's own node says about itself.
    pub fn info(&self, service: &str) -> String {
        wait_for(&format!("{service} to be known"), LIMIT, || {
            let services = self.site.services("host");
            let found = services.iter().find(|s| s["service"] == service)?;
            Some(found["info"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// Waits for an agent to say this; the whole line.
    pub fn told(&mut self, text: &str) -> String {
        self.agents.last_mut().expect("an agent").line(text, LIMIT)
    }

    /// A field's stored values by time; unknown ones are left out.
    pub fn values(&self, service: &str, field: &str) -> BTreeMap<i64, f64> {
        self.values_of("host", service, field)
    }

    /// The same of another node.
    pub fn values_of(&self, node: &str, service: &str, field: &str) -> BTreeMap<i64, f64> {
        if !self.knows(node, service) {
            return BTreeMap::new();
        }
        let rows = self.site.export(node, service);
        let of = rows.into_iter().filter(|(_, f, _)| f == field);
        of.filter_map(|(t, _, v)| Some((t, v.parse().ok()?))).collect()
    }

    /// The newest value, once there is one.
    pub fn newest(&self, service: &str, field: &str) -> f64 {
        wait_for(&format!("{service}.{field}"), LIMIT, || {
            self.values(service, field).pop_last().map(|(_, v)| v)
        })
    }

    /// Waits until the newest value is so; it.
    pub fn until(&self, service: &str, field: &str, is: impl Fn(f64) -> bool) -> f64 {
        let mut last = None;
        let start = std::time::Instant::now();
        loop {
            let newest = self.values(service, field).pop_last().map(|(_, v)| v);
            if let Some(value) = newest.filter(|v| is(*v)) {
                return value;
            }
            last = newest.or(last);
            assert!(start.elapsed() < LIMIT, "{service}.{field} stays {last:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The newest value when it has changed no more over several readings:
    /// after a load, all of it.
    pub fn settled(&self, service: &str, field: &str) -> f64 {
        wait_for(&format!("{service}.{field} to settle"), LIMIT, || {
            let values: Vec<f64> = self.values(service, field).into_values().collect();
            let last = values.last_chunk::<3>()?;
            (last[0] == last[1] && last[1] == last[2]).then_some(last[2])
        })
    }

    /// The counters before a load.
    pub fn before(&self, fields: &[(&str, &str)]) -> Vec<f64> {
        fields.iter().map(|(service, field)| self.newest(service, field)).collect()
    }

    /// A counter must grow by exactly this from `before`.
    pub fn grows(&self, service: &str, field: &str, before: f64, by: f64) {
        let want = before + by;
        let got = self.until(service, field, |v| v >= want);
        assert_eq!(got - before, by, "{service}.{field} grew by");
    }

    /// The time and value of the newest reading.
    pub fn now(&self, service: &str, field: &str) -> (i64, f64) {
        wait_for(&format!("{service}.{field}"), LIMIT, || self.values(service, field).pop_last())
    }

    /// A counter that grows by one at each reading, as reading it is a request
    /// itself, must grow by exactly this beside it since the reading `before`.
    pub fn grows_beside_readings(&self, service: &str, field: &str, before: (i64, f64), by: f64) {
        let got = wait_for(&format!("{service}.{field} to grow by {by}"), LIMIT, || {
            let later = self.values(service, field).split_off(&(before.0 + 1));
            let (readings, newest) = (later.len() as f64, *later.last_key_value()?.1);
            Some(newest - before.1 - readings).filter(|grown| *grown >= by)
        });
        assert_eq!(got, by, "{service}.{field} grew by");
    }

    /// The share of each interval that a gauge holds must be that of the
    /// counters beside it, for every interval in which something happened.
    pub fn ratio_is_right(&self, ratio: (&str, &str), part: (&str, &str), rest: (&str, &str)) {
        let ratios = self.values(ratio.0, ratio.1);
        let (part, rest) = (self.values(part.0, part.1), self.values(rest.0, rest.1));
        let both: Vec<(i64, f64, f64)> =
            part.iter().filter_map(|(t, p)| Some((*t, *p, *rest.get(t)?))).collect();
        let mut n = 0;
        for pair in both.windows(2) {
            let (grown, other) = (pair[1].1 - pair[0].1, pair[1].2 - pair[0].2);
            let Some(ratio) = ratios.get(&pair[1].0) else { continue };
            let want = 100.0 * grown / (grown + other);
            assert!((ratio - want).abs() < 1e-9, "{ratio} is not {want}");
            n += 1;
        }
        assert!(n > 0, "no interval with a share: {ratios:?}");
    }
}
