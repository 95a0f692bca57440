//! Summaries as bytes: whole numbers where the column is coded so.

use super::bytes::{Cursor, Flaw, put_signed, put_varint};
use super::column::{AUTO, Coded, Kinds};
use super::decimal::Form;
use super::summary::{Pair, Run, Summary, per_second};
use rookery_plugins::{Kind, TimeMs, Value};
use std::ops::Range;

const CONSTANT: u8 = 1;
const MONOTONE: u8 = 2;
const OTHER: u8 = 3;
/// Count, unknown, first and last row follow; else all rows are known.
const GAPS: u8 = 4;
/// Values follow as kind and bits; else as whole numbers.
const RAW: u8 = 8;
const RATES: u8 = 16;
/// The sum follows as a double; else as a whole number.
const SUM_DOUBLE: u8 = 32;
/// A correction follows each whole number.
const CORRECTED: u8 = 64;
/// The whole numbers but the first were shifted right by so many bits.
const SHIFTED: u8 = 128;
/// Fewer bits than that are not worth the byte that says so.
const SHIFT_MIN: u32 = 6;

/// What all summaries of a block share.
pub struct Clock<'a> {
    /// Time of each row.
    pub times_ms: &'a [TimeMs],
    /// Seconds from each row to the next.
    seconds: Vec<f64>,
    /// From the first row to the second, ms.
    step_ms: u64,
}

