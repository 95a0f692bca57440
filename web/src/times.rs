//! Times in requests and answers.
//!
//! In: RFC 3339 (`2026-11-20T12:00:00Z`), a date or a time of day without a zone
//! (`2026-11-20 12:00`), epoch seconds or milliseconds, `now`, or relative (`-1d`,
//! `now-30m`). Out: RFC 3339 UTC with milliseconds.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use std::fmt::Write;

/// A number below this is seconds since 1970, from it on milliseconds: as
/// seconds it would be in the year 5138.
const SECONDS_BELOW: f64 = 1e11;

/// The latest time that is taken, ms: the end of the year 9999.
const LATEST_MS: i64 = 253_402_300_799_999;

/// Reads a time, ms since 1970 UTC; one without a zone is UTC. The error says what is
/// expected.
pub fn parse(text: &str, now_ms: i64) -> Result<i64, String> {
    parse_in(text, now_ms, &TimeZone::UTC)
}

/// The same; a time without a zone is on the clock of `zone`.
pub fn parse_in(text: &str, now_ms: i64, zone: &TimeZone) -> Result<i64, String> {
    let text = text.trim();
    let known = absolute(text, zone).or_else(|| relative(text, now_ms));
    let time = known.ok_or_else(|| {
        format!(
            "{text:?} is no time: write 2026-11-20T12:00:00Z, a date, seconds or milliseconds \
             since 1970, now, or -1d (s, m, h, d, w, M, y)"
        )
    })?;
    Ok(time.clamp(-LATEST_MS, LATEST_MS))
}

/// A time as a form shows it to who may change it: what is absolute stands on the clock
/// of `zone`, as [`parse_in`] reads it; what is relative stays as it was written.
pub fn editable(text: &str, zone: &TimeZone) -> String {
    let Some(ms) = absolute(text.trim(), zone) else { return text.to_owned() };
    let Ok(time) = Timestamp::from_millisecond(ms) else { return text.to_owned() };
    let time = time.to_zoned(zone.clone());
    let form = match ms {
        ms if ms % 1000 != 0 => "%Y-%m-%d %H:%M:%S%.3f",
        ms if ms % 60_000 != 0 => "%Y-%m-%d %H:%M:%S",
        _ => "%Y-%m-%d %H:%M",
    };
    let local = time.strftime(form).to_string();
    // An hour that a clock shows twice needs its offset.
    match absolute(&local, zone) == Some(ms) {
        true => local,
        false => local + &time.strftime("%:z").to_string(),
    }
}

fn absolute(text: &str, zone: &TimeZone) -> Option<i64> {
    if let Ok(t) = text.parse::<Timestamp>() {
        return Some(t.as_millisecond());
    }
    if let Some(last) = last_days(text) {
        return Some(last);
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        if let Ok(number) = text.parse::<f64>() {
            let ms = if number < SECONDS_BELOW { number * 1000.0 } else { number };
            return Some(ms.round() as i64);
        }
        let civil = text.parse::<DateTime>().ok();
        let civil = civil.or_else(|| text.parse::<Date>().ok().map(|d| d.at(0, 0, 0, 0)));
        return Some(civil?.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond());
    }
    None
}

/// The end of the year 9999, which stands for "forever" in other tools: a [`Timestamp`] ends
/// some hours before.
fn last_days(text: &str) -> Option<i64> {
    let civil = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let civil: DateTime = civil.parse().ok()?;
    (civil > DateTime::constant(9999, 12, 30, 0, 0, 0, 0)).then(|| {
        let in_day = civil.time().duration_since(jiff::civil::Time::midnight());
        let days_left = i64::from(31 - civil.day());
        LATEST_MS + 1 - (days_left + 1) * 86_400_000 + in_day.as_millis() as i64
    })
}

fn relative(text: &str, now_ms: i64) -> Option<i64> {
    let offset = text.strip_prefix("now").unwrap_or(text);
    if offset.is_empty() {
        return text.starts_with("now").then_some(now_ms);
    }
    let (sign, span) = match offset.split_at_checked(1)? {
        ("-", span) => (-1.0, span),
        ("+", span) => (1.0, span),
        _ => return None,
    };
    let digits = span.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let number: f64 = span[..digits].parse().ok()?;
    let unit = match &span[digits..] {
        "s" => 1_000.0,
        "m" | "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        "w" => 604_800_000.0,
        "M" | "mon" => 30.0 * 86_400_000.0,
        "y" => 365.0 * 86_400_000.0,
        _ => return None,
    };
    Some(now_ms.saturating_add((sign * number * unit) as i64))
}

/// `2026-11-20T12:00:00.000Z`; a time that no calendar has becomes the nearest
/// that one has.
pub fn rfc3339(ms: i64) -> String {
    let mut text = String::with_capacity(24);
    Rfc3339::default().push(ms, &mut text);
    text
}

/// Writes many ascending times: the day is worked out once.
#[derive(Default)]
pub struct Rfc3339 {
    day: Option<i64>,
    date: String,
}

