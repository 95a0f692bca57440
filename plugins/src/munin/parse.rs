//! A plugin's output → services and values.

use crate::names::{clean_field, clean_service, is_valid};
use crate::spec::{Draw, FieldSpec, FieldType, ServiceSpec};
use crate::{TimeMs, Value};
use std::collections::HashMap;

/// The most fields taken from one output; later ones count as noise.
pub const FIELDS_MAX: usize = 50_000;
/// The most services taken from one output; later ones count as noise.
pub const SERVICES_MAX: usize = 5_000;
/// The most values that are no numbers kept with their text; more are counted.
pub const STRANGE_MAX: usize = 100;
/// How much of a line that is not understood is kept, bytes.
const NOISE_BYTES_MAX: usize = 60;
/// The longest attribute text kept, bytes; the rest of it is dropped.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Epochs further from 1970 than this (the year 5138) are not times, seconds.
const EPOCH_S_MAX: f64 = 1e11;

/// One `field.value` line.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The service it belongs to.
    pub service: String,
    /// The field, cleaned.
    pub field: String,
    /// The time of an `epoch:value`; `None`: now.
    pub time_ms: Option<TimeMs>,
    /// The number.
    pub value: Value,
}

/// All that one output said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The services that were described, in order, with their fields.
    pub services: Vec<ServiceSpec>,
    /// The values: of `fetch`, or of a `config` that carries them
    /// (Munin's dirtyconfig).
    pub readings: Vec<Reading>,
    /// Service, field and what is said more of it (`field.extinfo`), of fields that this
    /// output does not describe.
    pub extinfo: Vec<(String, String, String)>,
    /// `multigraph` lines were seen.
    pub multigraph: bool,
    /// Values that are no numbers (`17,060`, `n/a`, nothing at all): each is an unknown one
    /// in `readings`. The first so many.
    pub strange: Vec<Strange>,
    /// How many there are.
    pub n_strange: usize,
    /// Lines that were not understood.
    pub n_noise: usize,
    /// The first of those.
    pub first_noise: Option<String>,
}

/// A value that is no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strange {
    /// The service.
    pub service: String,
    /// The field, cleaned.
    pub field: String,
    /// What stands in the number's place, the start of it.
    pub text: String,
}

impl Parsed {
    /// Whether what is read is no number.
    pub fn is_strange(&self, reading: &Reading) -> bool {
        let is_it = |s: &Strange| s.service == reading.service && s.field == reading.field;
        reading.value == Value::Unknown && self.strange.iter().any(is_it)
    }

    /// The readings without those that are no numbers: these make no field known that
    /// nobody describes.
    pub fn numbers(&self) -> impl Iterator<Item = &Reading> {
        self.readings.iter().filter(|r| !self.is_strange(r))
    }
}

/// Reads what `plugin` (its file's name) printed for `config` or `fetch`.
/// Bytes that are not UTF-8 become U+FFFD in texts.
pub fn parse(plugin: &str, output: &[u8]) -> Parsed {
    let mut reader = Reader {
        out: Parsed::default(),
        at: HashMap::new(),
        fields: HashMap::new(),
        current: clean_service(plugin),
    };
    for line in output.split(|b| matches!(b, b'\n' | b'\r')) {
        if line.first() == Some(&b'#') {
            continue;
        }
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if !line.is_empty() && reader.line(line).is_none() {
            reader.out.n_noise += 1;
            reader.out.first_noise.get_or_insert_with(|| start(line));
        }
    }
    reader.out
}

struct Reader {
    out: Parsed,
    /// Service name → index in `out.services`.
    at: HashMap<String, usize>,
    /// (service index, field) → index in the service's fields.
    fields: HashMap<(usize, String), usize>,
    current: String,
}

