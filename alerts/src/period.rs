//! Time periods: days and hours in a time zone, and what is left out of them.
//!
//! ```toml
//! [[period]]
//! name = "office"
//! zone = "Europe/Berlin"       # the collector's own when left out
//! times = ["mon-fri 08:00-12:00,13:00-18:00", "sat 10:00-14:00"]
//! exclude = ["holidays"]       # names of other periods
//!
//! [[period]]
//! name = "holidays"
//! zone = "Europe/Berlin"
//! times = ["12-24..12-26", "01-01", "2026-05-14", "2026-08-01..2026-08-21"]
//!
//! [[period]]
//! name = "nights"
//! times = ["daily 22:00-06:00"]    # past midnight: counted to the day it begins
//! ```
//!
//! An entry of `times` is days, and hours where it is not the whole day. Days are
//! `daily`; days of the week (`mon`, `mon-fri`, `mon,wed,sat-sun`); a day of each
//! year (`12-24`) or of one (`2026-12-24`), or a span of them (`..`, both ends
//! included). Hours are `HH:MM-HH:MM`, the end not included, up to `24:00`. They
//! are read off the zone's clock: an hour that is skipped in spring is in no
//! period, one that comes twice in autumn is twice in it.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use rookery_plugins::TimeMs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;
/// The most entries of `times`.
const TIMES_MAX: usize = 1000;
/// The days of a week, from Monday.
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A `[[period]]` as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodConfig {
    /// What others call it.
    pub name: String,
    /// The time zone's name (`Europe/Berlin`, `UTC`); empty: the system's own.
    #[serde(default)]
    pub zone: String,
    /// Days and hours, as in the module's grammar.
    pub times: Vec<String>,
    /// Periods that are left out of it, by name.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// Times in a zone as they are written, and kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimesConfig {
    /// The time zone's name (`Europe/Berlin`, `UTC`); empty: the system's own.
    pub zone: String,
    /// Days and hours, as in the module's grammar.
    pub times: Vec<String>,
}

/// Times of the week or the year, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    zone: TimeZone,
    slots: Vec<Slot>,
}

fn zone(name: &str) -> Result<TimeZone, String> {
    let unknown =
        |_| format!("zone {name:?} is not known: write one as in /usr/share/zoneinfo, or UTC");
    match name {
        "" => Ok(TimeZone::system()),
        name => TimeZone::get(name).map_err(unknown),
    }
}

/// The time, UTC, ms, at which a zone's clock shows this (`2026-11-22T02:00`, as forms
/// send it); the later of two, and what a clock that is put on skips is the time after.
pub fn time_on_clock(text: &str, zone_name: &str) -> Result<TimeMs, String> {
    let wrong = |_| format!("{text:?} is no time: write 2026-11-22T02:00");
    let at: DateTime = text.trim().parse().map_err(wrong)?;
    let at = zone(zone_name)?.to_ambiguous_zoned(at).later().map_err(wrong)?;
    Ok(at.timestamp().as_millisecond())
}

/// A named period, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Period {
    name: String,
    times: Times,
    exclude: Vec<Arc<Period>>,
}

/// All periods, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Periods(BTreeMap<String, Arc<Period>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    days: Days,
    /// From and to, minutes of the day; a smaller end is on the next day.
    hours: Vec<(u16, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    /// A bit for each day from Monday.
    Week(u8),
    /// Month and day, both ends included; the end may be in the next year.
    Yearly((i8, i8), (i8, i8)),
    Dates(Date, Date),
}

impl TimesConfig {
    /// Reads it; the error names the entry and what was expected.
    pub fn compile(&self) -> Result<Times, String> {
        let zone = zone(&self.zone)?;
        if self.times.is_empty() {
            return Err("times: when? (\"mon-fri 08:00-18:00\")".to_owned());
        }
        if self.times.len() > TIMES_MAX {
            return Err(format!("times: at most {TIMES_MAX} entries"));
        }
        let slots = self.times.iter().map(|text| slot(text)).collect::<Result<_, _>>()?;
        Ok(Times { zone, slots })
    }
}