impl<'a> Clock<'a> {
    /// For rows at these times, ascending.
    pub fn new(times_ms: &'a [TimeMs]) -> Clock<'a> {
        let dt = |w: &[TimeMs]| w[1].wrapping_sub(w[0]) as u64;
        Clock {
            times_ms,
            seconds: times_ms.windows(2).map(|w| dt(w) as f64 / 1000.0).collect(),
            step_ms: step_of(times_ms),
        }
    }
}

/// From the first row to the second, ms; 0 without a second.
pub fn step_of(times_ms: &[TimeMs]) -> u64 {
    times_ms.get(1).map_or(0, |t| t.wrapping_sub(times_ms[0]) as u64)
}

/// A value as a whole number and what must be added to the bits it stands for.
#[derive(Clone, Copy, Default)]
struct Scaled {
    m: i64,
    e: i64,
}

/// The whole numbers of a summary.
#[derive(Clone, Copy, Default)]
struct Whole {
    first: Scaled,
    last: Scaled,
    min: Scaled,
    max: Scaled,
    /// Sum of what each exceeds `min` by; `None`: a double instead.
    sum: Option<u64>,
    /// Time between less the block's first step, value before, value after.
    pairs: Option<[(u64, Scaled, Scaled); 2]>,
}

impl Whole {
    fn each(&self) -> impl Iterator<Item = Scaled> {
        let pairs = self.pairs.into_iter().flatten().flat_map(|(_, a, b)| [a, b]);
        [self.first, self.last, self.min, self.max].into_iter().chain(pairs)
    }
}

/// Writes a column's summaries, one for each of these runs of rows.
pub fn write(
    clock: &Clock<'_>,
    runs: impl Iterator<Item = Range<usize>>,
    (kinds, bits): (Kinds<'_>, &[u64]),
    coded: &Coded,
    whole: &[i64],
    out: &mut Vec<u8>,
) {
    let mut before = 0;
    // Beyond 2^53 integers among doubles must be subtracted as integers.
    let is_big = |m: &i64| m.unsigned_abs() >= 1 << 53;
    let is_fast = coded.is_plain
        && coded.known != 0
        && coded.form != Form::Bits
        && !(coded.known == AUTO && whole.iter().any(is_big));
    for rows in runs {
        if !is_fast {
            let run = Run::of(clock.times_ms, kinds, bits, rows);
            write_slow(&run, clock.step_ms, coded, &mut before, out);
            continue;
        }
        // Fast path: from the whole numbers alone.
        let m = if coded.is_constant { &whole[..1] } else { &whole[rows.clone()] };
        let is_constant = m.iter().all(|v| *v == m[0]);
        let is_monotone = m.windows(2).all(|w| w[0] <= w[1]);
        let shape = match (is_constant, is_monotone) {
            (true, _) => CONSTANT,
            (_, true) => MONOTONE,
            _ => OTHER,
        };
        let of = |m| Scaled { m, e: 0 };
        let mut w = Whole { first: of(m[0]), last: of(m[m.len() - 1]), ..Whole::default() };
        (w.min, w.max) = (w.first, w.last);
        if shape != CONSTANT {
            w.min = of(m.iter().copied().min().unwrap_or(0));
            w.max = of(m.iter().copied().max().unwrap_or(0));
            w.sum = sum_above(m, w.min.m, w.max.m);
        }
        if shape == MONOTONE {
            w.pairs = extreme_pairs(clock, coded, m, rows.clone());
        }
        let has_rates = w.pairs.is_some() || shape == CONSTANT && rows.len() > 1;
        let sum = || Run::of(clock.times_ms, kinds, bits, rows.clone()).summary.sum;
        let sum_double = if shape == CONSTANT || w.sum.is_some() { None } else { Some(sum()) };
        let flags = shape | if has_rates { RATES } else { 0 };
        Writer { flags, gaps: None, sum_double, coded }.whole(&w, &mut before, out);
    }
}

/// The sum of what each exceeds `min` by, if it has less than 62 bits.
fn sum_above(m: &[i64], min: i64, max: i64) -> Option<u64> {
    let over = |v: &i64| v.wrapping_sub(min) as u64;
    const LIMIT: u64 = 1 << 62;
    // Fast path: no sum of the run can overflow.
    if over(&max) < LIMIT / m.len() as u64 {
        return Some(m.iter().map(over).sum());
    }
    let sum = m.iter().try_fold(0u64, |sum, v| sum.checked_add(over(v)));
    sum.filter(|sum| *sum < LIMIT)
}

/// The pairs with the least and the greatest rate, in a column that is known
/// throughout and never falls.
fn extreme_pairs(
    clock: &Clock<'_>,
    coded: &Coded,
    m: &[i64],
    rows: Range<usize>,
) -> Option<[(u64, Scaled, Scaled); 2]> {
    let seconds = &clock.seconds[rows.start..rows.end - 1];
    let whole = coded.known == Kind::Int as u8;
    let (mut lo, mut hi) = ((f64::INFINITY, 0), (f64::NEG_INFINITY, 0));
    let mut v0 = coded.form.double(m[0]);
    for (i, s) in seconds.iter().enumerate() {
        let rate = if whole {
            m[i + 1].wrapping_sub(m[i]) as u64 as f64 / s
        } else {
            let v1 = coded.form.double(m[i + 1]);
            let grown = v1 - v0;
            v0 = v1;
            grown / s
        };
        if rate < lo.0 {
            lo = (rate, i);
        }
        if rate > hi.0 {
            hi = (rate, i);
        }
    }
    let t = &clock.times_ms[rows];
    let of = |i: usize| Scaled { m: m[i], e: 0 };
    let dt = |i: usize| t[i + 1].wrapping_sub(t[i]) as u64;
    Some([lo.1, hi.1].map(|i| (dt(i).wrapping_sub(clock.step_ms), of(i), of(i + 1))))
}

/// Writes one summary.
struct Writer<'a> {
    flags: u8,
    /// Count, unknown, rows before the first, rows after the last.
    gaps: Option<[usize; 4]>,
    sum_double: Option<f64>,
    coded: &'a Coded,
}

impl Writer<'_> {
    fn flags(&self, more: u8, out: &mut Vec<u8>) {
        let gaps = if self.gaps.is_some() { GAPS } else { 0 };
        out.push(self.flags | gaps | more);
        for n in self.gaps.into_iter().flatten() {
            put_varint(out, n as u64);
        }
    }