impl Reader {
    /// `None`: not understood.
    fn line(&mut self, line: &str) -> Option<()> {
        let (key, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = clip(rest.trim());
        if key == "multigraph" {
            let name = clean_service(rest.split_whitespace().next()?);
            let ok = is_valid(&name) && !name.starts_with('.') && !name.ends_with('.');
            if !ok || name.contains("..") {
                return None;
            }
            self.out.multigraph = true;
            self.current = name;
            return Some(());
        }
        match key.split_once('.') {
            None => self.global(key, rest),
            Some((field, attribute)) => self.field(field, attribute, rest),
        }
    }

    fn service(&mut self) -> Option<usize> {
        if let Some(&i) = self.at.get(&self.current) {
            return Some(i);
        }
        if self.out.services.len() >= SERVICES_MAX || !is_valid(&self.current) {
            return None;
        }
        let i = self.out.services.len();
        self.out.services.push(ServiceSpec::new(&self.current, &self.current, "other"));
        self.at.insert(self.current.clone(), i);
        Some(i)
    }

    fn global(&mut self, key: &str, rest: &str) -> Option<()> {
        const OTHER: &[&str] = &[
            "graph",
            "update",
            "update_rate",
            "host_name",
            "service_order",
            "category_order",
            "create_args",
            "title",
            "notify_alias",
        ];
        let word = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !word || !(key.starts_with("graph_") || OTHER.contains(&key)) {
            return None;
        }
        let i = self.service()?;
        let spec = &mut self.out.services[i];
        match key {
            "graph_title" => spec.title = rest.to_owned(),
            "graph_category" if !rest.is_empty() => spec.category = rest.to_lowercase(),
            "graph_vlabel" | "graph_vtitle" => spec.vlabel = rest.to_owned(),
            "graph_info" => spec.info = rest.to_owned(),
            "graph_args" => spec.args = rest.to_owned(),
            "graph_order" => spec.order = rest.split_whitespace().map(str::to_owned).collect(),
            "graph_period" => spec.period = rest.to_lowercase(),
            "graph_total" => spec.total = Some(rest.to_owned()),
            "graph_scale" => spec.unscaled = is_no(rest),
            "graph" => spec.hidden = is_no(rest),
            "host_name" => spec.host_name = is_valid(rest).then(|| rest.to_owned()),
            _ => {
                spec.extra.insert(key.to_owned(), rest.to_owned());
            }
        }
        Some(())
    }

    fn field(&mut self, field: &str, attribute: &str, rest: &str) -> Option<()> {
        let word = attribute.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let field = clean_field(field);
        if !word || attribute.is_empty() || !is_valid(&field) || !is_valid(&self.current) {
            return None;
        }
        if attribute == "value" {
            if self.out.readings.len() >= FIELDS_MAX {
                return None;
            }
            let service = self.current.clone();
            let (time_ms, value) = reading(rest).unwrap_or_else(|time_ms| {
                self.out.n_strange += 1;
                if self.out.strange.len() < STRANGE_MAX {
                    let (service, field, text) = (service.clone(), field.clone(), start(rest));
                    self.out.strange.push(Strange { service, field, text });
                }
                (time_ms, Value::Unknown)
            });
            self.out.readings.push(Reading { service, field, time_ms, value });
            return Some(());
        }
        if attribute == "extinfo" {
            // Allowed in fetch too, where it must not make a field.
            let known = self.at.get(&self.current).copied();
            let known = known.and_then(|s| self.fields.get(&(s, field.clone())).map(|f| (s, *f)));
            if let Some((s, f)) = known {
                let extra = &mut self.out.services[s].fields[f].extra;
                extra.insert(attribute.to_owned(), rest.to_owned());
            } else if self.out.extinfo.len() < FIELDS_MAX {
                self.out.extinfo.push((self.current.clone(), field, rest.to_owned()));
            }
            return Some(());
        }
        let s = self.service()?;
        let key = (s, field);
        let f = match self.fields.get(&key) {
            Some(&f) => f,
            None => {
                if self.fields.len() >= FIELDS_MAX {
                    return None;
                }
                let f = self.out.services[s].fields.len();
                self.out.services[s].fields.push(FieldSpec::gauge(&key.1, ""));
                self.fields.insert(key, f);
                f
            }
        };
        set_attribute(&mut self.out.services[s].fields[f], attribute, rest)
    }
}

fn set_attribute(field: &mut FieldSpec, attribute: &str, text: &str) -> Option<()> {
    let some = || (!text.is_empty()).then(|| text.to_owned());
    match attribute {
        "label" => field.label = text.to_owned(),
        "type" => field.kind = FieldType::parse(text)?,
        "draw" => field.draw = Draw::parse(text)?,
        "info" => field.info = text.to_owned(),
        "min" => field.min = limit(text)?,
        "max" => field.max = limit(text)?,
        "negative" => field.negative = some().map(|n| clean_field(&n)),
        "cdef" => field.cdef = some(),
        "colour" => field.colour = some(),
        "warning" => field.warning = some(),
        "critical" => field.critical = some(),
        "unknown_limit" => field.unknown_limit = Some(text.parse().ok()?),
        "graph" => field.hidden = is_no(text),
        _ => {
            field.extra.insert(attribute.to_owned(), text.to_owned());
        }
    }
    Some(())
}

/// `min` and `max`: a number, or `U` for none.
fn limit(text: &str) -> Option<Option<f64>> {
    Value::parse(text).map(Value::as_f64)
}

fn is_no(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "no" | "off" | "0" | "false")
}

