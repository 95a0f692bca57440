//! The fonts that come with Rookery, so that pictures need none of the system.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The width of `text` in ems, by our own fonts (browsers' fonts are rarely
/// wider). An estimate by character classes: the real measure costs more than
/// all the rest of a small picture.
pub(crate) fn width_em(face: Face, text: &str) -> f64 {
    text.chars().map(|c| char_em(face, c)).sum()
}

fn char_em(face: Face, c: char) -> f64 {
    let sans = match c {
        _ if face == Face::Mono => return 0.602,
        'i' | 'j' | 'l' | '\'' | '|' => 0.30,
        ' ' | '.' | ',' | ':' | ';' | '!' | 'I' | 'f' | 't' | 'r' | '(' | ')' | '/' | '-' => 0.40,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' | '—' => 0.98,
        'A'..='Z' => 0.70,
        '\0'..='\u{24f}' => 0.64,
        // Greek and Cyrillic are about as wide as capitals; CJK is one em.
        '\u{250}'..='\u{10ff}' => 0.70,
        _ => 1.0,
    };
    if face == Face::Bold { sans * 1.12 } else { sans }
}

/// `text` without control characters, cut with `…` to at most `ems`.
pub(crate) fn fit(face: Face, text: &str, ems: f64) -> String {
    let clean: String = text.chars().filter(|c| !is_unprintable(*c)).collect();
    if width_em(face, &clean) <= ems {
        return clean;
    }
    let room = ems - char_em(face, '…');
    let mut used = 0.0;
    let mut out = String::new();
    for c in clean.chars() {
        used += char_em(face, c);
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
            let measured = style(face, 100.0, RGBColor(0, 0, 0), HPos::Left)
                .font
                .box_size(text)
                .expect("the font is registered");
            // Plotters measures at its own size, which is 1.24 ems of CSS, with a
            // line height of 1.164.
            let ems = f64::from(measured.0) / 100.0;
            let guess = width_em(face, text);
            assert!((guess / ems - 1.0).abs() < 0.15, "{face:?} {guess} for {ems}");
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
