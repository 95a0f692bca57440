//! What a service and its fields are, in Munin's words.
//!
//! A [`ServiceSpec`] is what a plugin's `config` says, whoever said it. The
//! attributes that Rookery acts on have members; every other one is kept in
//! `extra` as it was written, so that a master sees it unchanged.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Munin's attribute of a field that was called otherwise before: old names, by blanks.
/// A service has it, too (which Munin's do not).
const OLD_NAME: &str = "oldname";

/// What the thing behind a service is, whatever it is called: a disk's World Wide Name.
const IDENTITY: &str = "identity";

/// How a field's numbers become a graph (Munin's `type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FieldType {
    /// A level: drawn as it is.
    #[default]
    Gauge,
    /// Grows; a fall is a wrap at 2^32 or 2^64. Drawn per second.
    Counter,
    /// May grow and fall; drawn as change per second, `min 0` hides resets.
    Derive,
    /// Reset by reading: value divided by the time since the last reading.
    Absolute,
}

impl FieldType {
    /// From Munin's word, in any case.
    pub fn parse(text: &str) -> Option<FieldType> {
        Some(match text.to_ascii_uppercase().as_str() {
            "GAUGE" => FieldType::Gauge,
            "COUNTER" => FieldType::Counter,
            "DERIVE" => FieldType::Derive,
            "ABSOLUTE" => FieldType::Absolute,
            _ => return None,
        })
    }

    /// Munin's word.
    pub fn word(self) -> &'static str {
        match self {
            FieldType::Gauge => "GAUGE",
            FieldType::Counter => "COUNTER",
            FieldType::Derive => "DERIVE",
            FieldType::Absolute => "ABSOLUTE",
        }
    }
}

/// How a field is drawn (Munin's `draw`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Draw {
    /// A line, 1 px: Munin's LINE, LINE0 and LINE1.
    #[default]
    Line1,
    /// A line, 2 px.
    Line2,
    /// A line, 3 px.
    Line3,
    /// A filled area from zero.
    Area,
    /// Stacked on the field before.
    Stack,
    /// AREA for the first such field of the graph, STACK for the others.
    AreaStack,
    /// A line, upon the field before: LINESTACK1 to 3.
    LineStack,
}

impl Draw {
    /// From Munin's word; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Draw> {
        Some(match text.to_ascii_uppercase().as_str() {
            "LINE" | "LINE0" | "LINE1" | "LINE0.5" | "LINE1.5" => Draw::Line1,
            "LINE2" => Draw::Line2,
            "LINE3" => Draw::Line3,
            "AREA" => Draw::Area,
            "STACK" => Draw::Stack,
            "AREASTACK" => Draw::AreaStack,
            t if t.starts_with("LINESTACK") => Draw::LineStack,
            _ => return None,
        })
    }

    /// Munin's word.
    pub fn word(self) -> &'static str {
        match self {
            Draw::Line1 => "LINE1",
            Draw::Line2 => "LINE2",
            Draw::Line3 => "LINE3",
            Draw::Area => "AREA",
            Draw::Stack => "STACK",
            Draw::AreaStack => "AREASTACK",
            Draw::LineStack => "LINESTACK1",
        }
    }
}

/// One data source of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldSpec {
    /// Munin's field name: `[A-Za-z_][A-Za-z0-9_]*`.
    pub name: String,
    /// What the legend says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// GAUGE, COUNTER, DERIVE or ABSOLUTE.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// How it is drawn.
    pub draw: Draw,
    /// A text for someone who sees the graph for the first time.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub info: String,
    /// Below this (after a counter became a rate) is drawn as unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Above this is drawn as unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The field drawn mirrored below zero under this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative: Option<String>,
    /// RPN over this and sibling fields, as rrdgraph's CDEF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cdef: Option<String>,
    /// `RRGGBB` or `COLOURn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    /// Munin's limit text (`10` is an upper bound there), as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Munin's limit text, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<String>,
    /// Unknowns in a row before the state is UNKNOWN; Munin's default is 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_limit: Option<u32>,
    /// `graph no`: kept and usable by `negative` and `cdef`, but not drawn.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// Every other attribute, as written.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}

fn is_false(b: &bool) -> bool {
    !*b
}

impl FieldSpec {
    /// A GAUGE drawn as a line.
    pub fn gauge(name: &str, label: &str) -> FieldSpec {
        FieldSpec { name: name.to_owned(), label: label.to_owned(), ..FieldSpec::default() }
    }

