//! The little of Munin's `config` and `fetch` texts that a check needs.

use crate::rpn::Rpn;
use rookery_plugins::{FieldType, Range, TimeMs, Value, names};

/// A field as `config` describes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Field {
    pub(super) name: String,
    /// What it was called before.
    pub(super) old: Vec<String>,
    pub(super) kind: FieldType,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) cdef: Option<Rpn>,
    pub(super) warning: Option<Range>,
    pub(super) critical: Option<Range>,
}

/// One graph of a `config` answer: its multigraph name (empty before the first
/// such line) and its lines.
pub(super) type Section = (String, Vec<String>);

/// Splits an answer at its `multigraph` lines; comments are dropped.
pub(super) fn sections(lines: &[String]) -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    for line in lines {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("multigraph ") {
            all.push((name.trim().to_owned(), Vec::new()));
            continue;
        }
        if all.is_empty() {
            all.push((String::new(), Vec::new()));
        }
        if let Some((_, lines)) = all.last_mut() {
            lines.push(line.to_owned());
        }
    }
    all
}

/// The section of a service: the one of that name, or the one without a name
/// when the plugin itself is called so.
pub(super) fn section(all: Vec<Section>, service: &str, plugin: &str) -> Option<Vec<String>> {
    let own = |name: &str| name == service || (name.is_empty() && service == plugin);
    all.into_iter().find(|(name, _)| own(name)).map(|(_, lines)| lines)
}

/// The service of a `config` answer that was called so before (`oldname`).
pub(super) fn called_now(all: &[Section], service: &str) -> Option<String> {
    let says = |lines: &[String]| {
        let old = lines.iter().filter_map(|line| line.strip_prefix("oldname "));
        old.flat_map(str::split_whitespace).any(|old| old == service)
    };
    all.iter().find(|(name, lines)| !name.is_empty() && says(lines)).map(|(name, _)| name.clone())
}

/// The fields of a `config` section, in order. A limit that is none is an
/// error, with its text.
pub(super) fn fields(lines: &[String]) -> Result<Vec<Field>, String> {
    let mut all: Vec<Field> = Vec::new();
    let mut cdefs: Vec<(usize, String)> = Vec::new();
    for line in lines {
        let Some((field, attribute, value)) = attribute(line) else { continue };
        let i = match all.iter().position(|f| f.name == field) {
            Some(i) => i,
            None => {
                all.push(Field { name: field.clone(), ..Field::default() });
                all.len() - 1
            }
        };
        let f = &mut all[i];
        let limit = || match value {
            "" => Ok(None),
            text => Range::from_munin(text).map(Some).map_err(|e| format!("{field}: {e}")),
        };
        match attribute {
            "type" => f.kind = FieldType::parse(value).unwrap_or_default(),
            "min" => f.min = value.parse().ok(),
            "max" => f.max = value.parse().ok(),
            "warning" => f.warning = limit()?,
            "critical" => f.critical = limit()?,
            "oldname" => f.old = value.split_whitespace().map(str::to_owned).collect(),
            "cdef" => cdefs.push((i, value.to_owned())),
            _ => {}
        }
    }
    for (i, text) in cdefs {
        // One over sibling fields is left out: the value is then as read.
        all[i].cdef = Rpn::compile(&text, &all[i].name).ok();
    }
    Ok(all)
}

/// `field.value 5` or `field.value epoch:5` of a section: name, value, and the
/// time where it has one. What is no number is unknown, as for a collector.
pub(super) fn values(lines: &[String]) -> Vec<(String, Value, Option<TimeMs>)> {
    let mut all = Vec::new();
    for line in lines {
        let Some((field, "value", text)) = attribute(line) else { continue };
        let text = text.split_whitespace().next().unwrap_or_default();
        let (time, text) = match text.split_once(':') {
            Some((epoch, v)) => (epoch_ms(epoch), v),
            None => (None, text),
        };
        all.push((field, Value::parse(text).unwrap_or(Value::Unknown), time));
    }
    all
}

/// Seconds since the epoch, with a fraction where the node gives `times`.
fn epoch_ms(text: &str) -> Option<TimeMs> {
    let ms = text.parse::<f64>().ok()? * 1000.0;
    (ms.abs() < 1e15).then_some(ms.round() as TimeMs)
}

/// `field.attribute value`; `None` for `graph_…` and what is no such line.
fn attribute(line: &str) -> Option<(String, &str, &str)> {
    let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (field, attribute) = key.split_once('.')?;
    (!field.is_empty()).then(|| (names::clean_field(field), attribute, value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn old_names_are_found() {
        let lines: Vec<String> = "multigraph io\nx.label x\nmultigraph io.mysql\n\
            oldname io.dm_0 io.dm_1\nx.label x\nx.oldname y\n"
            .lines()
            .map(str::to_owned)
            .collect();
        let all = sections(&lines);
        assert_eq!(called_now(&all, "io.dm_1").as_deref(), Some("io.mysql"));
        assert_eq!(called_now(&all, "y"), None);
        let found = fields(&section(all, "io.mysql", "io").expect("there")).expect("reads");
        assert_eq!((found[0].name.as_str(), &found[0].old[..]), ("x", &["y".to_owned()][..]));
    }

    #[test]
    fn sections_and_fields() {
        let config = lines(
            "# note\nmultigraph a\ngraph_title A\nx.label X\nx.type DERIVE\nx.min 0\n\
             multigraph a.b\nx.warning 5\nx.cdef x,8,*\ny.critical 1:2\ny.cdef x,y,+\n",
        );
        let all = sections(&config);
        assert_eq!(all.len(), 2);
        let b = fields(&section(all.clone(), "a.b", "a").expect("there")).expect("reads");
        assert_eq!(b.len(), 2);
        assert_eq!(b[0].warning.map(|r| r.to_string()).as_deref(), Some("~:5"));
        assert!(b[0].cdef.is_some() && b[1].cdef.is_none());
        assert!(section(all, "c", "c").is_none());
        let plain = sections(&lines("x.warning 5%\n"));
        let e = fields(&section(plain, "p", "p").expect("there")).expect_err("bad limit");
        assert_eq!(e, "x: limit \"5%\" is not a number");
        let v = values(&lines("x.value 5\ny.value 1700000000.25:U\nz.value hello\nx.label 3\n"));
        assert_eq!(v.len(), 3);
        assert_eq!(v[1], ("y".to_owned(), Value::Unknown, Some(1_700_000_000_250)));
        assert_eq!(v[2], ("z".to_owned(), Value::Unknown, None));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z.]{0,6}[ \t:.0-9U]{0,6}|multigraph |#|.)*") {
            let all = sections(&lines(&text));
            for (_, lines) in all {
                let _ = (fields(&lines), values(&lines));
            }
        }
    }
}
