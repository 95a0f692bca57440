//! Sparklines: tiny pictures without axes and texts, for tables.

use super::scale::{self, Ends};
use super::series::{self, Paint, Point};
use super::{Theme, coarse};
use rookery_collector::history::Rollup;
use std::fmt::Write as _;

/// The least and largest width and height, px.
const SIZES: (u32, u32) = (8, 1000);
/// The fields beyond so many are left out: nobody could tell them apart.
const MAX_FIELDS: usize = 8;
const FILL: &str = ".6";

/// The service's fields as they are drawn, without anything around them.
/// `width` and `height` in px, at least 8 and at most 1000. Where there are more
/// buckets than px, neighbours are joined.
pub fn sparkline_svg(rollup: &Rollup, width: u32, height: u32, theme: Theme) -> String {
    let (width, height) = (width.clamp(SIZES.0, SIZES.1), height.clamp(SIZES.0, SIZES.1));
    let coarse = coarse::coarsen(rollup, width as usize);
    let rollup = coarse.as_ref().unwrap_or(rollup);
    let n = rollup.fields.iter().map(|f| f.buckets.len()).max().unwrap_or(0).max(1);
    let drawing = series::prepare(rollup, n as f64);
    let (ends, _) = scale::scale(rollup, &drawing, &[]);
    let frame = Frame { width, height, n, ends };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\" fill=\"none\" \
         stroke-width=\"1.3\" stroke-linejoin=\"round\" stroke-linecap=\"round\">"
    );
    for (i, s) in drawing.series.iter().enumerate().take(MAX_FIELDS) {
        let c = theme.palette().field(&rollup.fields[s.field].spec, i);
        let colour = format!("#{:02x}{:02x}{:02x}", c.0, c.1, c.2);
        for run in &s.runs {
            frame.run(&mut out, run, s.paint, &colour);
        }
    }
    out.push_str("</svg>");
    out
}

struct Frame {
    width: u32,
    height: u32,
    n: usize,
    ends: Ends,
}

impl Frame {
    fn run(&self, out: &mut String, run: &[Point], paint: Paint, colour: &str) {
        let columns = self.columns(run);
        let points = |of: fn(&(f64, f64, f64)) -> (f64, f64), back: bool| {
            let mut text = String::new();
            let mut add = |p: &(f64, f64, f64)| {
                let (x, y) = of(p);
                let space = if text.is_empty() { "" } else { " " };
                let _ = write!(text, "{space}{x:.1},{y:.1}");
            };
            match back {
                true => columns.iter().rev().for_each(&mut add),
                false => columns.iter().for_each(&mut add),
            }
            text
        };
        let edge = points(|(x, edge, _)| (*x, *edge), false);
        let _ = match paint {
            Paint::Fill => {
                let base = points(|(x, _, base)| (*x, *base), true);
                write!(
                    out,
                    "<polygon fill=\"{colour}\" fill-opacity=\"{FILL}\" points=\"{edge} {base}\"/>"
                )
            }
            Paint::Line(_) => write!(out, "<polyline stroke=\"{colour}\" points=\"{edge}\"/>"),
        };
    }

    /// The run's points: x, edge, base. At least two, so that a lone one is seen.
    fn columns(&self, run: &[Point]) -> Vec<(f64, f64, f64)> {
        let x = |p: &Point| (p.bucket as f64 + 0.5) / self.n as f64 * f64::from(self.width);
        let mut out: Vec<_> = run.iter().map(|p| (x(p), self.y(p.edge), self.y(p.base))).collect();
        if let [(x, edge, base)] = out[..] {
            out = vec![(x - 1.0, edge, base), (x + 1.0, edge, base)];
        }
        out
    }

    fn y(&self, value: f64) -> f64 {
        let part = self.ends.part(value);
        let room = f64::from(self.height) - 2.0;
        1.0 + room - part * room
    }
}