    /// A DERIVE with `min 0`, drawn per second as a line: for a kernel's
    /// counters, whose reset must not look like a burst.
    pub fn derive(name: &str, label: &str) -> FieldSpec {
        FieldSpec { kind: FieldType::Derive, min: Some(0.0), ..FieldSpec::gauge(name, label) }
    }

    /// The same field with another drawing.
    #[must_use]
    pub fn draw(mut self, draw: Draw) -> FieldSpec {
        self.draw = draw;
        self
    }

    /// The same field with an explanation.
    #[must_use]
    pub fn info(mut self, info: &str) -> FieldSpec {
        self.info = info.to_owned();
        self
    }

    /// The same field, with Munin limits.
    #[must_use]
    pub fn limits(mut self, warning: &str, critical: &str) -> FieldSpec {
        let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        self.warning = text(warning);
        self.critical = text(critical);
        self
    }

    /// The same field, with a Munin `cdef`.
    #[must_use]
    pub fn cdef(mut self, cdef: &str) -> FieldSpec {
        self.cdef = Some(cdef.to_owned());
        self
    }

    /// The same field, with `other` mirrored below zero.
    #[must_use]
    pub fn negative(mut self, other: &str) -> FieldSpec {
        self.negative = Some(other.to_owned());
        self
    }

    /// The same field, kept but not drawn by itself.
    #[must_use]
    pub fn hidden(mut self) -> FieldSpec {
        self.hidden = true;
        self
    }

    /// The same field, which was called so before: histories, checks and rules of that
    /// name are its own. Goes with the attribute `oldname`, as Munin has it.
    #[must_use]
    pub fn formerly<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> FieldSpec {
        set_old_names(&mut self.extra, &self.name, names);
        self
    }

    /// What it was called before, the newest first.
    pub fn old_names(&self) -> impl Iterator<Item = &str> {
        old_names(&self.extra)
    }

    /// The label, or the name where a plugin gave none.
    pub fn label_or_name(&self) -> &str {
        if self.label.is_empty() { &self.name } else { &self.label }
    }
}

/// One graph's worth of data on a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    /// Munin's plugin name, `diskstats_iops.sda` for a nested graph.
    pub name: String,
    /// `graph_title`.
    pub title: String,
    /// `graph_category`, lower case; `other` when none was given.
    pub category: String,
    /// `graph_vlabel`, `${graph_period}` still unexpanded.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vlabel: String,
    /// `graph_info`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub info: String,
    /// `graph_args`, as written (`--base 1024 -l 0`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub args: String,
    /// `graph_order`, split at blanks; fields not named follow in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// `graph_period`: second, minute or hour.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub period: String,
    /// `graph_total`: the label of a total row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// `graph_scale no`: numbers without k, M, G.
    #[serde(skip_serializing_if = "is_false")]
    pub unscaled: bool,
    /// `graph no`: kept, but has no picture.
    #[serde(skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// How often it is sampled, ms; 0 when not known.
    pub step_ms: u64,
    /// `host_name`: the virtual node that it belongs to, if not the agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Who samples it: `probe:cpu`, `plugin:df`, `munin`, `json`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// What a check executable said of itself, for its state's text: one line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub said: String,
    /// The fields, in the plugin's order.
    pub fields: Vec<FieldSpec>,
    /// Every other attribute, as written (`graph_printf` and so on).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}

impl ServiceSpec {
    /// A drawn service with scaled numbers.
    pub fn new(name: &str, title: &str, category: &str) -> ServiceSpec {
        ServiceSpec {
            name: name.to_owned(),
            title: title.to_owned(),
            category: category.to_owned(),
            ..ServiceSpec::default()
        }
    }

    /// `graph_period`: what makes the rate a second of a field of this type the value that is
    /// drawn, before any `cdef`, as in Munin: 60 by the minute, 3600 by the hour. Levels stay.
    pub fn per(&self, kind: FieldType) -> f64 {
        match (kind, self.period.as_str()) {
            (FieldType::Gauge, _) => 1.0,
            (_, "minute") => 60.0,
            (_, "hour") => 3600.0,
            _ => 1.0,
        }
    }

    /// The same service with a label for its y axis.
    #[must_use]
    pub fn vlabel(mut self, vlabel: &str) -> ServiceSpec {
        self.vlabel = vlabel.to_owned();
        self
    }

    /// The same service with Munin's `graph_args`.
    #[must_use]
    pub fn args(mut self, args: &str) -> ServiceSpec {
        self.args = args.to_owned();
        self
    }

    /// The same service with an explanation.
    #[must_use]
    pub fn info(mut self, info: &str) -> ServiceSpec {
        self.info = info.to_owned();
        self
    }

