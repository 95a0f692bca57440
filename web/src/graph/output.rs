//! The finished pictures: SVG and PNG files, and what they show in words.

use super::brush::Pixels;
use super::draw::Picture;
use super::units::{UNKNOWN, human};
use super::{GraphError, GraphRequest, font};
use plotters::prelude::{BitMapBackend, SVGBackend};
use std::fmt::Write as _;

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
    let scale = Pixels::Half.per_px() as u32;
    let size = (width * scale, height * scale);
    let mut body = String::with_capacity(64 * 1024);
    {
        let mut backend = SVGBackend::with_string(&mut body, size);
        picture.paint(&mut backend, Pixels::Half).map_err(|e| refused(request, e))?;
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
        picture.paint(&mut backend, Pixels::Whole).map_err(|e| refused(request, e))?;
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
