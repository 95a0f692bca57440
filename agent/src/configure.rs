//! `rookery-agent configure`: what munin-node-configure does. Asks the plugins
//! of a library folder whether they would work here (`autoconf`) and for what
//! (`suggest`), and compares with the links in the plugins' folder.
//!
//! In: files with Munin's magic markers (`#%# family=auto`), what the plugins
//! print. Out: a table, shell commands, or links made. For SNMP devices see
//! [`configure_snmp`].

use crate::cli::Outcome;
use crate::config::Config;
use crate::configure_snmp::{self, Needs, Snmp};
use crate::plugin::Context;
use crate::plugin::env::Asker;
use crate::plugin::exec::{Ending, Ran};
use crate::plugin::find::{Found, find};
use crate::plugin::task::Plugin;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Debian's folder of all plugins.
pub const LIBRARY: &str = "/usr/share/munin/plugins";
/// Munin's family of plugins that can say whether they would work.
pub const FAMILY: &str = "auto";

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of plugins to choose from.
    pub library: PathBuf,
    /// Where links are; the first of `plugin_dirs` if not given.
    pub links: Option<PathBuf>,
    /// Which families are asked.
    pub families: Vec<String>,
    /// What to do with the answers.
    pub action: Action,
    /// Whether links that are not suggested go.
    pub remove_also: bool,
    /// Devices to ask, instead of the plugins.
    pub snmp: Option<Snmp>,
}

/// What to do with the suggestions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Show them.
    Table,
    /// Print shell commands.
    Shell,
    /// Make (and remove) the links.
    Apply,
}

/// A plugin of the library.
#[derive(Debug)]
struct Candidate {
    name: String,
    path: PathBuf,
    family: String,
    can: BTreeSet<String>,
    /// The links that lead to it.
    installed: BTreeSet<String>,
    yes: bool,
    reason: Option<String>,
    /// What `suggest` printed.
    suggested: BTreeSet<String>,
    errors: Vec<String>,
}

/// Asks, and does what `options` say.
pub async fn configure(config: &Config, options: &Options) -> Outcome {
    let Some(links) = options.links.clone().or_else(|| config.plugin_dirs.first().cloned()) else {
        return failed("plugin_dirs is empty; say --links DIR".to_owned());
    };
    let files = find(std::slice::from_ref(&options.library));
    if files.is_empty() {
        let library = options.library.display();
        return failed(format!(
            "{library}: there are no plugins; install munin-plugins-core, or say --library DIR"
        ));
    }
    let mut devices = options.snmp.clone();
    if let Some(devices) = &mut devices
        && let Err(e) = devices.look_around().await
    {
        return failed(e);
    }
    let context = Arc::new(crate::cli::context(config));
    let mut asking = Vec::new();
    for file in files.into_values() {
        let mut candidate = Candidate::new(&file);
        if !options.families.contains(&candidate.family) {
            continue;
        }
        candidate.installed = installed(&links, &options.library, &candidate.name);
        let (context, snmp) = (Arc::clone(&context), devices.clone());
        asking.push(tokio::spawn(async move {
            match snmp {
                Some(snmp) => candidate.ask_devices(&context, file, &snmp).await,
                None => candidate.ask(&context, file).await,
            }
            candidate
        }));
    }
    let mut candidates = Vec::new();
    for asked in asking {
        candidates.extend(asked.await);
    }
    let mut outcome = match options.action {
        Action::Table => Outcome { out: table(&candidates).into_bytes(), ..Outcome::default() },
        Action::Shell => {
            let changes = changes(&candidates, options.remove_also, &links);
            let out: String = changes.iter().map(Change::shell).collect();
            Outcome { out: out.into_bytes(), ..Outcome::default() }
        }
        Action::Apply => apply(&changes(&candidates, options.remove_also, &links)),
    };
    let broken: Vec<&Candidate> = candidates.iter().filter(|c| !c.errors.is_empty()).collect();
    if !broken.is_empty() {
        outcome.err.push_str("# The following plugins caused errors:\n");
        outcome.code = 1;
    }
    for c in broken {
        let _ = writeln!(outcome.err, "# {}:", c.name);
        for error in &c.errors {
            let _ = writeln!(outcome.err, "# \t{error}");
        }
    }
    outcome
}

fn failed(why: String) -> Outcome {
    Outcome { err: format!("rookery-agent: {why}\n"), code: 1, ..Outcome::default() }
}

/// The links of this folder that lead to a plugin of the library.
fn installed(links: &Path, library: &Path, plugin: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(links).into_iter().flatten().flatten();
    let target = library.join(plugin);
    entries
        .filter(|e| std::fs::read_link(e.path()).is_ok_and(|to| to == target))
        .filter_map(|e| e.file_name().into_string().ok())
        .collect()
}

