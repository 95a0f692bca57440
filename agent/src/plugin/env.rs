//! The environment that Munin's plugins expect.

use super::conf::Settings;
use super::exec::Job;
use super::ids::{self, Ids};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is the same for all plugins of an agent.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The node's name without its group (`FQDN`).
    pub node: String,
    /// Where plugins keep state (`MUNIN_PLUGSTATE` without the user).
    pub state_dir: PathBuf,
    /// The user of plugins that name none, if not Munin's.
    pub user: Option<String>,
    /// The group of plugins that name none, if not Munin's.
    pub group: Option<String>,
    /// The time limit of plugins that set none.
    pub timeout: Duration,
}

impl Surroundings {
    /// The settings with the user and group of this agent where they name none.
    fn fill(&self, settings: &Settings) -> Settings {
        let mut who = settings.clone();
        who.user = who.user.or_else(|| self.user.clone());
        if let Some(group) = self.group.as_ref().filter(|_| who.groups.is_empty()) {
            who.groups.push((group.clone(), false));
        }
        who
    }
}

/// Who wants to know: plugins keep a state file for each master, and some give
/// more to one that understands more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// `MUNIN_MASTER_IP`, and the end of the state file's name.
    pub master: String,
    /// Whether `config` may carry values (`MUNIN_CAP_DIRTYCONFIG`).
    pub dirtyconfig: bool,
}

impl Asker {
    /// The agent's own schedule: its state files are no master's.
    pub fn agent() -> Asker {
        Asker { master: "rookery".to_owned(), dirtyconfig: false }
    }
}

/// How to run a plugin for `verb`; the error says why it cannot be run.
pub fn job(
    around: &Surroundings,
    settings: &Settings,
    name: &str,
    path: &Path,
    verb: Option<&str>,
    asker: &Asker,
) -> Result<Job, String> {
    let ids = if ids::may_change() { Some(ids::resolve(&around.fill(settings))?) } else { None };
    let mut words: Vec<OsString> = Vec::new();
    for word in &settings.command {
        match word.as_str() {
            "%c" => {
                words.push(path.into());
                words.extend(verb.map(OsString::from));
            }
            _ => words.push(word.into()),
        }
    }
    if words.is_empty() {
        words.push(path.into());
        words.extend(verb.map(OsString::from));
    }
    let program = PathBuf::from(words.remove(0));
    let limit = settings.timeout_s.map_or(around.timeout, Duration::from_secs);
    let env = env(around, settings, name, ids.as_ref(), asker);
    Ok(Job { program, args: words, env, ids, limit })
}

fn env(
    around: &Surroundings,
    settings: &Settings,
    name: &str,
    ids: Option<&Ids>,
    asker: &Asker,
) -> Vec<(String, OsString)> {
    let user = ids.map_or("root", |i| i.user.as_str());
    let state = around.state_dir.join(user);
    make_state_dir(&state, ids);
    let state_file = state.join(format!("{name}-{}", asker.master));
    let mut env: Vec<(String, OsString)> =
        MUNINS_OWN.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    let mut put = |key: &str, value: OsString| env.push((key.to_owned(), value));
    put("FQDN", around.node.clone().into());
    put("MUNIN_MASTER_IP", asker.master.clone().into());
    put("MUNIN_PLUGSTATE", state.into());
    put("MUNIN_STATEFILE", state_file.into());
    if asker.dirtyconfig {
        put("MUNIN_CAP_DIRTYCONFIG", "1".into());
    }
    for (key, value) in &settings.env {
        env.retain(|(k, _)| k != key);
        env.push((key.clone(), value.into()));
    }
    env
}

/// What munin-node 2.0.73 on Debian tells every plugin, oddities included
/// (`MUNIN_MKTEMP`); as recorded from a running one.
const MUNINS_OWN: [(&str, &str); 34] = [
    ("LANG", "C"),
    ("LC_ALL", "C"),
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("PYTHONIOENCODING", "utf8:replace"),
    ("MUNIN_BASH", "/bin/bash"),
    ("MUNIN_BINDIR", "/usr/bin"),
    ("MUNIN_CAP_MULTIGRAPH", "1"),
    ("MUNIN_CGIDIR", "/usr/lib/munin/cgi"),
    ("MUNIN_CGITMPDIR", ""),
    ("MUNIN_CONFDIR", "/etc/munin"),
    ("MUNIN_DBDIR", "/var/lib/munin"),
    ("MUNIN_DEBUG", "0"),
    ("MUNIN_DOCDIR", "/usr/doc"),
    ("MUNIN_GOODSH", "/bin/sh"),
    ("MUNIN_GROUP", ids::GROUP_DEFAULT),
    ("MUNIN_HASSETR", "1"),
    ("MUNIN_HOSTNAME", "localhost.localdomain"),
    ("MUNIN_HTMLDIR", "/var/cache/munin/www"),
    ("MUNIN_LIBDIR", "/usr/share/munin"),
    ("MUNIN_LOGDIR", "/var/log/munin"),
    ("MUNIN_MANDIR", "/usr/share/man"),
    ("MUNIN_MKTEMP", "mktemp -p /tmp/ MKTEMP     = "),
    ("MUNIN_OSTYPE", "linux"),
    ("MUNIN_PERL", "/usr/bin/perl"),
    ("MUNIN_PERLLIB", "/usr/share/perl5"),
    ("MUNIN_PLUGINUSER", ids::USER_DEFAULT),
    ("MUNIN_PREFIX", "/usr"),
    ("MUNIN_PYTHON", "/usr/bin/env python3"),
    ("MUNIN_RUBY", "/usr/bin/env ruby"),
    ("MUNIN_SBINDIR", "/usr/sbin"),
    ("MUNIN_SPOOLDIR", "/var/lib/munin-async"),
    ("MUNIN_STATEDIR", "/var/run/munin"),
    ("MUNIN_USER", "munin"),
    ("MUNIN_VERSION", "2.0.73"),
];

/// Makes the folder once; a plugin that needs it and cannot have it says so.
fn make_state_dir(dir: &Path, ids: Option<&Ids>) {
    if dir.exists() || std::fs::create_dir_all(dir).is_err() {
        return;
    }
    if let Some(ids) = ids {
        let owner = (Some(ids.uid.as_raw()), Some(ids.gid.as_raw()));
        let _ = std::os::unix::fs::chown(dir, owner.0, owner.1);
    }
}
