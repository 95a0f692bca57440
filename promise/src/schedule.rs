//! A schedule: a small fleet, whom it is notified to, and what happens to it when.
//!
//! Times are whole seconds from the schedule's start, which is noon.

use crate::truth::Thing;
use std::fmt::{self, Display, Formatter};

/// 2026-11-20 12:00:00 UTC, ms.
pub const START_MS: i64 = 1_795_176_000_000;
/// Each node sends a row so often, s.
pub const STEP_S: i64 = 10;
/// No node is found DOWN for so long after a start, s.
pub const GRACE_S: i64 = 20;

/// What is played.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What it was made from.
    pub seed: u64,
    /// How long it is, s.
    pub seconds: i64,
    /// `group_window_ms`, s.
    pub window_s: i64,
    /// `fresh_after_ms`, s; 0: nothing is ever stale.
    pub fresh_s: i64,
    /// All nodes are of one group; else each is of its own.
    pub is_one_group: bool,
    /// So many nodes of the group must have a problem with `s1`, or be DOWN.
    pub quorum: Option<usize>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Whom problems are notified to.
    pub contacts: Vec<Contact>,
    /// In order of time.
    pub events: Vec<Event>,
}

/// A node, `n1` and so on.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its services, `s1` and so on.
    pub services: Vec<Service>,
    /// The node that it is reached through.
    pub behind: Option<usize>,
    /// When it, and its services, are notified.
    pub period: Option<Span>,
    /// A rule with `enabled = false` for the node alone: its DOWN is nobody's matter.
    pub is_off: bool,
}

/// A service: each field is WARNING above 10 and CRITICAL above 20.
#[derive(Clone, Debug)]
pub struct Service {
    /// How many fields, `f1` and so on.
    pub fields: usize,
    /// `max_check_attempts`.
    pub attempts: u32,
    /// `absent_for`, s.
    pub absent_s: Option<i64>,
    /// `renotify`, s.
    pub renotify_s: Option<i64>,
    /// The only contact that it is notified to; `None`: all.
    pub contact: Option<usize>,
}

/// Minutes of each day in UTC, the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From this minute of the day, …
    pub from: i64,
    /// … until this one.
    pub to: i64,
}

/// What a contact wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taste {
    /// Everything.
    All,
    /// `tell = ["critical", "down", "recovery"]`
    Critical,
    /// `tell = ["critical", "unknown", "down", "recovery"]`
    NoWarning,
    /// `tell = ["down", "recovery"]`
    Down,
    /// Everything but recoveries.
    NoRecovery,
    /// `digest = ["warning", "unknown"]`: these go to its daily mail.
    Digest,
}

/// A contact, `c1` and so on, with one channel.
#[derive(Clone, Debug)]
pub struct Contact {
    /// What it wants to hear of.
    pub taste: Taste,
    /// When it can be notified.
    pub period: Option<Span>,
    /// Its channel is mail: what is WARNING or UNKNOWN outside its period goes to its
    /// digest.
    pub has_mail: bool,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, s.
    pub at: i64,
    /// What.
    pub what: What,
}

/// What a field says from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// 5.
    Ok,
    /// 15.
    Warning,
    /// 25.
    Critical,
    /// `U`.
    Unknown,
    /// Nothing: no value comes of it.
    Absent,
}

/// How a channel behaves from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It takes what it is handed.
    Works,
    /// It fails, and may be tried again.
    Fails,
    /// It refuses for good.
    Refuses,
    /// It fails after 25 s.
    Hangs,
}

/// When a downtime is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// From one second to another, counted from when it is added.
    Fixed(i64, i64),
    /// At these minutes of each day.
    Repeating(Span),
    /// It begins with the first problem within so many seconds, and lasts so many.
    Flexible(i64, i64),
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// A field says this from now on: node, service, field.
    Value(usize, usize, usize, Value),
    /// A node falls silent, or speaks again.
    Silent(usize, bool),
    /// Somebody is on it; sticky; for so long, s.
    Ack(Thing, bool, Option<i64>),
    /// … or is not any more.
    Unack(Thing),
    /// A downtime `d0` and so on, of a node or of one service.
    Downtime(usize, usize, Option<usize>, Down),
    /// It is cancelled.
    Cancel(usize),
    /// The collector is killed and started again.
    Restart,
    /// … as soon as it has next handed something to this contact, before it notes that.
    KillAfter(usize),
    /// The collector's clock is set forward (or back), s.
    Step(i64),
    /// The collector sleeps, and the world with it, for so long, s.
    Suspend(i64),
    /// A contact's channel behaves so.
    Channel(usize, Mode),
}

impl Span {
    /// Whether it contains this time, ms.
    pub fn contains(self, ms: i64) -> bool {
        let minute = ms.rem_euclid(86_400_000) / 60_000;
        (self.from..self.to).contains(&minute)
    }

    fn times(self) -> String {
        let clock = |m: i64| format!("{:02}:{:02}", m / 60, m % 60);
        format!("{}-{}", clock(self.from), clock(self.to))
    }

    /// As a `[[period]]` or a repeating downtime has it.
    pub fn text(self) -> String {
        format!("daily {}", self.times())
    }

    fn name(self) -> String {
        format!("p{}-{}", self.from, self.to)
    }
}

impl Taste {
    fn toml(self) -> &'static str {
        match self {
            Taste::All => "",
            Taste::Critical => "tell = [\"critical\", \"down\", \"recovery\"]\n",
            Taste::NoWarning => "tell = [\"critical\", \"unknown\", \"down\", \"recovery\"]\n",
            Taste::Down => "tell = [\"down\", \"recovery\"]\n",
            Taste::NoRecovery => {
                "tell = [\"warning\", \"critical\", \"unknown\", \"down\", \"flapping\"]\n"
            }
            Taste::Digest => "digest = [\"warning\", \"unknown\"]\n",
        }
    }
}

