//! The value axis: its range from the data, the limits and `graph_args`.

use super::Limits;
use super::series::{Drawing, Paint};
use rookery_collector::history::Rollup;
use rookery_plugins::range::Range;
use tracing::debug;

/// Beyond this the axis does not go: doubling it must not overflow.
const END: f64 = 8e307;
/// A limit is shown when it is at most so many times as far as the data.
const NEAR: f64 = 1.5;
/// Room above and below, of the range.
const ROOM: f64 = 0.05;
/// Lines start from zero when their lowest is below this part of their highest.
const FROM_ZERO: f64 = 0.6;

/// What `graph_args` says about the axis, as rrdgraph understands it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Args {
    pub lower: Option<f64>,
    pub upper: Option<f64>,
    /// The ends hold even where the data goes beyond.
    pub rigid: bool,
}

impl Args {
    pub(crate) fn parse(args: &str) -> Args {
        let mut out = Args::default();
        let mut words = args.split([' ', '=', '\t']).filter(|w| !w.is_empty());
        let number =
            |w: Option<&str>| w.and_then(|w| w.parse().ok()).filter(|v: &f64| v.abs() < END);
        while let Some(word) = words.next() {
            match word {
                "-l" | "--lower-limit" => out.lower = number(words.next()),
                "-u" | "--upper-limit" => out.upper = number(words.next()),
                "-r" | "--rigid" => out.rigid = true,
                "-o" | "--logarithmic" => debug!("graph_args {args:?}: drawn on a linear axis"),
                _ => {}
            }
        }
        out
    }
}

/// A dashed line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LimitLine {
    pub at: f64,
    pub critical: bool,
    /// The field, where it is not plain from the picture.
    pub label: String,
}

/// The ends of the value axis, `low < high`, both finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ends {
    pub low: f64,
    pub high: f64,
}

/// The axis for these series, and the limits that are seen on it.
pub(crate) fn scale(
    rollup: &Rollup,
    drawing: &Drawing,
    limits: &[(String, Limits)],
) -> (Ends, Vec<LimitLine>) {
    let args = Args::parse(&rollup.spec.args);
    let data = extent(drawing);
    let lines = lines(rollup, drawing, limits);
    let (mut low, mut high) = data.unwrap_or((0.0, 0.0));
    for line in &lines {
        if data.is_some() && is_near(line.at, low, high) {
            low = low.min(line.at);
            high = high.max(line.at);
        }
    }
    if low > 0.0 && low < FROM_ZERO * high {
        low = 0.0;
    } else if high < 0.0 && high > FROM_ZERO * low {
        high = 0.0;
    }
    let ends = with_room(low, high, args);
    let seen = |l: &LimitLine| l.at <= ends.high && l.at >= ends.low;
    (ends, lines.into_iter().filter(seen).collect())
}

fn with_room(low: f64, high: f64, args: Args) -> Ends {
    let (mut low, mut high) = (low.clamp(-END, END), high.clamp(-END, END));
    let span = high - low;
    // Where all is one value, or differs by less than a double can tell apart.
    let room = match span > high.abs().max(low.abs()) * 1e-12 {
        true => span * ROOM,
        false if high == 0.0 => 1.0,
        false => high.abs() * 0.1,
    };
    let is_flat = room > span;
    // Zero is an end of its own: nothing is drawn beyond it.
    if high != 0.0 || (is_flat && low == 0.0) {
        high += room;
    }
    if low != 0.0 {
        low -= room;
    }
    if let Some(lower) = args.lower {
        low = if args.rigid || lower < low { lower } else { low };
        // Without --rigid the data widens the axis, but not by the room.
        if !args.rigid && low < lower && low + room >= lower {
            low = lower;
        }
    }
    if let Some(upper) = args.upper {
        high = if args.rigid || upper > high { upper } else { high };
        if !args.rigid && high > upper && high - room <= upper {
            high = upper;
        }
    }
    let (low, high) = (low.clamp(-END, END), high.clamp(-END, END));
    let least = low.abs().max(high.abs()).max(f64::MIN_POSITIVE * 1e20) * 1e-9;
    match high - low > least {
        true => Ends { low: low + 0.0, high: high + 0.0 },
        false => Ends { low: low - least, high: low + least.max(1e-9) },
    }
}

/// The lowest and highest finite value that is drawn, bands included.
fn extent(drawing: &Drawing) -> Option<(f64, f64)> {
    let mut ends: Option<(f64, f64)> = None;
    let mut add = |v: f64| {
        if v.is_finite() {
            ends = Some(ends.map_or((v, v), |(a, b)| (a.min(v), b.max(v))));
        }
    };
    for series in &drawing.series {
        for p in series.runs.iter().flatten() {
            add(p.edge);
            add(p.high);
            add(p.low);
            if series.paint == Paint::Fill {
                add(p.base);
            }
        }
        if (series.mirrored || series.mirrors) && !series.runs.is_empty() {
            add(0.0);
        }
    }
    ends
}

fn is_near(at: f64, low: f64, high: f64) -> bool {
    let reach = (high - low).max(high.abs()) * (NEAR - 1.0);
    at <= high + reach && at >= low - reach
}

/// The bounds of all limits, equal ones once.
fn lines(rollup: &Rollup, drawing: &Drawing, limits: &[(String, Limits)]) -> Vec<LimitLine> {
    let mut out: Vec<LimitLine> = Vec::new();
    for series in &drawing.series {
        let spec = &rollup.fields[series.field].spec;
        let Some((_, limits)) = limits.iter().find(|(name, _)| *name == spec.name) else {
            continue;
        };
        for (text, critical) in [(&limits.warning, false), (&limits.critical, true)] {
            let Some(text) = text else { continue };
            let range: Range = match text.parse() {
                Ok(range) => range,
                Err(why) => {
                    debug!("{}.{}: limit not drawn: {why}", rollup.spec.name, spec.name);
                    continue;
                }
            };
            for bound in [range.start(), range.end()] {
                // A bound at zero is the axis itself.
                if !bound.is_finite() || (bound == 0.0 && range.end() != 0.0) {
                    continue;
                }
                let at = if series.mirrored { -bound } else { bound };
                let label = spec.label_or_name().to_owned();
                match out.iter_mut().find(|l| l.at == at && l.critical == critical) {
                    Some(line) => line.label.clear(),
                    None => out.push(LimitLine { at, critical, label }),
                }
            }
        }
    }
    if drawing.series.len() == 1 {
        out.iter_mut().for_each(|l| l.label.clear());
    }
    out
}
