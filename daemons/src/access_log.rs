//! Web requests, from access logs in the common and combined formats (Apache's
//! mod_log_config, nginx's `log_format`), with a response time behind if there is
//! one: Apache's `%D` (microseconds), nginx's `$request_time` (seconds).
//!
//! Files are followed, not read: at the start only what comes from then on
//! counts, and nothing is read twice. Times are kept in a histogram of fixed size
//! ([`histogram`]), whatever the load.

mod follow;
mod graphs;
mod histogram;
mod line;

use crate::support::{Daemon, Sheet, probe, settings};
use follow::Follower;
use graphs::Group;
use line::{Request, Unit, parse};
use rookery_plugins::config::parse_span_ms;
use rookery_plugins::names::clean_field;
use rookery_plugins::probes::support::unique;
use rookery_plugins::{Host, ProbeEntry, ProbeError};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "access_log",
    about: "web requests by status, response times and slow ones, per vhost and path (access logs)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let usual = [
            "/var/log/nginx/access.log",
            "/var/log/apache2/access.log",
            "/var/log/apache2/other_vhosts_access.log",
        ];
        let given = own.files.is_some();
        let files = own.files.unwrap_or_else(|| usual.map(str::to_owned).to_vec());
        let unit = Unit::read(own.time.as_deref().unwrap_or("auto"))?;
        let slow = own.slow.as_deref().unwrap_or("1s");
        let slow_us = parse_span_ms(slow).map_err(|e| format!("slow: {e}"))?.saturating_mul(1000);
        let paths: Vec<(String, String)> = own.paths.into_iter().collect();
        if paths.len() > GROUPS_MAX {
            return Err(format!("paths: at most {GROUPS_MAX}"));
        }
        let mut taken = HashSet::new();
        let paths = paths
            .into_iter()
            .map(|(name, pattern)| {
                let field = unique(clean_field(&format!("path_{name}")), &mut taken);
                let label = format!("{name} ({pattern})");
                (pattern, Group::new(field, label))
            })
            .collect();
        Ok(probe(AccessLog {
            followers: Follower::all(&files)?,
            given,
            files,
            unit,
            slow_us,
            all: Group::new(String::new(), String::new()),
            vhosts: HashMap::new(),
            paths,
            lines_odd: 0,
        }))
    },
};

/// The most virtual hosts, and the most groups of paths, that are told apart.
const GROUPS_MAX: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    files: Option<Vec<String>>,
    time: Option<String>,
    slow: Option<String>,
    #[serde(default)]
    paths: BTreeMap<String, String>,
}

struct AccessLog {
    followers: Vec<Follower>,
    given: bool,
    files: Vec<String>,
    unit: Unit,
    slow_us: u64,
    all: Group,
    vhosts: HashMap<String, Group>,
    /// Patterns of paths, and the requests of each.
    paths: Vec<(String, Group)>,
    lines_odd: u64,
}

impl Daemon for AccessLog {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let mut followers = std::mem::take(&mut self.followers);
        let (mut behind, mut n_here, mut why) = (0u64, 0, None);
        for follower in &mut followers {
            match follower.read(|line| self.take(line)) {
                Ok(left) => (behind, n_here) = (behind.saturating_add(left), n_here + 1),
                Err(e) => why = why.or(Some(e)),
            }
        }
        self.followers = followers;
        match why {
            Some(e) if n_here == 0 && self.given => return Err(ProbeError::Failed(e)),
            Some(e) if n_here == 0 => return Err(ProbeError::NotHere(e)),
            _ => {}
        }
        let mut vhosts: Vec<&mut Group> = self.vhosts.values_mut().collect();
        vhosts.sort_by(|a, b| a.field.cmp(&b.field));
        let paths: Vec<&mut Group> = self.paths.iter_mut().map(|(_, group)| group).collect();
        let odd = self.lines_odd;
        sheet.note(&self.files.join(" "));
        graphs::write(&mut self.all, vhosts, paths, (odd, behind), self.slow_us, sheet);
        Ok(())
    }
}

impl AccessLog {
    fn take(&mut self, text: &[u8]) {
        let Some(request) = parse(text, self.unit) else {
            self.lines_odd += 1;
            return;
        };
        let slow_us = self.slow_us;
        self.all.take(&request, slow_us);
        if let Some(vhost) = request.vhost {
            self.take_vhost(vhost, &request);
        }
        let of = self.paths.iter_mut().find(|(pattern, _)| matches(pattern, request.path));
        if let Some((_, group)) = of {
            group.take(&request, slow_us);
        }
    }

