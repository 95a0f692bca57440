//! Plain JSON in: what `curl` and scripts POST to `/api/v1/ingest`.
//!
//! `{"node":"N","samples":[{"service":"S","field":"F","time_ms":T,"value":V}]}`
//! becomes a frame like any agent's, so that journal and head know one form
//! only. `value`: a number (an integer stays one), null for unknown, or a
//! string as a plugin would print it. Without `time_ms`: now.
//!
//! Which samples share a row is [`crate::json_rows`]'s part.

use crate::json_rows::{Home, Sample, write_rows};
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{FieldKey, TimeMs, Value, names, times};
use serde_json::{Map, Value as Json};

/// Samples in one POST, at most.
pub const SAMPLES_MAX: usize = 100_000;

/// A POST that was understood.
#[derive(Debug)]
pub struct Post {
    /// Whose samples these are.
    pub node: String,
    /// Its group, if it says so.
    pub group: Option<String>,
    /// Those that can be taken, at least one.
    pub samples: Vec<Sample>,
    /// Those that are left out because of their time.
    pub left_out: Option<LeftOut>,
}

/// Samples that are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// How many.
    pub n: usize,
    /// Names the first of them, and says why.
    pub example: String,
}

/// Reads a POST; the error names the sample and what is wrong. A sample whose time
/// cannot be right is left out, unless that leaves none.
pub fn parse(body: &[u8], now_ms: TimeMs) -> Result<Post, String> {
    let json: Json = serde_json::from_slice(body).map_err(|e| format!("not JSON: {e}"))?;
    let top = json.as_object().ok_or("a JSON object with \"node\" and \"samples\" is expected")?;
    known_keys(top, &["node", "group", "samples"], "the object")?;
    let node = text(top, "node", "the object")?.to_owned();
    let group = match top.get("group") {
        None | Some(Json::Null) => None,
        Some(_) => Some(text(top, "group", "the object")?.to_owned()),
    };
    let list = top
        .get("samples")
        .and_then(Json::as_array)
        .ok_or("\"samples\" is missing, or is not an array")?;
    if list.is_empty() || list.len() > SAMPLES_MAX {
        return Err(format!("{} samples: 1 to {SAMPLES_MAX} are allowed", list.len()));
    }
    let mut samples = Vec::with_capacity(list.len());
    let mut left_out: Option<LeftOut> = None;
    for (i, sample) in list.iter().enumerate() {
        let sample = one(sample, i, now_ms)?;
        match (times::check(sample.time_ms, now_ms), &mut left_out) {
            (Ok(()), _) => samples.push(sample),
            (Err(_), Some(left_out)) => left_out.n += 1,
            (Err(e), None) => {
                left_out = Some(LeftOut { n: 1, example: format!("samples[{i}]: {e}") });
            }
        }
    }
    match left_out {
        Some(left_out) if samples.is_empty() => Err(left_out.example),
        left_out => Ok(Post { node, group, samples, left_out }),
    }
}

/// The frame of a POST. `homes` says where the samples of known fields are kept, see
/// [`crate::json_rows`].
pub fn to_frame(post: &Post, homes: impl FnOnce(&[FieldKey]) -> Vec<Option<Home>>) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    // Sequence 0: no agent's; the samples themselves tell what is doubled.
    writer.start(&post.node, 0, 0);
    if let Some(group) = &post.group {
        writer.announce(&Announce { group: group.clone(), ..Announce::default() });
    }
    write_rows(&mut writer, &post.samples, homes);
    writer.finish().to_vec()
}