impl Candidate {
    /// With what its magic markers say.
    fn new(file: &Found) -> Candidate {
        let mut c = Candidate {
            name: file.name.clone(),
            path: file.path.clone(),
            family: "contrib".to_owned(),
            can: BTreeSet::new(),
            installed: BTreeSet::new(),
            yes: false,
            reason: None,
            suggested: BTreeSet::new(),
            errors: vec![],
        };
        let text = std::fs::read(&file.path).unwrap_or_default();
        for line in String::from_utf8_lossy(&text).lines() {
            if let Some(family) = marker(line, "family") {
                c.family = family.split_whitespace().next().unwrap_or_default().to_owned();
            } else if let Some(can) = marker(line, "capabilities") {
                c.can.extend(can.split_whitespace().map(str::to_owned));
            }
        }
        if c.family == "auto" && !c.can.contains("autoconf") {
            c.errors.push("In family 'auto' but doesn't have 'autoconf' capability".to_owned());
        }
        if c.can.contains("suggest") && !c.is_wildcard() {
            c.errors.push("Has 'suggest' capability, but isn't a wildcard plugin".to_owned());
        }
        c
    }

    fn is_wildcard(&self) -> bool {
        self.name.ends_with('_')
    }

    fn is_snmp(&self) -> bool {
        self.name.starts_with("snmp__")
    }

    async fn ask(&mut self, context: &Context, file: Found) {
        let plugin = Plugin::new(file);
        for verb in ["autoconf", "suggest"] {
            if !self.can.contains(verb) || (verb == "suggest" && !self.yes) {
                continue;
            }
            let ran = plugin.run(context, Some(verb), &Asker::default()).await;
            match lines(&ran, verb) {
                Ok(lines) if verb == "autoconf" => self.take_autoconf(&lines),
                Ok(lines) => self.take_suggest(lines),
                Err(why) => self.errors.push(why),
            }
        }
    }

    /// What the plugin needs, and which devices have it.
    async fn ask_devices(&mut self, context: &Context, file: Found, snmp: &Snmp) {
        if !self.can.contains("snmpconf") {
            return;
        }
        let ran = Plugin::new(file).run(context, Some("snmpconf"), &Asker::default()).await;
        let lines = match lines(&ran, "snmpconf") {
            Ok(lines) => lines,
            Err(why) => return self.errors.push(why),
        };
        let needs = Needs::read(&lines, self.is_wildcard(), &mut self.errors);
        match needs.suggest(snmp, self.is_wildcard()).await {
            Ok(found) => self.suggested.extend(found),
            Err(why) => self.errors.push(why),
        }
        self.yes = !self.suggested.is_empty();
    }

    fn take_autoconf(&mut self, lines: &[String]) {
        let [line] = lines else {
            let n = lines.len();
            self.errors.push(format!("Wrong amount of autoconf: expected 1 line, got {n} lines:"));
            self.errors.push(format!("[start]{}[end]", lines.join("[newline]")));
            return;
        };
        if line == "yes" {
            self.yes = true;
            return;
        }
        match line.strip_prefix("no").map(str::trim_end) {
            Some("") => {}
            Some(rest) if rest.starts_with([' ', '\t']) && rest.ends_with(')') => {
                let reason = rest.trim_start().strip_prefix('(').and_then(|r| r.strip_suffix(')'));
                self.reason = reason.map(str::to_owned);
            }
            _ => self.errors.push(format!("Junk printed to stdout: '{line}'")),
        }
    }

    fn take_suggest(&mut self, lines: Vec<String>) {
        for line in lines {
            let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
            if line.bytes().all(good) {
                self.suggested.insert(line);
            } else {
                self.errors.push(format!("\tBad suggestion: '{line}'"));
            }
        }
    }

    /// The links that it should have.
    fn wanted(&self) -> BTreeSet<String> {
        if self.is_snmp() {
            return self.suggested.iter().map(|s| configure_snmp::link(&self.name, s)).collect();
        }
        match (self.yes, self.is_wildcard()) {
            (false, _) => BTreeSet::new(),
            (true, true) => self.suggested.iter().map(|s| format!("{}{s}", self.name)).collect(),
            (true, false) => BTreeSet::from([self.name.clone()]),
        }
    }

