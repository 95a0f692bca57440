//! What stands in rules and cannot do what it seems to: said by `--check-config`, and no
//! reason not to start.

use super::{Limit, Rule};
use rookery_plugins::Range;

impl Rule {
    /// What of it is of no use, with why.
    pub(super) fn advice(&self) -> Vec<String> {
        let range = |limit: &Option<Limit>| limit.as_ref().and_then(|l| l.0);
        let (warning, critical) = (range(&self.warning), range(&self.critical));
        let mut all = Vec::new();
        for (key, range) in [("warning", warning), ("critical", critical)] {
            if let Some(range) = range
                && !places(&[range]).any(|v| range.alerts(v))
            {
                all.push(format!("{key} = \"{range}\" can never fire: no value is outside of it"));
            }
        }
        if self.enabled == Some(false) && (warning.is_some() || critical.is_some()) {
            all.push("its limits can never fire: enabled = false silences them".to_owned());
        }
        if let (Some(w), Some(c)) = (warning, critical)
            && places(&[w]).any(|v| w.alerts(v))
            && !places(&[w, c]).any(|v| w.alerts(v) && !c.alerts(v))
        {
            let is_same = !places(&[w, c]).any(|v| c.alerts(v) && !w.alerts(v));
            let how = if is_same { "the same as" } else { "inside" };
            all.push(format!(
                "critical = \"{c}\" is {how} warning = \"{w}\": what should be WARNING is CRITICAL \
                 already"
            ));
        }
        all
    }
}

/// Values between and beyond the ends of ranges, and the ends: where two ranges agree in
/// all of them they agree everywhere.
fn places(ranges: &[Range]) -> impl Iterator<Item = f64> {
    let ends = ranges.iter().flat_map(|r| [r.start(), r.end()]).filter(|v| v.is_finite());
    let mut ends: Vec<f64> = ends.chain([0.0]).collect();
    ends.sort_by(f64::total_cmp);
    let between: Vec<f64> = ends.windows(2).map(|w| w[0] + (w[1] - w[0]) / 2.0).collect();
    ends.into_iter().chain(between).chain([f64::MIN, f64::MAX])
}

#[cfg(test)]
mod tests {
    use crate::testing::load_rules;

    #[test]
    fn limits_that_cannot_do_what_they_seem_to_are_named() {
        for (text, want) in [
            ("warning = \"~:80\"\ncritical = \"~:90\"", None),
            ("warning = \"0.8:\"\ncritical = \"0.5:\"", None),
            ("warning = \"10:20\"\ncritical = \"5:30\"", None),
            ("warning = \"@5:10\"\ncritical = \"@20:30\"", None),
            ("warning = \"~:80\"", None),
            ("warning = \"\"\ncritical = \"~:90\"", None),
            ("warning = \"~:90\"\ncritical = \"~:80\"", Some("critical = \"~:80\" is inside")),
            ("warning = \"0.5:\"\ncritical = \"0.8:\"", Some("is inside warning = \"0.5:\"")),
            ("warning = \"5:30\"\ncritical = \"10:20\"", Some("is inside warning")),
            ("warning = \"~:90\"\ncritical = \"~:90\"", Some("is the same as warning")),
            ("critical = \"~:\"", Some("critical = \"~:\" can never fire")),
            ("enabled = false\ncritical = \"~:9\"", Some("enabled = false silences them")),
        ] {
            let rules = load_rules(&format!("[[rule]]\n{text}\n")).expect("loads");
            match want {
                None => assert!(rules.notes().is_empty(), "{text}: {:?}", rules.notes()),
                Some(want) => {
                    assert_eq!(rules.notes().len(), 1, "{text}: {:?}", rules.notes());
                    let note = &rules.notes()[0];
                    assert!(note.starts_with("a.toml: rule 1: ") && note.contains(want), "{note}");
                }
            }
        }
    }
}
