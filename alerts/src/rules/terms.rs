//! Which terms hold for a field, a node or a formula: the plugin's own limits and every
//! rule that matches, put together.

use super::{Formula, Rule, Rules};
use crate::expression::Expression;
use crate::machine::Lasting;
use crate::period::Period;
use crate::quorum::Quorum;
use rookery_plugins::{FieldSpec, Range, ServiceSpec};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What holds for one field once plugin and rules are put together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// The warning range.
    pub warning: Option<Range>,
    /// The critical range.
    pub critical: Option<Range>,
    /// Evaluations in a row until hard; `None`: the machine's default.
    pub max_check_attempts: Option<u32>,
    /// Unknowns in a row until UNKNOWN; `None`: the machine's default.
    pub unknown_limit: Option<u32>,
    /// Whether it is judged at all.
    pub enabled: bool,
    /// Names of contacts; empty means all.
    pub contacts: Vec<String>,
    /// How many nodes of the group must have it; `None`: each is told by itself.
    pub quorum: Option<Quorum>,
    /// What is told of a problem that lasts.
    pub lasting: Lasting,
    /// How far inside its limits a field is back, in its own unit.
    pub hysteresis: f64,
    /// What a notice carries along.
    pub labels: BTreeMap<String, String>,
    /// When problems are told; `None`: always.
    pub period: Option<Arc<Period>>,
    /// It is CRITICAL when nothing came of it for so long, ms.
    pub absent_ms: Option<i64>,
    /// What is wrong with the plugin's own limits.
    pub notes: Vec<String>,
}

impl Rules {
    /// The rules for a node itself: those that name neither service nor field.
    pub fn node_terms(&self, node: &str, group: &str) -> Terms {
        let mut terms = Terms { enabled: true, ..Terms::default() };
        for rule in self.candidates(node, &[""]) {
            let whole = rule.service.0.is_empty() && rule.field.0.is_empty();
            if whole && rule.value.is_none() && rule.matches(node, group, "", "") {
                rule.apply(&mut terms);
            }
        }
        terms
    }

    /// The plugin's limits and the rules, put together for one field. Rules that name the
    /// service or the field as it was called before hold, too: but not for a field whose
    /// old name is another's name now.
    pub fn terms_of(
        &self,
        node: &str,
        group: &str,
        service: &ServiceSpec,
        field: &FieldSpec,
    ) -> Terms {
        let services: Vec<&str> =
            [service.name.as_str()].into_iter().chain(service.old_names()).collect();
        let old = field.old_names().filter(|old| service.field(old).is_none());
        let fields: Vec<&str> = [field.name.as_str()].into_iter().chain(old).collect();
        self.terms_by(node, group, &services, &fields, field)
    }

    /// As [`Rules::terms_of`], of a service that always had this name.
    pub fn terms(&self, node: &str, group: &str, service: &str, field: &FieldSpec) -> Terms {
        self.terms_by(node, group, &[service], &[&field.name], field)
    }

    fn terms_by(
        &self,
        node: &str,
        group: &str,
        services: &[&str],
        fields: &[&str],
        field: &FieldSpec,
    ) -> Terms {
        let service = services.first().copied().unwrap_or_default();
        let mut terms = Terms { enabled: true, ..Terms::default() };
        let mut limit = |text: &Option<String>, what: &str| {
            let text = text.as_deref().filter(|t| !t.trim().is_empty())?;
            Range::from_munin(text)
                .map_err(|e| {
                    let name = &field.name;
                    terms.notes.push(format!("{node} {service}.{name}.{what}: {e}; not used"));
                })
                .ok()
        };
        let warning = limit(&field.warning, "warning");
        let critical = limit(&field.critical, "critical");
        (terms.warning, terms.critical) = (warning, critical);
        terms.unknown_limit = field.unknown_limit.map(|n| n.max(1));
        let matches = |rule: &Rule| {
            let mut names = services.iter().flat_map(|s| fields.iter().map(move |f| (*s, *f)));
            names.any(|(service, field)| rule.matches(node, group, service, field))
        };
        for rule in self.candidates(node, services) {
            if rule.value.is_none() && matches(rule) {
                rule.apply(&mut terms);
            }
        }
        terms
    }

    /// What rules judge of a service, by any of its names, beside its fields: names,
    /// expressions and terms. Of one name the last expression holds; all rules for a field
    /// of that name apply.
    pub fn formulas(
        &self,
        node: &str,
        group: &str,
        services: &[&str],
    ) -> Vec<(String, Arc<Expression>, Terms)> {
        let mut found: BTreeMap<&str, Arc<Expression>> = BTreeMap::new();
        let matches =
            |r: &Rule, field: &str| services.iter().any(|s| r.matches(node, group, s, field));
        let is_of = |r: &&Rule| matches(r, "");
        let all = self.candidates(node, services).filter(|r| r.value.is_some());
        for rule in all.filter(is_of) {
            if let (Some(Formula(e)), Some(name)) = (&rule.value, &rule.name) {
                found.insert(name, e.clone());
            }
        }
        let with_terms = found.into_iter().map(|(name, e)| {
            let mut terms = Terms { enabled: true, ..Terms::default() };
            for rule in self.candidates(node, services) {
                let applies = match &rule.value {
                    None => matches(rule, name),
                    Some(_) => rule.name.as_deref() == Some(name) && is_of(&rule),
                };
                if applies {
                    rule.apply(&mut terms);
                }
            }
            (name.to_owned(), e, terms)
        });
        with_terms.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::load_rules;

    #[test]
    fn rules_for_an_old_name_hold_unless_another_has_it_now() {
        let rules = load_rules(
            "[[rule]]\nservice = \"io.dm_1\"\nfield = \"wait\"\nwarning = 5\n\
             [[rule]]\nservice = \"df\"\nfield = [\"shm_2\", \"a\"]\ncritical = 7\n",
        )
        .expect("loads");
        let field =
            |name: &str, old: &[&str]| FieldSpec::gauge(name, name).formerly(old.iter().copied());
        let io = ServiceSpec::new("io.mysql", "io", "disk")
            .fields(vec![field("wait", &[])])
            .formerly(["io.dm_1"]);
        let warning = |spec: &ServiceSpec, i: usize| {
            let terms = rules.terms_of("n", "", spec, &spec.fields[i]);
            (terms.warning.is_some(), terms.critical.is_some())
        };
        assert_eq!(warning(&io, 0), (true, false));
        let df = ServiceSpec::new("df", "df", "disk").fields(vec![
            field("_mnt", &["shm_2"]),
            field("a", &[]),
            field("b", &["a"]),
        ]);
        assert_eq!([0, 1, 2].map(|i| warning(&df, i).1), [true, true, false]);
    }

    #[test]
    fn a_plugins_bad_limit_is_noted() {
        let f = FieldSpec::gauge("f", "").limits("10%", "5:");
        let t = Rules::default().terms("n", "", "s", &f);
        assert_eq!((t.warning, t.critical), (None, "5:".parse().ok()));
        assert_eq!(t.notes, ["n s.f.warning: limit \"10%\" is not a number; not used"]);
    }
}