impl Times {
    /// Whether a time is in it. One beyond jiff's years (-9999 to 9999) is not.
    pub fn contains(&self, time_ms: TimeMs) -> bool {
        let Ok(time) = Timestamp::from_millisecond(time_ms) else { return false };
        let now: Zoned = time.to_zoned(self.zone.clone());
        let minute = now.hour() as u16 * 60 + now.minute() as u16;
        let today = now.date();
        let is = |day: Option<Date>, s: &Slot| day.is_some_and(|day| s.days.contains(day));
        self.slots.iter().any(|s| {
            s.hours.iter().any(|(from, to)| match from < to {
                true => (*from..*to).contains(&minute) && is(Some(today), s),
                false => {
                    minute >= *from && is(Some(today), s)
                        || minute < *to && is(today.yesterday().ok(), s)
                }
            })
        })
    }
}

impl Period {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a time is in it, and in none of those that are left out of it.
    pub fn contains(&self, time_ms: TimeMs) -> bool {
        self.times.contains(time_ms) && !self.exclude.iter().any(|p| p.contains(time_ms))
    }
}

impl Periods {
    /// Puts them together. The error names the period and the remedy: of a time that
    /// cannot be read, a name that is given twice or not at all, an exclusion of what
    /// is not there, or of itself in a circle.
    pub fn new(configs: &[PeriodConfig]) -> Result<Periods, String> {
        let mut by_name = BTreeMap::new();
        for c in configs {
            if c.name.trim().is_empty() {
                return Err("a [[period]] needs a name".to_owned());
            }
            if by_name.insert(c.name.as_str(), c).is_some() {
                return Err(format!("period {:?} is there twice: rename one", c.name));
            }
        }
        let mut periods = Periods::default();
        for name in by_name.keys() {
            periods.make(name, &by_name, &mut Vec::new())?;
        }
        Ok(periods)
    }

    fn make<'c>(
        &mut self,
        name: &'c str,
        configs: &BTreeMap<&'c str, &'c PeriodConfig>,
        on_the_way: &mut Vec<&'c str>,
    ) -> Result<Arc<Period>, String> {
        if let Some(period) = self.0.get(name) {
            return Ok(period.clone());
        }
        if on_the_way.contains(&name) {
            on_the_way.push(name);
            return Err(format!(
                "periods exclude each other in a circle: {}",
                on_the_way.join(" > ")
            ));
        }
        let Some(config) = configs.get(name) else {
            return Err(match on_the_way.last() {
                Some(by) => format!("period {by:?} excludes {name:?}: there is no such [[period]]"),
                None => format!("there is no [[period]] named {name:?}"),
            });
        };
        on_the_way.push(name);
        let times = TimesConfig { zone: config.zone.clone(), times: config.times.clone() };
        let times = times.compile().map_err(|e| format!("period {name:?}: {e}"))?;
        let exclude = config.exclude.iter().map(|other| self.make(other, configs, on_the_way));
        let exclude = exclude.collect::<Result<_, _>>()?;
        on_the_way.pop();
        let period = Arc::new(Period { name: name.to_owned(), times, exclude });
        self.0.insert(name.to_owned(), period.clone());
        Ok(period)
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&Arc<Period>> {
        self.0.get(name)
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Days {
    fn contains(&self, day: Date) -> bool {
        match self {
            Days::Week(bits) => bits >> day.weekday().to_monday_zero_offset() & 1 == 1,
            Days::Dates(from, to) => (*from..=*to).contains(&day),
            Days::Yearly(from, to) => {
                let day = (day.month(), day.day());
                match from <= to {
                    true => (*from..=*to).contains(&day),
                    false => day >= *from || day <= *to,
                }
            }
        }
    }
}

/// `mon-fri 08:00-18:00`.
fn slot(text: &str) -> Result<Slot, String> {
    let mut words = text.split_whitespace();
    let (days, hours) = (words.next(), words.next());
    let wrong = |why: &str| format!("times {text:?}: {why}");
    if words.next().is_some() {
        return Err(wrong("days and hours are expected, \"mon,wed 08:00-10:00,14:00-16:00\""));
    }
    let days = days_of(days.unwrap_or("")).map_err(|e| wrong(&e))?;
    let hours = match hours {
        None => vec![(0, DAY_MINUTES)],
        Some(list) => list
            .split(',')
            .map(hours_of)
            .collect::<Option<_>>()
            .ok_or_else(|| wrong("hours are written \"08:00-18:00\", up to 24:00"))?,
    };
    Ok(Slot { days, hours })
}

fn days_of(text: &str) -> Result<Days, String> {
    if text == "daily" {
        return Ok(Days::Week(0x7f));
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return dates_of(text).ok_or_else(|| {
            format!(
                "{text:?} is no day: write 12-24, 2026-12-24, or a span of either with ..; the \
                 end not before the beginning"
            )
        });
    }
    let mut bits = 0u8;
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let day = |word: &str| WEEKDAYS.iter().position(|d| *d == word);
        let (Some(from), Some(to)) = (day(from), day(to)) else {
            return Err(format!("{part:?} is no day: daily, {}, mon-fri", WEEKDAYS.join(", ")));
        };
        // sat-mon goes over the week's end.
        let n_days = (to + 7 - from) % 7 + 1;
        (from..from + n_days).for_each(|d| bits |= 1 << (d % 7));
    }
    Ok(Days::Week(bits))
}

fn dates_of(text: &str) -> Option<Days> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    if from.len() != to.len() {
        return None;
    }
    if let (Some(from), Some(to)) = (month_day(from), month_day(to)) {
        return Some(Days::Yearly(from, to));
    }
    let (from, to) = (date(from)?, date(to)?);
    (from <= to).then_some(Days::Dates(from, to))
}

