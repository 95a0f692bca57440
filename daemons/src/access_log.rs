//! Web requests, from access logs in the common and combined formats (Apache's
//! mod_log_config, nginx's `log_format`) and what is made of them, or in JSON; with
//! a response time if there is one and no doubt about it ([`clock`]).
//!
//! Files are followed, not read: at the start only what comes from then on
//! counts, and nothing is read twice. Times are kept in a histogram of fixed size
//! ([`histogram`]), whatever the load.

mod clock;
mod follow;
mod format;
mod graphs;
mod histogram;
mod json;
mod line;

use crate::support::{Daemon, Names, Sheet, probe, settings};
use clock::{Clock, Said, Verdict};
use follow::Follower;
use graphs::{Group, State};
use line::Request;
use rookery_plugins::config::parse_span_ms;
use rookery_plugins::{Host, ProbeEntry, ProbeError};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

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
        let said = Said::read(own.time.as_deref(), own.format.as_deref())?;
        let slow = own.slow.as_deref().unwrap_or("1s");
        let slow_us = parse_span_ms(slow).map_err(|e| format!("slow: {e}"))?.saturating_mul(1000);
        if own.paths.len() > GROUPS_MAX {
            return Err(format!("paths: at most {GROUPS_MAX}"));
        }
        let mut names = Names::default();
        let raws: Vec<String> = own.paths.keys().map(|name| format!("path_{name}")).collect();
        let fields = names.fields("paths", raws.iter().map(String::as_str));
        let path = |(field, (name, pattern)): (_, (String, String))| {
            let label = format!("{name} ({pattern})");
            (pattern, Group::new(Some(field), label))
        };
        let paths = fields.into_iter().zip(own.paths).map(path).collect();
        Ok(probe(AccessLog {
            logs: Follower::all(&files)?.into_iter().map(|f| (f, Clock::new(said))).collect(),
            given,
            files,
            groups: Groups { paths, slow_us, ..Groups::default() },
            names,
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
    format: Option<String>,
    time: Option<String>,
    slow: Option<String>,
    #[serde(default)]
    paths: BTreeMap<String, String>,
}

struct AccessLog {
    /// Each file with what is known of its times: formats may differ.
    logs: Vec<(Follower, Clock)>,
    given: bool,
    files: Vec<String>,
    groups: Groups,
    names: Names,
    lines_odd: u64,
}

/// Requests, counted in each group that they belong to.
#[derive(Default)]
struct Groups {
    all: Group,
    vhosts: HashMap<String, Group>,
    /// Patterns of paths, and the requests of each.
    paths: Vec<(String, Group)>,
    slow_us: u64,
    /// Whether there were more virtual hosts than are told apart.
    is_cut: bool,
}

impl Daemon for AccessLog {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let (mut behind, mut n_here, mut why) = (0u64, 0, None);
        let (groups, odd) = (&mut self.groups, &mut self.lines_odd);
        for (follower, clock) in &mut self.logs {
            let read = follower.read(|text| {
                if take(text, clock, groups).is_none() {
                    *odd += 1;
                }
            });
            match read {
                Ok(left) => (behind, n_here) = (behind.saturating_add(left), n_here + 1),
                Err(e) => why = why.or(Some(e)),
            }
        }
        match why {
            Some(e) if n_here == 0 && self.given => return Err(ProbeError::Failed(e)),
            Some(e) if n_here == 0 => return Err(ProbeError::NotHere(e)),
            _ => {}
        }
        self.groups.name(&mut self.names);
        let remarks = self.logs.iter().zip(&self.files).filter(|((_, c), _)| !c.remark.is_empty());
        let mut remarks: Vec<String> =
            remarks.map(|((_, clock), file)| format!(" {file}: {}", clock.remark)).collect();
        if self.groups.is_cut {
            remarks.push(format!(" Only {GROUPS_MAX} virtual hosts are told apart."));
        }
        let state = State { odd: self.lines_odd, behind, remarks: remarks.concat() };
        let Groups { all, vhosts, paths, slow_us, .. } = &mut self.groups;
        let mut vhosts: Vec<&mut Group> = vhosts.values_mut().collect();
        vhosts.sort_by(|a, b| a.label.cmp(&b.label));
        let paths: Vec<&mut Group> = paths.iter_mut().map(|(_, group)| group).collect();
        sheet.note(&self.files.join(" "));
        graphs::write(all, vhosts, paths, &state, *slow_us, sheet);
        Ok(())
    }
}

/// `None`: the line is no request.
fn parse(text: &[u8]) -> Option<Request<'_>> {
    line::parse(text).or_else(|| json::parse(text))
}

