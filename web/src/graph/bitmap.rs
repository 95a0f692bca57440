//! Bitmaps of 8-bit RGB as plotters draws them, by a backend that knows what graphs are
//! made of: areas between two edges, and thin smooth lines. Plotters' own fills such an
//! area pixel by pixel, downwards, which took a third of a picture's time.

use plotters::style::RGBColor;
use plotters_backend::rasterizer;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, DrawingBackend, DrawingErrorKind,
};
use std::convert::Infallible;
use std::ops::RangeInclusive;

/// Bytes of a pixel.
const PX: usize = 3;
/// So many pixels are laid over at a time, and so many columns of an area share rows.
const AT_ONCE: usize = 16;
/// Whole cover.
const FULL: u16 = 256;
/// Bits of a fraction of a pixel.
const FRACTION: u32 = 16;

type Done = Result<(), DrawingErrorKind<Infallible>>;

/// A picture of whole pixels, rows from the top.
pub(crate) struct Bitmap {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
}

/// A colour that is laid over others: `(what is there * rest + over) / 256`.
#[derive(Clone, Copy)]
struct Ink {
    rest: u16,
    /// Of some pixels, so that they are done in one go.
    over: [u16; AT_ONCE * PX],
}

impl Ink {
    fn of(colour: BackendColor) -> Ink {
        let cover = cover(colour.alpha);
        let (r, g, b) = colour.rgb;
        // Halves are rounded up, or else every layer would darken.
        let over = [r, g, b].map(|c| u16::from(c) * cover + FULL / 2);
        Ink { rest: FULL - cover, over: std::array::from_fn(|i| over[i % PX]) }
    }

    /// Lays it over neighbouring pixels.
    fn lay(&self, pixels: &mut [u8]) {
        for some in pixels.chunks_mut(AT_ONCE * PX) {
            for (there, over) in some.iter_mut().zip(&self.over) {
                *there = ((u16::from(*there) * self.rest + over) >> 8) as u8;
            }
        }
    }
}

/// An alpha in 256ths.
fn cover(alpha: f64) -> u16 {
    (alpha.clamp(0.0, 1.0) * f64::from(FULL)) as u16
}

/// What an area covers of a column: whole rows, and parts of those beside them, in 256ths.
#[derive(Clone, Copy)]
struct Column {
    first: usize,
    /// Past the last.
    end: usize,
    above: u16,
    below: u16,
}

impl Bitmap {
    /// Of this size, px, all of one colour.
    pub(crate) fn new((width, height): (u32, u32), ground: RGBColor) -> Bitmap {
        let (width, height) = (width as usize, height as usize);
        let pixels = [ground.0, ground.1, ground.2].repeat(width * height);
        Bitmap { pixels, width, height }
    }

    /// Its bytes: red, green and blue of each pixel.
    pub(crate) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Lays a colour over a pixel; outside of the picture nothing.
    fn dot(&mut self, (x, y): BackendCoord, (r, g, b): (u8, u8, u8), cover: u16) {
        let is_inside = (0..self.width as i32).contains(&x) && (0..self.height as i32).contains(&y);
        if !is_inside {
            return;
        }
        let at = (y as usize * self.width + x as usize) * PX;
        for (there, c) in self.pixels[at..at + PX].iter_mut().zip([r, g, b]) {
            let mixed = u16::from(*there) * (FULL - cover) + u16::from(c) * cover;
            *there = ((mixed + FULL / 2) >> 8) as u8;
        }
    }

    /// Pixels of a row.
    fn row(&mut self, y: usize, from: usize, to: usize) -> &mut [u8] {
        let start = y * self.width;
        &mut self.pixels[(start + from) * PX..(start + to) * PX]
    }

    /// A filled rectangle, without its right and lower ends.
    fn fill(&mut self, from: BackendCoord, to: BackendCoord, colour: BackendColor) {
        let within = |v: i32, end: usize| v.clamp(0, end as i32) as usize;
        let (x0, x1) = (within(from.0.min(to.0), self.width), within(from.0.max(to.0), self.width));
        let (y0, y1) =
            (within(from.1.min(to.1), self.height), within(from.1.max(to.1), self.height));
        let ink = Ink::of(colour);
        for y in y0..y1 {
            ink.lay(self.row(y, x0, x1));
        }
    }