impl Schedule {
    /// The group of a node.
    pub fn group(&self, node: usize) -> String {
        if self.is_one_group { "g".to_owned() } else { format!("g{}", node + 1) }
    }

    fn spans(&self) -> Vec<Span> {
        let of_nodes = self.nodes.iter().filter_map(|n| n.period);
        let mut spans: Vec<Span> =
            of_nodes.chain(self.contacts.iter().filter_map(|c| c.period)).collect();
        spans.sort_by_key(|s| (s.from, s.to));
        spans.dedup();
        spans
    }

    /// A file of `alerts.d`.
    pub fn rules(&self) -> String {
        let mut text = String::from("[[rule]]\nwarning = \"~:10\"\ncritical = \"~:20\"\n");
        for span in self.spans() {
            text += &format!(
                "[[period]]\nname = \"{}\"\nzone = \"UTC\"\ntimes = [\"{}\"]\n",
                span.name(),
                span.text()
            );
        }
        if let Some(n) = self.quorum {
            text += &format!("[[rule]]\ngroup = \"g\"\nquorum = {n}\n");
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let name = i + 1;
            if let Some(span) = node.period {
                text += &format!("[[rule]]\nnode = \"n{name}\"\nperiod = \"{}\"\n", span.name());
            }
            if let Some(on) = node.behind {
                text += &format!("[[dependency]]\nnode = \"n{name}\"\non = \"n{}\"\n", on + 1);
            }
            for (j, service) in node.services.iter().enumerate() {
                text += &format!(
                    "[[rule]]\nnode = \"n{name}\"\nservice = \"s{}\"\nmax_check_attempts = {}\n",
                    j + 1,
                    service.attempts
                );
                if let Some(s) = service.absent_s {
                    text += &format!("absent_for = \"{s}s\"\n");
                }
                if let Some(s) = service.renotify_s {
                    text += &format!("renotify = \"{s}s\"\n");
                }
                if let Some(c) = service.contact {
                    text += &format!("contacts = [\"c{}\"]\n", c + 1);
                }
            }
            if node.is_off {
                text += &format!("[[rule]]\nnode = \"n{name}\"\nenabled = false\n");
            }
        }
        text
    }

    /// `[[contact]]`s of `collector.toml`.
    pub fn contact_tables(&self) -> String {
        let mut text = String::new();
        for (i, contact) in self.contacts.iter().enumerate() {
            let way = match contact.has_mail {
                true => "mail = [\"a@example.com\"]",
                false => "file = \"/nowhere\"",
            };
            text += &format!("[[contact]]\nname = \"c{}\"\n{way}\n", i + 1);
            text += contact.taste.toml();
            if let Some(span) = contact.period {
                text += &format!("period = \"{}\"\n", span.name());
            }
        }
        text
    }

    /// `[alerting]`, as JSON.
    pub fn alerting(&self) -> serde_json::Value {
        serde_json::json!({
            "group_window_ms": self.window_s * 1000,
            "join_window_ms": 60_000,
            "fresh_after_ms": self.fresh_s * 1000,
            "start_grace_ms": GRACE_S * 1000,
        })
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let at = self.at;
        write!(f, "12:{:02}:{:02} ", at / 60, at % 60)?;
        match &self.what {
            What::Value(n, s, k, v) => write!(f, "n{}/s{}.f{} {v:?}", n + 1, s + 1, k + 1),
            What::Silent(n, true) => write!(f, "n{} is silent", n + 1),
            What::Silent(n, false) => write!(f, "n{} speaks again", n + 1),
            What::Ack(thing, sticky, for_s) => {
                write!(f, "ack {thing}{}", if *sticky { " sticky" } else { "" })?;
                for_s.map_or(Ok(()), |s| write!(f, " for {s} s"))
            }
            What::Unack(thing) => write!(f, "unack {thing}"),
            What::Downtime(id, n, service, down) => {
                write!(f, "downtime d{id} of n{}", n + 1)?;
                service.map_or(Ok(()), |s| write!(f, "/s{}", s + 1))?;
                match down {
                    Down::Fixed(a, b) => write!(f, " from +{a} s to +{b} s"),
                    Down::Repeating(span) => write!(f, " {}", span.text()),
                    Down::Flexible(w, s) => write!(f, " flexible for {s} s within {w} s"),
                }
            }
            What::Cancel(id) => write!(f, "cancel d{id}"),
            What::Restart => write!(f, "the collector is killed and started again"),
            What::KillAfter(c) => {
                write!(f, "it is killed after the next hand-over to c{}, before the note", c + 1)
            }
            What::Step(s) => write!(f, "the collector's clock is set by {s:+} s"),
            What::Suspend(s) => write!(f, "suspend for {s} s"),
            What::Channel(c, mode) => write!(f, "c{}'s channel {mode:?}", c + 1),
        }
    }
}

impl Display for Schedule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} s, group_window {} s, fresh_after {} s; a row each {STEP_S} s, of node i \
             at {} i s",
            self.seed,
            self.seconds,
            self.window_s,
            self.fresh_s,
            crate::play::PHASE_S
        )?;
        for (i, node) in self.nodes.iter().enumerate() {
            let fields: Vec<String> = node.services.iter().map(|s| s.fields.to_string()).collect();
            writeln!(
                f,
                "  n{} of {}: {} services with {} fields",
                i + 1,
                self.group(i),
                fields.len(),
                fields.join(", ")
            )?;
        }
        for line in self.rules().lines().chain(self.contact_tables().lines()) {
            writeln!(f, "  | {line}")?;
        }
        for event in &self.events {
            writeln!(f, "  {event}")?;
        }
        Ok(())
    }
}
