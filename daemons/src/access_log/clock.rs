//! Where a log has its response times: said by `agent.toml`, or found out by a
//! trial over its first lines.
//!
//! Behind the bytes there may be anything: Apache's `%D` (microseconds), `%T`
//! (seconds), `%I %O` (bytes: `combinedio`), Tomcat's `%D` (milliseconds), nginx's
//! `$request_length $request_time`. A number is taken for a time only if nothing
//! else is likely: with a fraction of three digits or more it is seconds, with a
//! unit behind it is that, and a whole one is microseconds if it could not well be
//! anything else. All other numbers are refused, and the text of `web_log` says so.

use super::line::{Time, columns, number};

/// Fewer lines are no trial for whole numbers.
const LINES_MIN: usize = 10;
/// After as many lines without a decision there is no time.
const LINES_MAX: usize = 200;
/// While a column has been `-` alone, it may still become one; what is known of so
/// many lines is then forgotten.
const LINES_FORGOTTEN: usize = 10 * LINES_MAX;
/// Lines that wait for a decision may take this much, bytes; others get no time.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// The most columns that are looked at.
const COLUMNS_MAX: usize = 32;
/// After as many lines in a row without the number that should be there, the
/// format has changed.
const SURPRISES_MAX: u32 = 100;
/// What a response's head takes, bytes.
const HEAD_BYTES: std::ops::RangeInclusive<u64> = 40..=8_192;
/// No request takes longer, us: what is more is a date.
const TIME_US_MAX: u64 = 1_000_000_000_000;

/// What a response time's number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
}

/// A column behind the bytes, from 0 on, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which one.
    pub column: usize,
    /// Of its number, unless a unit stands behind that (`12ms`).
    pub unit: Unit,
    /// Whether only a number with a fraction is a time there.
    pub fraction: bool,
}

impl Place {
    /// Where any number is a time.
    pub fn new(column: usize, unit: Unit) -> Place {
        Place { column, unit, fraction: false }
    }

    /// The time in what stands behind the bytes, us.
    fn took(&self, rest: &[u8]) -> Option<u64> {
        let column = columns(rest).nth(self.column)?;
        let fits = !self.fraction || column.contains(&b'.');
        if fits { span_us(column, self.unit) } else { None }
    }
}

/// What `agent.toml` says of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing: a trial is made.
    Nothing,
    /// The unit alone.
    Unit(Unit),
    /// Where they are; `None`: there are none.
    Place(Option<Place>),
}

impl Said {
    /// From `time` and `format` of `[probe.access_log]`.
    pub fn read(time: Option<&str>, format: Option<&str>) -> Result<Said, String> {
        let unit = match time.unwrap_or("auto") {
            "auto" => None,
            "us" => Some(Unit::Us),
            "ms" => Some(Unit::Ms),
            "s" => Some(Unit::S),
            "none" => return Ok(Said::Place(None)),
            text => return Err(format!("time = {text:?}: write auto, us, ms, s or none")),
        };
        let Some(format) = format else { return Ok(unit.map_or(Said::Nothing, Said::Unit)) };
        let place = super::format::parse(format)?;
        // Tomcat's %D, for one, is not Apache's.
        Ok(Said::Place(place.map(|p| Place { unit: unit.unwrap_or(p.unit), ..p })))
    }
}

/// What is to be done with a line's time.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took this long, us; `None`: it does not tell.
    Took(Option<u64>),
    /// Nothing yet; the line is kept.
    Waits,
    /// It has been found out: here are the lines that waited, this one the last.
    Found(Vec<Vec<u8>>),
}

/// The times of one log.
#[derive(Debug)]
pub struct Clock {
    said: Said,
    state: State,
    /// What there is to say of the log's times; empty: they are read.
    pub remark: String,
}

#[derive(Debug)]
enum State {
    Trial(Trial),
    Known { place: Option<Place>, n_columns: usize, surprises: u32 },
}

/// What was seen of a log so far.
#[derive(Debug, Default)]
struct Trial {
    n_lines: usize,
    /// How many columns all lines have.
    n_columns: usize,
    columns: Vec<Column>,
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
}

#[derive(Debug, Default)]
struct Column {
    /// Whole numbers.
    whole: Vec<u64>,
    /// Numbers with a fraction of three digits or more that are no date.
    fractions: usize,
    /// Numbers with a unit behind.
    with_unit: usize,
    /// Lines in which it is the bytes and a head's.
    like_sent: usize,
    /// `-`.
    dashes: usize,
}

