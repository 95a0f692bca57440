//! Where things stand in a picture, in px of the finished picture.

use super::font::{self, Face};
use super::scale::Ends;
use super::series::Drawing;
use super::unit::Unit;
use super::units::{Marks, UNKNOWN};
use super::values::Figures;
use super::{GraphRequest, HEIGHTS, WIDTHS};

/// Sizes of texts, em in px.
pub(crate) const TITLE_EM: f64 = 14.0;
pub(crate) const LABEL_EM: f64 = 10.5;
pub(crate) const LEGEND_EM: f64 = 11.0;

/// More fields than this are only counted in the legend.
const MAX_ROWS: usize = 24;
const TITLE_HEIGHT: f64 = 34.0;
const AXIS_HEIGHT: f64 = 24.0;
/// A row of the legend.
pub(crate) const ROW_HEIGHT: f64 = 17.0;
/// Free space at the left and right.
pub(crate) const SIDE: f64 = 16.0;
/// Where the title stands.
pub(crate) const TITLE_MIDDLE: f64 = 18.0;
/// Room for one number of the legend.
const COLUMNS: (f64, f64) = (62.0, 92.0);
/// Least room for a field's label in the legend.
const LEAST_LABEL: f64 = 90.0;

/// Which of a field's numbers.
type Number = fn(&Figures) -> Option<f64>;

/// A number's column of the legend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub title: &'static str,
    pub of: Number,
    /// Its right end.
    pub right: f64,
}

/// A line of the legend.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Index in `Drawing::series`; `None`: the total.
    pub series: Option<usize>,
    pub label: String,
    pub numbers: Vec<String>,
    /// Its middle.
    pub y: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
    pub marks: Marks,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    /// `+ 3 more`, below the last row; else empty.
    pub more: String,
    pub ends: Ends,
}

impl Layout {
    pub(crate) fn new(request: &GraphRequest<'_>, drawing: &Drawing, ends: Ends) -> Layout {
        let spec = &request.rollup.spec;
        let width = f64::from(request.width.clamp(WIDTHS.0, WIDTHS.1));
        let plot = f64::from(request.height.clamp(HEIGHTS.0, HEIGHTS.1));
        let top = if has_head(request) { TITLE_HEIGHT } else { 12.0 };
        let bottom = (plot - AXIS_HEIGHT).max(top + 10.0);
        let n = (((bottom - top) / 34.0) as usize).clamp(2, 12);
        let marks = Marks::of(ends, n, Unit::of(spec));
        let widest = marks
            .at
            .iter()
            .map(|v| font::width_em(Face::Sans, &marks.label(*v, false)))
            .fold(0.0, f64::max);
        let left = (SIDE + widest * LABEL_EM + 8.0).min(width / 3.0).round();
        let right = (width - SIDE).round();
        let mut layout = Layout {
            width,
            height: plot.max(bottom + AXIS_HEIGHT).ceil(),
            left,
            right,
            top,
            bottom,
            marks,
            columns: Vec::new(),
            rows: Vec::new(),
            more: String::new(),
            ends,
        };
        if request.legend && !drawing.series.is_empty() {
            layout.add_legend(request, drawing);
        }
        layout
    }

    fn add_legend(&mut self, request: &GraphRequest<'_>, drawing: &Drawing) {
        let spec = &request.rollup.spec;
        let has_total = drawing.series.iter().any(|s| s.figures.total.is_some());
        // Percent that were added up are nothing.
        let unit = Unit::of(spec);
        self.columns = columns(self.left, self.right, has_total && !unit.is_share());
        let (shown, left_out) = shown(drawing);
        let first = self.columns.first().map_or(self.right, |c| c.right);
        let room = (first - COLUMNS.0 - self.left - 20.0) / LEGEND_EM;
        let mut y = self.height + ROW_HEIGHT / 2.0 + 3.0;
        let number = |c: &Column, figures: &Figures| match (c.of)(figures) {
            Some(v) if c.title == TOTAL => unit.total().text(v),
            Some(v) => unit.text(v),
            None => UNKNOWN.to_owned(),
        };
        let mut add = |series: Option<usize>, label: &str, mark: &str, figures: &Figures| {
            y += ROW_HEIGHT;
            let room = room - font::width_em(Face::Sans, mark);
            let label = font::fit(Face::Sans, label, room) + mark;
            let numbers = self.columns.iter().map(|c| number(c, figures)).collect();
            self.rows.push(Row { series, label, numbers, y });
        };
        for index in shown {
            let series = &drawing.series[index];
            let field = &request.rollup.fields[series.field].spec;
            let mark = match (series.mirrored, series.mirrors) {
                (true, _) => " (−)",
                (_, true) => " (+)",
                _ => "",
            };
            add(Some(index), field.label_or_name(), mark, &series.figures);
        }
        if let (Some(label), Some(total)) = (&spec.total, &drawing.total) {
            add(None, label, "", total);
        }
        if left_out > 0 {
            y += ROW_HEIGHT;
            self.more = format!("+ {left_out} more");
        }
        self.height = (y + ROW_HEIGHT / 2.0 + 8.0).ceil();
    }

    /// The plot's height.
    pub(crate) fn plot_height(&self) -> f64 {
        self.bottom - self.top
    }

    /// Where a value stands; beyond the axis: at its end.
    pub(crate) fn y(&self, value: f64) -> f64 {
        self.bottom - self.ends.part(value) * self.plot_height()
    }

