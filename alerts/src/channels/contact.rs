//! Contacts, groups of them, and what each wants to hear, and when.

use super::{MAIL, MuninContact};
use crate::output::{Notice, NoticeKind, Status};
use crate::period::{Period, Periods};
use rookery_plugins::{HostState, State, TimeMs};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// A `[[contact]]`: someone to tell, in one way or several.
///
/// ```toml
/// [[contact]]
/// name = "dba"
/// mail = ["dba@example.com"]            # sent as [mail] says
/// command = ["/usr/local/bin/page", "dba"]  # no shell; NAGIOS_* in the
///                                       # environment, the text on stdin
/// webhook = "https://hooks.example.com/x"   # Alertmanager's JSON
/// irc = "127.0.0.1:12345 #ops"          # an irccat
/// file = "/var/log/rookery-told"
/// syslog = true
/// fallback = "boss"                     # told in its stead while a way fails
/// period = "office"                     # a [[period]] of alerts.d
/// tell = ["critical", "down", "recovery"]   # all when left out
/// digest = ["warning", "unknown"]       # once a day, by mail, and not at once
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContactConfig {
    /// What rules call it.
    pub name: String,
    /// Addresses.
    pub mail: Vec<String>,
    /// A program and its arguments.
    pub command: Vec<String>,
    /// A URL that takes Alertmanager's JSON; empty: none.
    pub webhook: String,
    /// An irccat, `HOST:PORT` and whom it is to tell; empty: none.
    pub irc: String,
    /// A file that gets a line; empty: none.
    pub file: PathBuf,
    /// Whether the system's log gets a line.
    pub syslog: Syslog,
    /// Another contact or group, told in its stead while one of its ways fails.
    pub fallback: String,
    /// The `[[period]]` in which it is told; empty: always.
    pub period: String,
    /// What it is told of, [`WORDS`]; empty: everything.
    pub tell: Vec<String>,
    /// What of that goes to its digest, and not to it at once.
    pub digest: Vec<String>,
    /// It is one of `munin.conf`.
    #[serde(skip)]
    pub munin: Option<MuninContact>,
}

/// `syslog = true`, or the socket on which a system's log listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Syslog {
    /// Whether, on the usual one.
    Is(bool),
    /// Which, `/run/host/dev/log`.
    At(PathBuf),
}

impl Default for Syslog {
    fn default() -> Syslog {
        Syslog::Is(false)
    }
}

/// A `[[contact_group]]`: stands wherever a contact is named.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupConfig {
    /// What rules call it.
    pub name: String,
    /// Contacts, and other groups.
    pub members: Vec<String>,
}

/// What a notice is called in `tell` and `digest`.
pub const WORDS: [&str; 8] = [
    "warning",
    "critical",
    "unknown",
    "down",
    "unreachable",
    "recovery",
    "acknowledgement",
    "flapping",
];

/// The word for a notice, of [`WORDS`].
pub fn word(notice: &Notice) -> &'static str {
    match notice.kind {
        NoticeKind::Recovery => "recovery",
        NoticeKind::Acknowledgement => "acknowledgement",
        NoticeKind::Flapping => "flapping",
        NoticeKind::Problem => state_word(notice.state),
    }
}

fn state_word(state: Status) -> &'static str {
    match state {
        Status::Host(HostState::Unreachable) => "unreachable",
        Status::Host(_) => "down",
        Status::Service(State::Warning) => "warning",
        Status::Service(State::Unknown) => "unknown",
        Status::Service(_) => "critical",
    }
}

/// What a notice says of the incident's other problems, those that are worse than what
/// it is about left out: they were notified by themselves.
fn other_words(notice: &Notice) -> impl Iterator<Item = &'static str> {
    let is_problem = notice.kind == NoticeKind::Problem;
    let others = notice.with.iter().filter(move |_| is_problem).map(|p| p.state);
    others.filter(|s| s.rank() <= notice.state.rank()).map(state_word)
}

/// Whether a contact is told of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At once.
    Now,
    /// When its period opens, if it is still so.
    Wait(String),
    /// In its next digest.
    Digest(String),
    /// Not at all.
    Never(String),
}

/// What a contact wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Taste {
    period: Option<Arc<Period>>,
    tell: BTreeSet<String>,
    digest: BTreeSet<String>,
    /// Its addresses, with commas between; empty: none.
    pub mail: String,
}

