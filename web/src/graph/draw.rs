//! Painting: one function for every backend, so that PNG and SVG are one picture.

use super::brush::{BackendCoord, Brush, Done, Pixels};
use super::font::{self, Face};
use super::layout::{
    LABEL_EM, LEGEND_EM, Layout, ROW_HEIGHT, SIDE, TITLE_EM, TITLE_MIDDLE, has_head,
};
use super::over::{self, Ghost, Line, dashes};
use super::scale::{self, Ends, LimitLine};
use super::series::{self, Drawing, Paint, Point, Series};
use super::theme::{Palette, mix, mix_to};
use super::{GraphRequest, Theme, WIDTHS, coarse, marks, ticks};
use plotters::backend::DrawingBackend;
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;
use rookery_collector::history::Rollup;
use rookery_collector::past;
use std::borrow::Cow;

/// More buckets than this in a px are joined.
const BUCKETS_PER_PX: usize = 2;
const FILL: f64 = 0.62;
const BAND: f64 = 0.28;
/// A band that reaches so many times as far as usual is a spike, from so many
/// px on, and is drawn so strongly.
const SPIKE: f64 = 3.0;
const SPIKE_PX: f64 = 5.0;
const SPIKE_INK: f64 = 0.75;
/// The time zone's name, em in px.
const ZONE_EM: f64 = 9.0;
/// A run of points is drawn at least so wide, px; as a line it gets a dot.
const LEAST_RUN: f64 = 3.0;
/// Dashes and the spaces between them, px.
const DASH: (f64, f64) = (7.0, 4.0);
/// In a plot lower than this limits have no labels, px.
const LABELLED_LIMITS: f64 = 90.0;
/// What stands in a gap, and the room that it takes, px.
const GAP_LABEL: &str = "no data";
const GAP_TEXT: f64 = 52.0;

/// Where a point stands, px.
#[derive(Clone, Copy)]
struct Place<'p> {
    point: &'p Point,
    x: f64,
    edge: f64,
    high: f64,
    low: f64,
}

