//! Marks of the time axis, on round local hours, days and months.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rookery_plugins::TimeMs;

/// The most marks of an axis.
const MAX_MARKS: usize = 60;

/// One mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub time_ms: TimeMs,
    pub label: String,
    /// Begins a day (or a month, a year on longer spans).
    pub is_major: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Seconds(i64),
    Days(i32),
    Months(i32),
}

impl Step {
    /// What a label and the space around it take, px.
    fn room(self) -> f64 {
        match self {
            Step::Seconds(s) if s < 60 => 84.0,
            // Midnight's label is a date.
            Step::Seconds(_) => 72.0,
            Step::Days(1) => 88.0,
            Step::Days(_) => 52.0,
            Step::Months(_) => 54.0,
        }
    }
}

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// From fine to coarse, with the width of one in ms.
const STEPS: [(Step, i64); 27] = [
    (Step::Seconds(1), SECOND),
    (Step::Seconds(2), 2 * SECOND),
    (Step::Seconds(5), 5 * SECOND),
    (Step::Seconds(10), 10 * SECOND),
    (Step::Seconds(30), 30 * SECOND),
    (Step::Seconds(60), 60 * SECOND),
    (Step::Seconds(120), 120 * SECOND),
    (Step::Seconds(300), 300 * SECOND),
    (Step::Seconds(600), 600 * SECOND),
    (Step::Seconds(1200), 1200 * SECOND),
    (Step::Seconds(1800), 1800 * SECOND),
    (Step::Seconds(3600), HOUR),
    (Step::Seconds(2 * 3600), 2 * HOUR),
    (Step::Seconds(3 * 3600), 3 * HOUR),
    (Step::Seconds(6 * 3600), 6 * HOUR),
    (Step::Seconds(12 * 3600), 12 * HOUR),
    (Step::Days(1), DAY),
    (Step::Days(2), 2 * DAY),
    (Step::Days(7), 7 * DAY),
    (Step::Days(14), 14 * DAY),
    (Step::Months(1), 30 * DAY),
    (Step::Months(2), 61 * DAY),
    (Step::Months(3), 91 * DAY),
    (Step::Months(6), 182 * DAY),
    (Step::Months(12), 365 * DAY),
    (Step::Months(60), 5 * 365 * DAY),
    (Step::Months(240), 20 * 365 * DAY),
];

/// The marks in `from..=to`, ascending, on an axis of `width` px: as many as
/// there is room for with labels of some 11 px.
pub(crate) fn marks(from: TimeMs, to: TimeMs, width: f64, tz: &TimeZone) -> Vec<Mark> {
    let span = to.saturating_sub(from).max(1) as f64;
    let fits = |(step, ms): &(Step, i64)| *ms as f64 / span * width >= step.room();
    let coarsest = STEPS[STEPS.len() - 1];
    let (step, _) = STEPS.into_iter().find(fits).unwrap_or(coarsest);
    walk(from, to, step, tz).unwrap_or_default()
}

/// `None` where the span leaves the calendar.
fn walk(from: TimeMs, to: TimeMs, step: Step, tz: &TimeZone) -> Option<Vec<Mark>> {
    let start = tz.to_datetime(Timestamp::from_millisecond(from).ok()?);
    let mut at = first(start, step)?;
    let mut out: Vec<Mark> = Vec::new();
    for _ in 0..4 * MAX_MARKS {
        let zoned = tz.to_ambiguous_zoned(at).compatible().ok()?;
        let time_ms = zoned.timestamp().as_millisecond();
        if time_ms > to {
            break;
        }
        // A local time that a clock change skips lands on the next mark.
        let is_new = out.last().is_none_or(|m| m.time_ms < time_ms);
        if time_ms >= from && is_new {
            let (label, is_major) = label(zoned.datetime(), step);
            out.push(Mark { time_ms, label, is_major });
        }
        at = match next(at, step) {
            Some(next) => next,
            None => break,
        };
    }
    Some(out)
}

/// The last mark at or before a local time.
fn first(start: DateTime, step: Step) -> Option<DateTime> {
    let date = start.date();
    Some(match step {
        Step::Seconds(s) => {
            let of_day = i64::from(start.hour()) * 3600
                + i64::from(start.minute()) * 60
                + i64::from(start.second());
            date.to_datetime(Time::midnight()).checked_add((of_day / s * s).seconds()).ok()?
        }
        Step::Days(1) => date.to_datetime(Time::midnight()),
        // Weeks begin on Monday, and two days go from the month's first on.
        Step::Days(2) => {
            let back = (i32::from(date.day()) - 1) % 2;
            date.checked_sub(back.days()).ok()?.to_datetime(Time::midnight())
        }
        Step::Days(_) => {
            let back = i32::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(back.days()).ok()?.to_datetime(Time::midnight())
        }
        Step::Months(n) => {
            let months = i32::from(date.year()) * 12 + i32::from(date.month()) - 1;
            let months = months.div_euclid(n) * n;
            let year = i16::try_from(months.div_euclid(12)).ok()?;
            let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
            Date::new(year, month, 1).ok()?.to_datetime(Time::midnight())
        }
    })
}

