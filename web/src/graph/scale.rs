//! The value axis: its range from the data, the limits and `graph_args`.

use super::Limits;
use super::series::{Drawing, Paint, Series};
use rookery_collector::history::{FieldRollup, Rollup};
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
    /// By powers of ten.
    pub logarithmic: bool,
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
                "-o" | "--logarithmic" => out.logarithmic = true,
                // As getopt takes them: `-l0`, `-u100`.
                _ => match (word.strip_prefix("-l"), word.strip_prefix("-u")) {
                    (Some(end), _) => out.lower = number(Some(end)),
                    (_, Some(end)) => out.upper = number(Some(end)),
                    _ => {}
                },
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
    /// Munin's `line`: drawn through, in this colour.
    pub rule: Option<String>,
}

/// The ends of the value axis, `low < high`, both finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ends {
    pub low: f64,
    pub high: f64,
    /// Whether equal factors are equally far apart; `low` is positive then.
    pub log: bool,
}

impl Ends {
    /// The same distance for each unit.
    pub(crate) fn linear(low: f64, high: f64) -> Ends {
        Ends { low, high, log: false }
    }

    /// How far up a value stands, from 0 at the lower end to 1 at the upper one;
    /// beyond them: there. Not a number stands below.
    pub(crate) fn part(self, value: f64) -> f64 {
        let Ends { low, high, log } = self;
        if value.is_nan() {
            return 0.0;
        }
        let value = value.clamp(low, high);
        if log {
            return (value.log10() - low.log10()) / (high.log10() - low.log10());
        }
        // Halves, since the difference of two huge ends may overflow.
        (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0)
    }

    /// These ends, widened to others, where they can be.
    pub(crate) fn with(self, low: f64, high: f64) -> Ends {
        let low = if self.log && low <= 0.0 { self.low } else { self.low.min(low) };
        Ends { low, high: self.high.max(high), ..self }
    }
}

/// The axis for these series, and the limits that are seen on it.
pub(crate) fn scale(
    rollup: &Rollup,
    drawing: &Drawing,
    limits: &[(String, Limits)],
) -> (Ends, Vec<LimitLine>) {
    scale_with(rollup, drawing, limits, &[])
}

/// The same, where more values are to be seen.
pub(crate) fn scale_with(
    rollup: &Rollup,
    drawing: &Drawing,
    limits: &[(String, Limits)],
    more: &[f64],
) -> (Ends, Vec<LimitLine>) {
    let args = Args::parse(&rollup.spec.args);
    let seen = more.iter().filter(|v| v.is_finite());
    let data = extent(drawing).map(|ends| seen.fold(ends, |(a, b), v| (a.min(*v), b.max(*v))));
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
    let by_powers = Some(args).filter(|a| a.logarithmic).and_then(|a| powers(drawing, a));
    let ends = by_powers.unwrap_or_else(|| with_room(low, high, args));
    let seen = |l: &LimitLine| l.at <= ends.high && l.at >= ends.low;
    (ends, lines.into_iter().filter(seen).collect())
}

/// The ends of an axis by powers of ten; `None`: nothing positive is drawn, or something
/// negative, which has no place there. (Zero stands at the lower end.)
fn powers(drawing: &Drawing, args: Args) -> Option<Ends> {
    let points = || drawing.series.iter().flat_map(|s| s.runs.iter().flatten());
    let drawn = || points().flat_map(|p| [p.edge, p.low, p.high]).filter(|v| v.is_finite());
    if drawn().any(|v| v < 0.0) || drawing.series.iter().any(|s| s.mirrored) {
        return None;
    }
    let positive = || drawn().filter(|v| *v > 1e-300);
    // What is beyond the axis stands at its end.
    let least = positive().reduce(f64::min)?.min(END / 100.0);
    let most = positive().reduce(f64::max)?.min(END);
    let below = 10f64.powf((least.log10() + 1e-9).floor());
    let is_lower = |l: &f64| *l > 0.0 && *l < END / 10.0 && (args.rigid || *l < below);
    let low = args.lower.filter(is_lower).unwrap_or(below);
    let room = 10f64.powf((most / low).log10().abs() * ROOM);
    // Not by clamp(), which panics where its ends cross.
    let high = (most * room).max(low * 10.0).min(END);
    let high = args.upper.filter(|u| *u > low && (args.rigid || *u > high)).unwrap_or(high);
    (low < high).then_some(Ends { low, high, log: true })
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
        true => Ends::linear(low + 0.0, high + 0.0),
        false => Ends::linear(low - least, low + least.max(1e-9)),
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
        let is_fill = series.paint == Paint::Fill;
        for p in series.runs.iter().flatten() {
            // The edge is between its band's ends.
            add(p.high);
            if p.low != p.high {
                add(p.low);
                add(p.edge);
            }
            if is_fill {
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
    for series in drawing.series.iter().filter(|s| !s.muted) {
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
                    None => out.push(LimitLine { at, critical, label, rule: None }),
                }
            }
        }
    }
    if drawing.series.len() == 1 {
        out.iter_mut().for_each(|l| l.label.clear());
    }
    out.extend(rules(rollup, drawing));
    out
}

