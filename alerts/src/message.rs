//! A notice as text for people: what, where, since when, how bad, the value
//! and its limit, and where to look.

use crate::output::{Notice, NoticeKind, Status};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rookery_plugins::{State, TimeMs};
use std::fmt::Write;

/// What a path segment of a link keeps as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The most bytes of a message's text; the rest is cut, and that is said.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The longest line of a message's text that a plugin wrote, bytes; the rest is cut.
pub const SUMMARY_BYTES_MAX: usize = 2000;
/// The longest subject, bytes.
pub const SUBJECT_BYTES_MAX: usize = 250;
/// What stands at the end of a text that was cut.
pub const CUT: &str = " (cut)";
/// The most fields that a message lists; the rest are counted.
pub const VALUES_MAX: usize = 40;
/// How long a line of names may get, bytes.
const BEHIND_COLUMNS: usize = 70;
/// The longest text of one of an incident's other problems, bytes.
const PART_BYTES_MAX: usize = 500;
/// The most other problems, and the most of what stands behind, in a message.
pub const PARTS_MAX: usize = 50;

/// The node that a notice of Rookery's own troubles is about.
pub const OWN_NODE: &str = "rookery";
/// The title of such a notice.
pub const OWN_TITLE: &str = "Telling people and Nagios";

/// A value for people: whole numbers as such, others with two decimals, or
/// with four digits that count where they are small.
pub fn number(v: f64) -> String {
    if !v.is_finite() {
        return v.to_string();
    }
    let size = v.abs();
    if v == v.trunc() && size < 1e15 {
        return format!("{v:.0}");
    }
    if size >= 0.1 {
        return format!("{v:.2}");
    }
    let decimals = (3.0 - size.log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{v:.decimals$}")
}

/// `2026-11-20 12:00:10 UTC`.
pub fn time(ms: TimeMs) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(t) => t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

/// A span for people: `20 s`, `5 min`, `3 h 5 min`, `2 d 4 h`.
pub fn span(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        7200..172_800 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// Untrusted text for one line: control characters become blanks.
pub fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A text of at most `bytes_max` bytes; one that was longer ends with [`CUT`].
pub fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(CUT.len()));
    format!("{}{CUT}", &text[..end])
}

/// The first words of a list, as many as fit into `bytes_max` bytes.
pub fn words(list: &str, bytes_max: usize) -> &str {
    if list.len() <= bytes_max {
        return list;
    }
    // The byte behind the last word that fits may be the blank.
    let room = &list[..list.floor_char_boundary(bytes_max.saturating_add(1))];
    room.rfind(' ').map_or("", |end| &room[..end])
}

/// `db1/mysql`, or `db1`: the tail that all subjects of an incident share.
pub fn place(notice: &Notice) -> String {
    let group = if notice.of_group { "group " } else { "" };
    match &notice.service {
        Some(service) => line(&format!("{group}{}/{service}", notice.node)),
        None => line(&format!("{group}{}", notice.node)),
    }
}

/// The subject: the state first, the place last.
pub fn subject(notice: &Notice) -> String {
    let subject = match notice.kind {
        NoticeKind::Acknowledgement => format!("ACKNOWLEDGED {}", place(notice)),
        NoticeKind::Flapping => format!("FLAPPING {}", place(notice)),
        NoticeKind::Problem | NoticeKind::Recovery => {
            let more = match notice.n_with {
                0 => String::new(),
                n => format!(" (+{n})"),
            };
            format!("{}{more} {}", notice.state, place(notice))
        }
    };
    cut(&subject, SUBJECT_BYTES_MAX)
}

/// The page of what the notice is about.
pub fn link(notice: &Notice, base_url: &str) -> String {
    let base = base_url.trim_end_matches('/');
    let node = utf8_percent_encode(&notice.node, SEGMENT);
    match &notice.service {
        _ if notice.of_group => format!("{base}/group/{node}"),
        // No node of the history.
        _ if notice.node == OWN_NODE && notice.title == OWN_TITLE => format!("{base}/problems"),
        Some(service) => format!("{base}/node/{node}/{}", utf8_percent_encode(service, SEGMENT)),
        None => format!("{base}/node/{node}"),
    }
}

/// Whether somebody can say that they are on it.
pub fn can_be_acknowledged(notice: &Notice) -> bool {
    matches!(notice.kind, NoticeKind::Problem | NoticeKind::Flapping)
        && !notice.of_group
        && notice.title != OWN_TITLE
}

/// Where it can be acknowledged, by those who have logged in.
pub fn acknowledge_link(notice: &Notice, base_url: &str) -> String {
    format!("{}#acknowledge", link(notice, base_url))
}

/// What is wrong, in one line: Nagios' `SERVICEOUTPUT`.
pub fn summary(notice: &Notice) -> String {
    cut(&format!("{}: {}", notice.state, line(&notice.text)), SUMMARY_BYTES_MAX)
}