    fn whole(&self, w: &Whole, before: &mut i64, out: &mut Vec<u8>) {
        let shape = self.flags & 3;
        let corrected = w.each().any(|s| s.e != 0);
        let all =
            w.each().fold(w.sum.unwrap_or(0), |all, s| all | s.m.wrapping_sub(w.first.m) as u64);
        let shift = if shape == CONSTANT { 0 } else { all.trailing_zeros() % 64 };
        let shift = if shift >= SHIFT_MIN { shift } else { 0 };
        let more =
            [(self.sum_double.is_some(), SUM_DOUBLE), (corrected, CORRECTED), (shift > 0, SHIFTED)];
        self.flags(more.iter().filter(|f| f.0).map(|f| f.1).sum(), out);
        let times = u8::from(matches!(self.coded.form, Form::Times(_)));
        out.push(self.coded.known | times << 3 | self.coded.form.decimals() << 4);
        if shift > 0 {
            out.push(shift as u8);
        }
        let correction = |out: &mut Vec<u8>, s: Scaled| {
            if corrected {
                put_signed(out, s.e);
            }
        };
        let above = |out: &mut Vec<u8>, s: Scaled, base: Scaled| {
            put_varint(out, s.m.wrapping_sub(base.m) as u64 >> shift);
        };
        put_signed(out, w.first.m.wrapping_sub(*before));
        correction(out, w.first);
        *before = w.last.m;
        if shape == CONSTANT {
            return;
        }
        if shape == MONOTONE {
            above(out, w.last, w.first);
            correction(out, w.last);
        } else {
            put_signed(out, w.last.m.wrapping_sub(w.first.m) >> shift);
            correction(out, w.last);
            above(out, w.first, w.min);
            correction(out, w.min);
            above(out, w.max, w.first);
            correction(out, w.max);
        }
        match self.sum_double {
            Some(sum) => out.extend(sum.to_bits().to_le_bytes()),
            None => put_varint(out, w.sum.unwrap_or(0) >> shift),
        }
        for (dt, v0, v1) in w.pairs.into_iter().flatten() {
            put_signed(out, dt as i64);
            if self.coded.known != Kind::Int as u8 {
                above(out, v0, w.first);
                correction(out, v0);
            }
            above(out, v1, v0);
            if self.coded.known != Kind::Int as u8 {
                correction(out, v1);
            }
        }
    }

    fn raw(&self, run: &Run, step_ms: u64, out: &mut Vec<u8>) {
        self.flags(RAW, out);
        let value = |out: &mut Vec<u8>, v: Value| {
            out.push(v.kind() as u8);
            out.extend(v.bits().to_le_bytes());
        };
        let s = &run.summary;
        value(out, s.first.map_or(Value::Unknown, |f| f.1));
        if !run.is_constant {
            value(out, s.last.map_or(Value::Unknown, |l| l.1));
            value(out, run.min);
            value(out, run.max);
        }
        out.extend(s.sum.to_bits().to_le_bytes());
        if run.is_constant {
            return;
        }
        for pair in run.pairs.iter().flatten() {
            put_signed(out, pair.dt_ms.wrapping_sub(step_ms) as i64);
            value(out, pair.v0);
            value(out, pair.v1);
        }
    }
}

/// A column with gaps, corrections or mixed kinds.
fn write_slow(run: &Run, step_ms: u64, coded: &Coded, before: &mut i64, out: &mut Vec<u8>) {
    let s = &run.summary;
    let (Some(first), Some(last)) = (s.first, s.last) else {
        out.push(GAPS);
        put_varint(out, 0);
        put_varint(out, s.unknown as u64);
        return;
    };
    let n = s.rows.len();
    let gaps = [s.count, s.unknown, first.0 - s.rows.start, s.rows.end - 1 - last.0];
    let gaps = (gaps != [n, 0, 0, 0]).then_some(gaps);
    // 0.0 and -0.0 are equal, but not the same.
    let last_is_max = last.1.as_f64().map(f64::to_bits) == Some(s.max.to_bits());
    let shape = match (run.is_constant, run.is_monotone && last_is_max) {
        (true, _) => CONSTANT,
        (_, true) => MONOTONE,
        _ => OTHER,
    };
    let flags = shape | if s.rates.is_some() { RATES } else { 0 };
    let sum_double = (shape != CONSTANT).then_some(s.sum);
    let writer = Writer { flags, gaps, sum_double, coded };
    match whole_of(run, step_ms, coded) {
        Some(w) => writer.whole(&w, before, out),
        None => writer.raw(run, step_ms, out),
    }
}

/// The whole numbers that stand for exactly these values, if there are.
fn whole_of(run: &Run, step_ms: u64, coded: &Coded) -> Option<Whole> {
    if coded.known < Kind::Int as u8 || coded.form == Form::Bits {
        return None;
    }
    let of = |v: Value| {
        let (kind, bits) = (v.kind() as u8, v.bits());
        let m = coded.form.nearest(kind, bits)?;
        let e = bits.wrapping_sub(coded.form.bits(m, kind)) as i64;
        let s = Scaled { m, e };
        (value_of(coded.form, coded.known, s) == v).then_some(s)
    };
    let pairs = match run.pairs {
        None => None,
        Some([a, b]) => {
            let whole = |p: Pair| Some((p.dt_ms.wrapping_sub(step_ms), of(p.v0)?, of(p.v1)?));
            Some([whole(a)?, whole(b)?])
        }
    };
    Some(Whole {
        first: of(run.summary.first?.1)?,
        last: of(run.summary.last?.1)?,
        min: of(run.min)?,
        max: of(run.max)?,
        sum: None,
        pairs,
    })
}