    /// The table's last column.
    fn verdict(&self) -> String {
        if self.yes {
            let of = |link: &String| match self.is_snmp() {
                true => configure_snmp::suggestion(&self.name, link).unwrap_or_default(),
                false => link.strip_prefix(&self.name).unwrap_or("").to_owned(),
            };
            let have: BTreeSet<String> =
                self.installed.iter().map(of).filter(|s| !s.is_empty()).collect();
            let mut all: Vec<String> = have.intersection(&self.suggested).cloned().collect();
            all.extend(self.suggested.difference(&have).map(|s| format!("+{s}")));
            all.extend(have.difference(&self.suggested).map(|s| format!("-{s}")));
            return if all.is_empty() {
                "yes".to_owned()
            } else {
                format!("yes ({})", all.join(" "))
            };
        }
        match &self.reason {
            Some(reason) if !reason.is_empty() => format!("no [{reason}]"),
            _ if !self.can.contains("autoconf") && !self.can.contains("suggest") => {
                "no [[[ plugin has neither autoconf not suggest support ]]]".to_owned()
            }
            _ if !self.errors.is_empty() => "no [[[ plugin has errors, see below ]]]".to_owned(),
            _ => "no [[[ plugin gave no reason why ]]]".to_owned(),
        }
    }
}

/// `#%# key = text` anywhere in a line.
fn marker<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once("#%#")?;
    let word = rest.trim_start();
    let rest = word.strip_prefix(key).filter(|_| word.len() < rest.len())?;
    let text = rest.trim_start().strip_prefix('=')?.trim_start();
    (!text.is_empty()).then_some(text)
}

/// What it printed that is no comment; or why that does not count.
fn lines(ran: &Ran, verb: &str) -> Result<Vec<String>, String> {
    match &ran.ending {
        Ending::Exit(0) => {}
        Ending::Exit(code) => return Err(format!("Non-zero exit during {verb} ({code})")),
        Ending::Signal(s) => return Err(format!("Died with signal {s} during {verb}")),
        Ending::TimedOut => return Err(format!("Timed out during {verb}")),
        Ending::Flooded | Ending::NotStarted(_) => return Err(format!("{verb}: {}", ran.why())),
    }
    let of = |bytes: &[u8]| -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split(['\n', '\r']).filter(|l| !l.is_empty() && !l.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    if !of(&ran.stderr).is_empty() {
        return Err("Junk printed to stderr".to_owned());
    }
    let lines = of(&ran.stdout);
    if lines.is_empty() && verb != "suggest" {
        return Err("Nothing printed to stdout".to_owned());
    }
    Ok(lines)
}

fn table(candidates: &[Candidate]) -> String {
    let mut out = String::new();
    let mut line = |name: &str, used: &str, text: &str| {
        let _ = writeln!(out, "{name:<26} | {used:<4} | {text:<39}");
    };
    line("Plugin", "Used", "Suggestions");
    line("------", "----", "-----------");
    for c in candidates {
        line(&c.name, if c.installed.is_empty() { "no" } else { "yes" }, &c.verdict());
    }
    out
}

/// A link to be made or removed.
enum Change {
    Add(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn shell(&self) -> String {
        match self {
            Change::Add(plugin, link) => {
                format!("ln -s '{}' '{}'\n", plugin.display(), link.display())
            }
            Change::Remove(link) => format!("rm -f '{}'\n", link.display()),
        }
    }
}

fn changes(candidates: &[Candidate], remove_also: bool, links: &Path) -> Vec<Change> {
    let mut all = Vec::new();
    for c in candidates {
        let wanted = c.wanted();
        let add = wanted.difference(&c.installed);
        all.extend(add.map(|l| Change::Add(c.path.clone(), links.join(l))));
        if remove_also {
            all.extend(c.installed.difference(&wanted).map(|l| Change::Remove(links.join(l))));
        }
    }
    all
}

/// Makes the changes; says each, and goes on after one that fails.
fn apply(changes: &[Change]) -> Outcome {
    let mut outcome = Outcome::default();
    for change in changes {
        let done = match change {
            Change::Add(plugin, link) => std::os::unix::fs::symlink(plugin, link),
            Change::Remove(link) => std::fs::remove_file(link),
        };
        match done {
            Ok(()) => outcome.out.extend(change.shell().into_bytes()),
            Err(e) => {
                let _ = write!(outcome.err, "rookery-agent: {e}: {}", change.shell());
                outcome.code = 1;
            }
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_as_munin_reads_them() {
        assert_eq!(marker("#%# family=auto", "family"), Some("auto"));
        assert_eq!(marker("  x #%#  capabilities = a b", "capabilities"), Some("a b"));
        assert_eq!(marker("#%#family=auto", "family"), None);
        assert_eq!(marker("# family=auto", "family"), None);
        assert_eq!(marker("#%# family=", "family"), None);
    }
}