/// `V`, `epoch:V` or `N:V`; only the first word counts. An error is no number; it has the
/// time, where that is one.
fn reading(text: &str) -> Result<(Option<TimeMs>, Value), Option<TimeMs>> {
    let word = text.split_whitespace().next().unwrap_or_default();
    let Some((time, value)) = word.split_once(':') else {
        return Value::parse(word).map(|v| (None, v)).ok_or(None);
    };
    let time_ms = match (time, Value::parse(time)) {
        ("N", _) => None,
        (_, Some(Value::Int(s))) if (s as f64).abs() < EPOCH_S_MAX => Some(s * 1000),
        (_, Some(Value::Float(s))) if s.abs() < EPOCH_S_MAX => Some((s * 1000.0).round() as TimeMs),
        _ => return Err(None),
    };
    Value::parse(value).map(|v| (time_ms, v)).ok_or(time_ms)
}

/// The beginning of a line, for a log.
fn start(line: &str) -> String {
    line[..line.floor_char_boundary(NOISE_BYTES_MAX)].to_owned()
}

/// The text, cut at a character's border if it is too long.
fn clip(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_load_plugin_as_recorded() {
        let text = b"graph_title Load average\ngraph_args --base 1000 -l 0\n\
            graph_vlabel load\ngraph_scale no\ngraph_category System\nload.label load\n\
            load.warning 10\nload.info 5 minute load average";
        let p = parse("load", text);
        assert_eq!((p.services.len(), p.n_noise, p.multigraph), (1, 0, false));
        let s = &p.services[0];
        assert_eq!((s.name.as_str(), s.category.as_str(), s.unscaled), ("load", "system", true));
        assert_eq!(s.fields[0].warning.as_deref(), Some("10"));
        assert_eq!(s.fields[0].info, "5 minute load average");
    }

    /// The recorded values of a munin-node 2.0.73, line by line.
    #[test]
    fn values_as_the_master_takes_them() {
        let text = b"int.value 1\nneg.value -1\nflt.value 1.5\nsci.value 1.5e3\nunk.value U\n\
            lowu.value u\nhex.value 0x10\ncomma.value 1,5\nempty.value \nspaces.value    7   \n\
            plus.value +7\ntsepoch.value 1795209101:6\nbig.value 18446744073709551615\n\
            text.value hello\npercent.value 50%\ntab.value\t9\nwith.dot.value 3\n9lead.value 4\n\
            with-dash.value 5\r\n   a.value 1\nb.value 2 # trailing\n.\ngarbage\na.extinfo hi\n";
        let p = parse("values", text);
        let got: Vec<(String, Option<i64>, Value)> =
            p.readings.iter().map(|r| (r.field.clone(), r.time_ms, r.value)).collect();
        let want: &[(&str, Option<i64>, Value)] = &[
            ("int", None, Value::Int(1)),
            ("neg", None, Value::Int(-1)),
            ("flt", None, Value::Float(1.5)),
            ("sci", None, Value::Float(1500.0)),
            ("unk", None, Value::Unknown),
            ("lowu", None, Value::Unknown),
            ("hex", None, Value::Unknown),
            ("comma", None, Value::Unknown),
            ("empty", None, Value::Unknown),
            ("spaces", None, Value::Int(7)),
            ("plus", None, Value::Int(7)),
            ("tsepoch", Some(1_795_209_101_000), Value::Int(6)),
            ("big", None, Value::Uint(u64::MAX)),
            ("text", None, Value::Unknown),
            ("percent", None, Value::Unknown),
            ("tab", None, Value::Int(9)),
            ("_lead", None, Value::Int(4)),
            ("with_dash", None, Value::Int(5)),
            ("a", None, Value::Int(1)),
            ("b", None, Value::Int(2)),
        ];
        let want: Vec<_> = want.iter().map(|(f, t, v)| ((*f).to_owned(), *t, *v)).collect();
        assert_eq!(got, want);
        // No numbers: unknown, and not left out as if nothing had been said.
        let strange: Vec<(&str, &str)> =
            p.strange.iter().map(|s| (s.field.as_str(), s.text.as_str())).collect();
        let want = [
            ("lowu", "u"),
            ("hex", "0x10"),
            ("comma", "1,5"),
            ("empty", ""),
            ("text", "hello"),
            ("percent", "50%"),
        ];
        assert_eq!((&strange[..], p.n_strange), (&want[..], 6));
        // with.dot, ".", garbage.
        assert_eq!((p.n_noise, p.first_noise.as_deref()), (3, Some("with.dot.value 3")));
        assert!(p.services.is_empty());
        let p = parse("x", b"a.value 1700000000:n/a\nb.value soon:5\n");
        let times: Vec<_> = p.readings.iter().map(|r| (r.time_ms, r.value)).collect();
        assert_eq!(times, [(Some(1_700_000_000_000), Value::Unknown), (None, Value::Unknown)]);
    }

    #[test]
    fn multigraph_makes_services_and_dirtyconfig_carries_values() {
        let text = b"multigraph disk\ngraph_title All\na.label a\na.value 1\n\
            multigraph disk.sda\ngraph_title sda\nhost_name virt\nb.label b\nb.value 2\n\
            multigraph bad..name\n";
        let p = parse("diskstats", text);
        assert!(p.multigraph);
        let names: Vec<&str> = p.services.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["disk", "disk.sda"]);
        assert_eq!(p.services[1].host_name.as_deref(), Some("virt"));
        assert_eq!(p.readings[1].service, "disk.sda");
        assert_eq!(p.n_noise, 1);
    }

    #[test]
    fn noise_is_counted_and_bytes_are_lossy() {
        let text = b"# comment\ngraph_title noise\n   graph_vlabel lead space\n\
            a.label a # not a comment\ngarbage line here\nno_dot\nbin.label \xff\xfe\n\
            a.draw WEIRD\n";
        let p = parse("noise", text);
        assert_eq!(p.n_noise, 3);
        assert_eq!(p.services[0].vlabel, "lead space");
        assert_eq!(p.services[0].fields[0].label, "a # not a comment");
        assert_eq!(p.services[0].fields[1].label, "\u{fffd}\u{fffd}");
    }

    proptest! {
        #[test]
        fn no_output_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse("x", &bytes);
        }

        #[test]
        fn no_text_panics(text in
            "([a-z_.]{1,6}[ .]{0,2}(value|label|graph_x|multigraph)? ?[0-9:.UNe+-]{0,9}\n){0,9}")
        {
            parse("x", text.as_bytes());
        }

        #[test]
        fn integers_stay_exact(v: i64) {
            let p = parse("x", format!("a.value {v}\n").as_bytes());
            prop_assert_eq!(p.readings[0].value, Value::Int(v));
        }
    }
}