fn next(at: DateTime, step: Step) -> Option<DateTime> {
    match step {
        Step::Seconds(s) => at.checked_add(s.seconds()).ok(),
        Step::Days(2) => {
            let next = at.checked_add(2.days()).ok()?;
            // The 31st and the 1st would stand side by side.
            match next.month() == at.month() {
                true => Some(next),
                false => next.first_of_month().into(),
            }
        }
        Step::Days(n) => at.checked_add(n.days()).ok(),
        Step::Months(n) => at.checked_add(n.months()).ok(),
    }
}

fn label(at: DateTime, step: Step) -> (String, bool) {
    let midnight = at.time() == Time::midnight();
    match step {
        Step::Seconds(_) if midnight => (at.strftime("%a %-d %b").to_string(), true),
        Step::Seconds(s) if s < 60 => (at.strftime("%H:%M:%S").to_string(), false),
        Step::Seconds(_) => (at.strftime("%H:%M").to_string(), false),
        Step::Days(1) => (at.strftime("%a %-d %b").to_string(), at.day() == 1),
        Step::Days(_) => (at.strftime("%-d %b").to_string(), at.day() == 1),
        Step::Months(n) if n >= 12 => (at.strftime("%Y").to_string(), false),
        Step::Months(_) if at.month() == 1 => (at.strftime("%Y").to_string(), true),
        Step::Months(_) => (at.strftime("%b").to_string(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(from: &str, to: &str, width: f64, zone: &str) -> String {
        let tz = TimeZone::get(zone).expect(zone);
        let ms = |t: &str| t.parse::<Timestamp>().expect(t).as_millisecond();
        let marks = marks(ms(from), ms(to), width, &tz);
        let show = |m: &Mark| if m.is_major { format!("[{}]", m.label) } else { m.label.clone() };
        marks.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn marks_are_on_round_local_times() {
        let berlin = "Europe/Berlin";
        assert_eq!(
            of("2026-11-18T10:10:00Z", "2026-11-19T10:10:00Z", 400.0, berlin),
            "12:00 18:00 [Thu 19 Nov] 06:00"
        );
        assert_eq!(
            of("2026-11-18T10:10:00Z", "2026-11-18T10:11:00Z", 600.0, berlin),
            "11:10:00 11:10:10 11:10:20 11:10:30 11:10:40 11:10:50 11:11:00"
        );
        assert_eq!(
            of("2026-10-28T00:00:00Z", "2026-11-04T00:00:00Z", 800.0, berlin),
            "Thu 29 Oct Fri 30 Oct Sat 31 Oct [Sun 1 Nov] Mon 2 Nov Tue 3 Nov Wed 4 Nov"
        );
        assert_eq!(
            of("2026-10-20T00:00:00Z", "2026-11-20T00:00:00Z", 500.0, berlin),
            "26 Oct 2 Nov 9 Nov 16 Nov"
        );
        assert_eq!(
            of("2025-11-20T00:00:00Z", "2026-11-20T00:00:00Z", 800.0, berlin),
            "Dec [2026] Feb Mar Apr May Jun Jul Aug Sep Oct Nov"
        );
        assert_eq!(of("2016-11-20T00:00:00Z", "2026-11-20T00:00:00Z", 200.0, "UTC"), "2020 2025");
        // India's hours are half an hour off UTC's.
        assert_eq!(
            of("2026-11-18T00:00:00Z", "2026-11-18T12:00:00Z", 300.0, "Asia/Kolkata"),
            "06:00 09:00 12:00 15:00"
        );
    }

    #[test]
    fn clock_changes_and_odd_spans_are_survived() {
        // 02:00 to 03:00 does not exist on 29 March 2026, and is twice on 25 October.
        let hours = of("2026-03-29T00:00:00Z", "2026-03-29T04:00:00Z", 400.0, "Europe/Berlin");
        assert_eq!(hours, "01:00 03:00 04:00 05:00 06:00");
        let hours = of("2026-10-24T22:00:00Z", "2026-10-25T04:00:00Z", 500.0, "Europe/Berlin");
        assert_eq!(hours, "[Sun 25 Oct] 01:00 02:00 03:00 04:00 05:00");
        for (from, to) in [
            (0, 0),
            (5, -5),
            (i64::MIN, i64::MAX),
            (i64::MAX - 1, i64::MAX),
            (-377_705_023_201_000, 253_402_207_200_999),
            (0, 1),
        ] {
            let n = marks(from, to, 800.0, &TimeZone::UTC).len();
            assert!(n <= 4 * MAX_MARKS, "{from} {to}: {n}");
        }
    }
}