fn month_day(text: &str) -> Option<(i8, i8)> {
    let (month, day) = text.split_once('-')?;
    let (month, day) = (two_digits(month)? as i8, two_digits(day)? as i8);
    // 2000 was a leap year: 02-29 is a day of some.
    Date::new(2000, month, day).ok().map(|_| (month, day))
}

fn date(text: &str) -> Option<Date> {
    let (year, rest) = text.split_at_checked(4)?;
    let year = year.bytes().all(|b| b.is_ascii_digit()).then(|| year.parse().ok())??;
    let (month, day) = rest.strip_prefix('-')?.split_once('-')?;
    Date::new(year, two_digits(month)? as i8, two_digits(day)? as i8).ok()
}

fn two_digits(text: &str) -> Option<u16> {
    let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn hours_of(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-')?;
    let minute = |text: &str| -> Option<u16> {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
        let at = hour * 60 + minute;
        (minute < 60 && at <= DAY_MINUTES).then_some(at)
    };
    let (from, to) = (minute(from)?, minute(to)?);
    (from != to && from < DAY_MINUTES).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::documented_toml;

    fn at(text: &str) -> TimeMs {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    fn times(zone: &str, times: &[&str]) -> Result<Times, String> {
        let times = times.iter().map(|t| (*t).to_owned()).collect();
        TimesConfig { zone: zone.to_owned(), times }.compile()
    }

    /// 2026-11-20 is a Friday.
    #[test]
    fn days_and_hours_in_their_zone() {
        for (zone, entry, time, want) in [
            ("UTC", "mon-fri 08:00-18:00", "2026-11-20T08:00:00Z", true),
            ("UTC", "mon-fri 08:00-18:00", "2026-11-20T07:59:59Z", false),
            ("UTC", "mon-fri 08:00-18:00", "2026-11-20T18:00:00Z", false),
            ("UTC", "mon-fri 08:00-18:00", "2026-11-21T09:00:00Z", false),
            ("Europe/Berlin", "fri 08:00-18:00", "2026-11-20T07:00:00Z", true),
            // In summer two hours ahead, in winter one.
            ("Europe/Berlin", "daily 08:00-09:00", "2026-07-20T06:30:00Z", true),
            ("Europe/Berlin", "daily 08:00-09:00", "2026-11-20T06:30:00Z", false),
            // The hour that is skipped, and the one that comes twice.
            ("Europe/Berlin", "daily 02:00-03:00", "2026-03-29T01:00:00Z", false),
            ("Europe/Berlin", "daily 02:00-03:00", "2026-10-25T00:30:00Z", true),
            ("Europe/Berlin", "daily 02:00-03:00", "2026-10-25T01:30:00Z", true),
            // Past midnight: Friday night ends on Saturday, Thursday's is not meant.
            ("UTC", "fri 22:00-06:00", "2026-11-21T05:59:00Z", true),
            ("UTC", "fri 22:00-06:00", "2026-11-20T05:59:00Z", false),
            ("UTC", "fri 22:00-06:00", "2026-11-20T22:00:00Z", true),
            ("UTC", "sat-mon", "2026-11-20T12:00:00Z", false),
            ("UTC", "sat-mon", "2026-11-22T23:59:59Z", true),
            ("UTC", "mon,fri 00:00-24:00", "2026-11-20T23:59:59Z", true),
            ("UTC", "daily 08:00-09:00,20:00-21:00", "2026-11-20T20:30:00Z", true),
            ("UTC", "12-24..01-02", "2027-01-02T12:00:00Z", true),
            ("UTC", "12-24..01-02", "2026-12-23T12:00:00Z", false),
            ("UTC", "2026-11-20", "2026-11-20T00:00:00Z", true),
            ("UTC", "2026-11-18..2026-11-19", "2026-11-20T00:00:00Z", false),
        ] {
            let t = times(zone, &[entry]).expect(entry);
            assert_eq!(t.contains(at(time)), want, "{entry} {zone} {time}");
        }
        assert!(!times("UTC", &["daily"]).expect("reads").contains(i64::MAX));
    }

    #[test]
    fn slips_are_refused_with_their_text() {
        for (zone, entry, want) in [
            ("UTC", "", "is no day"),
            ("UTC", "monday", "\"monday\" is no day"),
            ("UTC", "mon-", "is no day"),
            ("UTC", "mon 8-18", "hours are written"),
            ("UTC", "mon 08:00-08:00", "hours are written"),
            ("UTC", "mon 08:60-09:00", "hours are written"),
            ("UTC", "mon 24:00-25:00", "hours are written"),
            ("UTC", "mon 08:00 - 09:00", "days and hours are expected"),
            ("UTC", "02-30", "is no day"),
            ("UTC", "2026-02-29", "is no day"),
            ("UTC", "2026-12-24..2026-12-23", "is no day"),
            ("UTC", "12-24..2026-12-26", "is no day"),
            ("Mars/Base", "daily", "zone \"Mars/Base\" is not known"),
        ] {
            let e = times(zone, &[entry]).expect_err(entry);
            assert!(e.contains(want), "{entry}: {e}");
        }
        assert!(times("UTC", &[]).is_err());
    }

    fn periods(text: &str) -> Result<Periods, String> {
        #[derive(Deserialize)]
        struct File {
            period: Vec<PeriodConfig>,
        }
        let file: File = rookery_plugins::config::from_toml("p.toml", text)?;
        Periods::new(&file.period)
    }

    #[test]
    fn the_example_of_the_documentation_loads_and_excludes() {
        let text = documented_toml(include_str!("period.rs"));
        let periods = periods(&text).expect("loads");
        assert_eq!(periods.names().collect::<Vec<_>>(), ["holidays", "nights", "office"]);
        let office = periods.get("office").expect("there");
        assert!(office.contains(at("2026-12-23T09:00:00Z")));
        assert!(!office.contains(at("2026-12-24T09:00:00Z")), "a holiday");
        assert!(periods.get("none").is_none());
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let p = |name: &str, rest: &str| {
            format!("[[period]]\nname = {name:?}\ntimes = [\"daily\"]\n{rest}\n")
        };
        for (text, want) in [
            (p("a", "exclude = [\"b\"]"), "period \"a\" excludes \"b\": there is no"),
            (p("a", "") + &p("a", ""), "period \"a\" is there twice"),
            (p("a", "exclude = [\"b\"]") + &p("b", "exclude = [\"a\"]"), "a circle: a > b > a"),
            (p("a", "exclude = [\"a\"]"), "a circle: a > a"),
            (p("", ""), "needs a name"),
            (p("a", "exlude = []"), "p.toml:4: unknown key \"exlude\""),
            ("[[period]]\nname = \"a\"\ntimes = [\"x\"]\n".to_owned(), "period \"a\": times \"x\""),
        ] {
            let e = periods(&text).expect_err(want);
            assert!(e.contains(want), "{e}");
        }
    }

    #[test]
    fn a_time_on_a_clock() {
        let at = |text: &str, zone: &str| time_on_clock(text, zone);
        let utc = at("2026-07-01T02:00", "UTC").expect("a time");
        assert_eq!(at("2026-07-01 04:00", "Europe/Berlin"), Ok(utc));
        // Skipped in spring, twice in autumn.
        let (hour, skipped) = (3_600_000, at("2026-03-29T02:30", "Europe/Berlin"));
        assert_eq!(skipped, at("2026-03-29T03:30", "Europe/Berlin"));
        let twice = at("2026-10-25T02:30", "Europe/Berlin").expect("a time");
        assert_eq!(at("2026-10-25T01:30", "Europe/Berlin"), Ok(twice - 2 * hour));
        for (text, zone, want) in [
            ("soon", "UTC", "\"soon\" is no time"),
            ("2026-07-01T02:00", "Moon", "zone \"Moon\" is not known"),
        ] {
            assert!(at(text, zone).is_err_and(|e| e.contains(want)), "{text} {zone}");
        }
    }
}
