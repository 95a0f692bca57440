//! `plugin-conf.d`: under whom and with what a plugin runs.
//!
//! ```text
//! [name] or [prefix*] or [*suffix]
//! user U · group a, (b) · env.X value · command … %c … · timeout 30
//! host_name H · update_rate 60
//! ```
//!
//! Files in the order of their names. An exact name wins over any pattern, a
//! longer prefix over a shorter one, any prefix over a suffix; in sections of
//! the same name the last line of a key wins. Keys are merged one by one, `env`
//! variable by variable. As in Munin an error leaves out the rest of its file.

use super::find::{Stamp, stamp};
use rookery_plugins::config::is_left_out;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the files say of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `user`.
    pub user: Option<String>,
    /// `group`, in order; `true`: optional (it stood in parentheses).
    pub groups: Vec<(String, bool)>,
    /// `env.X`.
    pub env: BTreeMap<String, String>,
    /// `command`, split at blanks; `%c` is still in it.
    pub command: Vec<String>,
    /// `timeout`, seconds.
    pub timeout_s: Option<u64>,
    /// `host_name`.
    pub host_name: Option<String>,
    /// `update_rate`, seconds.
    pub update_rate_s: Option<u64>,
}

/// All sections of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginConf {
    sections: Vec<(String, Vec<(String, String)>)>,
    /// What was wrong: `file:line: message`.
    pub errors: Vec<String>,
    stamps: Vec<(PathBuf, Option<Stamp>)>,
}

impl PluginConf {
    /// Reads the folders.
    pub fn load(dirs: &[PathBuf]) -> PluginConf {
        let mut conf = PluginConf::default();
        for path in files(dirs) {
            conf.stamps.push((path.clone(), stamp(&path)));
            match std::fs::read(&path) {
                Ok(text) => {
                    conf.parse(&path.display().to_string(), &String::from_utf8_lossy(&text));
                }
                Err(e) => conf.errors.push(format!("{}: {e}", path.display())),
            }
        }
        conf
    }

    /// Whether a file has come, gone or changed since.
    pub fn is_stale(&self, dirs: &[PathBuf]) -> bool {
        let now = files(dirs);
        now.len() != self.stamps.len()
            || now.iter().zip(&self.stamps).any(|(p, (path, old))| p != path || stamp(p) != *old)
    }

    fn parse(&mut self, file: &str, text: &str) {
        let mut open = false;
        for (i, line) in text.lines().enumerate() {
            // `\#` is a literal hash, any other begins a comment.
            let line = match line.match_indices('#').find(|(at, _)| !line[..*at].ends_with('\\')) {
                Some((at, _)) => &line[..at],
                None => line,
            };
            let line = line.trim().replace("\\#", "#");
            if line.is_empty() {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                self.sections.push((name.trim().to_owned(), vec![]));
                open = true;
                continue;
            }
            let (key, value) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
            if !open || !is_key(key) || value.trim().is_empty() {
                self.errors.push(format!(
                    "{file}:{}: {line:?} is not understood; the rest of the file is ignored",
                    i + 1
                ));
                return;
            }
            if let Some((_, keys)) = self.sections.last_mut() {
                keys.push((key.to_owned(), value.trim().to_owned()));
            }
        }
    }

    /// What holds for this plugin.
    pub fn settings(&self, plugin: &str) -> Settings {
        let mut matching: Vec<_> = self
            .sections
            .iter()
            .filter_map(|(pattern, keys)| Some((weight(pattern, plugin)?, keys)))
            .collect();
        matching.sort_by_key(|(weight, _)| *weight);
        let mut out = Settings::default();
        for (key, value) in matching.into_iter().flat_map(|(_, keys)| keys) {
            match key.as_str() {
                "user" => out.user = Some(value.clone()),
                "group" => out.groups = groups(value),
                "command" => out.command = value.split_whitespace().map(str::to_owned).collect(),
                "timeout" => out.timeout_s = value.parse().ok(),
                "host_name" => out.host_name = Some(value.clone()),
                "update_rate" => out.update_rate_s = value.parse().ok(),
                _ => {
                    if let Some(name) = key.strip_prefix("env.") {
                        out.env.insert(name.to_owned(), value.clone());
                    }
                }
            }
        }
        out
    }
}

fn files(dirs: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in dirs {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut here: Vec<PathBuf> = entries
            .map(|e| e.path())
            .filter(|p| {
                let name = p.file_name().and_then(|n| n.to_str()).unwrap_or(".");
                let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
                p.is_file() && name.bytes().all(good) && !is_left_out(name)
            })
            .collect();
        here.sort();
        files.append(&mut here);
    }
    files
}