impl Clock {
    /// Of a log of which nothing is known yet.
    pub fn new(said: Said) -> Clock {
        let state = match said {
            Said::Place(place) => State::Known { place, n_columns: 0, surprises: 0 },
            _ => State::Trial(Trial::default()),
        };
        Clock { said, state, remark: String::new() }
    }

    /// The time of a line that was sent `bytes`.
    pub fn look(&mut self, time: Time<'_>, bytes: u64, line: &[u8]) -> Verdict {
        let rest = match time {
            Time::Named(_) if self.said == Said::Place(None) => return Verdict::Took(None),
            Time::Named(took) => return Verdict::Took(took),
            Time::Behind(rest) => rest,
        };
        match &mut self.state {
            State::Known { place, n_columns, surprises } => {
                let took = place.and_then(|place| place.took(rest));
                let as_before = match place {
                    Some(p) => took.is_some() || columns(rest).nth(p.column) == Some(b"-"),
                    None => columns(rest).take(COLUMNS_MAX).count() == *n_columns,
                };
                *surprises = if as_before { 0 } else { *surprises + 1 };
                if *surprises > SURPRISES_MAX && !matches!(self.said, Said::Place(_)) {
                    self.state = State::Trial(Trial::default());
                }
                Verdict::Took(took)
            }
            State::Trial(trial) => {
                trial.take(rest, bytes, line);
                let Some(decision) = trial.decide(self.said) else { return Verdict::Waits };
                let waiting = std::mem::take(&mut trial.waiting);
                let n_columns = trial.n_columns;
                let place = decision.as_ref().ok().copied().flatten();
                self.remark = decision.err().unwrap_or_default();
                self.state = State::Known { place, n_columns, surprises: 0 };
                Verdict::Found(waiting)
            }
        }
    }

    /// The time of a line that waited for a decision.
    pub fn took(&self, time: Time<'_>) -> Option<u64> {
        match (time, &self.state) {
            (Time::Behind(rest), State::Known { place: Some(place), .. }) => place.took(rest),
            _ => None,
        }
    }
}

/// What is decided: where the times are, `None` if there are none; or why a
/// number is not taken for one.
type Decision = Result<Option<Place>, String>;

impl Trial {
    fn take(&mut self, rest: &[u8], bytes: u64, line: &[u8]) {
        if self.n_lines >= LINES_FORGOTTEN {
            *self = Trial::default();
        }
        let mut n = 0;
        for (i, text) in columns(rest).take(COLUMNS_MAX).enumerate() {
            if self.columns.len() == i {
                self.columns.push(Column::default());
            }
            self.columns[i].take(text, bytes);
            n = i + 1;
        }
        self.n_columns = if self.n_lines == 0 { n } else { self.n_columns.min(n) };
        self.n_lines += 1;
        if self.n_lines > LINES_MAX {
            // Of the others nothing is decided any longer.
            self.waiting.clear();
            self.waiting.push(line.to_vec());
        } else if self.waiting_bytes + line.len() <= WAITING_BYTES_MAX {
            self.waiting_bytes += line.len();
            self.waiting.push(line.to_vec());
        }
    }