    /// A smooth line of 1 px that is neither level nor upright: of each column (or row,
    /// of a steep one) the two pixels that it lies between share its ink.
    fn slanted(&mut self, from: BackendCoord, to: BackendCoord, colour: BackendColor) {
        let is_steep = from.0.abs_diff(to.0) < from.1.abs_diff(to.1);
        let turned = |(x, y): BackendCoord| if is_steep { (y, x) } else { (x, y) };
        let (mut from, mut to) = (turned(from), turned(to));
        if from.0 > to.0 {
            std::mem::swap(&mut from, &mut to);
        }
        let (start, end) = (i64::from(from.0), i64::from(to.0));
        let step = ((i64::from(to.1) - i64::from(from.1)) << FRACTION) / (end - start).max(1);
        let size = if is_steep { self.height } else { self.width };
        let strength = u32::from(cover(colour.alpha));
        for along in start.max(0)..=end.min(size as i64 - 1) {
            let across = (i64::from(from.1) << FRACTION) + step * (along - start);
            let part = (across & ((1 << FRACTION) - 1)) as u32 >> (FRACTION - 8);
            let at = (along as i32, (across >> FRACTION) as i32);
            let share = |part: u32| (strength * part / u32::from(FULL)) as u16;
            self.dot(turned(at), colour.rgb, share(u32::from(FULL) - part));
            if part > 0 {
                self.dot(turned((at.0, at.1.saturating_add(1))), colour.rgb, share(part));
            }
        }
    }

    /// The area between two edges from left to right, with the columns from `left` on.
    fn between(&mut self, left: usize, edges: (&[f32], &[f32]), colour: BackendColor) {
        let ink = Ink::of(colour);
        let strength = cover(colour.alpha);
        let height = self.height as f32;
        let column = |(a, b): (&f32, &f32)| {
            let (top, bottom) = (a.min(*b), a.max(*b));
            if bottom < 0.0 || top > height - 1.0 {
                return Column { first: 0, end: 0, above: 0, below: 0 };
            }
            let (top, bottom) = (top.max(0.0), bottom.min(height - 1.0));
            let (floor, end) = (top as usize, bottom as usize + 1);
            let first = floor + usize::from(floor as f32 != top);
            let share = |part: f32| (part * f32::from(strength)) as u16;
            // Between two rows: one of them has all of it.
            let above = share(first as f32 - top);
            Column { first, end, above, below: share(bottom - bottom.trunc()) }
        };
        let mut columns: Vec<Column> = Vec::with_capacity(AT_ONCE);
        for (i, (a, b)) in edges.0.chunks(AT_ONCE).zip(edges.1.chunks(AT_ONCE)).enumerate() {
            let x = left + i * AT_ONCE;
            columns.clear();
            columns.extend(a.iter().zip(b).map(column));
            // The rows that all of them cover.
            let first = columns.iter().map(|c| c.first).max().unwrap_or(0);
            let end = columns.iter().map(|c| c.end).min().unwrap_or(0).max(first);
            for y in first..end {
                ink.lay(self.row(y, x, x + columns.len()));
            }
            for (x, c) in (x..).zip(&columns) {
                for y in (c.first..c.end.min(first)).chain(c.first.max(end)..c.end) {
                    ink.lay(self.row(y, x, x + 1));
                }
                let at = |y: usize| (x as i32, y as i32);
                if c.above > 0 {
                    self.dot(at(c.first.wrapping_sub(1)), colour.rgb, c.above);
                }
                if c.below > 0 {
                    self.dot(at(c.end), colour.rgb, c.below);
                }
            }
        }
    }
}

/// Where the points of a polygon turn, if they go to the right and then back to the left,
/// as those around an area between two edges do.
fn turn(points: &[BackendCoord]) -> Option<usize> {
    let n_right = points.windows(2).take_while(|p| p[0].0 <= p[1].0).count();
    points[n_right..].windows(2).all(|p| p[0].0 >= p[1].0).then_some(n_right)
}

