//! What a contact was handed, read from a notice's JSON.

use crate::truth::{Level, Thing};
use serde_json::Value;

/// What a notice is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something is wrong.
    Problem,
    /// It is right again.
    Recovery,
    /// It changes too often.
    Flapping,
    /// Somebody is on it.
    Acknowledgement,
}

/// Something that a contact's channel took.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When, s from the start.
    pub at: i64,
    /// Whose channel, by index.
    pub contact: usize,
    /// The notice's id: the same for the same notice.
    pub id: String,
    /// The incident.
    pub incident: String,
    /// The notice's number within that.
    pub sequence: u64,
    /// When it was decided, ms.
    pub decided_ms: i64,
    /// What it is for.
    pub kind: Kind,
    /// What it is about.
    pub subject: Thing,
    /// How bad that is, where it is a problem.
    pub level: Level,
    /// All that it names, the subject among them.
    pub named: Vec<Thing>,
    /// It says that it may be a repeat.
    pub repeated: bool,
    /// It was only for those who had not been notified of the incident.
    pub is_catch_up: bool,
    /// It says that it comes in another's stead.
    pub is_instead: bool,
}

impl Delivery {
    /// Of a notice as the outbox and the webhook's receiver know it; `None`: it is about
    /// none of the fleet (Rookery's own troubles), or no notice.
    pub fn read(at: i64, contact: usize, notice: &Value) -> Option<Delivery> {
        let text = |key: &str| notice[key].as_str().map(str::to_owned);
        let is_group = notice["of_group"].as_bool().unwrap_or(false);
        let lead = thing(notice["node"].as_str()?, notice["service"].as_str(), is_group)?;
        let kind = match notice["kind"].as_str()? {
            "PROBLEM" => Kind::Problem,
            "RECOVERY" => Kind::Recovery,
            "FLAPPING" => Kind::Flapping,
            _ => Kind::Acknowledgement,
        };
        // An update names what is news before its text: `n1/s2: …`.
        let words = text("text")?;
        let subject = words.split_once(": ").and_then(|(place, _)| Thing::parse(place));
        let subject = subject.filter(|_| !is_group).unwrap_or(lead);
        let mut named = vec![lead, subject];
        for part in notice["with"].as_array().into_iter().flatten() {
            named.extend(thing(part["node"].as_str()?, part["service"].as_str(), false));
        }
        let behind = notice["behind"].as_array().into_iter().flatten();
        named.extend(behind.filter_map(|b| Thing::parse(b.as_str()?)));
        named.sort();
        named.dedup();
        Some(Delivery {
            at,
            contact,
            id: text("id")?,
            incident: text("incident")?,
            sequence: notice["sequence"].as_u64()?,
            decided_ms: notice["time_ms"].as_i64()?,
            kind,
            subject,
            level: level(notice["state"].as_str()?),
            named,
            repeated: notice["repeated"].as_bool().unwrap_or(false),
            is_catch_up: notice["is_catch_up"].as_bool().unwrap_or(false),
            is_instead: notice["instead_of"].is_string(),
        })
    }
}

fn thing(node: &str, service: Option<&str>, is_group: bool) -> Option<Thing> {
    let number = |name: &str| name.get(1..)?.parse::<usize>().ok()?.checked_sub(1);
    if is_group {
        return Some(Thing::Pool(service.is_some()));
    }
    let node = node.starts_with('n').then(|| number(node)).flatten()?;
    match service {
        None => Some(Thing::Node(node)),
        Some(s) => Some(Thing::Service(node, number(s)?)),
    }
}

fn level(state: &str) -> Level {
    match state {
        "UNKNOWN" => Level::Unknown,
        "WARNING" => Level::Warning,
        "DOWN" | "UNREACHABLE" => Level::Down,
        _ => Level::Critical,
    }
}

impl Thing {
    /// Of `n1` or `n1/s2`.
    pub fn parse(place: &str) -> Option<Thing> {
        match place.split_once('/') {
            None => thing(place, None, false),
            Some((node, service)) => thing(node, Some(service), false),
        }
    }
}