/// The message's text.
pub fn body(notice: &Notice, base_url: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_body(&mut text, notice, base_url);
    // Each of its lines is bounded: this is for those that labels bring.
    if text.len() > TEXT_BYTES_MAX {
        let cut = text.floor_char_boundary(TEXT_BYTES_MAX);
        text.truncate(cut);
        text.push_str("\n(cut here)\n");
    }
    text
}

fn write_body(out: &mut String, notice: &Notice, base_url: &str) -> std::fmt::Result {
    let what = match &notice.service {
        Some(service) if notice.title.is_empty() => line(service),
        Some(service) => format!("{} ({})", line(&notice.title), line(service)),
        None if notice.of_group => "nodes that do not report".to_owned(),
        None => "the node itself".to_owned(),
    };
    writeln!(out, "{}", summary(notice))?;
    writeln!(out)?;
    writeln!(out, "What:     {what}")?;
    let group = if notice.of_group { "group " } else { "" };
    writeln!(out, "Where:    {group}{}", line(&notice.node))?;
    let lasted = span(notice.time_ms.saturating_sub(notice.since_ms));
    match notice.kind {
        NoticeKind::Problem => {
            writeln!(out, "Since:    {} ({lasted} before this)", time(notice.since_ms))?;
        }
        NoticeKind::Acknowledgement | NoticeKind::Flapping => {
            writeln!(out, "Since:    {} ({lasted})", time(notice.since_ms))?;
        }
        NoticeKind::Recovery => writeln!(
            out,
            "Lasted:   {lasted}, from {} to {}",
            time(notice.since_ms),
            time(notice.time_ms)
        )?,
    }
    for (i, v) in notice.values.iter().take(VALUES_MAX).enumerate() {
        let head = if i == 0 { "Values:" } else { "" };
        let value = v.value.map_or_else(|| "unknown".to_owned(), number);
        write!(out, "{head:<10}{} {value}", line(&v.label))?;
        match &v.limit {
            Some(limit) => writeln!(out, " is {} (limit {})", v.state, line(limit))?,
            None if v.state == State::Ok => writeln!(out)?,
            None => writeln!(out, " is {}", v.state)?,
        }
    }
    if notice.values.len() > VALUES_MAX {
        writeln!(out, "          and {} more", notice.values.len() - VALUES_MAX)?;
    }
    for (i, part) in notice.with.iter().enumerate() {
        let head = if i == 0 { "With it:" } else { "" };
        let of = part.service.as_ref().map_or_else(String::new, |s| format!("/{s}"));
        let place = line(&format!("{}{of}", part.node));
        let text = cut(&line(&part.text), PART_BYTES_MAX);
        writeln!(out, "{head:<10}{place} is {}: {text}", part.state)?;
    }
    write_more(out, notice.n_with, notice.with.len())?;
    let mut row = String::new();
    let mut head = "Behind:";
    for name in &notice.behind {
        if row.len() + name.len() > BEHIND_COLUMNS && !row.is_empty() {
            writeln!(out, "{head:<10}{row}")?;
            (row, head) = (String::new(), "");
        }
        let comma = if row.is_empty() { "" } else { ", " };
        row = format!("{row}{comma}{}", line(name));
    }
    if !row.is_empty() {
        writeln!(out, "{head:<10}{row}")?;
    }
    write_more(out, notice.n_behind, notice.behind.len())?;
    if !base_url.is_empty() {
        writeln!(out, "Look at:  {}", link(notice, base_url))?;
        if can_be_acknowledged(notice) {
            writeln!(out, "Ack:      {}", acknowledge_link(notice, base_url))?;
        }
    }
    if let Some(why) = &notice.instead_of {
        writeln!(out, "Instead:  told to you, as it could not be told otherwise: {}", line(why))?;
    }
    if notice.repeated {
        writeln!(out, "Repeated: Rookery ended while it told this; you may have heard it before")?;
    }
    for (key, value) in &notice.labels {
        writeln!(out, "{:<9} {}", format!("{}:", line(key)), line(value))?;
    }
    writeln!(out, "Incident: {} (message {})", notice.incident, notice.sequence + 1)
}

fn write_more(out: &mut String, n_all: usize, n_shown: usize) -> std::fmt::Result {
    match n_all.saturating_sub(n_shown) {
        0 => Ok(()),
        n => writeln!(out, "          and {n} more"),
    }
}

