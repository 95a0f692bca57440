//! Text in bitmaps: measured exactly, placed on quarters of a pixel.
//!
//! Plotters drops each glyph's left bearing and rounds its place to whole
//! pixels, so that small text wobbles ("l ine"). Here each glyph is rendered
//! once for each size and quarter of a pixel, and kept.

use super::font::{self, Face};
use ab_glyph::{Font, FontRef, Glyph, GlyphId, PxScale, ScaleFont, point};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Glyphs kept; a picture needs some 100, a hostile one cannot fill the memory.
const MAX_KEPT: usize = 4096;
/// Places that are told apart within a pixel.
const PARTS: f32 = 4.0;

/// A rendered glyph.
#[derive(Debug, Default)]
struct Ink {
    /// From the pen's whole pixel and the base line to the left upper corner.
    left: i32,
    top: i32,
    width: usize,
    /// Rows of `width`, 0 to 255.
    cover: Vec<u8>,
}

/// Face, em in 1/64 px, character, quarter of a pixel.
type Key = (Face, u32, char, u8);

fn kept() -> &'static Mutex<HashMap<Key, Arc<Ink>>> {
    static KEPT: OnceLock<Mutex<HashMap<Key, Arc<Ink>>>> = OnceLock::new();
    KEPT.get_or_init(Mutex::default)
}

fn faces() -> Option<&'static [FontRef<'static>; 3]> {
    static FACES: OnceLock<Option<[FontRef<'static>; 3]>> = OnceLock::new();
    let read = |face| FontRef::try_from_slice(font::bytes(face)).ok();
    FACES.get_or_init(|| Some([read(Face::Sans)?, read(Face::Bold)?, read(Face::Mono)?])).as_ref()
}

fn face(face: Face) -> Option<&'static FontRef<'static>> {
    faces().map(|f| &f[face as usize])
}

/// A character's advance in ems; 0 without fonts.
pub(crate) fn advance_em(of: Face, c: char) -> f64 {
    let Some(font) = face(of) else { return 0.0 };
    let per_em = font.units_per_em().unwrap_or(2048.0);
    f64::from(font.h_advance_unscaled(font.glyph_id(c)) / per_em)
}

/// Paints `text` from `x` along the base line `y` by calling `dot` with each
/// pixel that has ink, and how much of it (0 to 1).
pub(crate) fn draw<E>(
    text: &str,
    of: Face,
    em: f64,
    (mut x, y): (f64, i32),
    mut dot: impl FnMut((i32, i32), f64) -> Result<(), E>,
) -> Result<(), E> {
    let Some(font) = face(of) else { return Ok(()) };
    for c in text.chars() {
        // The nearest quarter, carried into the next pixel where it rounds up.
        let place = (x * f64::from(PARTS)).round();
        let whole = (place / f64::from(PARTS)).floor();
        let part = place - whole * f64::from(PARTS);
        let ink = ink(font, (of, (em * 64.0) as u32, c, part as u8));
        if ink.width > 0 {
            for (row, line) in ink.cover.chunks(ink.width).enumerate() {
                for (column, cover) in line.iter().enumerate().filter(|(_, c)| **c > 0) {
                    let at = (whole as i32 + ink.left + column as i32, y + ink.top + row as i32);
                    dot(at, f64::from(*cover) / 255.0)?;
                }
            }
        }
        x += advance_em(of, c) * em;
    }
    Ok(())
}

fn ink(font: &FontRef<'static>, key: Key) -> Arc<Ink> {
    let mut kept = kept().lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ink) = kept.get(&key) {
        return Arc::clone(ink);
    }
    if kept.len() >= MAX_KEPT {
        tracing::debug!("more than {MAX_KEPT} glyphs in use: they are rendered anew");
        kept.clear();
    }
    let ink = Arc::new(render(font, key).unwrap_or_default());
    kept.insert(key, Arc::clone(&ink));
    ink
}

fn render(font: &FontRef<'static>, (_, em, c, part): Key) -> Option<Ink> {
    // ab_glyph's scale is the font's height, not its em.
    let em = em as f32 / 64.0;
    let scale = PxScale::from(em * font.height_unscaled() / font.units_per_em()?);
    let id: GlyphId = font.glyph_id(c);
    let glyph: Glyph = id.with_scale_and_position(scale, point(f32::from(part) / PARTS, 0.0));
    let outline = font.as_scaled(scale).outline_glyph(glyph)?;
    let bounds = outline.px_bounds();
    let (width, height) = (bounds.width() as usize, bounds.height() as usize);
    let mut cover = vec![0; width * height];
    outline.draw(|x, y, c| {
        if let Some(at) = cover.get_mut(y as usize * width + x as usize) {
            *at = (c.clamp(0.0, 1.0) * 255.0).round() as u8;
        }
    });
    Some(Ink { left: bounds.min.x as i32, top: bounds.min.y as i32, width, cover })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(text: &str, x: f64) -> Vec<((i32, i32), f64)> {
        let mut out = Vec::new();
        draw(text, Face::Sans, 11.0, (x, 20), |at, ink| {
            out.push((at, ink));
            Ok::<(), ()>(())
        })
        .expect("dots are taken");
        out
    }

    #[test]
    fn letters_stand_on_the_base_line_after_their_pen() {
        let ink = pixels("l", 10.0);
        assert!(ink.iter().all(|((x, y), _)| (10..14).contains(x) && (10..20).contains(y)));
        assert!(ink.iter().any(|((_, y), _)| *y == 19));
        let moved = pixels("l", 11.0);
        assert_eq!(moved.len(), ink.len());
        assert_ne!(pixels("l", 10.5), ink, "half a pixel is seen");
        assert!(pixels(" ", 10.0).is_empty());
    }

    #[test]
    fn a_text_is_as_wide_as_measured() {
        let text = "Thu 19 Nov";
        let right = pixels(text, 0.0).iter().map(|((x, _), _)| *x).max().expect("ink");
        let width = font::width_em(Face::Sans, text) * 11.0;
        assert!((width - f64::from(right)).abs() < 2.5, "{width} {right}");
    }

    #[test]
    fn many_characters_are_drawn_and_not_kept_for_ever() {
        let text: String = (0x20..0x2000).filter_map(char::from_u32).collect();
        assert!(!pixels(&text, 0.0).is_empty());
        assert!(kept().lock().expect("not poisoned").len() <= MAX_KEPT);
    }
}