/// The fields' own lines, `value:colour:label`; the label may be left out, the colour too.
fn rules(rollup: &Rollup, drawing: &Drawing) -> Vec<LimitLine> {
    let fields = drawing.series.iter().filter(|s| !s.muted).map(|s| (s, &rollup.fields[s.field]));
    let rule = |(series, field): (&Series, &FieldRollup)| {
        let mut parts = field.spec.extra.get("line")?.splitn(3, ':');
        let value: f64 = parts.next()?.trim().parse().ok()?;
        let at = if series.mirrored { -value } else { value };
        let rule = Some(parts.next().unwrap_or_default().to_owned());
        let label = parts.next().unwrap_or_default().to_owned();
        value.is_finite().then_some(LimitLine { at, critical: false, label, rule })
    };
    fields.filter_map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::series;
    use crate::graph::testing::{bucket, field, rollup, with_buckets};
    use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

    fn limits(warning: &str, critical: &str) -> Vec<(String, Limits)> {
        let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        let limits = Limits { warning: text(warning), critical: text(critical) };
        vec![("a".into(), limits)]
    }

    fn of(args: &str, values: &[f64], limits: &[(String, Limits)]) -> (Ends, Vec<f64>) {
        let values: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
        let service = ServiceSpec::new("s", "s", "s").args(args);
        let rollup = rollup(service, vec![field(FieldSpec::gauge("a", ""), &values)]);
        let drawing = series::prepare(&rollup, values.len() as f64);
        let (ends, lines) = scale(&rollup, &drawing, limits);
        (ends, lines.iter().map(|l| l.at).collect())
    }

    #[test]
    fn args_are_read_as_rrdgraph_does() {
        let args = Args::parse("--base 1000 -l 0 --upper-limit=100 -r");
        assert_eq!(
            args,
            Args { lower: Some(0.0), upper: Some(100.0), rigid: true, ..Args::default() }
        );
        let args = Args::parse("--lower-limit -5.5 -u nan --logarithmic");
        assert_eq!(args, Args { lower: Some(-5.5), logarithmic: true, ..Args::default() });
        assert_eq!(Args::parse("-l"), Args::default());
        let args = Args::parse("-l-5 -u1e3 --units=si");
        assert_eq!(args, Args { lower: Some(-5.0), upper: Some(1e3), ..Args::default() });
    }

    #[test]
    fn ends_hold_what_args_and_data_want() {
        let ends = |args: &str, values: &[f64]| {
            let (ends, _) = of(args, values, &[]);
            (ends.low, ends.high)
        };
        assert_eq!(ends("-l 0 -u 100", &[20.0, 30.0]), (0.0, 100.0));
        assert_eq!(ends("-l 0 -u 100 -r", &[-20.0, 130.0]), (0.0, 100.0));
        let (low, high) = ends("-l 0 -u 100", &[-20.0, 130.0]);
        assert!(low < -20.0 && high > 130.0, "without --rigid the data widens: {low} {high}");
        let (low, high) = ends("", &[90.0, 100.0]);
        assert!(low > 80.0 && low < 90.0 && high > 100.0, "{low} {high}");
        assert_eq!(ends("", &[10.0, 100.0]).0, 0.0, "from zero where it is not far");
        assert_eq!(ends("", &[0.0, 0.0]), (0.0, 1.0));
        assert_eq!(ends("-l 0", &[100.0, 100.0]).0, 0.0);
        assert_eq!(ends("", &[-0.0, -0.0]), (0.0, 1.0));
    }

    #[test]
    fn a_fields_own_line_is_drawn() {
        let with = |text: &str| {
            let mut spec = FieldSpec::gauge("a", "");
            spec.extra.insert("line".to_owned(), text.to_owned());
            let rollup = rollup(ServiceSpec::new("s", "s", "s"), vec![field(spec, &[Some(5.0)])]);
            let drawing = series::prepare(&rollup, 1.0);
            scale(&rollup, &drawing, &[]).1.pop().map(|l| (l.at, l.rule, l.label))
        };
        let want = Some((4.5, Some("ff0000".to_owned()), "max: hot".to_owned()));
        assert_eq!(with("4.5:ff0000:max: hot"), want);
        assert_eq!(with("5"), Some((5.0, Some(String::new()), String::new())));
        assert_eq!((with("x:ff0000"), with("")), (None, None));
    }

    #[test]
    fn powers_of_ten_where_they_are_asked_for_and_can_be() {
        let ends = |args: &str, values: &[f64]| of(args, values, &[]).0;
        let e = ends("--logarithmic", &[3.0, 4000.0]);
        assert!(e.log && e.low == 1.0 && e.high > 4000.0 && e.high < 10_000.0, "{e:?}");
        assert_eq!((e.part(1.0), e.part(0.0), e.part(f64::NAN)), (0.0, 0.0, 0.0));
        let (ten, hundred) = (e.part(10.0), e.part(100.0));
        assert!((hundred - 2.0 * ten).abs() < 1e-9, "equal factors: {ten} {hundred}");
        let e = ends("-o -l 0.5 -u 50000 --rigid", &[3.0, 4000.0]);
        assert_eq!((e.low, e.high), (0.5, 50_000.0));
        assert!(!ends("-o", &[-3.0, 4000.0]).log && !ends("-o", &[0.0, 0.0]).log);
        assert!(ends("-o", &[0.0, 7.0]).log, "zero stands below");
        for v in [5e-324, 1e-200, 1e300, f64::MAX, f64::INFINITY] {
            let e = ends("-o", &[v, 1.0]);
            assert!(e.low < e.high && (0.0..=1.0).contains(&e.part(v)), "{v}: {e:?}");
        }
    }

    #[test]
    fn ends_are_finite_and_apart_whatever_comes() {
        let odd = [0.0, -0.0, 1.0, f64::MAX, f64::MIN, f64::INFINITY, 5e-324, 1e15 + 1.0];
        for args in ["", "-l 0", "-l 5 -u 5 -r", "-u -3 -l 3 -r", "-l 1e307 -u -1e307 -r"] {
            for a in odd {
                for b in odd {
                    let (Ends { low, high, .. }, _) = of(args, &[a, b], &[]);
                    let fine = low < high && low.is_finite() && high.is_finite();
                    assert!(fine && (high / 2.0 - low / 2.0) > 0.0, "{args} {a} {b}: {low} {high}");
                }
            }
        }
    }

    #[test]
    fn powers_of_ten_end_where_doubles_do() {
        let odd = [5e-324, 1e-300, 1.0, 1e300, 7e307, 8e307, 9e307, 1e308, f64::MAX, f64::INFINITY];
        let args = [
            "-o",
            "-o -l 1e308",
            "-o -l 7.9e307",
            "-o -l 7.9e307 -r",
            "-o -l 5e-324 -r",
            "-o -u 1e308",
            "-o -u 5e-324 -r",
            "-o -l 7e307 -u 7.9e307 -r",
            "-o -l inf -u -inf",
        ];
        for args in args {
            for a in odd {
                for b in odd {
                    let (ends, _) = of(args, &[a, b], &[]);
                    let fine = ends.low < ends.high && ends.high.is_finite();
                    assert!(fine, "{args} {a} {b}: {ends:?}");
                    for v in odd.into_iter().chain([f64::NEG_INFINITY, f64::NAN, -1.0]) {
                        assert!(
                            (0.0..=1.0).contains(&ends.part(v)),
                            "{args} {a} {b} {v}: {ends:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn near_limits_are_seen_and_far_ones_do_not_flatten_the_data() {
        assert_eq!(of("", &[50.0, 70.0], &limits("~:80", "~:92")).1, [80.0, 92.0]);
        let (ends, lines) = of("", &[1.0, 2.0], &limits("~:80", "~:2.5"));
        assert!(lines == [2.5] && ends.high < 3.0, "{lines:?} {ends:?}");
        assert_eq!(of("-l 0 -u 100", &[1.0, 2.0], &limits("~:80", "")).1, [80.0]);
        assert_eq!(of("", &[5.0, 15.0], &limits("10", "@3:4")).1, [10.0, 3.0, 4.0]);
        assert!(of("", &[5.0], &limits("abc", "~:1e999")).1.is_empty());
    }

    #[test]
    fn a_mirrored_fields_limits_are_below_and_equal_ones_are_one() {
        let up = FieldSpec::gauge("up", "out").negative("a").draw(Draw::Area);
        let fields = vec![
            with_buckets(FieldSpec::gauge("a", "in"), vec![bucket(&[9.0])]),
            with_buckets(up, vec![bucket(&[9.0])]),
        ];
        let rollup = rollup(ServiceSpec::new("s", "s", "s"), fields);
        let drawing = series::prepare(&rollup, 1.0);
        let mut both = limits("~:10", "");
        let (_, lines) = scale(&rollup, &drawing, &both);
        assert_eq!(
            lines,
            [LimitLine { at: -10.0, critical: false, label: "in".into(), rule: None }]
        );
        both.push(("up".into(), Limits { warning: Some("~:10".into()), critical: None }));
        let (_, lines) = scale(&rollup, &drawing, &both);
        assert_eq!(lines.len(), 2);
    }
}
