//! Drawing a rollup as SVG or PNG.
//!
//! [`svg`] and [`png`] paint the same picture through plotters' backends: the
//! title, the plot, and a table with each field's Cur, Min, Avg and Max under
//! it. Everything a plugin or user named is taken as untrusted text, and every
//! number as possibly infinite.

mod bitmap;
mod brush;
mod coarse;
mod draw;
mod figures;
mod font;
mod gaps;
#[cfg(test)]
mod golden;
mod layout;
mod marks;
mod output;
mod over;
mod plan;
mod scale;
mod series;
mod spark;
mod terminal;
#[cfg(test)]
mod testing;
mod text;
mod theme;
mod ticks;
mod unit;
mod units;
mod values;
mod vector;

pub use figures::{as_drawn, drawn_limit, figures, newest, newest_drawn};
pub use marks::Mark;
pub use output::{alt_text, colours, ends, png, svg};
pub use over::{Over, Percentile, percentiles};
pub use spark::sparkline_svg;
pub use terminal::text as terminal_text;
pub use theme::Theme;
pub use unit::Unit;
pub use units::{plain, si};
pub use values::Figures;

use rookery_collector::history::Rollup;
use rookery_plugins::range::Range;
use rookery_plugins::{FieldSpec, ServiceSpec, TimeMs};
use thiserror::Error;

/// The least and the largest width of a picture, px; others are clamped.
pub const WIDTHS: (u32, u32) = (120, 4000);
/// The least and the largest height of the plot, px; others are clamped.
pub const HEIGHTS: (u32, u32) = (80, 2400);

/// Why a picture could not be drawn.
#[derive(Debug, Error)]
pub enum GraphError {
    /// A font in the program is damaged: build it again.
    #[error("graph: a built-in font cannot be read; the program file is damaged, build it again")]
    Font,
    /// The drawing library refused.
    #[error("graph {title:?}: {reason}; please report it with the address of the picture")]
    Draw {
        /// The picture's title.
        title: String,
        /// What the library said.
        reason: String,
    },
}

/// A field's limits as Nagios ranges (`~:80`), whoever set them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Drawn amber.
    pub warning: Option<String>,
    /// Drawn red.
    pub critical: Option<String>,
}

impl Limits {
    /// A limit as it is judged (Nagios' range), as the range of the drawn values; `None`:
    /// it stands nowhere among them ([`drawn_limit`]). What is no range stays as it is.
    pub fn drawn(spec: &ServiceSpec, field: &FieldSpec, text: &str) -> Option<String> {
        let Ok(range) = text.parse::<Range>() else { return Some(text.to_owned()) };
        let at = |bound: f64| match bound.is_finite() {
            true => drawn_limit(spec, field, bound),
            false => drawn_limit(spec, field, 0.0).map(|_| bound),
        };
        let (start, end) = (at(range.start())?, at(range.end())?);
        if (start, end) == (range.start(), range.end()) {
            return Some(text.to_owned());
        }
        let start = if start.is_finite() { start.to_string() } else { "~".to_owned() };
        let end = if end.is_finite() { end.to_string() } else { String::new() };
        let inside = if range.is_inside() { "@" } else { "" };
        Some(format!("{inside}{start}:{end}"))
    }
}

/// What to draw, and how.
#[derive(Clone, Debug)]
pub struct GraphRequest<'a> {
    /// The data, from the left edge on; about one bucket a pixel is right.
    pub rollup: &'a Rollup,
    /// The right edge, UTC ms.
    pub to_ms: TimeMs,
    /// Of the whole picture, px, clamped to [`WIDTHS`].
    pub width: u32,
    /// Of title, plot and time axis together, px, clamped to [`HEIGHTS`]; the
    /// legend comes below it, so that the picture is taller.
    pub height: u32,
    /// On white or on near-black.
    pub theme: Theme,
    /// Whose days and hours the time axis shows.
    pub tz: &'a jiff::tz::TimeZone,
    /// What stands above the plot: service and node.
    pub title: &'a str,
    /// The limits that hold, by field name.
    pub limits: &'a [(String, Limits)],
    /// What happened meanwhile, oldest first.
    pub marks: &'a [Mark],
    /// Ends that the value axis reaches at least, low below high and both
    /// finite; `None`: by the data alone.
    pub axis: Option<(f64, f64)>,
    /// Whether the table of the fields is drawn under the plot.
    pub legend: bool,
    /// What lies over the data: percentiles, a ghost; and what is muted.
    pub over: Over<'a>,
}