impl Taste {
    pub fn new(contact: &ContactConfig, periods: &Periods) -> Result<Taste, String> {
        let period = match contact.period.as_str() {
            "" => None,
            name => Some(periods.get(name).cloned().ok_or_else(|| {
                format!(": period = {name:?}: add a [[period]] of that name to alerts.d")
            })?),
        };
        for (key, words) in [("tell", &contact.tell), ("digest", &contact.digest)] {
            if let Some(word) = words.iter().find(|w| !WORDS.contains(&w.as_str())) {
                return Err(format!(": {key} has {word:?}: there are {}", WORDS.join(", ")));
            }
        }
        let mail = contact.mail.join(",");
        if !contact.digest.is_empty() && mail.is_empty() {
            return Err(": digest: it goes by mail, which this contact has not".to_owned());
        }
        let set = |words: &[String]| words.iter().cloned().collect();
        Ok(Taste { period, tell: set(&contact.tell), digest: set(&contact.digest), mail })
    }

    /// Whether its period is open; of none always.
    pub fn is_open(&self, now_ms: TimeMs) -> bool {
        self.period.as_ref().is_none_or(|p| p.contains(now_ms))
    }

    pub fn verdict(&self, notice: &Notice, now_ms: TimeMs) -> Verdict {
        let is_wanted = |w: &&str| self.tell.is_empty() || self.tell.contains(*w);
        let own = word(notice);
        // An incident is of interest to whoever wants to hear of one of its problems.
        let others = other_words(notice).filter(is_wanted);
        let word = Some(own).filter(is_wanted).into_iter().chain(others).next().unwrap_or(own);
        if self.digest.contains(word) {
            return Verdict::Digest(format!("{word} is for its digest"));
        }
        if !is_wanted(&word) {
            return Verdict::Never(format!("it is not told of {word}"));
        }
        if self.is_open(now_ms) {
            return Verdict::Now;
        }
        let name = self.period.as_ref().map_or("", |p| p.name());
        if matches!(word, "warning" | "unknown") && !self.mail.is_empty() {
            return Verdict::Digest(format!("outside of period {name:?}, and not urgent"));
        }
        Verdict::Wait(format!("outside of period {name:?}"))
    }
}

/// The contacts that each name stands for: its own, or a group's members.
#[derive(Clone, Debug, Default)]
pub(super) struct Book(BTreeMap<String, BTreeSet<String>>);

impl Book {
    /// Of contacts and groups. The error names the group: a name that is taken, a
    /// member that is not there, a circle.
    pub fn new(contacts: BTreeSet<String>, groups: &[GroupConfig]) -> Result<Book, String> {
        let mut by_name: BTreeMap<&str, &GroupConfig> = BTreeMap::new();
        for group in groups {
            let name = group.name.as_str();
            let is_taken = contacts.contains(name) || by_name.contains_key(name);
            if name.is_empty() || name == MAIL || is_taken {
                return Err(format!(
                    "[[contact_group]] name {name:?}: give each group a name of its own"
                ));
            }
            if group.members.is_empty() {
                return Err(format!("[[contact_group]] {name:?} has no members"));
            }
            by_name.insert(name, group);
        }
        let mut book: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for group in groups {
            let mut found = BTreeSet::new();
            // Each group is opened once: a circle ends, and is told of.
            let mut opened: Vec<&str> = vec![&group.name];
            let mut todo: Vec<&str> = group.members.iter().map(String::as_str).collect();
            while let Some(name) = todo.pop() {
                if contacts.contains(name) {
                    found.insert(name.to_owned());
                } else if name == group.name {
                    return Err(format!("[[contact_group]] {name:?} is a member of itself"));
                } else if let Some(other) = by_name.get(name) {
                    if !opened.contains(&name) {
                        opened.push(name);
                        todo.extend(other.members.iter().map(String::as_str));
                    }
                } else {
                    return Err(format!(
                        "[[contact_group]] {:?} has a member {name:?}: no [[contact]] or group is \
                         called so",
                        group.name
                    ));
                }
            }
            book.insert(group.name.clone(), found);
        }
        for name in contacts {
            book.insert(name.clone(), BTreeSet::from([name]));
        }
        Ok(Book(book))
    }

