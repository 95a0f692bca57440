//! The picture as text for a terminal: braille dots, an axis, and the legend.
//!
//! Untrusted names lose every control character, so that no plugin's label moves
//! the cursor.

use super::draw::Picture;
use super::font;
use super::over;
use super::scale::Ends;
use super::series::{Paint, Series};
use super::ticks;
use super::unit::Unit;
use super::units::{Marks, UNKNOWN};
use super::{GraphRequest, Theme};
use std::fmt::Write as _;

/// The least and the most columns.
pub const COLUMNS: (usize, usize) = (40, 400);
/// The least and the most rows of the plot.
pub const ROWS: (usize, usize) = (4, 100);
/// Columns of a number in the legend, at least.
const COLUMN: usize = 10;
/// Rows of the legend; the others are counted.
const LEGEND_ROWS: usize = 24;
/// Columns of a label at the time axis, in px of a picture's.
const PX_PER_COLUMN: f64 = 8.0;
/// Which dots a fill has, by series, so that fills are told apart without
/// colours: bits of a cell of 2 by 4.
const FILLS: [[u8; 4]; 4] = [[3, 3, 3, 3], [1, 2, 1, 2], [3, 0, 3, 0], [1, 0, 2, 0]];
/// A cell's dots, left and right, from the top.
const DOTS: [[u32; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

#[derive(Clone, Copy, Default)]
struct Cell {
    dots: u32,
    /// Whose, 1 on; 0: nobody's.
    series: usize,
}

struct Canvas {
    width: usize,
    height: usize,
    cells: Vec<Cell>,
    ends: Ends,
}

impl Canvas {
    /// Which dot of the plot's height a value is at, from the top.
    fn y(&self, v: f64) -> usize {
        let part = self.ends.part(v);
        let last = self.height * 4 - 1;
        ((1.0 - part) * last as f64).round().clamp(0.0, last as f64) as usize
    }

    fn dot(&mut self, x: usize, y: usize, series: usize, is_edge: bool) {
        let Some(cell) = self.cells.get_mut(y / 4 * self.width + x / 2) else { return };
        // An edge belongs to its own series alone: fills yield.
        if is_edge && cell.series != series + 1 {
            cell.dots = 0;
        }
        cell.dots |= DOTS[y % 4][x % 2];
        cell.series = series + 1;
    }

    fn column(&mut self, x: usize, (from, to): (usize, usize), series: usize, is_edge: bool) {
        for y in from.min(to)..=from.max(to) {
            let pattern = FILLS[series % FILLS.len()][y % 4];
            if is_edge || pattern & (1 << (x % 2)) != 0 {
                self.dot(x, y, series, is_edge);
            }
        }
    }

    fn series(&mut self, s: &Series, i: usize, buckets: f64) {
        let columns = self.width * 2;
        let x = |bucket: usize| {
            (((bucket as f64 + 0.5) / buckets * columns as f64) as usize).min(columns - 1)
        };
        for run in &s.runs {
            let mut before: Option<(usize, usize)> = None;
            for p in run {
                let (to, y) = (x(p.bucket), self.y(p.edge));
                let base = self.y(p.base);
                let (from, from_y) = before.unwrap_or((to, y));
                let mut last = from_y;
                for at in from..=to {
                    let part = match to - from {
                        0 => 1.0,
                        far => (at - from) as f64 / far as f64,
                    };
                    let here = from_y as f64 + (y as f64 - from_y as f64) * part;
                    let here = here.round() as usize;
                    match s.paint {
                        Paint::Fill => self.column(at, (base, here), i, false),
                        // From the dot before on, so that a leap is a line, too.
                        Paint::Line(_) => self.column(at, (last, here), i, true),
                    }
                    last = here;
                }
                before = Some((to, y));
            }
        }
    }
}

/// The picture in so many columns; the request's height is rows. With `colour`
/// each field has its own, by escape sequences.
pub fn text(request: &GraphRequest<'_>, rows: usize, columns: usize, colour: bool) -> String {
    let (columns, rows) = (columns.clamp(COLUMNS.0, COLUMNS.1), rows.clamp(ROWS.0, ROWS.1));
    let picture = Picture::new(request);
    let spec = &request.rollup.spec;
    let ends = picture.layout.ends;
    let marks = Marks::of(ends, (rows / 3).max(2), Unit::of(spec));
    let mirrors = picture.drawing().series.iter().any(|s| s.mirrored);
    let label = |v: &f64| marks.label(*v, mirrors);
    let left = marks.at.iter().map(|v| label(v).chars().count()).max().unwrap_or(1);
    // A letter of each line stands right of its end.
    let width = columns.saturating_sub(left + 4).max(10);
    let cells = vec![Cell::default(); width * rows];
    let mut canvas = Canvas { width, height: rows, cells, ends };
    let series = &picture.drawing().series;
    for is_fill in [true, false] {
        for (i, s) in series.iter().enumerate() {
            if (s.paint == Paint::Fill) == is_fill {
                canvas.series(s, i, picture.buckets());
            }
        }
    }
    let mut out = Out { text: String::new(), colour, request };
    out.head(columns);
    if !picture.drawing().any {
        let _ = writeln!(out.text, "{}", picture.drawing().nothing());
    }
    let mut labels: Vec<String> = vec![String::new(); rows];
    for v in &marks.at {
        labels[canvas.y(*v) / 4] = label(v);
    }
    let letters = letters(series, &canvas);
    for row in 0..rows {
        let name = &labels[row];
        let pad = left - name.chars().count();
        let tick = if name.is_empty() { '│' } else { '┤' };
        let _ = write!(out.text, "{:pad$}{name}{tick}", "");
        out.cells(&canvas.cells[row * width..(row + 1) * width], series, &picture);
        for i in &letters[row] {
            out.painted(&letter(*i).to_string(), Some(*i), series, &picture);
        }
        out.line_end();
    }
    out.times(left, width);
    out.legend(&picture, columns);
    out.text
}

/// `a` to `z`, then `·`.
fn letter(i: usize) -> char {
    u8::try_from(i).ok().filter(|i| *i < 26).map_or('·', |i| char::from(b'a' + i))
}

/// Which series end in which row: two at most have room.
fn letters(series: &[Series], canvas: &Canvas) -> Vec<Vec<usize>> {
    let mut out = vec![Vec::new(); canvas.height];
    for (i, s) in series.iter().enumerate() {
        if let Some(p) = s.runs.last().and_then(|run| run.last()) {
            let row = canvas.y(p.edge) / 4;
            if out[row].len() < 2 {
                out[row].push(i);
            }
        }
    }
    out
}

struct Out<'a> {
    text: String,
    colour: bool,
    request: &'a GraphRequest<'a>,
}

impl Out<'_> {
    /// The title, and the unit where there is room.
    fn head(&mut self, columns: usize) {
        let spec = &self.request.rollup.spec;
        let period = if spec.period.is_empty() { "second" } else { &spec.period };
        let unit = clean(&spec.vlabel.replace("${graph_period}", period), columns / 2);
        let title = clean(self.request.title, columns);
        let room = columns.saturating_sub(title.chars().count() + unit.chars().count());
        match room > 1 && !unit.is_empty() {
            true => self.text += &format!("{title}{:room$}{unit}\n", ""),
            false => self.text += &format!("{title}\n"),
        }
    }

    fn painted(&mut self, what: &str, of: Option<usize>, series: &[Series], picture: &Picture<'_>) {
        match of.filter(|_| self.colour) {
            Some(i) => {
                let c = picture.series_colour(&series[i], i, Theme::Light);
                let _ = write!(self.text, "\x1b[38;2;{};{};{}m{what}\x1b[0m", c.0, c.1, c.2);
            }
            None => self.text.push_str(what),
        }
    }

    fn cells(&mut self, cells: &[Cell], series: &[Series], picture: &Picture<'_>) {
        let glyph = |c: &Cell| match c.dots {
            0 => ' ',
            dots => char::from_u32(0x2800 + dots).unwrap_or('#'),
        };
        for part in cells.chunk_by(|a, b| a.series == b.series) {
            let text: String = part.iter().map(glyph).collect();
            self.painted(&text, part[0].series.checked_sub(1), series, picture);
        }
    }

    fn line_end(&mut self) {
        if !self.colour {
            self.text.truncate(self.text.trim_end_matches(' ').len());
        }
        self.text.push('\n');
    }

    /// The time axis: a line with marks, and what they say below it.
    fn times(&mut self, left: usize, width: usize) {
        let (from, to) = (self.request.rollup.from_ms, self.request.to_ms);
        let px = width as f64 * PX_PER_COLUMN;
        let mut line = vec!['─'; width];
        let mut below = vec![' '; left + 1 + width + 3];
        let span = to.saturating_sub(from).max(1) as f64;
        let mut free = 0;
        for mark in ticks::marks(from, to, px, self.request.tz) {
            let part = mark.time_ms.saturating_sub(from) as f64 / span;
            let at = (part * width as f64) as usize;
            let Some(cell) = line.get_mut(at) else { continue };
            *cell = '┴';
            let label: Vec<char> = mark.label.chars().collect();
            let start = (left + 1 + at).saturating_sub(label.len() / 2);
            if start >= free && start + label.len() <= below.len() {
                below[start..start + label.len()].copy_from_slice(&label);
                free = start + label.len() + 1;
            }
        }
        let line: String = line.into_iter().collect();
        let below: String = below.into_iter().collect();
        let _ = writeln!(self.text, "{:left$}└{line}\n{}", "", below.trim_end());
    }

    fn legend(&mut self, picture: &Picture<'_>, columns: usize) {
        let series = &picture.drawing().series;
        let unit = Unit::of(&self.request.rollup.spec);
        let has_total = series.iter().any(|s| s.figures.total.is_some()) && !unit.is_share();
        let all = [("Cur", 0), ("Min", 1), ("Avg", 2), ("Max", 3), ("Total", 4)];
        let number = |s: &Series, which: usize| {
            let f = &s.figures;
            let unit = if which == 4 { unit.total() } else { unit };
            let v = [f.cur, f.min, f.avg, f.max, f.total][which];
            v.map_or(UNKNOWN.to_owned(), |v| unit.text(v))
        };
        // Each column as wide as its widest number, and a blank before it.
        let widths = all.map(|(_, which)| {
            let numbers = series.iter().take(LEGEND_ROWS).map(|s| number(s, which).chars().count());
            numbers.max().unwrap_or(0).max(COLUMN - 1) + 1
        });
        let wide = columns >= 72 && has_total;
        let n_columns = if wide { 5 } else { 4 };
        let (all, widths) = (&all[..n_columns], &widths[..n_columns]);
        let room = columns.saturating_sub(4 + widths.iter().sum::<usize>()).clamp(12, 60);
        let longest = series.iter().take(LEGEND_ROWS).map(|s| self.label(picture, s, room).1).max();
        let room = longest.unwrap_or(room).max(5);
        let _ = write!(self.text, "{:w$}", "", w = room + 4);
        for ((name, _), w) in all.iter().zip(widths) {
            let _ = write!(self.text, "{name:>w$}");
        }
        self.text.push('\n');
        for (i, s) in series.iter().enumerate().take(LEGEND_ROWS) {
            let (label, n) = self.label(picture, s, room);
            let fill = FILLS[i % FILLS.len()];
            let dots = (0..4).flat_map(|y| (0..2).map(move |x| (x, y)));
            let dots = dots.filter(|(x, y)| fill[*y] & (1 << x) != 0);
            let key = match s.paint {
                Paint::Fill => dots.fold(0, |sum, (x, y)| sum | DOTS[y][x]),
                Paint::Line(_) => 0x04 | 0x20,
            };
            let key = char::from_u32(0x2800 + key).unwrap_or('#');
            self.painted(&format!("{} {key}", letter(i)), Some(i), series, picture);
            let _ = write!(self.text, " {label}{:w$}", "", w = room - n);
            for ((_, which), w) in all.iter().zip(widths) {
                let _ = write!(self.text, "{:>w$}", number(s, *which));
            }
            self.text.push_str(if s.muted { "  muted\n" } else { "\n" });
        }
        let more = series.len().saturating_sub(LEGEND_ROWS) + picture.drawing().left_out;
        if more > 0 {
            let _ = writeln!(self.text, "  + {more} more");
        }
        for over::Line { label, .. } in &picture.percentiles {
            let _ = writeln!(self.text, "  {}", clean(label, columns));
        }
        if !self.request.over.note.is_empty() {
            let _ = writeln!(self.text, "  {}", clean(self.request.over.note, columns));
        }
    }

    /// A field's label, and how many characters it has.
    fn label(&self, picture: &Picture<'_>, s: &Series, room: usize) -> (String, usize) {
        let below = if s.mirrored { " (−)" } else { "" };
        let label = clean(picture.label(s), room - below.chars().count()) + below;
        let n = label.chars().count();
        (label, n)
    }
}

