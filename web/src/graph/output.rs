//! The finished pictures: SVG and PNG files, their text, and sparklines.

use super::draw::Picture;
use super::series::Paint;
use super::units::{UNKNOWN, human};
use super::{GraphError, GraphRequest, Theme, font, series};
use plotters::prelude::{BitMapBackend, SVGBackend};
use rookery_collector::history::Rollup;
use std::fmt::Write as _;

/// SVG is drawn on pixels of half a px, since plotters knows only whole ones.
const SVG_SCALE: f64 = 2.0;
/// The most fields that the text of a picture names.
const ALT_FIELDS: usize = 8;

fn refused(request: &GraphRequest<'_>, why: impl std::fmt::Display) -> GraphError {
    GraphError::Draw { title: request.title.to_owned(), reason: why.to_string() }
}

/// The picture as SVG, which shows at its px size and stays sharp when
/// enlarged. It names no other file and runs nothing.
pub fn svg(request: &GraphRequest<'_>) -> Result<String, GraphError> {
    if !font::register() {
        return Err(GraphError::Font);
    }
    let picture = Picture::new(request);
    let (width, height) = (picture.layout.width as u32, picture.layout.height as u32);
    let size = ((picture.layout.width * SVG_SCALE) as u32, (height as f64 * SVG_SCALE) as u32);
    let mut body = String::with_capacity(64 * 1024);
    {
        let mut backend = SVGBackend::with_string(&mut body, size);
        picture.paint(&mut backend, SVG_SCALE).map_err(|e| refused(request, e))?;
    }
    // Plotters' own first line has no role, no title, and the size in its pixels.
    let inner = body.split_once('\n').map_or("", |(_, rest)| rest);
    let mut out = String::with_capacity(body.len() + 512);
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {} {}\" role=\"img\" stroke-linejoin=\"round\">\n<title>",
        size.0, size.1
    );
    escape(&mut out, &describe(request, &picture));
    out.push_str("</title>\n");
    out.push_str(inner);
    Ok(out)
}

/// The picture as PNG, 8-bit RGB.
pub fn png(request: &GraphRequest<'_>) -> Result<Vec<u8>, GraphError> {
    if !font::register() {
        return Err(GraphError::Font);
    }
    let picture = Picture::new(request);
    let size = (picture.layout.width as u32, picture.layout.height as u32);
    let mut pixels = vec![0u8; size.0 as usize * size.1 as usize * 3];
    {
        let mut backend = BitMapBackend::with_buffer(&mut pixels, size);
        picture.paint(&mut backend, 1.0).map_err(|e| refused(request, e))?;
    }
    let mut out = Vec::with_capacity(64 * 1024);
    let mut encoder = png::Encoder::new(&mut out, size.0, size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(|e| refused(request, e))?;
    writer.write_image_data(&pixels).map_err(|e| refused(request, e))?;
    writer.finish().map_err(|e| refused(request, e))?;
    Ok(out)
}

/// What the picture shows, in words, for those who do not see it: the title,
/// then Cur, Min, Avg and Max of the first fields. Not escaped.
pub fn alt_text(request: &GraphRequest<'_>) -> String {
    describe(request, &Picture::new(request))
}

fn describe(request: &GraphRequest<'_>, picture: &Picture<'_>) -> String {
    let spec = &request.rollup.spec;
    let drawing = picture.drawing();
    let mut out = font::fit(font::Face::Sans, request.title, 200.0);
    if !drawing.any {
        out.push_str(": no data in this span");
        return out;
    }
    let number = |v: Option<f64>| match v {
        Some(v) => human(v, spec.base(), spec.unscaled),
        None => UNKNOWN.to_owned(),
    };
    for (i, series) in drawing.series.iter().take(ALT_FIELDS).enumerate() {
        let label = request.rollup.fields[series.field].spec.label_or_name();
        let label = font::fit(font::Face::Sans, label, 60.0);
        let f = &series.figures;
        let sep = if i == 0 { ": " } else { "; " };
        let (cur, min, avg, max) = (number(f.cur), number(f.min), number(f.avg), number(f.max));
        let _ = write!(out, "{sep}{label} Cur {cur}, Min {min}, Avg {avg}, Max {max}");
    }
    if drawing.series.len() > ALT_FIELDS {
        let _ = write!(out, "; {} more", drawing.series.len() - ALT_FIELDS);
    }
    out
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars().filter(|c| !font::is_unprintable(*c)) {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
}

/// A tiny picture without axes and texts, for tables: the service's fields as
/// they are drawn. `width` and `height` in px, at least 8 and at most 1000.
pub fn sparkline_svg(rollup: &Rollup, width: u32, height: u32, theme: Theme) -> String {
    let (width, height) = (width.clamp(8, 1000), height.clamp(8, 1000));
    let palette = theme.palette();
    let n = rollup.fields.iter().map(|f| f.buckets.len()).max().unwrap_or(0).max(1);
    let drawing = series::prepare(rollup, n as f64);
    let (ends, _) = super::scale::scale(rollup, &drawing, &[]);
    let room = f64::from(height) - 2.0;
    let x = |bucket: usize| (bucket as f64 + 0.5) / n as f64 * f64::from(width);
    let y = |v: f64| {
        let v = if v.is_nan() { 0.0 } else { v };
        let part = v.clamp(ends.low, ends.high) / 2.0 - ends.low / 2.0;
        1.0 + room - part / (ends.high / 2.0 - ends.low / 2.0) * room
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" aria-hidden=\"true\" fill=\"none\" \
         stroke-linejoin=\"round\" stroke-linecap=\"round\">"
    );
    for (i, s) in drawing.series.iter().enumerate() {
        let c = palette.field(&rollup.fields[s.field].spec, i);
        let colour = format!("#{:02x}{:02x}{:02x}", c.0, c.1, c.2);
        for run in &s.runs {
            let mut line = String::new();
            for p in run {
                let _ = write!(line, "{:.1},{:.1} ", x(p.bucket), y(p.edge));
            }
            if let [p] = run.as_slice() {
                let _ = write!(line, "{:.1},{:.1}", x(p.bucket) + 1.0, y(p.edge));
            }
            if s.paint == Paint::Fill {
                let mut back = String::new();
                for p in run.iter().rev() {
                    let _ = write!(back, "{:.1},{:.1} ", x(p.bucket), y(p.base));
                }
                let _ = write!(
                    out,
                    "<polygon fill=\"{colour}\" fill-opacity=\".6\" points=\"{line} {}\"/>",
                    back.trim_end()
                );
            } else {
                let _ = write!(
                    out,
                    "<polyline stroke=\"{colour}\" stroke-width=\"1.2\" points=\"{}\"/>",
                    line.trim_end()
                );
            }
        }
    }
    out.push_str("</svg>");
    out
}