fn is_key(key: &str) -> bool {
    match key.strip_prefix("env.") {
        Some(name) => !name.is_empty() && !name.contains('='),
        None => {
            matches!(key, "user" | "group" | "command" | "timeout" | "host_name" | "update_rate")
        }
    }
}

/// `a, (b)`, split at commas and blanks: names, and whether they are optional.
fn groups(text: &str) -> Vec<(String, bool)> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|g| !g.is_empty())
        .map(|g| match g.strip_prefix('(').and_then(|g| g.strip_suffix(')')) {
            Some(g) => (g.trim().to_owned(), true),
            None => (g.to_owned(), false),
        })
        .collect()
}

/// How well a section fits a plugin, by order; `None`: not at all. Munin takes
/// patterns by their text, which puts `*` before all that names are made of:
/// `[*x]` before `[a*]` before `[ab*]`.
fn weight<'a>(pattern: &'a str, plugin: &str) -> Option<(bool, &'a str)> {
    if pattern == plugin {
        return Some((true, pattern));
    }
    let fits = match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(prefix), _) => plugin.starts_with(prefix),
        (None, Some(suffix)) => plugin.ends_with(suffix),
        (None, None) => false,
    };
    fits.then_some((false, pattern))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\[?(a|\\*a|a\\*|\\*)\\]?|user|group|env\\.|[ #\\\\()%c,\n]){0,30}") {
            conf(&text).settings("a");
        }
    }

    fn conf(text: &str) -> PluginConf {
        let mut conf = PluginConf::default();
        conf.parse("f", text);
        conf
    }

    #[test]
    fn longer_patterns_win_key_by_key() {
        let c = conf(
            "[*]\nuser a\nenv.x 0\nenv.z 9\n[if_*]\nenv.x 1\ngroup adm, (munin)\n[if_eth0]\n\
             env.x 2 # why\ntimeout 5\n[if_e*]\nuser b\nenv.x 3\ncommand sudo -u q %c more\n",
        );
        let s = c.settings("if_eth0");
        assert_eq!(s.user.as_deref(), Some("b"));
        assert_eq!((s.env["x"].as_str(), s.env["z"].as_str()), ("2", "9"));
        assert_eq!(s.groups, [("adm".to_owned(), false), ("munin".to_owned(), true)]);
        assert_eq!((s.timeout_s, s.command.len()), (Some(5), 5));
        assert_eq!(c.settings("other").user.as_deref(), Some("a"));
        assert_eq!(conf("[*_x]\nuser s\n").settings("a_x").user.as_deref(), Some("s"));
        assert!(c.errors.is_empty());
    }

    /// The sections and what came of them as munin-node 2.0.73 was recorded.
    #[test]
    fn precedence_as_recorded() {
        let c = conf(
            "[wild_eth*]\nenv.a fromwildeth\ngroup adm\n[wild_*]\nenv.a fromwild\n\
             env.b b\n[*eth0]\nenv.d suffixwild\nenv.a no\n[wild_eth0]\nenv.c exact\n",
        );
        let s = c.settings("wild_eth0");
        let env: Vec<(&str, &str)> = s.env.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(env, [("a", "fromwildeth"), ("b", "b"), ("c", "exact"), ("d", "suffixwild")]);
        assert_eq!(s.groups, [("adm".to_owned(), false)]);
        let long = conf("[*a_long_suffix]\nuser s\n[x*]\nuser p\n");
        assert_eq!(long.settings("x_a_long_suffix").user.as_deref(), Some("p"));
    }

    #[test]
    fn of_one_name_the_last_line_wins_and_groups_may_stand_in_blanks() {
        let c = conf("[a]\nuser u\ntimeout 5\n[a]\nuser v\ngroup x (y),z\n");
        let s = c.settings("a");
        assert_eq!((s.user.as_deref(), s.timeout_s), (Some("v"), Some(5)));
        let groups: Vec<(&str, bool)> = s.groups.iter().map(|(g, o)| (g.as_str(), *o)).collect();
        assert_eq!(groups, [("x", false), ("y", true), ("z", false)]);
    }

    #[test]
    fn an_error_drops_the_rest_of_its_file() {
        for bad in ["env X=Y", "disable_autoconf yes", "user", "X Y"] {
            let c = conf(&format!("[a]\nuser u\n{bad}\nuser v\n"));
            assert_eq!(c.settings("a").user.as_deref(), Some("u"), "{bad}");
            assert!(c.errors[0].starts_with("f:3: "), "{:?}", c.errors);
        }
        assert!(conf("user u\n[a]\nuser v\n").settings("a").user.is_none());
    }
}