fn value_of(form: Form, known: u8, s: Scaled) -> Value {
    if let Some(double) = plain_double(form, known, s) {
        // No fraction is lost in a division of less than 2^53, so it is seen here.
        let whole = double as i64;
        return match known {
            AUTO if whole as f64 == double => Value::Int(whole),
            k if k == Kind::Int as u8 => Value::Int(whole),
            _ => Value::Float(double),
        };
    }
    let kind = match known {
        AUTO if s.e == 0 && form.is_whole(s.m) => Kind::Int,
        k if k == Kind::Int as u8 => Kind::Int,
        _ => Kind::Float,
    };
    let bits = form.bits(s.m, kind as u8).wrapping_add(s.e as u64);
    Value::from_bits(kind, bits).unwrap_or(Value::Unknown)
}

/// As [`value_of`], as a double; `None`: it has none.
fn double_of(form: Form, known: u8, s: Scaled) -> Option<f64> {
    plain_double(form, known, s).or_else(|| value_of(form, known, s).as_f64())
}

/// Fast path of nearly all: what these stand for by one division.
fn plain_double(form: Form, known: u8, s: Scaled) -> Option<f64> {
    let is_integer = known == Kind::Int as u8;
    let is_plain = matches!(form, Form::Divided(d) if d == 0 || !is_integer);
    let is_exact = s.m.unsigned_abs() < 1 << 53;
    (is_plain && is_exact && s.e == 0).then(|| form.double(s.m))
}

/// Reads a column's summaries, one for each of these runs of rows, of a block
/// with this [`step_of`]; `out` is not touched where it is `None`.
pub fn read(
    cursor: &mut Cursor<'_>,
    runs: impl Iterator<Item = Range<usize>>,
    step_ms: u64,
    mut out: Option<&mut Vec<Summary>>,
) -> Result<(), Flaw> {
    let mut before = 0;
    for rows in runs {
        let summary = read_one(cursor, rows, step_ms, &mut before)?;
        if let Some(out) = &mut out {
            out.push(summary);
        }
    }
    Ok(())
}

fn read_one(
    cursor: &mut Cursor<'_>,
    rows: Range<usize>,
    step_ms: u64,
    before: &mut i64,
) -> Result<Summary, Flaw> {
    let flags = cursor.byte()?;
    let mut s = Run::empty(rows.clone()).summary;
    s.count = rows.len();
    let (mut first, mut last) = (rows.start, rows.end - 1);
    if flags & GAPS != 0 {
        s.count = cursor.size(rows.len())?;
        s.unknown = cursor.size(rows.len())?;
        if flags & 3 != 0 {
            first += cursor.size(rows.len() - 1)?;
            last -= cursor.size(rows.len() - 1)?;
        }
    }
    if (flags & 3 == 0) != (s.count == 0) || first > last {
        return Err("a summary that contradicts itself");
    }
    if s.count == 0 {
        return Ok(s);
    }
    let body = if flags & RAW != 0 {
        read_raw(cursor, flags, step_ms)?
    } else {
        read_whole(cursor, flags, step_ms, s.count, before)?
    };
    s.first = Some((first, body.first));
    s.last = Some((last, body.last));
    s.min = body.min.ok_or("a least value that is no number")?;
    s.max = body.max.ok_or("a greatest value that is no number")?;
    s.sum = body.sum;
    s.rates = match body.pairs {
        _ if flags & RATES == 0 => None,
        None => Some((0.0, 0.0)),
        Some(pairs) => {
            let [lo, hi] = pairs.map(|p| per_second(p.dt_ms, p.v0, p.v1));
            Some(lo.zip(hi).ok_or("a rate that is no number")?)
        }
    };
    Ok(s)
}

/// The values of a stored summary.
struct Body {
    first: Value,
    last: Value,
    /// `None`: no number.
    min: Option<f64>,
    max: Option<f64>,
    sum: f64,
    pairs: Option<[Pair; 2]>,
}

