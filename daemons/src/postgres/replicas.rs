//! How far behind each standby of a PostgreSQL is.
//!
//! Standbys are told apart by their name and address; those that have both in
//! common by their replication slots. Of those that have no slot either, which
//! nothing tells apart, the one that is furthest behind counts.

use super::figures::{Row, count, decimal, text};
use super::graphs::about;
use crate::support::{Names, Sheet, StableName};
use rookery_plugins::FieldSpec;
use std::collections::BTreeMap;

/// Standbys of one name.
#[derive(Debug, Default, PartialEq)]
struct Standby {
    n: usize,
    bytes: Option<u64>,
    seconds: Option<f64>,
}

/// All of them, by name.
fn standbys(rows: &[Row]) -> BTreeMap<String, Standby> {
    let mut shared: BTreeMap<&str, usize> = BTreeMap::new();
    for name in rows.iter().filter_map(|row| text(row, "name")) {
        *shared.entry(name).or_default() += 1;
    }
    let mut all: BTreeMap<String, Standby> = BTreeMap::new();
    for row in rows {
        let Some(name) = text(row, "name") else { continue };
        let full = match (shared.get(name), text(row, "slot")) {
            (Some(2..), Some(slot)) => format!("{name} {slot}"),
            _ => name.to_owned(),
        };
        let (bytes, seconds) = (count(row, "bytes"), decimal(row, "seconds"));
        let one = all.entry(full).or_default();
        (one.bytes, one.seconds) = match one.n {
            0 => (bytes, seconds),
            // One of which nothing is known may be the furthest.
            _ => (one.bytes.zip(bytes).map(|(a, b)| a.max(b)), worst(one.seconds, seconds)),
        };
        one.n += 1;
    }
    all
}

/// NULL: it has nothing to replay.
fn worst(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

/// The services of all standbys.
pub(super) fn write_streaming(rows: &[Row], names: &mut Names, sheet: &mut Sheet<'_>) {
    let all = standbys(rows);
    let fields = names.fields("standbys", all.keys().map(String::as_str));
    let list: Vec<(StableName, (&String, &Standby))> = fields.into_iter().zip(&all).collect();
    all.values().for_each(|standby| sheet.note(&standby.n.to_string()));
    let label = |name: &str, standby: &Standby| match standby.n {
        1 => name.to_owned(),
        n => format!("{name} (the last of {n})"),
    };
    let mut service = sheet.service("postgres_streaming", |n| {
        let info = "How much of what this server has written each standby has not replayed.";
        about(n, "PostgreSQL standbys behind", "bytes", info).args("-l 0 --base 1024")
    });
    for (field, (name, standby)) in &list {
        service.field(&field.name, standby.bytes, |n| {
            let spec = FieldSpec::gauge(n, &label(name, standby));
            field.announce(spec.info("Bytes of WAL that it lacks"))
        });
    }
    let mut service = sheet.service("postgres_streaming_lag", |n| {
        let info = "How long each standby takes to replay; nothing while there is nothing new.";
        about(n, "PostgreSQL standbys' lag", "seconds", info)
    });
    for (field, (name, standby)) in &list {
        service.field(&field.name, standby.seconds, |n| {
            let spec = FieldSpec::gauge(n, &label(name, standby));
            field.announce(spec.info("From a commit here to its replay there"))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, slot: &str, bytes: &str, seconds: &str) -> Row {
        let value = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        [("name", name), ("slot", slot), ("bytes", bytes), ("seconds", seconds)]
            .map(|(column, text)| (column.to_owned(), value(text)))
            .into()
    }

    #[test]
    fn of_two_standbys_behind_one_address_none_is_lost() {
        let rows = [
            row("walreceiver 10.0.0.5", "b", "9000", "40.5"),
            row("walreceiver 10.0.0.5", "a", "10", ""),
            row("standby 10.0.0.9", "", "100", "0.1"),
            row("standby 10.0.0.9", "", "700", ""),
            row("alone local", "c", "5", "1"),
        ];
        let all = standbys(&rows);
        let of = |name: &str| (all[name].n, all[name].bytes, all[name].seconds);
        assert_eq!(of("walreceiver 10.0.0.5 a"), (1, Some(10), None));
        assert_eq!(of("walreceiver 10.0.0.5 b"), (1, Some(9000), Some(40.5)));
        assert_eq!(of("standby 10.0.0.9"), (2, Some(700), Some(0.1)));
        assert_eq!(of("alone local"), (1, Some(5), Some(1.0)));
        let mut back = rows;
        back.reverse();
        assert_eq!(standbys(&back), all);
    }
}
