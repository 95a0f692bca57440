//! Plain JSON in: what `curl` and scripts POST to `/api/v1/ingest`.
//!
//! `{"node":"N","samples":[{"service":"S","field":"F","time_ms":T,"value":V}]}`
//! becomes a frame like any agent's, so that journal and head know one form
//! only. `value`: a number (an integer stays one), null for unknown, or a
//! string as a plugin would print it. Without `time_ms`: now.

use crate::ingest::check_time;
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{Cells, FieldKey, Layout, TimeMs, Value, names};
use serde_json::{Map, Value as Json};

/// Samples in one POST, at most.
pub const SAMPLES_MAX: usize = 100_000;

/// Turns a POST into a frame; the error names the sample and what is wrong.
/// Returns the frame's bytes and the number of samples.
pub fn to_frame(body: &[u8], now_ms: TimeMs) -> Result<(Vec<u8>, usize), String> {
    let json: Json = serde_json::from_slice(body).map_err(|e| format!("not JSON: {e}"))?;
    let top = json.as_object().ok_or("a JSON object with \"node\" and \"samples\" is expected")?;
    known_keys(top, &["node", "group", "samples"], "the object")?;
    let node = text(top, "node", "the object")?;
    let samples = top
        .get("samples")
        .and_then(Json::as_array)
        .ok_or("\"samples\" is missing, or is not an array")?;
    if samples.is_empty() || samples.len() > SAMPLES_MAX {
        return Err(format!("{} samples: 1 to {SAMPLES_MAX} are allowed", samples.len()));
    }
    let mut writer = FrameWriter::default();
    // Sequence 0: no agent's; the samples themselves tell what is doubled.
    writer.start(node, 0, 0);
    if let Some(group) = top.get("group").and_then(Json::as_str) {
        writer.announce(&Announce { group: group.to_owned(), ..Announce::default() });
    }
    let mut cells = Cells::new();
    for (i, sample) in samples.iter().enumerate() {
        let place = format!("samples[{i}]");
        let (key, time_ms, value) = one(sample, &place, now_ms)?;
        // One field a row: whoever sends it with which neighbours, a field's
        // samples meet in one place, where doubled ones are told apart.
        let layout = Layout::new(vec![key]);
        writer.layout(&layout);
        cells.clear();
        cells.push(value);
        writer.row(layout.id(), time_ms, &cells);
    }
    Ok((writer.finish().to_vec(), samples.len()))
}

fn one(sample: &Json, place: &str, now_ms: TimeMs) -> Result<(FieldKey, TimeMs, Value), String> {
    let sample = sample.as_object().ok_or(format!("{place}: an object is expected"))?;
    known_keys(sample, &["service", "field", "time_ms", "value"], place)?;
    let key = FieldKey::new(text(sample, "service", place)?, text(sample, "field", place)?);
    let time_ms = match sample.get("time_ms") {
        None => now_ms,
        Some(t) => t.as_i64().ok_or(format!(
            "{place}: \"time_ms\" is {t}; whole milliseconds since 1970 are expected"
        ))?,
    };
    check_time(time_ms, now_ms).map_err(|e| format!("{place}: {e}"))?;
    let value = sample.get("value").ok_or(format!("{place}: \"value\" is missing"))?;
    let value = number(value).ok_or(format!(
        "{place}: \"value\" is {value}; a number, null or a plugin's text is expected"
    ))?;
    Ok((key, time_ms, value))
}

fn number(json: &Json) -> Option<Value> {
    match json {
        Json::Null => Some(Value::Unknown),
        Json::String(text) => Value::parse(text),
        Json::Number(n) => n
            .as_i64()
            .map(Value::Int)
            .or_else(|| n.as_u64().map(Value::from))
            .or_else(|| n.as_f64().map(Value::Float)),
        _ => None,
    }
}

fn text<'j>(object: &'j Map<String, Json>, key: &str, place: &str) -> Result<&'j str, String> {
    let value = object.get(key).ok_or(format!("{place}: {key:?} is missing"))?;
    let value = value.as_str().ok_or(format!("{place}: {key:?} is {value}, not a string"))?;
    if names::is_valid(value) {
        return Ok(value);
    }
    Err(format!("{place}: {key:?} is {value:?}: empty, too long, or with a control character or /"))
}

fn known_keys(object: &Map<String, Json>, known: &[&str], place: &str) -> Result<(), String> {
    match object.keys().find(|k| !known.contains(&k.as_str())) {
        None => Ok(()),
        Some(bad) => Err(match rookery_plugins::config::nearest(bad, known) {
            Some(near) => format!("{place}: unknown key {bad:?}; did you mean {near:?}?"),
            None => format!("{place}: unknown key {bad:?}; known keys are {}", known.join(", ")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_plugins::wire::Frame;

    #[test]
    fn numbers_stay_what_they_are() {
        let body = br#"{"node":"n","samples":[
            {"service":"s","field":"f","time_ms":1,"value":9007199254740993},
            {"service":"s","field":"f","time_ms":2,"value":18446744073709551615},
            {"service":"s","field":"g","time_ms":3,"value":0.1},
            {"service":"s","field":"g","value":null}]}"#;
        let (bytes, n) = to_frame(body, 77).expect("taken");
        let frame = Frame::parse(&bytes).expect("parses");
        assert_eq!((frame.node, n, frame.rows.len()), ("n", 4, 4));
        let mut bits = vec![];
        frame.rows.iter().for_each(|r| r.append_bits(&mut bits));
        assert_eq!(bits, [9_007_199_254_740_993, u64::MAX, 0.1f64.to_bits(), 0]);
        assert_eq!(frame.rows[3].time_ms, 77);
    }

    #[test]
    fn errors_name_the_sample() {
        let cases: [(&str, &str); 6] = [
            ("nonsense", "not JSON: "),
            ("[]", "a JSON object"),
            (r#"{"node":"n","samples":[]}"#, "0 samples"),
            (r#"{"node":"n","sample":[]}"#, "did you mean \"samples\"?"),
            (
                r#"{"node":"n","samples":[{"service":"s","field":"f","time_ms":1,"value":1},
                {"service":"s","field":"f","time_ms":"x","value":1}]}"#,
                "samples[1]: \"time_ms\" is \"x\"",
            ),
            (
                r#"{"node":"n","samples":[{"service":"","field":"f","time_ms":1,"value":1}]}"#,
                "samples[0]: \"service\" is \"\"",
            ),
        ];
        for (body, want) in cases {
            let e = to_frame(body.as_bytes(), 0).expect_err("refused");
            assert!(e.contains(want), "{body}: {e}");
        }
    }
}