    /// The same service with numbers that are not scaled to k, M, G.
    #[must_use]
    pub fn unscaled(mut self) -> ServiceSpec {
        self.unscaled = true;
        self
    }

    /// The same service with these fields.
    #[must_use]
    pub fn fields(mut self, fields: Vec<FieldSpec>) -> ServiceSpec {
        self.fields = fields;
        self
    }

    /// The same service, which was called so before: see [`FieldSpec::formerly`].
    #[must_use]
    pub fn formerly<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> ServiceSpec {
        set_old_names(&mut self.extra, &self.name, names);
        self
    }

    /// What it was called before, the newest first.
    pub fn old_names(&self) -> impl Iterator<Item = &str> {
        old_names(&self.extra)
    }

    /// The same service of a thing that is known by this, whatever name it has today
    /// (`naa.5000c500…` of `sda`): another one behind the same name is an event.
    #[must_use]
    pub fn identified(mut self, identity: &str) -> ServiceSpec {
        self.extra.insert(IDENTITY.to_owned(), identity.to_owned());
        self
    }

    /// What it is of, if that is known: see [`ServiceSpec::identified`].
    pub fn identity(&self) -> Option<&str> {
        self.extra.get(IDENTITY).map(String::as_str)
    }

    /// The field of this name, or the one that was called so before and is no other's
    /// name now.
    pub fn field_once(&self, name: &str) -> Option<&FieldSpec> {
        let once = |f: &&FieldSpec| f.old_names().any(|old| old == name);
        self.field(name).or_else(|| self.fields.iter().find(once))
    }

    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&FieldSpec> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// 1024 where the service asks for it (`--base 1024`, `-b1024`), else 1000. As rrdtool
    /// reads it: some of Munin's plugins say `1024k`.
    pub fn base(&self) -> u32 {
        let mut words = self.args.split([' ', '=']).filter(|w| !w.is_empty());
        while let Some(word) = words.next() {
            let base = match word {
                "--base" | "-b" => words.next(),
                _ => word.strip_prefix("-b"),
            };
            if let Some(base) = base {
                let digits = base.trim_end_matches(|c: char| !c.is_ascii_digit());
                return if digits == "1024" { 1024 } else { 1000 };
            }
        }
        1000
    }
}

fn set_old_names<'a>(
    extra: &mut BTreeMap<String, String>,
    own: &str,
    names: impl IntoIterator<Item = &'a str>,
) {
    let mut all: Vec<String> = old_names(extra).map(str::to_owned).collect();
    for name in names {
        if name != own && !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    if !all.is_empty() {
        extra.insert(OLD_NAME.to_owned(), all.join(" "));
    }
}

fn old_names(extra: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    extra.get(OLD_NAME).into_iter().flat_map(|names| names.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_old_name_unless_another_has_it_now() {
        let field =
            |name: &str, old: &[&str]| FieldSpec::gauge(name, name).formerly(old.iter().copied());
        let s = ServiceSpec::new("df", "df", "disk")
            .fields(vec![field("a_1", &["a", "a_1", "a"]), field("b", &[]), field("c", &["b"])])
            .formerly(["disk"]);
        let name = |of: &str| s.field_once(of).map(|f| f.name.as_str());
        assert_eq!((name("a"), name("b"), name("c")), (Some("a_1"), Some("b"), Some("c")));
        assert_eq!(name("d"), None);
        assert_eq!(s.fields[0].extra["oldname"], "a");
        assert_eq!(s.old_names().collect::<Vec<_>>(), ["disk"]);
    }

    #[test]
    fn base_is_read_from_the_args() {
        let s = |args: &str| ServiceSpec::new("m", "m", "m").args(args).base();
        assert_eq!(s("--base 1024 -l 0"), 1024);
        assert_eq!(s("-l 0 --base=1024"), 1024);
        assert_eq!((s("--base 1024k -l 0"), s("-b1024")), (1024, 1024));
        assert_eq!((s("--base 1000"), s("--base 10240"), s("-b")), (1000, 1000, 1000));
        assert_eq!(s(""), 1000);
    }

    #[test]
    fn json_round_trips_and_stays_small() {
        let f = FieldSpec::derive("user", "user").draw(Draw::AreaStack).limits("80", "");
        let s = ServiceSpec::new("cpu", "CPU usage", "system").fields(vec![f]);
        let json = serde_json::to_string(&s).expect("serialises");
        assert!(!json.contains("critical"), "{json}");
        let back: ServiceSpec = serde_json::from_str(&json).expect("parses");
        assert_eq!(back, s);
    }
}
