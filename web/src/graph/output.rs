//! The finished pictures: SVG and PNG files, and what they show in words.

use super::bitmap::Bitmap;
use super::brush::Pixels;
use super::draw::Picture;
use super::unit::Unit;
use super::units::UNKNOWN;
use super::vector::{Vector, escape};
use super::{GraphError, GraphRequest, Theme, font, plan};
use rookery_collector::history::Rollup;
use std::fmt::Write as _;
use std::io::Write as _;

/// Most pictures are shorter.
const SVG_BYTES: usize = 80 * 1024;
/// The most fields that the text of a picture names.
const ALT_FIELDS: usize = 8;

fn refused(request: &GraphRequest<'_>, why: impl std::fmt::Display) -> GraphError {
    GraphError::Draw { title: request.title.to_owned(), reason: why.to_string() }
}

/// The picture as SVG, which shows at its px size and stays sharp when
/// enlarged. It names no other file and runs nothing. `data-plot` says where the
/// plot begins and ends, px from the left, for scripts that turn a place into a
/// time.
pub fn svg(request: &GraphRequest<'_>) -> Result<String, GraphError> {
    if !font::register() {
        return Err(GraphError::Font);
    }
    let picture = Picture::new(request);
    let (width, height) = (picture.layout.width as u32, picture.layout.height as u32);
    let scale = Pixels::Half.per_px() as u32;
    let size = (width * scale, height * scale);
    let mut out = Vec::with_capacity(SVG_BYTES);
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\" data-plot=\"{} {}\" role=\"img\" \
         stroke-linejoin=\"round\">\n<title>",
        size.0, size.1, picture.layout.left, picture.layout.right
    );
    escape(&mut out, &describe(request, &picture));
    out.extend_from_slice(b"</title>\n");
    let mut backend = Vector::new(&mut out, size);
    picture.paint(&mut backend, Pixels::Half).map_err(|e| refused(request, e))?;
    out.extend_from_slice(b"</svg>\n");
    String::from_utf8(out).map_err(|e| refused(request, e))
}