/// Whether it is about a node that does not report.
pub fn is_down(notice: &Notice) -> bool {
    matches!(notice.state, Status::Host(_)) && notice.kind == NoticeKind::Problem
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::output::{FieldValue, Part};
    use std::collections::BTreeMap;

    /// A notice of a service with a hostile name and text.
    pub(crate) fn sample(kind: NoticeKind, sequence: u32) -> Notice {
        let state = if kind == NoticeKind::Problem { State::Critical } else { State::Ok };
        Notice {
            id: format!("19a-0f.{sequence}"),
            incident: "19a-0f".to_owned(),
            sequence,
            kind,
            node: "db1".to_owned(),
            of_group: false,
            service: Some("my sql".to_owned()),
            title: "MySQL connections".to_owned(),
            state: Status::Service(state),
            since_ms: 1_763_640_000_000,
            time_ms: 1_763_640_020_000,
            values: vec![FieldValue {
                field: "c".to_owned(),
                label: "conn\r\nBcc: x@y".to_owned(),
                value: Some(93.1),
                state,
                limit: Some("~:80".to_owned()),
                warning: None,
                critical: None,
                extinfo: String::new(),
            }],
            text: "c is 93.10 (outside ~:80)\r\nBcc: x@y".to_owned(),
            with: vec![],
            n_with: 0,
            behind: vec![],
            n_behind: 0,
            contacts: vec![],
            labels: BTreeMap::from([("team".to_owned(), "db".to_owned())]),
            repeated: false,
            instead_of: None,
            is_catch_up: false,
        }
    }

    #[test]
    fn the_text_says_all_and_stays_on_its_lines() {
        let text = body(&sample(NoticeKind::Problem, 0), "http://c:4950/");
        let want = "CRITICAL: c is 93.10 (outside ~:80)  Bcc: x@y\n\n\
            What:     MySQL connections (my sql)\n\
            Where:    db1\n\
            Since:    2025-11-20 12:00:00 UTC (20 s before this)\n\
            Values:   conn  Bcc: x@y 93.10 is CRITICAL (limit ~:80)\n\
            Look at:  http://c:4950/node/db1/my%20sql\n\
            Ack:      http://c:4950/node/db1/my%20sql#acknowledge\n\
            team:     db\n\
            Incident: 19a-0f (message 1)\n";
        assert_eq!(text, want);
        let text = body(&sample(NoticeKind::Recovery, 1), "");
        assert!(text.contains("Lasted:   20 s, from 2025-11-20 12:00:00 UTC"), "{text}");
        assert_eq!(subject(&sample(NoticeKind::Recovery, 1)), "OK db1/my sql");
    }

    #[test]
    fn an_incident_names_what_is_of_it() {
        let mut notice = sample(NoticeKind::Problem, 0);
        let part = |i: u32| Part {
            node: format!("db{i}"),
            service: (i > 2).then(|| "load\n".to_owned()),
            state: Status::Service(State::Warning),
            text: "load1 is 9\r".to_owned(),
        };
        (notice.with, notice.n_with) = ((2..=3).map(part).collect(), 12);
        notice.behind = (1..=9).map(|i| format!("web{i}/wordpress")).collect();
        notice.n_behind = 30;
        let text = body(&notice, "");
        let want = "With it:  db2 is WARNING: load1 is 9 \n          \
            db3/load  is WARNING: load1 is 9 \n          and 10 more\n\
            Behind:   web1/wordpress, web2/wordpress, web3/wordpress, web4/wordpress\n          \
            web5/wordpress, web6/wordpress, web7/wordpress, web8/wordpress\n          \
            web9/wordpress\n          and 21 more\n";
        assert!(text.contains(want), "{text}");
        assert_eq!(subject(&notice), "CRITICAL (+12) db1/my sql");
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so_and_the_rest_is_there() {
        assert_eq!(
            (cut("äöü", 6), cut("äöüäöüäöü", 11)),
            ("äöü".to_owned(), "äö (cut)".to_owned())
        );
        let mut notice = sample(NoticeKind::Problem, 0);
        notice.text = "port_00001 is 95 (outside ~:90), ".repeat(4000);
        notice.node = "n".repeat(255);
        let text = body(&notice, "http://c");
        let first = text.lines().next().expect("a line");
        assert!(first.len() <= SUMMARY_BYTES_MAX && first.ends_with(" (cut)"), "{first}");
        assert!(text.contains("Look at:  http://c/node/") && text.contains("Incident: "), "{text}");
        notice.service = Some("s".repeat(255));
        let subject = subject(&notice);
        assert!(subject.len() == SUBJECT_BYTES_MAX && subject.ends_with("n (cut)"), "{subject}");
    }

    #[test]
    fn numbers_for_people() {
        for (v, want) in [
            (900.0, "900"),
            (93.1, "93.10"),
            (0.001_234_56, "0.001235"),
            (-0.5, "-0.50"),
            (1e-300, "0.000000000000"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(v), want);
        }
        assert_eq!(span(7_260_000), "2 h 1 min");
        assert_eq!(time(i64::MAX), format!("{} ms", i64::MAX));
    }
}
