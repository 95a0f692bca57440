//! What an address asks of a picture.

use crate::app::now_ms;
use crate::error::WebError;
use crate::graph::Theme;
use crate::times;
use axum::http::Uri;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use rookery_plugins::config::parse_span_ms;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Shortest span, ms.
const SPAN_MS_MIN: i64 = 1_000;

/// Steps longer than this are whole hours, ms.
const WHOLE_HOURS_FROM_MS: i64 = 3 * HOUR_MS;
/// Steps longer than this are half days or whole ones, ms: a year's are.
const HALF_DAYS_FROM_MS: i64 = 8 * HOUR_MS;
const HOUR_MS: i64 = 3_600_000;

/// Plot sizes unless asked for, px.
pub(super) const WIDTH: u32 = 800;
pub(super) const HEIGHT: u32 = 200;

/// How far back a ghost may be, ms.
const GHOST_MS_MAX: i64 = 3660 * 86_400_000;
/// Most percentiles of a picture.
const PERCENTS_MAX: usize = 4;
/// Longest list of muted fields, bytes.
pub(crate) const HIDE_BYTES_MAX: usize = 4000;

/// What a picture's query may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    from: Option<String>,
    to: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    theme: Option<String>,
    tz: Option<String>,
    field: Option<String>,
    legend: Option<String>,
    low: Option<f64>,
    high: Option<f64>,
    hide: Option<String>,
    pct: Option<String>,
    ghost: Option<String>,
    /// 1: with escape sequences, for a terminal.
    colour: Option<String>,
    /// Lets a page ask for the newest picture under a new address.
    #[serde(rename = "t")]
    _t: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Svg,
    Png,
    /// For a terminal.
    Text,
}

/// A picture's every property; two equal ones look alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) node: String,
    pub(super) service: String,
    pub(super) field: Option<String>,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) step_ms: i64,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) is_dark: bool,
    pub(super) tz: Option<String>,
    pub(super) legend: bool,
    pub(super) form: Form,
    /// Bits of the ends of an asked value axis.
    pub(super) axis: Option<(u64, u64)>,
    /// How many marks have been added: a new one is seen at once.
    pub(super) events: u64,
    /// Fields that are not painted, separated by commas.
    pub(super) hide: String,
    /// Percentiles, thousandths.
    pub(super) percents: Vec<u32>,
    /// How much earlier the ghost is, as asked, and ms.
    pub(super) ghost: Option<(String, i64)>,
    /// Fields of any nodes on one picture, instead of a service's.
    pub(super) mix: Vec<String>,
    /// With escape sequences, for a terminal.
    pub(super) colour: bool,
}

/// The zone of a `tz=` parameter; the collector's own without one.
pub fn zone(name: Option<&str>) -> Result<TimeZone, WebError> {
    match name {
        None | Some("") => Ok(TimeZone::system()),
        Some(name) => TimeZone::get(name)
            .map_err(|_| WebError::bad(format!("tz {name:?}: no such time zone (Europe/Berlin)"))),
    }
}