fn one(sample: &Json, i: usize, now_ms: TimeMs) -> Result<Sample, String> {
    let place = || format!("samples[{i}]");
    let sample = sample.as_object().ok_or_else(|| format!("{}: an object is expected", place()))?;
    known_keys(sample, &["service", "field", "time_ms", "value"], place)?;
    let key = FieldKey::new(text(sample, "service", place)?, text(sample, "field", place)?);
    let time_ms = match sample.get("time_ms") {
        None => now_ms,
        Some(t) => t.as_i64().ok_or_else(|| {
            format!("{}: \"time_ms\" is {t}; whole milliseconds since 1970 are expected", place())
        })?,
    };
    let value = sample.get("value").ok_or_else(|| format!("{}: \"value\" is missing", place()))?;
    let value = number(value).ok_or_else(|| {
        format!("{}: \"value\" is {value}; a number, null or a plugin's text is expected", place())
    })?;
    Ok(Sample { key, time_ms, value })
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

/// Where something stands, for an error; made only when there is one.
trait Place {
    fn name(self) -> String;
}

impl Place for &str {
    fn name(self) -> String {
        self.to_owned()
    }
}

impl<F: FnOnce() -> String> Place for F {
    fn name(self) -> String {
        self()
    }
}

fn text<'j>(
    object: &'j Map<String, Json>,
    key: &str,
    place: impl Place,
) -> Result<&'j str, String> {
    match object.get(key) {
        None => Err(format!("{}: {key:?} is missing", place.name())),
        Some(Json::String(value)) if names::is_valid(value) => Ok(value),
        Some(Json::String(value)) => {
            let shown: String = value.chars().take(names::NAME_BYTES_MAX).collect();
            Err(format!(
                "{}: {key:?} is {shown:?}: empty, longer than {} bytes, or with a control \
                 character or /",
                place.name(),
                names::NAME_BYTES_MAX
            ))
        }
        Some(value) => Err(format!("{}: {key:?} is {value}, not a string", place.name())),
    }
}

fn known_keys(object: &Map<String, Json>, known: &[&str], place: impl Place) -> Result<(), String> {
    match object.keys().find(|k| !known.contains(&k.as_str())) {
        None => Ok(()),
        Some(bad) => Err(match rookery_plugins::config::nearest(bad, known) {
            Some(near) => format!("{}: unknown key {bad:?}; did you mean {near:?}?", place.name()),
            None => {
                let known = known.join(", ");
                format!("{}: unknown key {bad:?}; known keys are {known}", place.name())
            }
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
        let post = parse(body, 77).expect("taken");
        let bytes = to_frame(&post, |keys| vec![None; keys.len()]);
        let frame = Frame::parse(&bytes).expect("parses");
        assert_eq!((frame.node, post.samples.len(), frame.rows.len()), ("n", 4, 4));
        let mut bits = vec![];
        frame.rows.iter().for_each(|r| r.append_bits(&mut bits));
        assert_eq!(bits, [9_007_199_254_740_993, u64::MAX, 0.1f64.to_bits(), 0]);
        assert_eq!(frame.rows[3].time_ms, 77);
    }

    #[test]
    fn errors_name_the_sample() {
        let cases: [(&str, &str); 8] = [
            ("nonsense", "not JSON: "),
            ("[]", "a JSON object"),
            (r#"{"node":"n","samples":[]}"#, "0 samples"),
            (r#"{"node":"n","sample":[]}"#, "did you mean \"samples\"?"),
            (r#"{"node":"n","group":"a\u0007b","samples":[]}"#, "the object: \"group\" is"),
            (
                r#"{"node":"n","samples":[{"service":"s","field":"f","time_ms":1,"value":1},
                {"service":"s","field":"f","time_ms":"x","value":1}]}"#,
                "samples[1]: \"time_ms\" is \"x\"",
            ),
            (
                r#"{"node":"n","samples":[{"service":"","field":"f","time_ms":1,"value":1}]}"#,
                "samples[0]: \"service\" is \"\"",
            ),
            (
                r#"{"node":"n","samples":[{"service":"s","field":"f","time_ms":-1,"value":1}]}"#,
                "samples[0]: time -1 ms is before 1970",
            ),
        ];
        for (body, want) in cases {
            let e = parse(body.as_bytes(), 0).expect_err("refused");
            assert!(e.contains(want), "{body}: {e}");
        }
        let long = format!(r#"{{"node":"n","group":"{}","samples":[]}}"#, "g".repeat(10_000_000));
        assert!(parse(long.as_bytes(), 0).expect_err("refused").len() < 1000);
    }

    #[test]
    fn a_bad_time_costs_its_sample_alone() {
        let body = br#"{"node":"n","samples":[
            {"service":"s","field":"f","time_ms":-5,"value":1},
            {"service":"s","field":"f","time_ms":5,"value":2},
            {"service":"s","field":"f","time_ms":4000000000000000,"value":3}]}"#;
        let post = parse(body, 77).expect("taken");
        assert_eq!(post.samples.iter().map(|s| s.time_ms).collect::<Vec<_>>(), [5]);
        let left_out = post.left_out.expect("two");
        assert_eq!(left_out.n, 2);
        assert!(left_out.example.starts_with("samples[0]: time -5 ms"), "{}", left_out.example);
    }
}