    pub fn knows(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The contacts behind these names; those that are not known are nobody.
    pub fn contacts<'n>(&self, names: impl Iterator<Item = &'n String>) -> BTreeSet<&str> {
        names.filter_map(|n| self.0.get(n)).flatten().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::sample;
    use crate::period::PeriodConfig;

    fn group(name: &str, members: &[&str]) -> GroupConfig {
        let members = members.iter().map(|m| (*m).to_owned()).collect();
        GroupConfig { name: name.to_owned(), members }
    }

    fn contacts() -> BTreeSet<String> {
        ["a", "b", "c"].map(str::to_owned).into()
    }

    #[test]
    fn groups_are_their_members() {
        let groups = [group("all", &["ab", "c"]), group("ab", &["a", "b"])];
        let book = Book::new(contacts(), &groups).expect("right");
        let of = |names: &[&str]| -> Vec<String> {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            book.contacts(names.iter()).into_iter().map(str::to_owned).collect()
        };
        assert_eq!(of(&["all", "a"]), ["a", "b", "c"]);
        assert_eq!(of(&["ab"]), ["a", "b"]);
        assert!(of(&["nobody"]).is_empty() && !book.knows("nobody") && book.knows("ab"));
        for (groups, want) in [
            (vec![group("a", &["b"])], "a name of its own"),
            (vec![group("mail", &["b"])], "a name of its own"),
            (vec![group("g", &[])], "no members"),
            (vec![group("g", &["x"])], "member \"x\""),
            (vec![group("g", &["h"]), group("h", &["g"])], "\"g\" is a member of itself"),
        ] {
            let e = Book::new(contacts(), &groups).expect_err(want);
            assert!(e.contains(want), "{e}");
        }
    }

    #[test]
    fn each_hears_what_it_wants_when_it_wants() {
        let office = PeriodConfig {
            name: "office".to_owned(),
            zone: "UTC".to_owned(),
            times: vec!["thu 08:00-18:00".to_owned()],
            exclude: vec![],
        };
        let periods = Periods::new(&[office]).expect("right");
        let taste = |toml: &str| {
            let contact: ContactConfig = toml::from_str(toml).expect("TOML");
            Taste::new(&contact, &periods)
        };
        // A Thursday at noon, and at midnight.
        let (noon, night) = (1_763_640_000_000, 1_763_683_200_000);
        let notice = |kind, state| Notice { state: Status::Service(state), ..sample(kind, 0) };
        let critical = notice(NoticeKind::Problem, State::Critical);
        let warning = notice(NoticeKind::Problem, State::Warning);
        let recovery = notice(NoticeKind::Recovery, State::Ok);
        let down = Notice { state: Status::Host(HostState::Down), ..critical.clone() };

        let all = taste("").expect("right");
        assert_eq!(all.verdict(&warning, night), Verdict::Now);
        let office = taste("mail = [\"a@b\"]\nperiod = \"office\"").expect("right");
        assert_eq!(office.verdict(&critical, noon), Verdict::Now);
        let closed = "outside of period \"office\"".to_owned();
        assert_eq!(office.verdict(&critical, night), Verdict::Wait(closed.clone()));
        assert_eq!(office.verdict(&recovery, night), Verdict::Wait(closed.clone()));
        assert!(matches!(office.verdict(&warning, night), Verdict::Digest(_)));
        let no_mail = taste("syslog = true\nperiod = \"office\"").expect("right");
        assert_eq!(no_mail.verdict(&warning, night), Verdict::Wait(closed));

        let nodes = taste("tell = [\"down\"]").expect("right");
        assert_eq!(nodes.verdict(&down, night), Verdict::Now);
        let why = |word: &str| Verdict::Never(format!("it is not told of {word}"));
        // Of several problems each is of interest, but for one that is worse than the news.
        let part = |state| crate::output::Part {
            node: "n".to_owned(),
            service: None,
            state,
            text: String::new(),
        };
        let with_warning =
            Notice { with: vec![part(Status::Service(State::Warning))], ..critical.clone() };
        let with_node =
            Notice { with: vec![part(Status::Host(HostState::Down))], ..critical.clone() };
        let mild = taste("tell = [\"warning\"]").expect("right");
        assert_eq!(mild.verdict(&with_warning, night), Verdict::Now);
        assert_eq!(mild.verdict(&critical, night), why("critical"));
        assert_eq!(nodes.verdict(&with_node, night), why("critical"));
        assert_eq!(nodes.verdict(&critical, night), why("critical"));
        assert_eq!(nodes.verdict(&recovery, night), why("recovery"));
        let daily = taste("mail = [\"a@b\"]\ndigest = [\"warning\"]").expect("right");
        assert!(matches!(daily.verdict(&warning, noon), Verdict::Digest(_)));
        assert_eq!(daily.verdict(&critical, noon), Verdict::Now);

        for (toml, want) in [
            ("period = \"nights\"", "period = \"nights\": add a [[period]]"),
            ("tell = [\"errors\"]", "tell has \"errors\": there are warning, critical"),
            ("syslog = true\ndigest = [\"warning\"]", "it goes by mail"),
        ] {
            let e = taste(toml).expect_err(want);
            assert!(e.contains(want), "{e}");
        }
    }
}
