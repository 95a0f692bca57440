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
    /// The node's name (`FQDN`).
    pub node: String,
    /// Where plugins keep state (`MUNIN_PLUGSTATE` without the user).
    pub state_dir: PathBuf,
    /// The time limit of plugins that set none.
    pub timeout: Duration,
}

/// How to run a plugin for `verb`; the error says why it cannot be run.
pub fn job(
    around: &Surroundings,
    settings: &Settings,
    name: &str,
    path: &Path,
    verb: Option<&str>,
) -> Result<Job, String> {
    let ids = if ids::may_change() { Some(ids::resolve(settings)?) } else { None };
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
    let env = env(around, settings, name, ids.as_ref());
    Ok(Job { program, args: words, env, ids, limit })
}

fn env(
    around: &Surroundings,
    settings: &Settings,
    name: &str,
    ids: Option<&Ids>,
) -> Vec<(String, OsString)> {
    let user = ids.map_or("root", |i| i.user.as_str());
    let state = around.state_dir.join(user);
    make_state_dir(&state, ids);
    // The suffix is the asking master's address in Munin.
    let state_file = state.join(format!("{name}-127.0.0.1"));
    let fixed: [(&str, &str); 22] = [
        ("FQDN", &around.node),
        ("LANG", "C"),
        ("LC_ALL", "C"),
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("PYTHONIOENCODING", "utf8:replace"),
        ("PERL5LIB", "/usr/share/perl5"),
        ("MUNIN_BASH", "/bin/bash"),
        ("MUNIN_BINDIR", "/usr/bin"),
        ("MUNIN_CAP_MULTIGRAPH", "1"),
        ("MUNIN_CONFDIR", "/etc/munin"),
        ("MUNIN_DBDIR", "/var/lib/munin"),
        ("MUNIN_DEBUG", "0"),
        ("MUNIN_GOODSH", "/bin/sh"),
        ("MUNIN_HOSTNAME", &around.node),
        ("MUNIN_LIBDIR", "/usr/share/munin"),
        ("MUNIN_LOGDIR", "/var/log/munin"),
        ("MUNIN_MASTER_IP", "127.0.0.1"),
        ("MUNIN_OSTYPE", "linux"),
        ("MUNIN_PERL", "/usr/bin/perl"),
        ("MUNIN_PLUGINUSER", ids::USER_DEFAULT),
        ("MUNIN_STATEDIR", "/run/munin"),
        ("MUNIN_VERSION", "2.0.73"),
    ];
    let mut env: Vec<(String, OsString)> =
        fixed.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    env.push(("MUNIN_PLUGSTATE".to_owned(), state.into()));
    env.push(("MUNIN_STATEFILE".to_owned(), state_file.into()));
    for (key, value) in &settings.env {
        env.retain(|(k, _)| k != key);
        env.push((key.clone(), value.into()));
    }
    env
}

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