fn read_whole(
    cursor: &mut Cursor<'_>,
    flags: u8,
    step_ms: u64,
    count: usize,
    before: &mut i64,
) -> Result<Body, Flaw> {
    let code = cursor.byte()?;
    let (known, d) = (code & 7, code >> 4);
    if !(Kind::Int as u8..=AUTO).contains(&known) || known == Kind::Uint as u8 {
        return Err("an unknown kind");
    }
    let form = if code & 8 != 0 { Form::Times(d) } else { Form::Divided(d) };
    let shift = if flags & SHIFTED != 0 { cursor.byte()? } else { 0 };
    if shift > 63 {
        return Err("a shift of more than 63 bits");
    }
    let shape = flags & 3;
    let corrected = flags & CORRECTED != 0;
    let scaled = |cursor: &mut Cursor<'_>, base: i64, over: u64| {
        let e = if corrected { cursor.signed()? } else { 0 };
        Ok::<_, Flaw>(Scaled { m: base.wrapping_add(over as i64), e })
    };
    let above = |cursor: &mut Cursor<'_>| Ok::<_, Flaw>(cursor.varint()? << shift);
    let over = cursor.signed()? as u64;
    let first = scaled(cursor, *before, over)?;
    let mut w = Whole { first, last: first, min: first, max: first, ..Whole::default() };
    if shape == MONOTONE {
        let over = above(cursor)?;
        w.last = scaled(cursor, first.m, over)?;
        w.max = w.last;
    } else if shape == OTHER {
        let over = (cursor.signed()? as u64) << shift;
        w.last = scaled(cursor, first.m, over)?;
        let under = above(cursor)?;
        w.min = scaled(cursor, first.m, under.wrapping_neg())?;
        let over = above(cursor)?;
        w.max = scaled(cursor, first.m, over)?;
    }
    *before = w.last.m;
    let of = |s| value_of(form, known, s);
    let sum = if flags & SUM_DOUBLE != 0 {
        f64::from_bits(cursor.u64()?)
    } else {
        let over = if shape == CONSTANT { 0 } else { above(cursor)? };
        if corrected {
            of(first).as_f64().unwrap_or(0.0) * count as f64
        } else {
            form.double_of_sum(w.min.m, count, over)
        }
    };
    let mut pairs = None;
    if flags & RATES != 0 && shape != CONSTANT {
        let mut pair = || {
            let dt_ms = step_ms.wrapping_add(cursor.signed()? as u64);
            if known == Kind::Int as u8 {
                let v1 = Value::from(above(cursor)?);
                return Ok::<_, Flaw>(Pair { dt_ms, v0: Value::Int(0), v1 });
            }
            let over = above(cursor)?;
            let v0 = scaled(cursor, first.m, over)?;
            let over = above(cursor)?;
            let v1 = scaled(cursor, v0.m, over)?;
            Ok(Pair { dt_ms, v0: of(v0), v1: of(v1) })
        };
        pairs = Some([pair()?, pair()?]);
    }
    let double = |s| double_of(form, known, s);
    Ok(Body {
        first: of(w.first),
        last: of(w.last),
        min: double(w.min),
        max: double(w.max),
        sum,
        pairs,
    })
}

fn read_raw(cursor: &mut Cursor<'_>, flags: u8, step_ms: u64) -> Result<Body, Flaw> {
    let value = |cursor: &mut Cursor<'_>| {
        let kind = Kind::from_u8(cursor.byte()?);
        let bits = cursor.u64()?;
        kind.and_then(|k| Value::from_bits(k, bits)).ok_or("an unknown kind")
    };
    let first = value(cursor)?;
    let is_constant = flags & 3 == CONSTANT;
    let (mut last, mut min, mut max) = (first, first, first);
    if !is_constant {
        (last, min, max) = (value(cursor)?, value(cursor)?, value(cursor)?);
    }
    let sum = f64::from_bits(cursor.u64()?);
    let mut pairs = None;
    if flags & RATES != 0 && !is_constant {
        let mut pair = || {
            let dt_ms = step_ms.wrapping_add(cursor.signed()? as u64);
            Ok::<_, Flaw>(Pair { dt_ms, v0: value(cursor)?, v1: value(cursor)? })
        };
        pairs = Some([pair()?, pair()?]);
    }
    Ok(Body { first, last, min: min.as_f64(), max: max.as_f64(), sum, pairs })
}
