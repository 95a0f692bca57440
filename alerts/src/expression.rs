//! What a rule judges instead of a field's own value: an expression over the fields
//! of a service, such as `hits / (hits + misses)`.
//!
//! Fields by their names (in single quotes where a name is more than letters, digits
//! and `_`), counters per second and after their cdef, as everywhere; numbers; `+ - * /`
//! and brackets; and
//!
//! | | |
//! |---|---|
//! | `abs(x)`, `min(x, y, …)`, `max(x, y, …)` | |
//! | `change(x, 1h)` | by how much `x` is more than an hour ago |
//! | `forecast(x, 4d)` | what `x` will be in four days, if it goes on as of late |
//! | `peers(x)` | how far `x` is from its like on the group's nodes, in usual deviations |
//! | `past(x)` | how far it is from the same hour of former weeks, in usual deviations |
//!
//! What cannot be computed says nothing, and leaves the state as it is: a division by
//! zero (no requests, no ratio), a change or a forecast before there is enough to go
//! by. Where a field is unknown the expression is.
//!
//! A forecast is the value now and the slope of a straight line through the past (least
//! squares, what is older weighs less: half as much after an eighth of the time that is
//! looked ahead, so that a disk that was cleaned up is soon seen as such).

use crate::memory::{Ask, Kind, Memory};
use rookery_plugins::TimeMs;
use rookery_plugins::config::parse_span_ms;

/// The longest expression, bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1000;
/// The most words of one that are on the way at a time.
const DEPTH_MAX: usize = 32;

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    ops: Vec<Op>,
    fields: Vec<String>,
    memories: Vec<Kind>,
}

/// In order: operands first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Number(f64),
    Field(usize),
    Add,
    Subtract,
    Multiply,
    Divide,
    Negate,
    Abs,
    Min,
    Max,
    /// Through the memory of this number.
    Memory(usize),
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A field is unknown.
    Unknown,
    /// Nothing can be said.
    Nothing,
}