/// The picture as PNG, 8-bit RGB.
pub fn png(request: &GraphRequest<'_>) -> Result<Vec<u8>, GraphError> {
    if !font::register() {
        return Err(GraphError::Font);
    }
    let picture = Picture::new(request);
    let size = (picture.layout.width as u32, picture.layout.height as u32);
    let mut bitmap = Bitmap::new(size, picture.ground());
    picture.paint(&mut bitmap, Pixels::Whole).map_err(|e| refused(request, e))?;
    let mut out = Vec::with_capacity(64 * 1024);
    let mut encoder = png::Encoder::new(&mut out, size.0, size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // Half the size of the encoder's own fast setting for a fifth more time: flat
    // colours gain nothing from a filter.
    encoder.set_deflate_compression(png::DeflateCompression::Level(1));
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().map_err(|e| refused(request, e))?;
    writer.write_image_data(bitmap.pixels()).map_err(|e| refused(request, e))?;
    writer.finish().map_err(|e| refused(request, e))?;
    Ok(out)
}

/// The colour of each field that the picture draws, by name: `#2f74c0`.
pub fn colours(rollup: &Rollup, theme: Theme) -> Vec<(String, String)> {
    let (plan, _) = plan::plan(rollup);
    let hex = |(i, p): (usize, &plan::Plan)| {
        let spec = &rollup.fields[p.field].spec;
        let c = theme.palette().field(spec, i);
        (spec.name.clone(), format!("#{:02x}{:02x}{:02x}", c.0, c.1, c.2))
    };
    plan.iter().enumerate().map(hex).collect()
}

/// The ends of the value axis that the picture would have; `None`: there is no
/// value in it.
pub fn ends(request: &GraphRequest<'_>) -> Option<(f64, f64)> {
    let picture = Picture::new(request);
    let ends = picture.layout.ends;
    picture.drawing().any.then_some((ends.low, ends.high))
}

/// What the picture shows, in words, for those who do not see it: the title,
/// then Cur, Min, Avg and Max of the first fields. Not escaped.
pub fn alt_text(request: &GraphRequest<'_>) -> String {
    describe(request, &Picture::new(request))
}

fn describe(request: &GraphRequest<'_>, picture: &Picture<'_>) -> String {
    let unit = Unit::of(&request.rollup.spec);
    let drawing = picture.drawing();
    let mut out = font::fit(font::Face::Sans, request.title, 200.0);
    if !drawing.any {
        out.push_str(": ");
        out.push_str(drawing.nothing());
        return out;
    }
    let number = |v: Option<f64>| match v {
        Some(v) => unit.text(v),
        None => UNKNOWN.to_owned(),
    };
    let shown = || drawing.series.iter().filter(|s| !s.muted);
    for (i, series) in shown().take(ALT_FIELDS).enumerate() {
        let label = request.rollup.fields[series.field].spec.label_or_name();
        let label = font::fit(font::Face::Sans, label, 60.0);
        let f = &series.figures;
        let sep = if i == 0 { ": " } else { "; " };
        let (cur, min, avg, max) = (number(f.cur), number(f.min), number(f.avg), number(f.max));
        let _ = write!(out, "{sep}{label} Cur {cur}, Min {min}, Avg {avg}, Max {max}");
    }
    if shown().count() > ALT_FIELDS {
        let _ = write!(out, "; {} more", shown().count() - ALT_FIELDS);
    }
    for line in &picture.percentiles {
        let _ = write!(out, "; {}", font::fit(font::Face::Sans, &line.label, 60.0));
    }
    if request.over.ghost.is_some() {
        let _ = write!(out, "; dashed: {} before", request.over.ghost_name);
    }
    for mark in request.marks.iter().take(ALT_FIELDS) {
        let _ = write!(out, "; event: {}", font::fit(font::Face::Sans, &mark.text, 60.0));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{any_rollup, bucket, field, request, rollup, with_buckets};
    use crate::graph::{Limits, Over, Percentile, sparkline_svg};
    use proptest::prelude::*;
    use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

    /// Whether tags are balanced, quotes closed and only XML's characters used.
    fn is_well_formed(xml: &str) -> bool {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = xml;
        while let Some(at) = rest.find('<') {
            if rest[..at].contains('>') || has_bare_ampersand(&rest[..at]) {
                return false;
            }
            let Some(end) = rest[at..].find('>') else { return false };
            let tag = &rest[at + 1..at + end];
            rest = &rest[at + end + 1..];
            if !tag.matches('"').count().is_multiple_of(2) || tag.contains('<') {
                return false;
            }
            match tag.strip_prefix('/') {
                Some(name) if open.pop() == Some(name) => {}
                Some(_) => return false,
                None if tag.ends_with('/') => {}
                None => open.push(tag.split_whitespace().next().unwrap_or("")),
            }
        }
        let legal = |c: char| c == '\n' || !(c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}'));
        open.is_empty() && rest.trim().is_empty() && xml.chars().all(legal)
    }

    fn has_bare_ampersand(text: &str) -> bool {
        let known = ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;"];
        text.match_indices('&').any(|(i, _)| !known.iter().any(|k| text[i..].starts_with(k)))
    }

    fn decode(png: &[u8]) -> (u32, u32, Vec<u8>) {
        let decoder = png::Decoder::new(std::io::Cursor::new(png));
        let mut reader = decoder.read_info().expect("a header");
        let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut pixels).expect("an image");
        (info.width, info.height, pixels)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]
        #[test]
        fn no_rollup_panics(
            rollup in any_rollup(),
            to in prop_oneof![Just(None), any::<i64>().prop_map(Some)],
            (width, height) in (0u32..500, 0u32..300),
            title in ".{0,30}",
            (is_muted, percentile) in (any::<bool>(), any::<f64>()),
            limit in ".{0,6}|~:[0-9]{1,3}|@-5:1e300",
            legend: bool,
        ) {
            let critical = Some("~:1e308".to_owned());
            let limits = vec![("a".to_owned(), Limits { warning: Some(limit), critical })];
            let mut request = GraphRequest { width, height, legend, title: &title, ..GraphRequest {
                to_ms: rollup.from_ms.saturating_add(rollup.step_ms.saturating_mul(60)),
                ..request_of(&rollup, &limits)
            }};
            if let Some(to) = to {
                request.to_ms = to;
            }
            let muted = ["b".to_owned()];
            let percentile = |field: Option<&str>| Percentile {
                field: field.map(str::to_owned),
                percent: 95.0,
                value: percentile,
            };
            let percentiles = [percentile(Some("a")), percentile(None)];
            request.over = Over {
                muted: if is_muted { &muted } else { &[] },
                percentiles: &percentiles,
                ghost: Some(&rollup),
                ghost_name: "1w",
                note: &title,
            };
            let svg = svg(&request).expect("an SVG");
            prop_assert!(is_well_formed(&svg), "{}", svg);
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf\""));
            let (w, h, pixels) = decode(&png(&request).expect("a PNG"));
            prop_assert_eq!(pixels.len(), (w * h * 3) as usize);
            prop_assert!(is_well_formed(&sparkline_svg(&rollup, width, height, Theme::Dark)));
            prop_assert!(!alt_text(&request).contains(char::is_control));
        }
    }

    /// Like `request`, for rollups whose times overflow.
    fn request_of<'a>(
        rollup: &'a rookery_collector::history::Rollup,
        limits: &'a [(String, Limits)],
    ) -> GraphRequest<'a> {
        static UTC: jiff::tz::TimeZone = jiff::tz::TimeZone::UTC;
        GraphRequest {
            rollup,
            to_ms: 0,
            width: 0,
            height: 0,
            theme: Theme::Dark,
            tz: &UTC,
            title: "",
            limits,
            marks: &[],
            axis: None,
            legend: false,
            over: crate::graph::Over::default(),
        }
    }

    #[test]
    fn foreign_text_is_only_text() {
        let evil = "<script>alert(\"1\")</script>&\u{1b}\0\u{202e}";
        let mut spec = ServiceSpec::new("s", evil, "other").vlabel(evil);
        spec.args = evil.into();
        let data = field(FieldSpec::gauge("a", evil), &[Some(1.0), Some(2.0)]);
        let rollup = rollup(spec, vec![data]);
        let request = GraphRequest { title: evil, ..request(&rollup, &[]) };
        let svg = svg(&request).expect("an SVG");
        assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;"), "{svg}");
        assert!(is_well_formed(&svg));
        assert!(!svg.contains('\u{202e}'));
    }

    #[test]
    fn the_well_formedness_check_finds_faults() {
        for bad in ["<a>", "<a></b>", "<a b=\"></a>", "<a>&b</a>", "<a>\u{1}</a>", "<a>></a>"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
        assert!(is_well_formed("<a b=\"1\"><c/>&amp;</a>\n"));
    }

    #[test]
    fn the_head_tells_size_and_content() {
        let data = field(FieldSpec::gauge("a", "apples"), &[Some(1.0), Some(3.0)]);
        let rollup = rollup(ServiceSpec::new("s", "S", "other"), vec![data]);
        let request = request(&rollup, &[]);
        let svg = svg(&request).expect("an SVG");
        let title = "<title>Title: apples Cur 3.00, Min 1.00, Avg 2.00, Max 3.00</title>";
        assert!(svg.starts_with("<svg ") && svg.contains("role=\"img\"") && svg.contains(title));
        let (w, h, _) = decode(&png(&request).expect("a PNG"));
        let head = format!("width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {} {}\"", w * 2, h * 2);
        assert!(svg.contains(&head), "{head}");
        assert!(w == 300 && h > 100, "the legend is below: {w} {h}");
    }

    #[test]
    fn a_picture_without_data_says_so() {
        let data = field(FieldSpec::gauge("a", "apples"), &[None, None]);
        let rollup = rollup(ServiceSpec::new("s", "S", "other"), vec![data]);
        let request = request(&rollup, &[]);
        assert!(svg(&request).expect("an SVG").contains("no data in this span"));
        assert_eq!(alt_text(&request), "Title: no data in this span");
    }

    #[test]
    fn a_lone_point_is_seen_in_every_style() {
        for draw in [Draw::Line1, Draw::Area, Draw::AreaStack] {
            let mut values = vec![None; 200];
            values[77] = Some(5.0);
            let mut spec = FieldSpec::gauge("a", "apples").draw(draw);
            spec.colour = Some("ff0000".into());
            let rollup = rollup(ServiceSpec::new("s", "S", "other"), vec![field(spec, &values)]);
            let request = GraphRequest { legend: false, ..request(&rollup, &[]) };
            let (_, _, pixels) = decode(&png(&request).expect("a PNG"));
            let red = pixels.chunks(3).filter(|p| p[0] > 200 && p[1] < 60 && p[2] < 60).count();
            assert!(red >= 3, "{draw:?}: {red}");
        }
    }

    /// One second of a year is seen: the highest pixel of the field's colour is
    /// where the spike ends, not where the mean is.
    #[test]
    fn a_spike_is_seen_in_lines_and_stacks() {
        for draw in [Draw::Line1, Draw::AreaStack] {
            let mut buckets = vec![bucket(&[1.0, 1.1, 0.9]); 250];
            buckets[100] = bucket(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0]);
            let mut spec = FieldSpec::gauge("b", "").draw(draw);
            spec.colour = Some("ff0000".into());
            let flat = vec![bucket(&[1.0]); 250];
            let fields = vec![
                with_buckets(FieldSpec::gauge("a", "").draw(draw), flat),
                with_buckets(spec, buckets),
            ];
            let rollup = rollup(ServiceSpec::new("s", "S", "other").args("-l 0"), fields);
            let request = GraphRequest { legend: false, ..request(&rollup, &[]) };
            let (w, h, pixels) = decode(&png(&request).expect("a PNG"));
            let is_red = |i: &usize| {
                let p = &pixels[i * 3..i * 3 + 3];
                p[0] > 200 && p[1] < 150 && p[2] < 150
            };
            let top = (0..(w * h) as usize).find(is_red).expect("a red pixel") / w as usize;
            assert!(top < 45, "{draw:?}: the spike ends at row {top}");
        }
    }
}
