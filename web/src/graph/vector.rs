//! SVG as plotters draws it, written with few bytes: paths in steps from point to
//! point instead of coordinates, which makes a picture a third as large and as
//! quick to write as plotters' own backend does.

use super::font::is_unprintable;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontStyle,
};
use std::convert::Infallible;
use std::io::Write as _;

/// Appends elements to a text, UTF-8; whole pixels, transparent where nothing is
/// drawn.
pub(crate) struct Vector<'a> {
    out: &'a mut Vec<u8>,
    size: (u32, u32),
}

type Done = Result<(), DrawingErrorKind<Infallible>>;

impl<'a> Vector<'a> {
    /// Of this size in its own pixels.
    pub(crate) fn new(out: &'a mut Vec<u8>, size: (u32, u32)) -> Vector<'a> {
        Vector { out, size }
    }

    fn number(&mut self, n: i32) {
        let mut digits = Digits::default();
        digits.put(n);
        self.out.extend_from_slice(digits.written());
    }

    fn attribute(&mut self, name: &str, n: i32) {
        self.out.extend_from_slice(name.as_bytes());
        self.number(n);
        self.out.push(b'"');
    }

    /// Writing into memory cannot fail.
    fn colour(&mut self, name: &str, colour: BackendColor) {
        let (r, g, b) = colour.rgb;
        let _ = write!(self.out, " {name}=\"#{r:02x}{g:02x}{b:02x}\"");
        if colour.alpha < 1.0 {
            let _ = write!(self.out, " opacity=\"{}\"", (colour.alpha * 1000.0).round() / 1000.0);
        }
    }

    /// `d`: the first point, then steps. Level and upright ones have one number.
    fn path(&mut self, points: impl IntoIterator<Item = BackendCoord>, end: &str) {
        self.out.extend_from_slice(b" d=\"");
        let mut before: Option<BackendCoord> = None;
        let mut kind = 0;
        let mut steps = Digits::default();
        for (x, y) in points {
            if steps.is_nearly_full() {
                self.out.extend_from_slice(steps.written());
                steps.len = 0;
            }
            let Some((px, py)) = before.replace((x, y)) else {
                steps.letter(b'M');
                steps.put(x);
                steps.next(y);
                continue;
            };
            // No picture is so large; a wild coordinate must not panic.
            let (dx, dy) = (x.saturating_sub(px), y.saturating_sub(py));
            let now = match (dx, dy) {
                (0, 0) => continue,
                (_, 0) => b'h',
                (0, _) => b'v',
                _ => b'l',
            };
            let first = if now == b'v' { dy } else { dx };
            match std::mem::replace(&mut kind, now) == now {
                true => steps.next(first),
                false => {
                    steps.letter(now);
                    steps.put(first);
                }
            }
            if now == b'l' {
                steps.next(dy);
            }
        }
        self.out.extend_from_slice(steps.written());
        // A single point is seen as a dot.
        if kind == 0 {
            self.out.extend_from_slice(b"h1");
        }
        self.out.extend_from_slice(end.as_bytes());
        self.out.extend_from_slice(b"\"/>\n");
    }
}

/// Bytes of a step: a letter, two numbers, each with a space or a minus.
const STEP_BYTES: usize = 1 + 2 * 11;

/// Numbers of up to three digits as text, and how many digits they have.
static SHORT: [[u8; 4]; 1000] = {
    let mut all = [[0; 4]; 1000];
    let mut n = 0;
    while n < all.len() {
        let digits = [n / 100, n / 10 % 10, n % 10];
        let len = if n < 10 {
            1
        } else if n < 100 {
            2
        } else {
            3
        };
        let mut at = 0;
        while at < len {
            all[n][at] = b'0' + digits[3 - len + at] as u8;
            at += 1;
        }
        all[n][3] = len as u8;
        n += 1;
    }
    all
};

/// Steps of a path as text, some at a time.
struct Digits {
    text: [u8; 512],
    len: usize,
}

impl Default for Digits {
    fn default() -> Digits {
        Digits { text: [0; 512], len: 0 }
    }
}

impl Digits {
    fn written(&self) -> &[u8] {
        &self.text[..self.len]
    }

    /// Whether another step might not find room.
    fn is_nearly_full(&self) -> bool {
        self.len + STEP_BYTES > self.text.len()
    }

    fn letter(&mut self, letter: u8) {
        self.text[self.len] = letter;
        self.len += 1;
    }

    /// Another number: a minus parts it from the one before.
    fn next(&mut self, n: i32) {
        if n >= 0 {
            self.letter(b' ');
        }
        self.put(n);
    }

