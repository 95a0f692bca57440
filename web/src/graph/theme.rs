//! Colours: one light and one dark palette.
//!
//! The categorical colours start from the Okabe-Ito set, which people with any
//! of the usual colour blindnesses tell apart; each theme has its own lightness
//! so that a fill of 60% stands out from the ground.

use plotters::style::{Color, RGBAColor, RGBColor};
use rookery_plugins::FieldSpec;

/// On which ground a picture is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Theme {
    /// Dark ink on white.
    #[default]
    Light,
    /// Light ink on near-black.
    Dark,
}

impl Theme {
    /// From `light` or `dark`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Theme> {
        match text {
            "light" => Some(Theme::Light),
            "dark" => Some(Theme::Dark),
            _ => None,
        }
    }

    /// `light` or `dark`.
    pub fn word(self) -> &'static str {
        match self {
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    pub(crate) fn palette(self) -> &'static Palette {
        match self {
            Theme::Light => &LIGHT,
            Theme::Dark => &DARK,
        }
    }
}

/// What is drawn in which colour.
#[derive(Debug)]
pub(crate) struct Palette {
    pub ground: RGBColor,
    pub ink: RGBColor,
    pub dim: RGBColor,
    pub grid: RGBColor,
    pub zero: RGBColor,
    pub gap: RGBColor,
    pub warning: RGBColor,
    pub critical: RGBColor,
    pub event: RGBColor,
    pub fields: [RGBColor; N_COLOURS],
}

/// Colours before they repeat.
const N_COLOURS: usize = 12;

const fn rgb(hex: u32) -> RGBColor {
    RGBColor((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

static LIGHT: Palette = Palette {
    ground: rgb(0xffffff),
    ink: rgb(0x1a2130),
    dim: rgb(0x667085),
    grid: rgb(0xe8eaef),
    zero: rgb(0x98a1b2),
    gap: rgb(0xf1f3f6),
    warning: rgb(0xd9820b),
    critical: rgb(0xd92d20),
    event: rgb(0x6d28d9),
    fields: [
        rgb(0x2f74c0),
        rgb(0xe08e12),
        rgb(0x1b9e77),
        rgb(0xcf4a3c),
        rgb(0x8b66c2),
        rgb(0x35a8cf),
        rgb(0xc2619a),
        rgb(0x7d8a2e),
        rgb(0x8c5a3c),
        rgb(0x5b6b82),
        rgb(0xb8a21a),
        rgb(0x3c4fa8),
    ],
};

static DARK: Palette = Palette {
    ground: rgb(0x11161f),
    ink: rgb(0xe6eaf2),
    dim: rgb(0x94a0b4),
    grid: rgb(0x252d3a),
    zero: rgb(0x6f7b8f),
    gap: rgb(0x1b2330),
    warning: rgb(0xf5a524),
    critical: rgb(0xf97066),
    event: rgb(0xd2b8ff),
    fields: [
        rgb(0x5b9fe8),
        rgb(0xf2ad3d),
        rgb(0x3fc79a),
        rgb(0xea6f60),
        rgb(0xb090e6),
        rgb(0x62cbee),
        rgb(0xe488bd),
        rgb(0xa9b84e),
        rgb(0xc08a66),
        rgb(0x93a3bb),
        rgb(0xdcc748),
        rgb(0x7f92ec),
    ],
};

impl Palette {
    /// The colour of the `index`-th drawn field: what the plugin asks for, else
    /// the next of the palette.
    pub(crate) fn field(&self, spec: &FieldSpec, index: usize) -> RGBColor {
        let wanted = spec.colour.as_deref().and_then(|text| self.named(text));
        wanted.unwrap_or(self.fields[index % N_COLOURS])
    }

    /// `RRGGBB` or `COLOURn`.
    pub(crate) fn named(&self, text: &str) -> Option<RGBColor> {
        let text = text.trim();
        let number = text.get(..6).filter(|p| p.eq_ignore_ascii_case("colour"));
        if number.is_some() {
            let n: usize = text.get(6..)?.parse().ok()?;
            return Some(self.fields[n % N_COLOURS]);
        }
        let hex = text.trim_start_matches('#');
        let known = matches!(hex.len(), 6 | 8) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        known.then(|| u32::from_str_radix(hex.get(..6)?, 16).ok().map(rgb)).flatten()
    }
}

/// A colour between this one (1) and the ground (0).
pub(crate) fn mix_to(colour: RGBColor, ground: RGBColor, part: f64) -> RGBColor {
    let at = |a: u8, b: u8| (f64::from(a) * part + f64::from(b) * (1.0 - part)).round() as u8;
    RGBColor(at(colour.0, ground.0), at(colour.1, ground.1), at(colour.2, ground.2))
}

/// This colour with an opacity of 0 to 1.
pub(crate) fn mix(colour: RGBColor, alpha: f64) -> RGBAColor {
    colour.mix(alpha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for theme in [Theme::Light, Theme::Dark] {
            assert_eq!(Theme::parse(theme.word()), Some(theme));
        }
        assert_eq!(Theme::parse("blue"), None);
    }

    #[test]
    fn a_plugins_colour_is_honoured() {
        let of = |text: &str, index| {
            let spec = FieldSpec { colour: Some(text.into()), ..FieldSpec::gauge("a", "") };
            LIGHT.field(&spec, index)
        };
        assert_eq!(of("ff0080", 3), rgb(0xff0080));
        assert_eq!(of("#00CC00", 3), rgb(0x00cc00));
        assert_eq!(of("00CC00AA", 3), rgb(0x00cc00));
        assert_eq!(of("COLOUR2", 3), LIGHT.fields[2]);
        assert_eq!(of("colour14", 3), LIGHT.fields[2]);
        for garbage in ["", "red", "COLOUR", "COLOURx", "12345", "+12345", "ééé", "ÄÖÜÄÖÜ"]
        {
            assert_eq!(of(garbage, 15), LIGHT.fields[3], "{garbage}");
        }
    }
}