impl Rfc3339 {
    /// Appends the time.
    pub fn push(&mut self, ms: i64, out: &mut String) {
        let ms = ms.clamp(-LATEST_MS / 4, LATEST_MS);
        let day = ms.div_euclid(86_400_000);
        if self.day != Some(day) {
            self.day = Some(day);
            self.date.clear();
            // By the calendar: a Timestamp ends before the year 9999 does.
            let date = Date::constant(1970, 1, 1);
            let date = date.checked_add(Span::new().days(day)).unwrap_or(date);
            // Writing into a String cannot fail.
            let _ = write!(self.date, "{date}T");
        }
        out.push_str(&self.date);
        let in_day = ms.rem_euclid(86_400_000);
        let digits = |n: i64, places: u32, out: &mut String| {
            for place in (0..places).rev() {
                out.push(char::from(b'0' + (n / 10_i64.pow(place) % 10) as u8));
            }
        };
        digits(in_day / 3_600_000, 2, out);
        out.push(':');
        digits(in_day / 60_000 % 60, 2, out);
        out.push(':');
        digits(in_day / 1000 % 60, 2, out);
        out.push('.');
        digits(in_day % 1000, 3, out);
        out.push('Z');
    }
}

/// `3 s`, `5 min`, `2 h 5 min`, `3 d 4 h`: two units at most.
pub fn span(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    let parts = [(s / 86_400, "d"), (s / 3600 % 24, "h"), (s / 60 % 60, "min"), (s % 60, "s")];
    let Some(first) = parts.iter().position(|(n, _)| *n > 0) else { return "0 s".to_owned() };
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(n, unit)| *n > 0 && !(*unit == "s" && first < 3))
        .map(|(n, unit)| format!("{n} {unit}"))
        .collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_without_a_zone_are_on_the_asked_clock() {
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        let read = |text: &str| parse_in(text, 0, &berlin).map(rfc3339);
        for (text, utc) in [
            ("2026-07-01 08:00", "2026-07-01T06:00:00.000Z"),
            ("2026-12-01T08:00:30", "2026-12-01T07:00:30.000Z"),
            ("2026-07-01", "2026-06-30T22:00:00.000Z"),
            ("2026-07-01T08:00Z", "2026-07-01T08:00:00.000Z"),
            ("2026-07-01T08:00+05:00", "2026-07-01T03:00:00.000Z"),
            ("1782853200", "2026-06-30T21:00:00.000Z"),
            // Of an hour that is not there, the one after; of one that is there twice, the first.
            ("2026-03-29 02:30", "2026-03-29T01:30:00.000Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00.000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(utc), "{text}");
        }
        for (text, shown) in [
            ("-1d", "-1d"),
            ("now", "now"),
            ("soon", "soon"),
            ("1782853200000", "2026-06-30 23:00"),
            ("2026-07-01T08:00:00Z", "2026-07-01 10:00"),
            ("2026-07-01 08:00", "2026-07-01 08:00"),
            ("1782853201250", "2026-06-30 23:00:01.250"),
            ("2026-10-25T01:30:00Z", "2026-10-25 02:30+01:00"),
        ] {
            assert_eq!(editable(text, &berlin), shown, "{text}");
            let (then, again) = (parse_in(text, 9, &berlin), parse_in(shown, 9, &berlin));
            assert_eq!(then.ok(), again.ok(), "{text}: what is shown is what was asked");
        }
    }

    #[test]
    fn every_form_is_read() {
        let now = 1_700_000_000_000;
        let cases = [
            ("2026-11-20T12:00:00Z", 1_795_176_000_000),
            ("2026-11-20T13:00:00.250+01:00", 1_795_176_000_250),
            ("2026-11-20T12:00:00", 1_795_176_000_000),
            ("2026-11-20", 1_795_132_800_000),
            ("0", 0),
            ("1795176000", 1_795_176_000_000),
            ("1795176000.5", 1_795_176_000_500),
            ("1795176000250", 1_795_176_000_250),
            ("now", now),
            ("-1d", now - 86_400_000),
            ("now-30m", now - 1_800_000),
            ("now+1h", now + 3_600_000),
            ("-1.5h", now - 5_400_000),
            ("9999-12-31T23:59:59Z", LATEST_MS - 999),
            ("9999-12-31T23:59:59.999", LATEST_MS),
            ("9999-12-30T23:00:00Z", LATEST_MS + 1 - 25 * 3_600_000),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text, now), Ok(want), "{text}");
        }
        assert_eq!(rfc3339(LATEST_MS), "9999-12-31T23:59:59.999Z");
        for text in ["", "yesterday", "-1", "-d", "1d", "now-", "2026-13-01", "-1é", "--1d"] {
            assert!(parse(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_short() {
        let cases = [
            (0, "0 s"),
            (5_000, "5 s"),
            (65_000, "1 min"),
            (7_500_000, "2 h 5 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (ms, want) in cases {
            assert_eq!(span(ms), want);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0..LATEST_MS) {
            prop_assert_eq!(parse(&rfc3339(ms), 0), Ok(ms));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}", now in any::<i64>()) {
            let _ = parse(&text, now);
        }

        #[test]
        fn no_time_panics(ms: i64) {
            prop_assert!(rfc3339(ms).ends_with('Z'));
        }
    }
}