/// How high an edge is in each of these columns: straight from point to point. Of several
/// points in a column the last holds, in the last column the first.
fn heights(
    points: impl Iterator<Item = BackendCoord> + Clone,
    columns: RangeInclusive<i32>,
) -> Vec<f32> {
    let (start, end) = columns.into_inner();
    let mut out = Vec::with_capacity(end.abs_diff(start) as usize + 1);
    let mut next = start;
    for ((x0, y0), (x1, y1)) in points.clone().zip(points.skip(1)) {
        if x0 < x1 && next <= end {
            let slope = (y1 as f32 - y0 as f32) / (x1 as f32 - x0 as f32);
            let here = next.max(x0)..x1.min(end + 1);
            next = next.max(here.end);
            out.extend(here.map(|x| y0 as f32 + slope * (x as f32 - x0 as f32)));
            if x1 == end {
                out.push(y1 as f32);
                next = end + 1;
            }
        }
    }
    out
}

impl DrawingBackend for Bitmap {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    fn ensure_prepared(&mut self) -> Done {
        Ok(())
    }

    fn present(&mut self) -> Done {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, colour: BackendColor) -> Done {
        self.dot(at, colour.rgb, cover(colour.alpha));
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Done {
        if style.stroke_width() != 1 {
            return rasterizer::draw_line(self, from, to, style);
        }
        if from.0 == to.0 || from.1 == to.1 {
            let (x0, x1) = (from.0.min(to.0), from.0.max(to.0));
            let (y0, y1) = (from.1.min(to.1), from.1.max(to.1));
            let end = (x1.saturating_add(1), y1.saturating_add(1));
            self.fill((x0, y0), end, style.color());
        } else {
            self.slanted(from, to, style.color());
        }
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Done {
        if !fill {
            return rasterizer::draw_rect(self, from, to, style, fill);
        }
        self.fill(from, to, style.color());
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        points: I,
        style: &S,
    ) -> Done {
        let points: Vec<BackendCoord> = points.into_iter().collect();
        let whole =
            |backend: &mut Bitmap| rasterizer::fill_polygon(backend, &points, &style.color());
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
        let Some(turn) = turn(&points) else { return whole(self) };
        let (left, right) = (first.0.min(last.0), points[turn].0);
        if left == right {
            return whole(self);
        }
        let columns = left.max(0)..=right.min(self.width as i32 - 1);
        // An end that only one edge has is the other's, too.
        let (there, back) = points.split_at(turn + 1);
        let start = [last, first].map(|p| Some(*p).filter(|p| p.0 == left));
        let upper = start[0].filter(|_| first.0 != left).into_iter().chain(there.iter().copied());
        let lower = start[1].filter(|_| last.0 != left).into_iter();
        let lower = lower.chain(back.iter().rev().copied()).chain([points[turn]]);
        let edges = (heights(upper, columns.clone()), heights(lower, columns.clone()));
        self.between(*columns.start() as usize, (&edges.0, &edges.1), style.color());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::style::{Color, RGBAColor, ShapeStyle, WHITE};
    use proptest::prelude::*;

    const SIZE: (u32, u32) = (60, 40);

    fn ink() -> RGBAColor {
        RGBColor(47, 116, 192).mix(0.62)
    }

    fn drawn(draw: impl FnOnce(&mut Bitmap) -> Done) -> Bitmap {
        let mut bitmap = Bitmap::new(SIZE, WHITE);
        assert!(draw(&mut bitmap).is_ok());
        bitmap
    }

    /// The greatest difference of any byte in these columns.
    fn difference(a: &Bitmap, b: &Bitmap, columns: std::ops::Range<usize>) -> u8 {
        let row = |y: usize| (y * a.width + columns.start) * PX..(y * a.width + columns.end) * PX;
        let bytes = (0..a.height).flat_map(row);
        bytes.map(|i| a.pixels[i].abs_diff(b.pixels[i])).max().unwrap_or(0)
    }

    fn at(bitmap: &Bitmap, x: usize, y: usize) -> [u8; 3] {
        let at = (y * bitmap.width + x) * PX;
        [bitmap.pixels[at], bitmap.pixels[at + 1], bitmap.pixels[at + 2]]
    }

    #[test]
    fn a_step_of_an_area_is_filled_to_its_foot() {
        // Up in column 4, down again in column 8, the last one.
        let around = [(1, 20), (4, 20), (4, 10), (8, 10), (8, 30), (1, 30)];
        let bitmap = drawn(|b| b.fill_polygon(around, &RGBColor(0, 0, 0)));
        let is_black = |x: usize, y: usize| at(&bitmap, x, y) == [0, 0, 0];
        let top = |x: usize| (0..40).find(|y| is_black(x, *y));
        let tops: Vec<Option<usize>> = (0..10).map(top).collect();
        let (low, high) = (Some(20), Some(10));
        assert_eq!(tops, [None, low, low, low, high, high, high, high, high, None]);
        assert!((1..=8).all(|x| is_black(x, 30) && !is_black(x, 31)));
    }

    #[test]
    fn layers_of_one_colour_end_in_it() {
        let mut bitmap = Bitmap::new(SIZE, WHITE);
        let style = RGBColor(200, 100, 0).mix(0.3);
        for _ in 0..60 {
            assert!(bitmap.draw_rect((0, 0), (60, 40), &style, true).is_ok());
        }
        let [r, g, b] = at(&bitmap, 30, 20);
        assert!(r.abs_diff(200) < 3 && g.abs_diff(100) < 3 && b < 3, "{r} {g} {b}");
    }

    /// An edge over all columns, with a point now and then.
    fn edge() -> impl Strategy<Value = Vec<BackendCoord>> {
        prop::collection::vec((1..9i32, 2..17i32), 10..40).prop_map(|steps| {
            let mut x = -4;
            let mut points = vec![(x, 12)];
            for (dx, y) in steps {
                x += dx;
                points.push((x, y));
            }
            points.retain(|p| p.0 < 50);
            points.push((50, 9));
            points
        })
    }

    proptest! {
        #[test]
        fn an_area_is_what_plotters_fills_point_by_point(upper in edge(), lower in edge()) {
            let lower: Vec<_> = lower.into_iter().map(|(x, y)| (x, 39 - y)).collect();
            // What crosses has no area that both would agree on.
            let columns = || 0..=50;
            let (a, b) = (
                heights(upper.iter().copied(), columns()),
                heights(lower.iter().copied(), columns()),
            );
            prop_assert_eq!((a.len(), b.len()), (51, 51));
            prop_assume!(a.iter().zip(&b).all(|(a, b)| a + 2.0 < *b));
            let around = || upper.iter().chain(lower.iter().rev()).copied();
            let ours = drawn(|b| b.fill_polygon(around(), &ink()));
            let points: Vec<BackendCoord> = around().collect();
            let theirs = drawn(|b| rasterizer::fill_polygon(b, &points, &ink()));
            // Plotters leaves the last column out.
            prop_assert!(difference(&ours, &theirs, 0..50) <= 3);
            prop_assert_ne!(at(&ours, 50, 20), [255; 3]);
        }

        #[test]
        fn a_line_is_plotters(
            from in (0..60i32, 0..39i32),
            to in (0..60i32, 0..39i32),
        ) {
            // Both ends of each are its own.
            prop_assume!(from.0.abs_diff(to.0) > from.1.abs_diff(to.1) && from.1 != to.1);
            let style = ShapeStyle::from(&ink()).stroke_width(1);
            let ours = drawn(|b| b.draw_line(from, to, &style));
            let theirs = drawn(|b| rasterizer::draw_line(b, from, to, &style));
            let (start, end) = (from.0.min(to.0) as usize, from.0.max(to.0) as usize);
            let within = start + 1..end.saturating_sub(1).max(start + 1);
            prop_assert!(difference(&ours, &theirs, within) <= 3);
            prop_assert_ne!(at(&ours, from.0 as usize, from.1 as usize), [255; 3]);
            prop_assert_ne!(at(&ours, to.0 as usize, to.1 as usize), [255; 3]);
        }

        #[test]
        fn no_place_panics(points in prop::collection::vec((wild(), wild()), 2..5)) {
            let style = ShapeStyle::from(&ink()).stroke_width(1);
            drawn(|b| b.draw_line(points[0], points[1], &style));
            drawn(|b| b.draw_rect(points[0], points[1], &style, true));
            drawn(|b| b.draw_pixel(points[0], BackendColor { alpha: 0.5, rgb: (1, 2, 3) }));
            // To the right and back, as areas are; plotters itself takes no wild ones.
            let mut around = points.clone();
            around.sort_unstable();
            around.push((around[0].0, 5));
            prop_assume!(around[0].0 < around[around.len() - 2].0);
            drawn(|b| b.fill_polygon(around, &style));
        }
    }

    /// In the picture, beside it, and anywhere.
    fn wild() -> impl Strategy<Value = i32> {
        prop_oneof![4 => -10..70i32, 1 => any::<i32>()]
    }
}