/// At most so many characters, none of which a terminal acts on.
fn clean(text: &str, most: usize) -> String {
    let mut chars = text.chars().filter(|c| !c.is_control() && !font::is_unprintable(*c));
    let mut out: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() && out.pop().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{any_rollup, field, request, rollup};
    use proptest::prelude::*;
    use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

    fn two(draw: Draw) -> rookery_collector::history::Rollup {
        let of = |a: f64| (0..60).map(|i| Some(a * (1.0 + f64::from(i)))).collect::<Vec<_>>();
        let fields = vec![
            field(FieldSpec::gauge("a", "app\x1b[31mles\u{202e}").draw(draw), &of(1.0)),
            field(FieldSpec::gauge("b", "pears").draw(draw), &of(2.0)),
        ];
        rollup(ServiceSpec::new("s", "S", "other").vlabel("things"), fields)
    }

    #[test]
    fn lines_and_fills_have_axes_and_a_legend() {
        for draw in [Draw::Line1, Draw::AreaStack] {
            let rollup = two(draw);
            let plain = text(&request(&rollup, &[]), 10, 60, false);
            let lines: Vec<&str> = plain.lines().collect();
            assert!(lines[0].starts_with("Title") && lines[0].ends_with("things"), "{plain}");
            assert!(lines.iter().all(|l| l.chars().count() <= 66), "{plain}");
            assert!(plain.contains('┤') && plain.contains('┴') && plain.contains("Avg"));
            assert!(plain.contains(" pears") && plain.contains("120"), "{plain}");
            assert!(plain.contains("app[31mles") && !plain.contains('\x1b'));
            let highest = lines[1..11].iter().position(|l| l.chars().any(|c| c > '\u{2800}'));
            assert_eq!(highest, Some(0), "{plain}");
            assert!(text(&request(&rollup, &[]), 10, 60, true).contains("\x1b[38;2;"));
        }
    }

    #[test]
    fn numbers_of_the_legend_stand_apart() {
        for (printf, values) in [
            ("%12.4lf%s", [-123_456.789, -0.5]),
            ("%20.9lf", [1_234_567_890.123, 1.0]),
            ("", [1e300, -1e300]),
            ("", [4.9e-324, 1.0]),
        ] {
            let mut spec = ServiceSpec::new("s", "S", "other");
            if !printf.is_empty() {
                spec.extra.insert("graph_printf".to_owned(), printf.to_owned());
            }
            let of = |name: &str, v: f64| field(FieldSpec::derive(name, name), &[Some(v); 60]);
            let rollup = rollup(spec, vec![of("aaa", values[0]), of("bbb", values[1])]);
            let text = text(&request(&rollup, &[]), 6, 80, false);
            let rows: Vec<&str> = text.lines().skip_while(|l| !l.contains("Cur")).collect();
            assert!(rows.len() > 2, "{text}");
            let header: Vec<usize> = ["Cur", "Min", "Avg", "Max"].map(|n| end(rows[0], n)).to_vec();
            for row in &rows[1..] {
                let chars: Vec<char> = row.chars().collect();
                for (i, at) in header.iter().enumerate() {
                    assert!(*at <= chars.len() && chars[at - 1] != ' ', "column {i}: {text}");
                    if *at < chars.len() {
                        assert_eq!(chars[*at], ' ', "column {i} has a blank behind it: {text}");
                    }
                }
            }
        }
    }

    /// The column behind a word.
    fn end(line: &str, word: &str) -> usize {
        line.find(word).map_or(0, |at| line[..at].chars().count() + word.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_rollup_panics(rollup in any_rollup(), rows in 0usize..40, columns in 0usize..90) {
            let to_ms = rollup.from_ms.saturating_add(rollup.step_ms.saturating_mul(60));
            let base = crate::graph::testing::rollup(ServiceSpec::new("s", "s", "s"), Vec::new());
            let request = GraphRequest { rollup: &rollup, to_ms, ..request(&base, &[]) };
            let text = text(&request, rows, columns, false);
            prop_assert!(!text.contains('\x1b') && text.lines().count() < 200);
        }
    }
}