/// Counts the request of a line; `None`: it is none.
fn take(text: &[u8], clock: &mut Clock, groups: &mut Groups) -> Option<()> {
    // Windows' line end.
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let request = parse(text)?;
    groups.of(&request, |group, _| group.take(&request));
    match clock.look(request.time, request.bytes, text) {
        Verdict::Took(us) => groups.took(&request, us),
        Verdict::Waits => {}
        Verdict::Found(waited) => {
            for request in waited.iter().filter_map(|text| parse(text)) {
                let us = clock.took(request.time);
                groups.took(&request, us);
            }
        }
    }
    Some(())
}

impl Groups {
    /// All groups that a request belongs to, and what counts as slow, us.
    fn of(&mut self, request: &Request<'_>, mut each: impl FnMut(&mut Group, u64)) {
        each(&mut self.all, self.slow_us);
        if let Some(vhost) = &request.vhost {
            let name = String::from_utf8_lossy(vhost);
            if !self.vhosts.contains_key(name.as_ref()) && self.vhosts.len() < GROUPS_MAX {
                // It is named before it is written.
                let group = Group::new(None, name.to_string());
                self.vhosts.insert(name.to_string(), group);
            }
            match self.vhosts.get_mut(name.as_ref()) {
                Some(group) => each(group, self.slow_us),
                None => self.is_cut = true,
            }
        }
        let path = self.paths.iter_mut().find(|(pattern, _)| matches(pattern, &request.path));
        if let Some((_, group)) = path {
            each(group, self.slow_us);
        }
    }

    fn took(&mut self, request: &Request<'_>, us: Option<u64>) {
        if let Some(us) = us {
            self.of(request, |group, slow_us| group.took(us, slow_us));
        }
    }

    /// Names the virtual hosts by what they are, not by who came first.
    fn name(&mut self, names: &mut Names) {
        let mut hosts: Vec<(&String, &mut Group)> = self.vhosts.iter_mut().collect();
        hosts.sort_by(|a, b| a.0.cmp(b.0));
        let raws: Vec<String> = hosts.iter().map(|(name, _)| format!("vhost_{name}")).collect();
        let fields = names.fields("vhosts", raws.iter().map(String::as_str));
        for ((_, group), field) in hosts.into_iter().zip(fields) {
            group.field = Some(field);
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
    fn each_file_has_its_own_format_and_doubts_are_told() {
        let dir = tempfile::tempdir().expect("tmp");
        let files = ["io", "ingress", "ms", "json"].map(|name| dir.path().join(name));
        files.iter().for_each(|file| std::fs::write(file, "").expect("writes"));
        let mut probe = make("access_log", &format!("files = {files:?}"));
        ask(probe.as_mut()).expect("reads");
        let head = "10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] \"GET /a HTTP/1.1\" 200";
        let mut texts = [String::new(), String::new(), String::new(), String::new()];
        for i in 0..300u64 {
            let bytes = 1_000 + i * 37;
            let ends = [
                format!("{head} {bytes} \"-\" \"x\" {} {}\n", 400 + i, bytes + 250),
                format!(
                    "{head} {bytes} \"-\" \"x\" {} 0.{:03} [up] 10.0.0.2:80\n",
                    500 + i,
                    10 + i
                ),
                format!("{head} {bytes} \"-\" \"x\" {}\r\n", i % 500),
                format!("{{\"status\":200,\"request_time\":0.{:03},\"host\":\"j\"}}\n", 10 + i),
            ];
            texts.iter_mut().zip(ends).for_each(|(text, end)| text.push_str(&end));
        }
        files
            .iter()
            .zip(&texts)
            .for_each(|(file, text)| std::fs::write(file, text).expect("writes"));
        let (specs, values) = ask(probe.as_mut()).expect("reads");
        assert_eq!(values["web_requests.status_2xx"], Value::Int(1200));
        assert_eq!(values["web_log.odd"], Value::Int(0));
        // Of the two that tell: nothing of the bytes, nothing of what is in doubt.
        assert_eq!(values["web_times.max"], Value::Float(309.0));
        let Value::Float(median) = values["web_times.p50"] else { panic!("no number") };
        assert!((median / 159.5 - 1.0).abs() < 0.02, "{median}");
        assert_eq!(values["web_requests.vhost_j.status_2xx"], Value::Int(300));
        let log = specs.iter().find(|s| s.name == "web_log").expect("a service");
        assert!(log.info.contains("/ms: Behind its lines is a number that may be"), "{}", log.info);
        assert!(!log.info.contains("/io: "), "{}", log.info);
    }

    #[test]
    fn a_missing_file_is_told_where_it_was_asked_for() {
        let mut probe = make("access_log", "files = [\"/no/such.log\"]");
        let error = ask(probe.as_mut()).expect_err("not there");
        assert!(matches!(&error, ProbeError::Failed(e) if e.contains("/no/such.log")), "{error}");
        for (text, want) in [("time = \"hours\"", "write auto"), ("format = \"x\"", "combinedio")] {
            let config = text.parse().expect("TOML");
            assert!((ENTRY.new)(&config).is_err_and(|e| e.contains(want)), "{text}");
        }
    }
}