    /// [`Self::y`] for many values: what they share is worked out once.
    pub(crate) fn heights(&self) -> impl Fn(f64) -> f64 {
        let (ends, bottom, height) = (self.ends, self.bottom, self.plot_height());
        // Halves, as there: the difference of two huge ends may overflow.
        let px = height / (ends.high / 2.0 - ends.low / 2.0);
        move |value: f64| match ends.log || value.is_nan() || !px.is_finite() {
            true => bottom - ends.part(value) * height,
            false => bottom - (value.clamp(ends.low, ends.high) / 2.0 - ends.low / 2.0) * px,
        }
    }
}

/// Whether there is a line of text above the plot: a small picture below a headline
/// needs none where its numbers have their unit.
pub(crate) fn has_head(request: &GraphRequest<'_>) -> bool {
    let spec = &request.rollup.spec;
    !request.title.is_empty() || !(spec.vlabel.is_empty() || Unit::of(spec).is_told())
}

/// The column of what counters grew by.
const TOTAL: &str = "Total";

fn columns(left: f64, right: f64, has_total: bool) -> Vec<Column> {
    let all: [(&str, Number); 5] = [
        ("Cur", |f| f.cur),
        ("Min", |f| f.min),
        ("Avg", |f| f.avg),
        ("Max", |f| f.max),
        (TOTAL, |f| f.total),
    ];
    let room = right - left - LEAST_LABEL;
    let wanted: &[usize] = match room {
        r if has_total && r >= 5.0 * COLUMNS.0 => &[0, 1, 2, 3, 4],
        r if r >= 4.0 * COLUMNS.0 => &[0, 1, 2, 3],
        r if r >= 2.0 * COLUMNS.0 => &[0, 3],
        _ => &[0],
    };
    let n = wanted.len();
    let each = (room / n as f64).clamp(COLUMNS.0, COLUMNS.1);
    let column = |(i, which): (usize, &usize)| {
        let (title, of) = all[*which];
        Column { title, of, right: right - each * (n - 1 - i) as f64 }
    };
    wanted.iter().enumerate().map(column).collect()
}

/// The series that the legend tells, in their order, and how many it leaves out:
/// those with the least maxima.
fn shown(drawing: &Drawing) -> (Vec<usize>, usize) {
    let n = drawing.series.len();
    let mut by_max: Vec<usize> = (0..n).collect();
    if n <= MAX_ROWS {
        return (by_max, 0);
    }
    let max = |i: &usize| drawing.series[*i].figures.max.unwrap_or(f64::NEG_INFINITY);
    by_max.sort_by(|a, b| max(b).total_cmp(&max(a)));
    by_max.truncate(MAX_ROWS);
    (by_max, n - MAX_ROWS + drawing.left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::series;
    use crate::graph::testing::{field, request, rollup};
    use rookery_plugins::{FieldSpec, ServiceSpec};

    fn layout(n: usize, total: Option<&str>, size: (u32, u32), legend: bool) -> Layout {
        let label = "a label that is far too long for any legend ".repeat(4);
        let one = |i: usize| {
            let spec = FieldSpec::gauge(&format!("f{i}"), &format!("{i} {label}"));
            field(spec, &[Some(i as f64), None])
        };
        let mut spec = ServiceSpec::new("s", "S", "other");
        spec.total = total.map(str::to_owned);
        let rollup = rollup(spec, (0..n).map(one).collect());
        let (width, height) = size;
        let request = GraphRequest { width, height, legend, ..request(&rollup, &[]) };
        let drawing = series::prepare(&rollup, 2.0);
        Layout::new(&request, &drawing, Ends::linear(0.0, 100.0))
    }

    #[test]
    fn the_legend_comes_below_the_asked_height() {
        assert_eq!(layout(3, None, (900, 240), false).height, 240.0);
        let one = layout(1, None, (900, 240), true).height;
        let four = layout(4, None, (900, 240), true).height;
        assert!(one > 240.0);
        assert_eq!(four - one, 3.0 * ROW_HEIGHT);
    }

    #[test]
    fn sizes_are_clamped() {
        let l = layout(1, None, (0, 0), false);
        assert_eq!((l.width, l.height), (120.0, 80.0));
        let l = layout(1, None, (u32::MAX, u32::MAX), false);
        assert_eq!((l.width, l.height), (4000.0, 2400.0));
        for width in [120, 200, 300, 500] {
            let l = layout(2, None, (width, 80), true);
            assert!(l.left < l.right - 20.0 && l.top < l.bottom, "{width}: {l:?}");
        }
    }

    #[test]
    fn labels_are_cut_before_the_numbers() {
        for width in [250, 420, 900] {
            let l = layout(2, None, (width, 200), true);
            let label = &l.rows[0].label;
            let end = l.left + 18.0 + font::width_em(Face::Sans, label) * LEGEND_EM;
            let first = &l.rows[0].numbers[0];
            let number = l.columns[0].right - font::width_em(Face::Mono, first) * LEGEND_EM;
            assert!(label.ends_with('…') && end < number, "{width}: {label} {end} {number}");
        }
    }

    #[test]
    fn many_fields_are_counted_and_the_largest_named() {
        let l = layout(30, Some("all"), (900, 200), true);
        assert_eq!(l.rows.len(), 25);
        assert!(l.rows[0].label.starts_with("29 ") && l.rows[24].label == "all");
        assert_eq!(l.rows[24].numbers[0], "435");
        assert_eq!(l.more, "+ 6 more");
        assert_eq!(layout(24, None, (900, 200), true).more, "");
    }

    #[test]
    fn values_stand_between_the_ends() {
        let l = layout(1, None, (900, 240), false);
        assert_eq!((l.y(0.0), l.y(100.0)), (l.bottom, l.top));
        assert_eq!((l.y(f64::INFINITY), l.y(f64::NEG_INFINITY)), (l.top, l.bottom));
        assert_eq!(l.y(50.0), (l.top + l.bottom) / 2.0);
    }
}