impl Expression {
    /// Reads one; the error names the place and what was expected.
    pub fn compile(text: &str) -> Result<Expression, String> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("value: at most {EXPRESSION_BYTES_MAX} bytes"));
        }
        let mut reader = Reader { text, at: 0, depth: 0, out: Expression::empty(text) };
        reader.sum()?;
        match reader.peek() {
            None => {}
            Some(c) => return Err(reader.wrong(&format!("{c:?} is not expected"))),
        }
        match reader.out.fields.is_empty() {
            true => Err(format!("value {text:?}: it names no field")),
            false => Ok(reader.out),
        }
    }

    fn empty(text: &str) -> Expression {
        let text = text.to_owned();
        Expression { text, ops: Vec::new(), fields: Vec::new(), memories: Vec::new() }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fields that it names, each once; [`Expression::eval`] asks by their order.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// An empty memory for it.
    pub fn memory(&self) -> Vec<Memory> {
        self.memories.iter().map(Memory::new).collect()
    }

    /// Whether a memory that was kept is one for it.
    pub fn fits(&self, memory: &[Memory]) -> bool {
        let same = |(k, m): (&Kind, &Memory)| {
            std::mem::discriminant(&Memory::new(k)) == std::mem::discriminant(m)
        };
        self.memories.len() == memory.len() && self.memories.iter().zip(memory).all(same)
    }

    /// What its functions ask of a stored past; `None`: nothing, or there are none.
    /// `is_linear`: the mean of each field's samples tells as much as the samples do.
    pub(crate) fn asks(&self, is_linear: bool) -> Option<Ask> {
        let mut all = self.memories.iter().filter_map(|kind| kind.asks());
        let first = all.next()?;
        let mut ask = all.fold(first, |a, b| Ask {
            span_ms: a.span_ms.max(b.span_ms),
            step_ms: 0,
            first: false,
            coarsest_ms: a.coarsest_ms.min(b.coarsest_ms),
        });
        // A ratio's mean is not the ratio of the means.
        let is_bare = matches!(self.ops[..], [Op::Field(_), Op::Memory(_), ..]);
        if self.memories.contains(&Kind::Past) && !(is_bare && is_linear) {
            ask.step_ms = 0;
        }
        Some(ask)
    }

    /// Its value at a time. `field` gives the value of a field by its number.
    pub fn eval(
        &self,
        time_ms: TimeMs,
        field: impl Fn(usize) -> Option<f64>,
        memory: &mut [Memory],
    ) -> Result<f64, Missing> {
        self.eval_many(time_ms, 1, field, memory)
    }

    /// As [`Self::eval`], where each field's value stands for so many samples.
    pub(crate) fn eval_many(
        &self,
        time_ms: TimeMs,
        weight: u64,
        field: impl Fn(usize) -> Option<f64>,
        memory: &mut [Memory],
    ) -> Result<f64, Missing> {
        let mut stack = [0.0f64; DEPTH_MAX];
        let mut n = 0;
        // A division by zero must not keep a memory from what it is to see.
        let mut nothing = false;
        for op in &self.ops {
            let (a, b) = match n {
                0 => (0.0, 0.0),
                1 => (0.0, stack[0]),
                _ => (stack[n - 2], stack[n - 1]),
            };
            let (used, value) = match *op {
                Op::Number(v) => (0, v),
                Op::Field(i) => (0, field(i).ok_or(Missing::Unknown)?),
                Op::Add => (2, a + b),
                Op::Subtract => (2, a - b),
                Op::Multiply => (2, a * b),
                Op::Divide => (2, if b == 0.0 { f64::NAN } else { a / b }),
                Op::Min => (2, if a.is_nan() { a } else { b.min(a) }),
                Op::Max => (2, if a.is_nan() { a } else { b.max(a) }),
                Op::Negate => (1, -b),
                Op::Abs => (1, b.abs()),
                Op::Memory(i) => {
                    let kind = self.memories.get(i).copied();
                    let seen = memory.get_mut(i).zip(kind).filter(|_| b.is_finite());
                    (1, seen.and_then(|(m, k)| m.see(k, time_ms, b, weight)).unwrap_or(f64::NAN))
                }
            };
            nothing |= !value.is_finite();
            n -= used;
            stack[n] = value;
            n += 1;
        }
        if nothing { Err(Missing::Nothing) } else { Ok(stack[0]) }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    out: Expression,
}

impl Reader<'_> {
    fn wrong(&self, why: &str) -> String {
        format!("value {:?}: {why} at {:?}", self.text, &self.text[self.at..])
    }

    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, c: char) -> bool {
        let is = self.peek() == Some(c);
        self.at += if is { c.len_utf8() } else { 0 };
        is
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.take(c) { Ok(()) } else { Err(self.wrong(&format!("{c:?} is expected"))) }
    }

    fn sum(&mut self) -> Result<(), String> {
        self.product()?;
        loop {
            let op = if self.take('+') {
                Op::Add
            } else if self.take('-') {
                Op::Subtract
            } else {
                return Ok(());
            };
            self.product()?;
            self.out.ops.push(op);
        }
    }

    fn product(&mut self) -> Result<(), String> {
        self.factor()?;
        loop {
            let op = if self.take('*') {
                Op::Multiply
            } else if self.take('/') {
                Op::Divide
            } else {
                return Ok(());
            };
            self.factor()?;
            self.out.ops.push(op);
        }
    }

    fn factor(&mut self) -> Result<(), String> {
        self.depth += 1;
        // Each level keeps at most two values waiting.
        if self.depth * 2 > DEPTH_MAX {
            return Err(self.wrong("too many brackets in each other"));
        }
        match self.peek() {
            Some('(') => {
                self.at += 1;
                self.sum()?;
                self.expect(')')?;
            }
            Some('-') => {
                self.at += 1;
                self.factor()?;
                self.out.ops.push(Op::Negate);
            }
            Some('\'') => {
                let rest = &self.text[self.at + 1..];
                let end = rest.find('\'').ok_or_else(|| self.wrong("a quote is not closed"))?;
                let name = rest[..end].to_owned();
                self.at += end + 2;
                self.field(&name);
            }
            Some(c) if c.is_ascii_digit() || c == '.' => {
                let word = self.word(|c| c.is_ascii_alphanumeric() || c == '.');
                let v: f64 = word.parse().map_err(|_| {
                    self.at -= word.len();
                    self.wrong("a number is expected")
                })?;
                self.out.ops.push(Op::Number(v));
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let word = self.word(|c| c.is_ascii_alphanumeric() || c == '_');
                if self.take('(') {
                    self.function(&word)?;
                } else {
                    self.field(&word);
                }
            }
            _ => return Err(self.wrong("a field, a number or a bracket is expected")),
        }
        self.depth -= 1;
        Ok(())
    }

    fn word(&mut self, is: impl Fn(char) -> bool) -> String {
        let rest = &self.text[self.at..];
        let word: String = rest.chars().take_while(|c| is(*c)).collect();
        self.at += word.len();
        word
    }

    fn field(&mut self, name: &str) {
        let fields = &mut self.out.fields;
        let at = fields.iter().position(|f| f == name).unwrap_or_else(|| {
            fields.push(name.to_owned());
            fields.len() - 1
        });
        self.out.ops.push(Op::Field(at));
    }

    fn remember(&mut self, kind: Kind) {
        self.out.memories.push(kind);
        self.out.ops.push(Op::Memory(self.out.memories.len() - 1));
    }

    fn function(&mut self, name: &str) -> Result<(), String> {
        self.sum()?;
        match name {
            "abs" => self.out.ops.push(Op::Abs),
            "min" | "max" => {
                let op = if name == "min" { Op::Min } else { Op::Max };
                self.expect(',')?;
                self.sum()?;
                self.out.ops.push(op);
                while self.take(',') {
                    self.sum()?;
                    self.out.ops.push(op);
                }
            }
            "change" | "forecast" => {
                self.expect(',')?;
                self.peek();
                let word = self.word(|c| c.is_ascii_alphanumeric());
                let span = parse_span_ms(&word).ok().and_then(|ms| i64::try_from(ms).ok());
                let span = span.filter(|ms| *ms >= 1000).ok_or_else(|| {
                    self.at -= word.len();
                    self.wrong("a span of time is expected, 1h,")
                })?;
                self.remember(match name {
                    "change" => Kind::Change(span),
                    _ => Kind::Forecast(span),
                });
            }
            "peers" => self.remember(Kind::Peers),
            "past" => self.remember(Kind::Past),
            _ => {
                return Err(format!(
                    "value {:?}: there is no {name}(): abs, min, max, change, forecast, \
                     peers, past",
                    self.text
                ));
            }
        }
        self.expect(')')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000;
    const DAY: i64 = 86_400_000;

    fn of(text: &str, values: &[(&str, Option<f64>)]) -> Result<f64, Missing> {
        let e = Expression::compile(text).expect(text);
        let value = |i: usize| {
            let name = &e.fields()[i];
            values.iter().find(|(n, _)| n == name).and_then(|(_, v)| *v)
        };
        e.eval(0, value, &mut e.memory())
    }

    #[test]
    fn it_computes_as_it_is_written() {
        let all = [("a", Some(6.0)), ("b", Some(3.0)), ("c-d e", Some(0.5)), ("u", None)];
        for (text, want) in [
            ("a", Ok(6.0)),
            ("a - b - 1", Ok(2.0)),
            ("a / b / 2", Ok(1.0)),
            ("1 + a * b", Ok(19.0)),
            ("(1 + a) * -b", Ok(-21.0)),
            ("a / (a + b) * 300", Ok(200.0)),
            ("min(a, b, 1) + max(a,b) + abs(-a)", Ok(13.0)),
            ("'c-d e' * 1e3", Ok(500.0)),
            ("--a", Ok(6.0)),
            ("a / (b - 3)", Err(Missing::Nothing)),
            ("min(a / (b - 3), 1)", Err(Missing::Nothing)),
            ("a + u", Err(Missing::Unknown)),
            ("nobody", Err(Missing::Unknown)),
        ] {
            assert_eq!(of(text, &all), want, "{text}");
        }
    }

    #[test]
    fn slips_are_refused_at_their_place() {
        for (text, want) in [
            ("", "a field, a number or a bracket is expected at \"\""),
            ("a b", "'b' is not expected at \"b\""),
            ("a +", "is expected at \"\""),
            ("(a", "')' is expected at \"\""),
            ("a)", "')' is not expected"),
            ("1 + 2", "it names no field"),
            ("1.2.3 * a", "a number is expected at \"1.2.3 * a\""),
            ("sqrt(a)", "there is no sqrt()"),
            ("change(a)", "',' is expected"),
            ("change(a, 1ms)", "a span of time is expected, 1h, at \"1ms)\""),
            ("change(a, soon)", "a span of time is expected, 1h, at \"soon)\""),
            ("a % b", "'%' is not expected"),
            ("'a", "a quote is not closed"),
            (&format!("{}a{}", "(".repeat(40), ")".repeat(40)), "too many brackets"),
        ] {
            let e = Expression::compile(text).expect_err(text);
            assert!(e.contains(want), "{text}: {e}");
        }
    }

    #[test]
    fn a_change_is_known_when_there_is_a_past() {
        let e = Expression::compile("change(a, 10m)").expect("reads");
        let mut memory = e.memory();
        for minute in 0..60i64 {
            let found = e.eval(minute * MINUTE, |_| Some(minute as f64 * 2.0), &mut memory);
            let want = if minute < 10 { Err(Missing::Nothing) } else { Ok(20.0) };
            assert_eq!(found, want, "{minute}");
        }
    }

    #[test]
    fn a_forecast_goes_on_as_of_late() {
        let e = Expression::compile("forecast(used, 4d)").expect("reads");
        let mut memory = e.memory();
        let mut found = Err(Missing::Nothing);
        // A week without change, then 1 an hour, with noise, for a day.
        for i in 0..(7 * 24 * 6) {
            found = e.eval(i * 10 * MINUTE, |_| Some(100.0), &mut memory);
        }
        assert_eq!(found, Ok(100.0));
        let week = 7 * DAY;
        for i in 0..(24 * 6) {
            let noise = if i % 2 == 0 { 0.5 } else { -0.5 };
            let value = 100.0 + i as f64 / 6.0 + noise;
            found = e.eval(week + i * 10 * MINUTE, |_| Some(value), &mut memory);
        }
        let v = found.expect("known");
        assert!((150.0..220.0).contains(&v), "half of the way to 220 is believed: {v}");
        for i in 0..(4 * 24 * 6) {
            let value = 124.0 + i as f64 / 6.0;
            found = e.eval(week + DAY + i * 10 * MINUTE, |_| Some(value), &mut memory);
        }
        let v = found.expect("known");
        assert!((v - (124.0 + 96.0 + 96.0)).abs() < 10.0, "{v}");
        let json = serde_json::to_string(&memory).expect("writes");
        let kept: Vec<Memory> = serde_json::from_str(&json).expect("reads");
        assert!(e.fits(&kept) && kept == memory);
    }

    #[test]
    fn a_line_is_found_exactly() {
        let e = Expression::compile("forecast(x, 1h)").expect("reads");
        let mut memory = e.memory();
        // Whatever the pace of its points.
        for i in [0i64, 10, 20, 25, 60, 200, 300, 301, 900] {
            let found = e.eval(i * 1000, |_| Some(5.0 + 2.0 * i as f64), &mut memory);
            match i {
                0..180 => assert_eq!(found, Err(Missing::Nothing)),
                _ => {
                    let want = 5.0 + 2.0 * (i + 3600) as f64;
                    assert!((found.expect("known") - want).abs() < 1e-6, "{found:?} {want}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-c0-9 .,'+*/()-]{0,60}|(min|change|a|\\(|,|1h|-){0,20}",
            v in any::<f64>(), t in any::<i64>()) {
            if let Ok(e) = Expression::compile(&text) {
                let mut memory = e.memory();
                let _ = e.eval(0, |_| Some(v), &mut memory);
                let _ = e.eval(t, |_| Some(v), &mut memory);
            }
        }
    }
}