/// Points of a run in the backend's pixels.
fn along<B: DrawingBackend>(
    brush: &Brush<B>,
    places: &[Place<'_>],
    of: impl Fn(&Place<'_>) -> f64,
) -> Vec<BackendCoord> {
    let mut out: Vec<BackendCoord> = Vec::with_capacity(places.len());
    for at in places.iter().map(|p| brush.at((p.x, of(p)))) {
        // What lies on a level line between two points is not needed.
        match out[..] {
            [.., (_, a), (_, b)] if a == at.1 && b == at.1 => out.pop(),
            _ => None,
        };
        out.push(at);
    }
    out
}

/// Where a band reaches much further than it usually does, as with one bad
/// second in a year, it is too thin to be seen: there it gets a line.
fn spikes<B: DrawingBackend>(brush: &mut Brush<B>, places: &[Place<'_>], colour: RGBColor) -> Done {
    let mut reach: Vec<f64> = places.iter().map(|p| p.low - p.high).collect();
    let middle = reach.len() / 2;
    let usual = *reach.select_nth_unstable_by(middle, f64::total_cmp).1;
    let least = (usual * SPIKE).max(SPIKE_PX);
    for p in places {
        for (from, to) in [(p.high, p.edge), (p.edge, p.low)] {
            if to - from > least {
                brush.line((p.x, from), (p.x, to), mix(colour, SPIKE_INK))?;
            }
        }
    }
    Ok(())
}

/// A picture worked out and ready to be painted.
pub(crate) struct Picture<'a> {
    request: &'a GraphRequest<'a>,
    /// The request's, or a coarser one where it has too many buckets.
    rollup: Cow<'a, Rollup>,
    palette: &'static Palette,
    drawing: Drawing,
    limits: Vec<LimitLine>,
    pub percentiles: Vec<Line>,
    ghost: Vec<Ghost>,
    pub layout: Layout,
    /// Buckets from the left to the right edge.
    buckets: f64,
}

impl<'a> Picture<'a> {
    pub(crate) fn new(request: &'a GraphRequest<'a>) -> Picture<'a> {
        let most = request.width.clamp(WIDTHS.0, WIDTHS.1) as usize * BUCKETS_PER_PX;
        let rollup = match coarse::coarsen(request.rollup, most) {
            Some(coarse) => Cow::Owned(coarse),
            None => Cow::Borrowed(request.rollup),
        };
        let span = request.to_ms.saturating_sub(rollup.from_ms).max(1);
        let buckets = span as f64 / rollup.step_ms.max(1) as f64;
        let drawing = series::prepare_without(&rollup, buckets, request.over.muted);
        let percentiles = over::lines(&rollup, &drawing, &request.over);
        let ghost = over::ghost(&rollup, &drawing, &request.over, buckets);
        let mut more: Vec<f64> = percentiles.iter().map(|l| l.at).collect();
        more.extend(ghost.iter().flat_map(|(_, run)| run.iter().map(|(_, v)| *v)));
        let (ends, mut limits) = scale::scale_with(&rollup, &drawing, request.limits, &more);
        let asked = request.axis.filter(|(low, high)| low.is_finite() && high.is_finite());
        let asked = asked.filter(|(low, high)| low < high);
        // Data that came later and lies beyond is shown, not cut.
        let ends = asked.map_or(ends, |(low, high)| ends.with(low, high));
        limits.retain(|limit| (ends.low..=ends.high).contains(&limit.at));
        let layout = Layout::new(request, &drawing, ends);
        let palette = request.theme.palette();
        Picture { request, rollup, palette, drawing, limits, percentiles, ghost, layout, buckets }
    }

    /// Buckets from the left to the right edge.
    pub(crate) fn buckets(&self) -> f64 {
        self.buckets.max(f64::MIN_POSITIVE)
    }

    /// A series' label.
    pub(crate) fn label(&self, series: &Series) -> &str {
        self.rollup.fields[series.field].spec.label_or_name()
    }

    /// A series' colour on another ground.
    pub(crate) fn series_colour(&self, series: &Series, index: usize, theme: Theme) -> RGBColor {
        theme.palette().field(&self.rollup.fields[series.field].spec, index)
    }

    /// The colour of what is not drawn on.
    pub(crate) fn ground(&self) -> RGBColor {
        self.palette.ground
    }

    pub(crate) fn drawing(&self) -> &Drawing {
        &self.drawing
    }

    /// Paints it on a backend with such pixels.
    pub(crate) fn paint<B: DrawingBackend>(&self, backend: &mut B, pixels: Pixels) -> Done {
        let mut brush = Brush::new(backend, pixels);
        let l = &self.layout;
        // A bitmap is made of its ground.
        if pixels == Pixels::Half {
            brush.rect((0.0, 0.0), (l.width, l.height), self.palette.ground)?;
        }
        self.grid(&mut brush)?;
        self.gaps(&mut brush)?;
        for (i, series) in self.drawing.series.iter().enumerate() {
            if series.paint == Paint::Fill {
                self.series(&mut brush, series, i)?;
            }
        }
        for (i, series) in self.drawing.series.iter().enumerate() {
            if series.paint != Paint::Fill {
                self.series(&mut brush, series, i)?;
            }
        }
        self.zero(&mut brush)?;
        self.gap_labels(&mut brush)?;
        self.ghost(&mut brush)?;
        self.percentiles(&mut brush)?;
        self.limits(&mut brush)?;
        self.marks(&mut brush)?;
        self.texts(&mut brush)?;
        self.averages(&mut brush)?;
        self.note(&mut brush)?;
        self.legend(&mut brush)
    }

    fn colour(&self, series: &Series, index: usize) -> RGBColor {
        self.palette.field(&self.rollup.fields[series.field].spec, index)
    }

    /// Where the middle of a bucket stands, or any fraction of it.
    fn x(&self, bucket: f64) -> f64 {
        let l = &self.layout;
        (l.left + bucket / self.buckets * (l.right - l.left)).clamp(l.left, l.right)
    }

    fn x_of_time(&self, time_ms: i64) -> f64 {
        let from = self.rollup.from_ms;
        let step = self.rollup.step_ms.max(1) as f64;
        self.x(time_ms.saturating_sub(from) as f64 / step)
    }

    fn gaps<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let l = &self.layout;
        if !self.drawing.any {
            let middle = ((l.left + l.right) / 2.0, (l.top + l.bottom) / 2.0);
            brush.rect((l.left, l.top), (l.right, l.bottom), self.palette.gap)?;
            let text = (Face::Sans, 12.0, self.palette.dim);
            return brush.text(self.drawing.nothing(), text, HPos::Center, middle);
        }
        for (from, to) in &self.drawing.gaps {
            let (from, to) = (self.x(*from), self.x(*to));
            // A gap must be seen even where it is less than a pixel wide.
            let to = to.max(from + 1.0).min(l.right);
            brush.rect((from, l.top), (to, l.bottom), self.palette.gap)?;
        }
        Ok(())
    }

    /// What gaps are, in words: in them where there is room, else beside them; over
    /// the data, so that it is read at every zoom.
    fn gap_labels<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let l = &self.layout;
        if !self.drawing.any || l.plot_height() <= 24.0 {
            return Ok(());
        }
        let text = (Face::Sans, 10.0, self.palette.dim);
        let y = self.free_height();
        let mut free = l.left;
        for (from, to) in &self.drawing.gaps {
            let (from, to) = (self.x(*from), self.x(*to));
            if to - from >= GAP_TEXT {
                brush.text(GAP_LABEL, text, HPos::Center, ((from + to) / 2.0, y))?;
                free = (from + to + GAP_TEXT) / 2.0;
                continue;
            }
            let start = match to + GAP_TEXT <= l.right {
                true => to + 2.0,
                false => from - GAP_TEXT,
            };
            // Many gaps, as of a node that comes and goes, are told as far as there is room.
            if start < free {
                continue;
            }
            brush.rect((start, y - 7.0), (start + GAP_TEXT - 4.0, y + 7.0), self.palette.gap)?;
            brush.text(GAP_LABEL, text, HPos::Left, (start + 3.0, y))?;
            free = start + GAP_TEXT;
        }
        Ok(())
    }

    /// A height near the top at which no limit's line runs through a text.
    fn free_height(&self) -> f64 {
        let l = &self.layout;
        let is_free = |y: f64| self.limits.iter().all(|limit| (l.y(limit.at) - y).abs() > 8.0);
        // Marks have their labels at the top.
        let first = l.top + if self.request.marks.is_empty() { 12.0 } else { 26.0 };
        let heights = (0..8).map(|i| first + 8.0 * f64::from(i));
        heights.filter(|y| *y < l.bottom - 8.0).find(|y| is_free(*y)).unwrap_or(first)
    }

    fn grid<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let l = &self.layout;
        let mirrors = self.drawing.series.iter().any(|s| s.mirrored);
        for mark in &l.marks.at {
            let y = l.y(*mark);
            brush.line((l.left, y), (l.right, y), mix(self.palette.grid, 1.0))?;
            if !self.drawing.any {
                continue;
            }
            let label = l.marks.label(*mark, mirrors);
            let style = (Face::Sans, LABEL_EM, self.palette.dim);
            brush.text(&label, style, HPos::Right, (l.left - 7.0, y))?;
        }
        self.times(brush)
    }

    fn times<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let l = &self.layout;
        let from = self.rollup.from_ms;
        let marks = ticks::marks(from, self.request.to_ms, l.right - l.left, self.request.tz);
        let mut free = l.right;
        for mark in marks {
            let x = self.x_of_time(mark.time_ms);
            let (face, colour) = match mark.is_major {
                true => (Face::Bold, self.palette.ink),
                false => (Face::Sans, self.palette.dim),
            };
            brush.line((x, l.top), (x, l.bottom + 4.0), mix(self.palette.grid, 1.0))?;
            let half = font::width_em(face, &mark.label) * LABEL_EM / 2.0;
            if x - half > 2.0 && x + half < l.width - 2.0 {
                let at = (x, l.bottom + 14.0);
                brush.text(&mark.label, (face, LABEL_EM, colour), HPos::Center, at)?;
                free = free.min(x - half);
            }
        }
        self.zone(brush, free)
    }

    /// Whose time it is, left of the first mark if there is room.
    fn zone<B: DrawingBackend>(&self, brush: &mut Brush<B>, free: f64) -> Done {
        let Ok(end) = jiff::Timestamp::from_millisecond(self.request.to_ms) else { return Ok(()) };
        let info = self.request.tz.to_offset_info(end);
        let name = font::fit(Face::Sans, info.abbreviation(), 5.0);
        if SIDE + font::width_em(Face::Sans, &name) * ZONE_EM + 6.0 > free {
            return Ok(());
        }
        let at = (SIDE, self.layout.bottom + 14.0);
        brush.text(&name, (Face::Sans, ZONE_EM, self.palette.dim), HPos::Left, at)
    }

    fn series<B: DrawingBackend>(&self, brush: &mut Brush<B>, s: &Series, i: usize) -> Done {
        let colour = self.colour(s, i);
        let y = self.layout.heights();
        for run in &s.runs {
            let places = self.places(run, &y);
            let edge = along(brush, &places, |p| p.edge);
            let width = match s.paint {
                Paint::Fill => {
                    let base = along(brush, &places, |p| y(p.point.base));
                    brush.between(&edge, &base, mix(colour, FILL))?;
                    1
                }
                Paint::Line(width) => width,
            };
            // Most parts of a stack have no band.
            if places.iter().any(|p| p.high != p.low) {
                let high = along(brush, &places, |p| p.high);
                let low = along(brush, &places, |p| p.low);
                if high != low {
                    brush.between(&high, &low, mix(colour, BAND))?;
                    spikes(brush, &places, colour)?;
                }
            }
            brush.path(&edge, colour, width)?;
            // A service's very first points would hardly be seen as a line.
            let (first, last) = (places[0].x, places[places.len() - 1].x);
            let is_short = run.len() == 1 || last - first <= LEAST_RUN;
            if let (Paint::Line(_), true, Some(p)) = (s.paint, is_short, places.last()) {
                brush.dot(((first + last) / 2.0, p.edge), colour)?;
            }
        }
        Ok(())
    }

    /// Where each point stands; what would be too narrow to be seen is widened.
    fn places<'p>(&self, run: &'p [Point], y: &impl Fn(f64) -> f64) -> Vec<Place<'p>> {
        let l = &self.layout;
        let place = |point: &'p Point| {
            let edge = y(point.edge);
            let or_edge = |v: f64| if v == point.edge { edge } else { y(v) };
            let (high, low) = (or_edge(point.high), or_edge(point.low));
            let x = self.x(point.bucket as f64 + 0.5);
            Place { point, x, edge, high, low }
        };
        let mut places: Vec<Place<'_>> = Vec::with_capacity(run.len() + 2);
        // A bucket wide enough to be seen is drawn from its start to its end.
        let half = (l.right - l.left) / self.buckets / 2.0;
        let has_ends = half >= 1.0 || run.len() == 1;
        if let (true, Some(first)) = (has_ends, run.first().map(place)) {
            places.push(Place { x: (first.x - half).max(l.left), ..first });
        }
        places.extend(run.iter().map(place));
        if let (true, Some(last)) = (has_ends, run.last().map(place)) {
            places.push(Place { x: (last.x + half).min(l.right), ..last });
        }
        let n = places.len();
        if places[n - 1].x - places[0].x < LEAST_RUN {
            let middle = (places[n - 1].x + places[0].x) / 2.0;
            let from = (middle - LEAST_RUN / 2.0).clamp(l.left, l.right - LEAST_RUN);
            (places[0].x, places[n - 1].x) = (from, from + LEAST_RUN);
        }
        places
    }

    /// Where averages stand in for samples: a line along the axis, and of what time.
    fn averages<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let l = &self.layout;
        let above = if self.request.over.note.is_empty() { 8.0 } else { 20.0 };
        for (i, span) in self.rollup.averages.iter().enumerate() {
            let (from, to) = (self.x_of_time(span.from_ms), self.x_of_time(span.to_ms));
            // Neighbours of another period are told apart by their lines' ends.
            let to = to.max(from + 1.0) - 1.0;
            let y = l.bottom - 3.0;
            brush.rect((from, y), (to.max(from + 1.0), y + 2.0), self.palette.dim)?;
            let text = format!("averages of {}", past::words(span.step_ms));
            let style = (Face::Sans, LABEL_EM, self.palette.dim);
            let is_wide = font::width_em(Face::Sans, &text) * LABEL_EM + 8.0 <= to - from;
            if is_wide && (i == 0 || l.plot_height() > 24.0) {
                brush.text(&text, style, HPos::Left, (from + 4.0, l.bottom - above))?;
            }
        }
        Ok(())
    }

    /// What could not be drawn, below the other texts.
    fn note<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let l = &self.layout;
        let style = (Face::Sans, LABEL_EM, self.palette.dim);
        let note = font::fit(Face::Sans, self.request.over.note, (l.right - l.left) / LABEL_EM);
        brush.text(&note, style, HPos::Left, (l.left + 4.0, l.bottom - 8.0))
    }

    /// An earlier span as thin dashed lines.
    fn ghost<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let most = over::DASHES_MAX / self.ghost.len().max(1);
        for (series, run) in &self.ghost {
            let colour =
                series.map_or(self.palette.ink, |i| self.colour(&self.drawing.series[i], i));
            let at = |(bucket, v): &(usize, f64)| (self.x(*bucket as f64 + 0.5), self.layout.y(*v));
            let points: Vec<(f64, f64)> = run.iter().map(at).collect();
            for part in dashes(&points, over::GHOST_DASH, most) {
                let part: Vec<BackendCoord> = part.iter().map(|p| brush.at(*p)).collect();
                brush.path(&part, mix_to(colour, self.palette.ground, over::GHOST_INK), 1)?;
            }
        }
        Ok(())
    }

    /// Each percentile as a dotted line with its number.
    fn percentiles<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let l = &self.layout;
        let mut taken: Vec<f64> = Vec::new();
        for line in &self.percentiles {
            let y = l.y(line.at);
            let colour =
                line.series.map_or(self.palette.ink, |i| self.colour(&self.drawing.series[i], i));
            let ends = [(l.left, y), (l.right, y)];
            for part in dashes(&ends, over::PERCENTILE_DASH, over::DASHES_MAX) {
                let part: Vec<BackendCoord> = part.iter().map(|p| brush.at(*p)).collect();
                brush.path(&part, colour, 1)?;
            }
            // Labels that would cover one another are left to the legend of the page.
            if l.plot_height() >= LABELLED_LIMITS && taken.iter().all(|t| (t - y).abs() > 10.0) {
                taken.push(y);
                let label = font::fit(Face::Sans, &line.label, 24.0);
                let above = if y - 12.0 < l.top { y + 8.0 } else { y - 6.0 };
                let style = (Face::Sans, 9.0, self.palette.ink);
                brush.text(&label, style, HPos::Left, (l.left + 4.0, above))?;
            }
        }
        Ok(())
    }

    fn zero<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let Ends { low, high, .. } = self.layout.ends;
        if !self.drawing.any || low > 0.0 || high < 0.0 {
            return Ok(());
        }
        let y = self.layout.y(0.0);
        brush.line((self.layout.left, y), (self.layout.right, y), mix(self.palette.zero, 1.0))
    }

    fn limits<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let l = &self.layout;
        if !self.drawing.any {
            return Ok(());
        }
        for limit in &self.limits {
            let y = l.y(limit.at);
            let colour = if limit.critical { self.palette.critical } else { self.palette.warning };
            let own = limit.rule.as_ref().map(|c| self.palette.named(c));
            let colour = own.map_or(colour, |own| own.unwrap_or(self.palette.ink));
            if limit.rule.is_some() {
                brush.line((l.left, y), (l.right, y), mix(colour, 1.0))?;
            }
            let mut x = if limit.rule.is_some() { l.right } else { l.left };
            while x < l.right {
                brush.line((x, y), ((x + DASH.0).min(l.right), y), mix(colour, 1.0))?;
                x += DASH.0 + DASH.1;
            }
            if !limit.label.is_empty() && l.plot_height() >= LABELLED_LIMITS {
                let label = font::fit(Face::Sans, &limit.label, 14.0);
                let above = if y - 12.0 < l.top { y + 8.0 } else { y - 7.0 };
                let at = (l.right - 3.0, above);
                brush.text(&label, (Face::Sans, 9.0, colour), HPos::Right, at)?;
            }
        }
        Ok(())
    }

    fn marks<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let span = self.rollup.from_ms..self.request.to_ms;
        let inside = self.request.marks.iter().filter(|m| span.contains(&m.time_ms));
        let placed: Vec<(f64, &str)> =
            inside.map(|m| (self.x_of_time(m.time_ms), m.text.as_str())).collect();
        marks::paint(brush, &self.layout, self.palette, &placed)
    }

    fn texts<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        if !has_head(self.request) {
            return Ok(());
        }
        let l = &self.layout;
        let spec = &self.rollup.spec;
        let period = if spec.period.is_empty() { "second" } else { &spec.period };
        let unit = spec.vlabel.replace("${graph_period}", period);
        let room = l.right - SIDE;
        // The title goes before the unit where there is not room for both.
        let title = font::fit(Face::Bold, self.request.title, room / TITLE_EM);
        let rest = room - font::width_em(Face::Bold, &title) * TITLE_EM - 12.0;
        let style = (Face::Bold, TITLE_EM, self.palette.ink);
        brush.text(&title, style, HPos::Left, (SIDE, TITLE_MIDDLE))?;
        let unit = font::fit(Face::Sans, &unit, rest.max(0.0) / LABEL_EM);
        if unit.chars().count() < 3 && unit.ends_with('…') {
            return Ok(());
        }
        let style = (Face::Sans, LABEL_EM, self.palette.dim);
        brush.text(&unit, style, HPos::Right, (l.right, TITLE_MIDDLE))
    }

    fn legend<B: DrawingBackend>(&self, brush: &mut Brush<B>) -> Done {
        let l = &self.layout;
        let Some(first) = l.rows.first() else { return Ok(()) };
        let head = first.y - ROW_HEIGHT;
        for column in &l.columns {
            let style = (Face::Sans, 10.0, self.palette.dim);
            brush.text(column.title, style, HPos::Right, (column.right, head))?;
        }
        let ink = self.palette.ink;
        for row in &l.rows {
            let mut ink = ink;
            if let Some(index) = row.series {
                let series = &self.drawing.series[index];
                let colour = self.colour(series, index);
                brush.rect((l.left, row.y - 5.0), (l.left + 10.0, row.y + 5.0), colour)?;
                if series.muted {
                    let ground = self.palette.ground;
                    brush.rect((l.left + 1.0, row.y - 4.0), (l.left + 9.0, row.y + 4.0), ground)?;
                    ink = self.palette.dim;
                }
            }
            let at = (l.left + 18.0, row.y);
            brush.text(&row.label, (Face::Sans, LEGEND_EM, ink), HPos::Left, at)?;
            for (column, number) in l.columns.iter().zip(&row.numbers) {
                let at = (column.right, row.y);
                brush.text(number, (Face::Mono, LEGEND_EM, ink), HPos::Right, at)?;
            }
        }
        let last = l.rows.last().map_or(head, |r| r.y);
        let style = (Face::Sans, LEGEND_EM, self.palette.dim);
        brush.text(&l.more, style, HPos::Left, (l.left + 18.0, last + ROW_HEIGHT))
    }
}