    fn take_vhost(&mut self, vhost: &[u8], request: &Request<'_>) {
        let name = String::from_utf8_lossy(vhost);
        if !self.vhosts.contains_key(name.as_ref()) {
            if self.vhosts.len() >= GROUPS_MAX {
                return;
            }
            let mut taken = self.vhosts.values().map(|g| g.field.clone()).collect();
            let field = unique(clean_field(&format!("vhost_{name}")), &mut taken);
            self.vhosts.insert(name.to_string(), Group::new(field, name.to_string()));
        }
        if let Some(group) = self.vhosts.get_mut(name.as_ref()) {
            group.take(request, self.slow_us);
        }
    }
}

/// Whether a path is of a group: `*` stands for anything.
fn matches(pattern: &str, path: &[u8]) -> bool {
    let mut parts = pattern.as_bytes().split(|b| *b == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    if first.len() == pattern.len() {
        return rest.is_empty();
    }
    let mut last: &[u8] = b"";
    for part in parts {
        last = part;
        let at = match part.is_empty() {
            true => Some(0),
            false => rest.windows(part.len()).position(|w| w == part),
        };
        let Some(at) = at else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty() || last.is_empty() || path.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{ask, make};
    use rookery_plugins::Value;
    use std::io::Write;

    #[test]
    fn patterns_match_as_one_expects() {
        for (pattern, path, want) in [
            ("/api/*", "/api/v1", true),
            ("/api/*", "/api", false),
            ("/", "/", true),
            ("/", "/x", false),
            ("*.php", "/a/b.php", true),
            ("*.php", "/a.php/x", false),
            ("/a/*/c*", "/a/b/cd", true),
            ("*", "", true),
            ("*a*a", "xa", false),
            ("*.php", "/a.php.php", true),
        ] {
            assert_eq!(matches(pattern, path.as_bytes()), want, "{pattern} {path}");
        }
    }

    #[test]
    fn only_what_comes_from_now_on_counts() {
        let dir = tempfile::tempdir().expect("tmp");
        let path = dir.path().join("access.log");
        let line = |vhost: &str, path: &str, status: u16, us: u64| {
            format!(
                "{vhost}:443 10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] \"GET {path} HTTP/1.1\" \
                 {status} 100 \"-\" \"curl/8 \\\"x\\\"\" {us}\n"
            )
        };
        std::fs::write(&path, line("old", "/", 200, 1)).expect("writes");
        let mut probe = make(
            "access_log",
            &format!("files = [{path:?}]\nslow = \"50ms\"\npaths = {{ api = \"/api/*\" }}"),
        );
        let (specs, values) = ask(probe.as_mut()).expect("reads");
        assert_eq!(values["web_requests.status_2xx"], Value::Int(0));
        let timed = |s: &rookery_plugins::ServiceSpec| s.name.starts_with("web_times");
        assert!(!specs.iter().any(timed), "no times have been logged yet");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).expect("opens");
        for i in 0..10 {
            let text = line("shop", "/api/x?y=1", 200, 10_000 * (i + 1));
            file.write_all(text.as_bytes()).expect("writes");
        }
        file.write_all(line("shop", "/", 503, 7).as_bytes()).expect("writes");
        file.write_all(b"noise\n").expect("writes");
        let (specs, values) = ask(probe.as_mut()).expect("reads");
        for (name, want) in [
            ("web_requests.status_2xx", 10),
            ("web_requests.status_5xx", 1),
            ("web_requests.vhost_shop.status_2xx", 10),
            ("web_bytes.sent", 1100),
            ("web_log.odd", 1),
            ("web_log_behind.behind", 0),
        ] {
            assert_eq!(values.get(name), Some(&Value::Int(want)), "{name}: {values:#?}");
        }
        let about = |name: &str, want: f64| {
            let Value::Float(got) = values[name] else { panic!("{name}: {:?}", values[name]) };
            assert!((got / want - 1.0).abs() < 0.016, "{name}: {got} is not {want}");
        };
        about("web_times.path_api.p50", 50.0);
        about("web_times.path_api.p99", 100.0);
        about("web_times.path_api.max", 100.0);
        about("web_slow.path_api", 50.0);
        assert!(specs.iter().all(|s| !s.name.contains("old")));
        let (_, values) = ask(probe.as_mut()).expect("reads");
        assert_eq!(values["web_times.p50"], Value::Unknown, "nobody came");
    }

    #[test]
    fn a_missing_file_is_told_where_it_was_asked_for() {
        let mut probe = make("access_log", "files = [\"/no/such.log\"]");
        let error = ask(probe.as_mut()).expect_err("not there");
        assert!(matches!(&error, ProbeError::Failed(e) if e.contains("/no/such.log")), "{error}");
        let config = "time = \"hours\"".parse().expect("TOML");
        assert!((ENTRY.new)(&config).is_err_and(|e| e.contains("time = \"hours\"")));
    }
}
