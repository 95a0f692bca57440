//! The fonts that come with Rookery, so that pictures need none of the system.

use super::text;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontFamily, FontStyle, IntoFont, RGBColor, TextStyle, register_font};
use std::sync::OnceLock;

/// The name of the proportional font; in SVG the reader's own one of this kind.
const SANS: &str = "sans-serif";
/// The name of the font for columns of numbers.
const MONO: &str = "monospace";
/// Plotters' font size is this much of the em size that CSS means.
const PLOTTERS_EM: f64 = 1.24;

static SANS_TTF: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans.ttf");
static BOLD_TTF: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-Bold.ttf");
static MONO_TTF: &[u8] = include_bytes!("../../assets/fonts/DejaVuSansMono.ttf");

/// Makes the fonts known to plotters, once a process; false: a font is damaged.
pub(crate) fn register() -> bool {
    static DONE: OnceLock<bool> = OnceLock::new();
    *DONE.get_or_init(|| {
        let fonts = [
            (SANS, FontStyle::Normal, SANS_TTF),
            (SANS, FontStyle::Bold, BOLD_TTF),
            (MONO, FontStyle::Normal, MONO_TTF),
        ];
        fonts.iter().all(|(name, style, bytes)| register_font(name, *style, bytes).is_ok())
    })
}

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Face {
    /// Proportional.
    Sans,
    /// Proportional, bold.
    Bold,
    /// Fixed width.
    Mono,
}

/// A style of `em` pixels, its anchor's vertical middle at the given point.
pub(crate) fn style(face: Face, em: f64, colour: RGBColor, at: HPos) -> TextStyle<'static> {
    let (name, style) = match face {
        Face::Sans => (SANS, FontStyle::Normal),
        Face::Bold => (SANS, FontStyle::Bold),
        Face::Mono => (MONO, FontStyle::Normal),
    };
    let font = (FontFamily::from(name), em * PLOTTERS_EM, style).into_font();
    let mut style = TextStyle::from(font);
    style.color = colour.to_backend_color();
    style.pos = Pos::new(at, VPos::Center);
    style
}

/// The font file of a face.
pub(crate) fn bytes(face: Face) -> &'static [u8] {
    match face {
        Face::Sans => SANS_TTF,
        Face::Bold => BOLD_TTF,
        Face::Mono => MONO_TTF,
    }
}

/// The width of `text` in ems, by our own fonts; browsers' fonts are rarely
/// wider.
pub(crate) fn width_em(face: Face, text: &str) -> f64 {
    text.chars().map(|c| text::advance_em(face, c)).sum()
}

/// `of` without control characters, cut with `…` to at most `ems`.
pub(crate) fn fit(face: Face, of: &str, ems: f64) -> String {
    let clean: String = of.chars().filter(|c| !is_unprintable(*c)).collect();
    if width_em(face, &clean) <= ems {
        return clean;
    }
    let room = ems - text::advance_em(face, '…');
    let mut used = 0.0;
    let mut out = String::new();
    for c in clean.chars() {
        used += text::advance_em(face, c);
        if used > room {
            break;
        }
        out.push(c);
    }
    let mut out = out.trim_end().to_owned();
    out.push('…');
    out
}

/// What must not stand in a picture's text: control characters, what XML
/// forbids, and what turns the direction of the text around it.
pub(crate) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fonts_are_whole() {
        assert!(register());
        let text = "wlan0 Reads/s, Wmü";
        for face in [Face::Sans, Face::Bold, Face::Mono] {
            let style = style(face, 100.0 / PLOTTERS_EM, RGBColor(0, 0, 0), HPos::Left);
            let measured = style.font.box_size(text).expect("the font is registered");
            // Plotters' size is the font's height, which is 1.164 ems.
            let ems = f64::from(measured.0) / 100.0 * 1.164;
            let exact = width_em(face, text);
            assert!((exact / ems - 1.0).abs() < 0.02, "{face:?} {exact} for {ems}");
        }
    }

    #[test]
    fn long_texts_are_cut_and_cleaned() {
        assert_eq!(fit(Face::Sans, "short", 10.0), "short");
        assert_eq!(fit(Face::Sans, "a\u{1b}[31m\n\0b\u{202e}", 10.0), "a[31mb");
        let cut = fit(Face::Sans, "a very long label of a field", 6.0);
        assert!(cut.ends_with('…') && width_em(Face::Sans, &cut) <= 6.0, "{cut}");
        assert_eq!(fit(Face::Mono, "abc", 0.0), "…");
    }
}