    /// `None`: not yet.
    fn decide(&self, said: Said) -> Option<Decision> {
        let all = &self.columns[..self.n_columns];
        let at = |column: Option<usize>, unit| column.map(|column| Place::new(column, unit));
        let everywhere = |n: usize, column: &Column| n > 0 && n + column.dashes == self.n_lines;
        let of = |n: fn(&Column) -> usize| all.iter().position(|c| everywhere(n(c), c));
        // These can be nothing else, and take no trial.
        if let Some(place) = at(of(|c| c.with_unit), Unit::Ms) {
            return Some(Ok(Some(place)));
        }
        let fraction = at(of(|c| c.fractions), Unit::S);
        let fraction = fraction
            .map(|place| Place { fraction: true, ..place })
            .filter(|_| said != Said::Unit(Unit::Ms));
        if let (Some(place), Said::Nothing | Said::Unit(Unit::S)) = (fraction, said) {
            return Some(Ok(Some(place)));
        }
        let whole: Vec<usize> =
            (0..all.len()).filter(|i| everywhere(all[*i].whole.len(), &all[*i])).collect();
        if self.n_lines < LINES_MIN {
            return None;
        }
        let is_over = self.n_lines >= LINES_MAX;
        let is_open = all.iter().any(|column| column.dashes == self.n_lines);
        let no_time = (is_over && !is_open).then_some(Ok(None));
        if whole.is_empty() {
            return no_time;
        }
        // Bytes sent, head included (%O); before them, bytes received (%I).
        let sent = whole.iter().position(|i| 10 * all[*i].like_sent >= 9 * self.n_lines);
        let left: Vec<usize> = match sent {
            Some(at) if at > 0 && whole[at] == whole[at - 1] + 1 => {
                [&whole[..at - 1], &whole[at + 1..]].concat()
            }
            Some(at) => [&whole[..at], &whole[at + 1..]].concat(),
            None => whole,
        };
        match (&left[..], said) {
            ([], _) => no_time,
            ([column, ..], Said::Unit(unit)) => Some(Ok(Some(Place::new(*column, unit)))),
            ([column], _) if all[*column].is_microseconds() => {
                Some(Ok(at(Some(*column), Unit::Us)))
            }
            ([_], _) => is_over.then(|| {
                Err("Behind its lines is a number that may be in microseconds, milliseconds or \
                     seconds, or no time at all: say which by time = \"us\", \"ms\", \"s\" or \
                     \"none\" in [probe.access_log]."
                    .to_owned())
            }),
            _ => is_over.then(|| {
                Err("Behind its lines are several numbers, and nothing tells which of them is \
                     the time: say so by format = \"…\" in [probe.access_log]."
                    .to_owned())
            }),
        }
    }
}

impl Column {
    fn take(&mut self, text: &[u8], bytes: u64) {
        if text == b"-" {
            self.dashes += 1;
            return;
        }
        let (value, unit) = with_unit(text);
        if unit.is_some() && scaled(value, 1).is_some() {
            self.with_unit += 1;
            return;
        }
        match (number(value), value.iter().position(|b| *b == b'.')) {
            (Some(n), _) => {
                self.whole.push(n);
                let head = n.checked_sub(bytes);
                self.like_sent += usize::from(head.is_some_and(|head| HEAD_BYTES.contains(&head)));
            }
            // $gzip_ratio has two digits, and $msec is a date.
            (None, Some(at)) if value.len() - at > 3 => {
                let us = scaled(value, 1_000_000);
                self.fractions += usize::from(us.is_some_and(|us| us < TIME_US_MAX));
            }
            _ => {}
        }
    }

    /// Whether whole numbers are microseconds: none takes 0 of them, and as
    /// milliseconds half of the requests took a second or one took a minute.
    fn is_microseconds(&self) -> bool {
        let mut sorted = self.whole.clone();
        sorted.sort_unstable();
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else { return false };
        *min > 0 && (sorted[sorted.len() / 2] >= 1_000 || *max >= 60_000)
    }
}

/// A number without the unit behind it and the name before it (`rt=0.004`).
fn with_unit(text: &[u8]) -> (&[u8], Option<Unit>) {
    let text = text.iter().rposition(|b| *b == b'=').map_or(text, |at| &text[at + 1..]);
    for (suffix, unit) in [(&b"ms"[..], Unit::Ms), (b"us", Unit::Us), (b"s", Unit::S)] {
        if let Some(value) = text.strip_suffix(suffix) {
            return (value, Some(unit));
        }
    }
    (text, None)
}

/// Microseconds.
fn span_us(text: &[u8], unit: Unit) -> Option<u64> {
    let (value, own) = with_unit(text);
    scaled(
        value,
        match own.unwrap_or(unit) {
            Unit::Us => 1,
            Unit::Ms => 1_000,
            Unit::S => 1_000_000,
        },
    )
}

/// A decimal times a factor, cut to a whole number.
fn scaled(value: &[u8], factor: u64) -> Option<u64> {
    let (whole, fraction) = match value.iter().position(|b| *b == b'.') {
        None => (value, &b""[..]),
        Some(at) => (&value[..at], &value[at + 1..]),
    };
    let whole = number(whole)?.checked_mul(factor)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    number(fraction)?;
    let digits = &fraction[..fraction.len().min(6)];
    whole.checked_add(number(digits)? * factor / 10u64.pow(digits.len() as u32))
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
