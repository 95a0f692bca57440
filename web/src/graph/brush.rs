//! A backend of plotters as it is used here: in px of the picture, with lines
//! and text that look alike in bitmaps and SVG.

use super::font::{self, Face};
use super::text;
use plotters::backend::DrawingBackend;
use plotters::style::text_anchor::HPos;
use plotters::style::{Color, RGBAColor, RGBColor, ShapeStyle};

/// A point in a backend's pixels.
pub(crate) type BackendCoord = (i32, i32);
/// The error is what the backend said: its type cannot be named from here.
pub(crate) type Done = Result<(), String>;

/// Half of the height of a digit, in ems: what is centred.
const HALF_DIGIT: f64 = 0.365;
/// Plotters' SVG centres small letters, this much above, in ems.
const SVG_ABOVE: f64 = 0.095;
/// The dots of a pen: thick lines in bitmaps are drawn as several thin ones,
/// because plotters' own are neither smooth nor of even width.
const PENS: [&[(i32, i32)]; 3] =
    [&[(0, 0)], &[(0, 0), (1, 0), (0, 1)], &[(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]];

/// A dot's radius, px.
const DOT: f64 = 2.0;

/// How fine a backend's pixels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pixels {
    /// One a px: a bitmap.
    Whole,
    /// Two a px: SVG, since plotters knows only whole pixels.
    Half,
}

impl Pixels {
    /// Pixels of the backend in a px of the picture.
    pub(crate) fn per_px(self) -> f64 {
        match self {
            Pixels::Whole => 1.0,
            Pixels::Half => 2.0,
        }
    }
}

/// The nearest whole number; halves go up. No picture is so far off that the way over
/// what is positive, which spares a call for each coordinate, would not do.
fn nearest(v: f64) -> i32 {
    const FAR: i32 = 1 << 24;
    ((v + f64::from(FAR) + 0.5) as i32).saturating_sub(FAR)
}

/// A backend and the size of its pixels.
pub(crate) struct Brush<'b, B: DrawingBackend> {
    backend: &'b mut B,
    pixels: Pixels,
}

impl<'b, B: DrawingBackend> Brush<'b, B> {
    pub(crate) fn new(backend: &'b mut B, pixels: Pixels) -> Brush<'b, B> {
        Brush { backend, pixels }
    }

    /// A point of the picture, px, in the backend's pixels.
    pub(crate) fn at(&self, (x, y): (f64, f64)) -> BackendCoord {
        let scale = self.pixels.per_px();
        (nearest(x * scale), nearest(y * scale))
    }

    /// A filled rectangle.
    pub(crate) fn rect(&mut self, from: (f64, f64), to: (f64, f64), colour: RGBColor) -> Done {
        let (from, to) = (self.at(from), self.at(to));
        self.backend.draw_rect(from, to, &colour, true).map_err(|e| e.to_string())
    }

    /// A line of 1 px.
    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: RGBAColor) -> Done {
        let (from, to) = (self.at(from), self.at(to));
        let style = ShapeStyle::from(&colour).stroke_width(self.pixels.per_px() as u32);
        self.backend.draw_line(from, to, &style).map_err(|e| e.to_string())
    }

    /// A line of `width` px through many points.
    pub(crate) fn path(&mut self, points: &[BackendCoord], colour: RGBColor, width: u32) -> Done {
        let style = ShapeStyle::from(&colour);
        if self.pixels == Pixels::Half {
            let style = style.stroke_width(width * 2);
            let drawn = self.backend.draw_path(points.iter().copied(), &style);
            return drawn.map_err(|e| e.to_string());
        }
        let style = style.stroke_width(1);
        for (dx, dy) in PENS[(width.clamp(1, 3) - 1) as usize] {
            let moved = points.iter().map(|(x, y)| (x + dx, y + dy));
            self.backend.draw_path(moved, &style).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// A small disc.
    pub(crate) fn dot(&mut self, at: (f64, f64), colour: RGBColor) -> Done {
        let at = self.at(at);
        let radius = (DOT * self.pixels.per_px()) as u32;
        self.backend.draw_circle(at, radius, &colour, true).map_err(|e| e.to_string())
    }

    /// What lies between two edges that go the same way.
    pub(crate) fn between(
        &mut self,
        a: &[BackendCoord],
        b: &[BackendCoord],
        colour: RGBAColor,
    ) -> Done {
        let around = a.iter().chain(b.iter().rev()).copied();
        self.backend.fill_polygon(around, &colour).map_err(|e| e.to_string())
    }

    /// A text whose digits' middle stands at the height `y`.
    pub(crate) fn text(
        &mut self,
        text: &str,
        (face, em, colour): (Face, f64, RGBColor),
        align: HPos,
        (x, y): (f64, f64),
    ) -> Done {
        if text.is_empty() {
            return Ok(());
        }
        if self.pixels == Pixels::Half {
            let at = self.at((x, y + em * SVG_ABOVE));
            let style = font::style(face, em * self.pixels.per_px(), colour, align);
            return self.backend.draw_text(text, &style, at).map_err(|e| e.to_string());
        }
        let width = font::width_em(face, text) * em;
        let x = match align {
            HPos::Left => x,
            HPos::Center => x - width / 2.0,
            HPos::Right => x - width,
        };
        let (w, h) = self.backend.get_size();
        let backend = &mut *self.backend;
        text::draw(text, face, em, (x, (y + em * HALF_DIGIT).round() as i32), |at, ink| {
            let is_inside = (0..w as i32).contains(&at.0) && (0..h as i32).contains(&at.1);
            if !is_inside {
                return Ok(());
            }
            let colour = colour.mix(ink).to_backend_color();
            backend.draw_pixel(at, colour).map_err(|e| e.to_string())
        })
    }
}