pub(super) fn key(
    node: String,
    service: String,
    form: Form,
    query: &Query,
) -> Result<Key, WebError> {
    let now = now_ms();
    let clock = zone(query.tz.as_deref())?;
    let read = |name: &str, text: &Option<String>, default: i64| match text {
        Some(t) => {
            times::parse_in(t, now, &clock).map_err(|e| WebError::bad(format!("{name}: {e}")))
        }
        None => Ok(default),
    };
    let to = read("to", &query.to, now)?;
    let from = read("from", &query.from, to.saturating_sub(86_400_000))?;
    if from >= to {
        return Err(WebError::bad("from must be before to"));
    }
    let theme = query.theme.as_deref().unwrap_or("light");
    let theme = Theme::parse(theme)
        .ok_or_else(|| WebError::bad(format!("theme {theme:?}: there are light and dark")))?;
    let (width, height) = match form {
        // Columns and rows; a column has two dots.
        Form::Text => (query.width.unwrap_or(80).clamp(40, 400), query.height.unwrap_or(16)),
        _ => (
            query.width.unwrap_or(WIDTH).clamp(100, 4000),
            query.height.unwrap_or(HEIGHT).clamp(80, 2400),
        ),
    };
    let dots = if form == Form::Text { 2 * width } else { width };
    let (from_ms, to_ms, step_ms) = whole_pixels(from, to, dots);
    Ok(Key {
        node,
        service,
        field: query.field.clone(),
        from_ms,
        to_ms,
        step_ms,
        width,
        height,
        is_dark: matches!(theme, Theme::Dark),
        tz: query.tz.clone(),
        legend: query.legend.as_deref() != Some("0"),
        form,
        axis: axis(query.low, query.high)?,
        events: 0,
        hide: hide(query.hide.as_deref())?.to_owned(),
        percents: percents(query.pct.as_deref())?,
        ghost: ghost(query.ghost.as_deref())?,
        mix: Vec::new(),
        colour: match query.colour.as_deref() {
            None | Some("" | "0") => false,
            Some("1") => true,
            Some(other) => return Err(WebError::bad(format!("colour {other:?}: write 0 or 1"))),
        },
    })
}

/// An asked value axis, as bits.
fn axis(low: Option<f64>, high: Option<f64>) -> Result<Option<(u64, u64)>, WebError> {
    match (low, high) {
        (None, None) => Ok(None),
        (Some(low), Some(high)) if low.is_finite() && high.is_finite() && low < high => {
            Ok(Some((low.to_bits(), high.to_bits())))
        }
        _ => Err(WebError::bad("low and high: two numbers, the lower first")),
    }
}

/// A span as a picture of some width has it.
pub(crate) struct Span {
    /// Left edge, ms.
    pub from_ms: i64,
    /// Right edge, ms.
    pub to_ms: i64,
    pub(super) step_ms: i64,
}

impl Span {
    /// From, to, and the width of a px, ms.
    pub(crate) fn steps(&self) -> (i64, i64, i64) {
        (self.from_ms, self.to_ms, self.step_ms)
    }

    /// From texts as an address has them, in whole steps of `width` px; those without a
    /// zone are on the clock of `zone`.
    pub(crate) fn parse(
        (from, to): (&str, &str),
        width: u32,
        now_ms: i64,
        zone: &TimeZone,
    ) -> Result<Span, WebError> {
        let read = |name: &str, text: &str| {
            times::parse_in(text, now_ms, zone).map_err(|e| WebError::bad(format!("{name}: {e}")))
        };
        let (from, to) = (read("from", from)?, read("to", to)?);
        if from >= to {
            return Err(WebError::bad("from must be before to"));
        }
        let (from_ms, to_ms, step_ms) = whole_pixels(from, to, width);
        Ok(Span { from_ms, to_ms, step_ms })
    }
}

/// The span widened to whole steps of one pixel.
pub(super) fn whole_pixels(from: i64, to: i64, width: u32) -> (i64, i64, i64) {
    let span = (to - from).max(SPAN_MS_MIN);
    let px = i64::from(width.max(1));
    let mut step = ((span + px - 1) / px).max(1);
    // The history's summaries are of whole hours, its digests of half days: such
    // steps need no more.
    for (from, unit) in [(WHOLE_HOURS_FROM_MS, HOUR_MS), (HALF_DAYS_FROM_MS, 12 * HOUR_MS)] {
        if step > from {
            step = (step + unit - 1) / unit * unit;
        }
    }
    let start = from.div_euclid(step) * step;
    let end = (to.div_euclid(step) + i64::from(to.rem_euclid(step) > 0)) * step;
    (start, end.max(start + step), step)
}

