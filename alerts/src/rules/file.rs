//! Reading the files of `alerts.d`: what is in them, what cannot be meant, and which
//! period each rule means.

use super::{Rule, Rules};
use crate::dependency::{self, Dependency};
use crate::period::{PeriodConfig, Periods};
use rookery_plugins::config;

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RulesFile {
    rule: Vec<Rule>,
    period: Vec<PeriodConfig>,
    dependency: Vec<Dependency>,
}

impl Rules {
    /// Reads the files, each a name and its text, in the order of the names.
    /// The error names file, line and remedy.
    pub fn load(files: &[(String, String)]) -> Result<Rules, String> {
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut rules, mut periods, mut dependencies) = (Vec::new(), Vec::new(), Vec::new());
        let mut notes = Vec::new();
        for (name, text) in files {
            let file: RulesFile = config::from_toml(name, text)?;
            for (i, rule) in file.rule.iter().enumerate() {
                if rule.sets_nothing() {
                    return Err(format!(
                        "{name}: rule {} sets nothing: give it warning, critical, \
                         max_check_attempts, unknown_limit, enabled, contacts, quorum, \
                         renotify, escalate_after, hysteresis, absent_for, period or labels",
                        i + 1
                    ));
                }
                if let Some(why) = rule.is_wrong() {
                    return Err(format!("{name}: rule {}: {why}", i + 1));
                }
                let advice = rule.advice().into_iter();
                notes.extend(advice.map(|why| format!("{name}: rule {}: {why}", i + 1)));
            }
            rules.extend(file.rule);
            periods.extend(file.period);
            for (i, dependency) in file.dependency.iter().enumerate() {
                if let Some(why) = dependency.is_wrong() {
                    return Err(format!("{name}: dependency {}: {why}", i + 1));
                }
            }
            dependencies.extend(file.dependency);
        }
        if let Some(circle) = dependency::circle(&dependencies) {
            return Err(format!(
                "dependencies go in a circle: {circle}; narrow the node patterns of one"
            ));
        }
        let periods = Periods::new(&periods)?;
        for rule in &mut rules {
            let Some(name) = &rule.period else { continue };
            let period = periods.get(name).ok_or_else(|| {
                format!("a rule names period {name:?}: add a [[period]] of that name")
            })?;
            rule.when_told = Some(period.clone());
        }
        let mut all = Rules { rules, periods, dependencies, notes, ..Rules::default() };
        all.index();
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::load_rules;
    use rookery_plugins::FieldSpec;

    #[test]
    fn later_files_win_key_by_key() {
        let files = [
            ("b.toml".to_owned(), "[[rule]]\nwarning = \"\"\nunknown_limit = 5\n".to_owned()),
            ("a.toml".to_owned(), "[[rule]]\nwarning = 5\ncritical = 7.5\n".to_owned()),
        ];
        let rules = Rules::load(&files).expect("loads");
        let t = rules.terms("n", "", "s", &FieldSpec::gauge("f", ""));
        assert_eq!((t.warning, t.critical), (None, "7.5".parse().ok()));
        assert_eq!(t.unknown_limit, Some(5));
    }

    #[test]
    fn slips_are_named_with_file_and_line() {
        for (text, want) in [
            ("[[rule]]\n\nwarnin = \"5\"\n", "a.toml:3: unknown key \"warnin\""),
            ("[[rule]]\nwarning = \">5\"\n", "a.toml:2: range \">5\" is not a number"),
            ("[[rule]]\nmax_check_attempts = 0\n", "a.toml:2: "),
            ("[[rule]]\nnode = \"db*\"\n", "a.toml: rule 1 sets nothing"),
            ("[[rule]]\nnode = []\nenabled = false\n", "a.toml:2: an empty list"),
            ("[[rule]]\nrenotify = \"1s\"\n", "a.toml: rule 1: renotify: at least 1m"),
            ("[[rule]]\nescalate_after = \"1h\"\n", "a.toml: rule 1: escalate_after and"),
            ("[[rule]]\nhysteresis = -1\n", "a.toml: rule 1: hysteresis: a number"),
            ("[[rule]]\nrenotify = \"soon\"\n", "a.toml:2: "),
            ("[[rule]]\nvalue = \"a +\"\n", "a.toml:2: value \"a +\": a field, a number"),
            ("[[rule]]\nvalue = \"a\"\n", "a.toml: rule 1: value and as belong"),
            ("[[rule]]\nvalue = \"a\"\nas = \"b\"\n", "a.toml: rule 1: value: name the"),
            (
                "[[rule]]\nservice = \"s\"\nvalue = \"a\"\nas = \"b\"\n",
                "a.toml: rule 1: value: give it a",
            ),
            ("[[rule]]\nabsent_for = \"1h\"\n", "a.toml: rule 1: absent_for: of which"),
            ("[[rule]]\nservice = \"s\"\nabsent_for = \"1s\"\n", "a.toml: rule 1: absent_for: at"),
            ("[[rule]]\nperiod = \"nights\"\n", "a rule names period \"nights\": add a"),
            ("[[rules]]\n", "a.toml:1: unknown key \"rules\"; did you mean \"rule\"?"),
        ] {
            let e = load_rules(text).expect_err(text);
            assert!(e.starts_with(want), "{e}");
        }
    }
}
