//! Events as labelled vertical marks.

use super::brush::{Brush, Done};
use super::font::{self, Face};
use super::layout::Layout;
use super::theme::{Palette, mix};
use plotters::backend::DrawingBackend;
use plotters::style::text_anchor::HPos;
use rookery_plugins::TimeMs;

/// Something that happened at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// When, UTC ms.
    pub time_ms: TimeMs,
    /// What: untrusted text.
    pub text: String,
}

/// Marks nearer than this are one, px.
const APART: f64 = 4.0;
/// In a plot lower than this marks have no text, px: it would hide the data.
const LABELLED: f64 = 100.0;
const EM: f64 = 9.5;
/// Longest label, em.
const LABEL_EMS: f64 = 16.0;
/// Dashes and the spaces between them, px.
const DASH: (f64, f64) = (3.0, 3.0);

/// Paints marks, each with where it stands, oldest first.
pub(crate) fn paint<B: DrawingBackend>(
    brush: &mut Brush<B>,
    layout: &Layout,
    palette: &Palette,
    marks: &[(f64, &str)],
) -> Done {
    let groups = together(marks);
    // Where the last label ends.
    let mut free = layout.left;
    for (i, (x, text, n)) in groups.iter().enumerate() {
        let (x, top) = (*x, layout.top);
        let mut y = top;
        while y < layout.bottom {
            let to = (y + DASH.0).min(layout.bottom);
            brush.line((x, y), (x, to), mix(palette.event, 1.0))?;
            y += DASH.0 + DASH.1;
        }
        brush.rect((x - 2.0, top), (x + 2.0, top + 5.0), palette.event)?;
        if layout.plot_height() < LABELLED {
            continue;
        }
        let more = if *n > 1 { format!(" +{}", n - 1) } else { String::new() };
        let end = groups.get(i + 1).map_or(layout.right, |(next, ..)| *next);
        // The last may stand before its line, where there is more room.
        let is_before = i + 1 == groups.len() && x - free > end - x;
        let room = if is_before { x - free } else { end - x };
        let ems = (room - 10.0) / EM - font::width_em(Face::Sans, &more);
        let label = font::fit(Face::Sans, text, ems.min(LABEL_EMS));
        // No later label covers this line.
        free = free.max(x + 3.0);
        // Less than this says nothing.
        if label.chars().count() < 3 && label != *text {
            continue;
        }
        let label = label + &more;
        let width = font::width_em(Face::Sans, &label) * EM;
        let from = if is_before { x - 8.0 - width } else { x + 3.0 };
        let to = from + width + 5.0;
        free = free.max(to);
        brush.rect((from, top + 1.0), (to, top + 14.0), palette.ground)?;
        let style = (Face::Sans, EM, palette.event);
        brush.text(&label, style, HPos::Left, (from + 3.0, top + 7.5))?;
    }
    Ok(())
}

/// Those that stand too near to be told apart, as one: where, the first's text,
/// how many.
fn together<'m>(marks: &[(f64, &'m str)]) -> Vec<(f64, &'m str, usize)> {
    let mut groups: Vec<(f64, &str, usize)> = Vec::new();
    for (x, text) in marks {
        match groups.last_mut() {
            Some((at, _, n)) if x - *at < APART => *n += 1,
            _ => groups.push((*x, text, 1)),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_marks_are_counted_as_one() {
        let marks = [(10.0, "a"), (12.0, "b"), (13.9, "c"), (14.0, "d"), (90.0, "e")];
        assert_eq!(together(&marks), [(10.0, "a", 3), (14.0, "d", 1), (90.0, "e", 1)]);
        assert!(together(&[]).is_empty());
    }
}