/// A query in which `f` may stand many times: all of them, and the rest as `T`.
pub(crate) fn split<T: DeserializeOwned>(query: &str) -> Result<(Vec<String>, T), WebError> {
    let mut texts = Vec::new();
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        match pair.strip_prefix("f=") {
            Some(text) => {
                let text = text.replace('+', " ");
                let text = percent_decode_str(&text).decode_utf8_lossy().trim().to_owned();
                if !text.is_empty() && !texts.contains(&text) {
                    texts.push(text);
                }
            }
            None => rest.push(pair),
        }
    }
    let uri: Uri = format!("/?{}", rest.join("&"))
        .parse()
        .map_err(|e| WebError::bad(format!("the query is no query: {e}")))?;
    let asked = axum::extract::Query::<T>::try_from_uri(&uri);
    asked.map(|q| (texts, q.0)).map_err(|e| WebError::bad(e.body_text()))
}

/// A list of fields to mute, as it is.
pub(crate) fn hide(text: Option<&str>) -> Result<&str, WebError> {
    match text.unwrap_or("") {
        text if text.len() > HIDE_BYTES_MAX => {
            let most = format!("hide: {} bytes; at most {HIDE_BYTES_MAX} are read", text.len());
            Err(WebError::bad(most))
        }
        text => Ok(text),
    }
}

/// Whether a list of fields names this one. (A name may have a comma itself.)
pub(crate) fn is_muted(hide: &str, field: &str) -> bool {
    !hide.is_empty() && format!(",{hide},").contains(&format!(",{field},"))
}

/// `95,99.9`: thousandths.
pub(crate) fn percents(text: Option<&str>) -> Result<Vec<u32>, WebError> {
    let text = text.unwrap_or("").trim();
    let bad = || {
        WebError::bad(format!(
            "pct {text:?}: at most {PERCENTS_MAX} numbers above 0 and up to 100, as 95,99"
        ))
    };
    let mut out: Vec<u32> = Vec::new();
    for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        let number: f64 = word.parse().map_err(|_| bad())?;
        let thousandths = (number * 1000.0).round();
        if !(1.0..=100_000.0).contains(&thousandths) {
            return Err(bad());
        }
        out.push(thousandths as u32);
    }
    out.sort_unstable();
    out.dedup();
    if out.len() > PERCENTS_MAX { Err(bad()) } else { Ok(out) }
}

/// `1w`: as written, and ms.
pub(crate) fn ghost(text: Option<&str>) -> Result<Option<(String, i64)>, WebError> {
    let Some(text) = text.map(str::trim).filter(|t| !t.is_empty()) else { return Ok(None) };
    let ms = parse_span_ms(text).map_err(|e| WebError::bad(format!("ghost: {e}, 1w")))?;
    let ms = i64::try_from(ms).ok().filter(|ms| (1000..=GHOST_MS_MAX).contains(ms));
    let ms = ms.ok_or_else(|| WebError::bad("ghost: at least 1s and at most 3660d earlier"))?;
    Ok(Some((text.to_owned(), ms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_lies_over_the_data_is_read() {
        assert_eq!(percents(Some("99, 95,95")), Ok(vec![95_000, 99_000]));
        assert_eq!(percents(Some("99.9")), Ok(vec![99_900]));
        assert_eq!(percents(None), Ok(vec![]));
        for bad in ["0", "101", "x", "NaN", "1,2,3,4,5"] {
            assert!(percents(Some(bad)).is_err(), "{bad}");
        }
        assert_eq!(ghost(Some("1w")), Ok(Some(("1w".into(), 604_800_000))));
        for bad in ["1", "-1w", "1y", "9999d", "0.5s"] {
            assert_eq!(ghost(Some(bad)).is_err(), bad != "1", "{bad}");
        }
        assert!(is_muted("a,b", "b") && is_muted("a,b", "a,b"));
        assert!(!is_muted("ab", "a") && !is_muted("", ""));
        assert!(hide(Some(&"x".repeat(5000))).is_err());
    }

    proptest! {
        #[test]
        fn spans_are_whole_pixels(
            from in 0..4_000_000_000_000_i64,
            span in 1..100_000_000_000_i64,
            width in 1..4000_u32,
        ) {
            let (start, end, step) = whole_pixels(from, from + span, width);
            prop_assert!(start <= from && end >= from + span);
            prop_assert_eq!((end - start) % step, 0);
            prop_assert!((end - start) / step <= i64::from(width) + 2);
        }
    }
}