    fn put(&mut self, n: i32) {
        let mut rest = n.unsigned_abs();
        if n < 0 {
            self.letter(b'-');
        }
        // Fast path: nearly all steps are short.
        if let Some([digits @ .., len]) = SHORT.get(rest as usize) {
            self.text[self.len..self.len + digits.len()].copy_from_slice(digits);
            self.len += usize::from(*len);
            return;
        }
        let n_digits = rest.checked_ilog10().unwrap_or(0) as usize + 1;
        for at in (self.len..self.len + n_digits).rev() {
            self.text[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.len += n_digits;
    }
}

impl DrawingBackend for Vector<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Done {
        Ok(())
    }

    fn present(&mut self) -> Done {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, colour: BackendColor) -> Done {
        self.draw_rect(at, (at.0 + 1, at.1 + 1), &colour, true)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Done {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Done {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        self.attribute("<rect x=\"", from.0);
        self.attribute(" y=\"", from.1);
        self.attribute(" width=\"", to.0.saturating_sub(from.0).max(0));
        self.attribute(" height=\"", to.1.saturating_sub(from.1).max(0));
        if fill {
            self.colour("fill", style.color());
        } else {
            self.out.extend_from_slice(b" fill=\"none\"");
            self.colour("stroke", style.color());
        }
        self.out.extend_from_slice(b"/>\n");
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        points: I,
        style: &S,
    ) -> Done {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        self.out.extend_from_slice(b"<path fill=\"none\"");
        self.colour("stroke", style.color());
        self.attribute(" stroke-width=\"", i32::try_from(style.stroke_width()).unwrap_or(1));
        self.path(points, "");
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        points: I,
        style: &S,
    ) -> Done {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        self.out.extend_from_slice(b"<path");
        self.colour("fill", style.color());
        self.path(points, "z");
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        at: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Done {
        self.attribute("<circle cx=\"", at.0);
        self.attribute(" cy=\"", at.1);
        self.attribute(" r=\"", i32::try_from(radius).unwrap_or(1));
        if fill {
            self.colour("fill", style.color());
        } else {
            self.out.extend_from_slice(b" fill=\"none\"");
            self.colour("stroke", style.color());
        }
        self.out.extend_from_slice(b"/>\n");
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Done {
        let anchor = match style.anchor().h_pos {
            HPos::Left => "start",
            HPos::Right => "end",
            HPos::Center => "middle",
        };
        let down = match style.anchor().v_pos {
            VPos::Top => "0.76em",
            VPos::Center => "0.5ex",
            VPos::Bottom => "-0.5ex",
        };
        self.attribute("<text x=\"", at.0);
        self.attribute(" y=\"", at.1);
        // Plotters' size is a font's height, which browsers' is not.
        let size = style.size() / 1.24;
        let family = style.family();
        let _ = write!(
            self.out,
            " dy=\"{down}\" text-anchor=\"{anchor}\" font-family=\"{}\" font-size=\"{size}\"",
            family.as_str()
        );
        self.colour("fill", style.color());
        if matches!(style.style(), FontStyle::Bold) {
            self.out.extend_from_slice(b" font-weight=\"bold\"");
        }
        self.out.extend_from_slice(b">\n");
        escape(self.out, text);
        self.out.extend_from_slice(b"\n</text>\n");
        Ok(())
    }
}

/// Text in a picture: it ends no element, and begins none.
pub(crate) fn escape(out: &mut Vec<u8>, text: &str) {
    for c in text.chars().filter(|c| !is_unprintable(*c)) {
        match c {
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '&' => out.extend_from_slice(b"&amp;"),
            '"' => out.extend_from_slice(b"&quot;"),
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::style::{BLACK, Color};
    use proptest::prelude::*;

    fn path(points: &[BackendCoord]) -> String {
        let mut out = Vec::new();
        let drawn = Vector::new(&mut out, (9, 9)).draw_path(points.iter().copied(), &BLACK);
        assert!(drawn.is_ok());
        let out = String::from_utf8(out).expect("text");
        let (_, rest) = out.split_once(" d=\"").expect("a path");
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    #[test]
    fn numbers_are_written_out() {
        for n in (-1100..1100).chain([i32::MIN, i32::MIN + 1, i32::MAX]) {
            let mut digits = Digits::default();
            digits.put(n);
            assert_eq!(std::str::from_utf8(digits.written()), Ok(n.to_string().as_str()));
        }
    }

    #[test]
    fn paths_are_steps() {
        assert_eq!(path(&[(1, 2), (3, 2), (3, 7), (2, 9), (4, 8)]), "M1 2h2v5l-1 2 2-1");
        assert_eq!(path(&[(-1, -2), (-1, -2)]), "M-1-2h1", "a dot");
        assert_eq!(path(&[(0, 0), (5, 0), (9, 0)]), "M0 0h5 4");
        let mut out = Vec::new();
        let fill = BLACK.mix(0.62);
        let drawn = Vector::new(&mut out, (9, 9)).fill_polygon([(0, 0), (1, 1), (0, 1)], &fill);
        assert!(drawn.is_ok());
        let out = String::from_utf8(out).expect("text");
        assert_eq!(out, "<path fill=\"#000000\" opacity=\"0.62\" d=\"M0 0l1 1h-1z\"/>\n");
    }

    /// Where the steps lead.
    fn walked(d: &str) -> Vec<BackendCoord> {
        let mut words: Vec<String> = Vec::new();
        for c in d.chars() {
            match c {
                ' ' => words.push(String::new()),
                '-' => words.push("-".to_owned()),
                'M' | 'h' | 'v' | 'l' => words.extend([c.to_string(), String::new()]),
                c => words.last_mut().expect("begun").push(c),
            }
        }
        let mut at = (0, 0);
        let mut out = Vec::new();
        let mut kind = String::new();
        let mut words = words.into_iter().filter(|w| !w.is_empty()).peekable();
        while let Some(word) = words.next() {
            let Ok(n) = word.parse::<i32>() else {
                kind = word;
                continue;
            };
            let mut second = || words.next().and_then(|w| w.parse::<i32>().ok()).expect("two");
            at = match kind.as_str() {
                "M" => (n, second()),
                "l" => (at.0 + n, at.1 + second()),
                "h" => (at.0 + n, at.1),
                _ => (at.0, at.1 + n),
            };
            out.push(at);
        }
        out
    }

    /// Of a picture, and longer than any.
    fn wild() -> impl Strategy<Value = i32> {
        prop_oneof![9 => -999..999i32, 1 => i32::MIN / 2..i32::MAX / 2]
    }

    proptest! {
        #[test]
        fn steps_lead_where_the_points_are(
            points in prop::collection::vec((wild(), wild()), 2..200),
        ) {
            let mut points = points;
            points.dedup();
            prop_assume!(points.len() > 1);
            prop_assert_eq!(walked(&path(&points)), points);
        }
    }
}
