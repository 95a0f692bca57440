//! Names of what comes and goes in a daemon: tubes, queues, backends.

use rookery_plugins::probes::support::{StableName, stable_names};
use std::collections::{BTreeSet, HashMap};

/// How many things of one scope are remembered. Beyond it those that are gone
/// are forgotten.
const THINGS_MAX: usize = 4_096;

/// Names things as [`stable_names`] does, and remembers what it named for as
/// long as it lives (that is, as the probe does).
///
/// A name that two things would have stays nobody's when one of them goes:
/// else the tube `a.b` would take over the history of `a-b` as soon as it is
/// alone.
#[derive(Debug, Default)]
pub struct Names {
    /// By scope: what each thing wanted to be called, and what it is.
    seen: HashMap<String, BTreeSet<(String, String)>>,
}

impl Names {
    /// The names of things, in their order. Each is given by the name that it
    /// wants (cleaned already) and by what it is (its full name). `scope` is the
    /// name space that the names have to be unique in: a backend whose servers
    /// are named; empty if there is one alone.
    pub fn assign(&mut self, scope: &str, things: &[(String, String)]) -> Vec<StableName> {
        let seen = self.seen.entry(scope.to_owned()).or_default();
        let present: BTreeSet<&(String, String)> = things.iter().collect();
        // A name that nobody wants now is of no use to anybody here.
        let wanted: BTreeSet<&str> = things.iter().map(|(wish, _)| wish.as_str()).collect();
        let gone = seen.iter().filter(|t| wanted.contains(t.0.as_str()) && !present.contains(t));
        let all: Vec<(String, String)> = things.iter().chain(gone).cloned().collect();
        let mut named = stable_names(&all);
        named.truncate(things.len());
        for thing in things {
            if !seen.contains(thing) {
                seen.insert(thing.clone());
            }
        }
        if seen.len() > THINGS_MAX {
            *seen = things.iter().cloned().collect();
        }
        named
    }

    /// The same for things that want their full name, cleaned as a field's is.
    pub fn fields<'a>(
        &mut self,
        scope: &str,
        raws: impl IntoIterator<Item = &'a str>,
    ) -> Vec<StableName> {
        let clean = rookery_plugins::names::clean_field;
        let things: Vec<_> = raws.into_iter().map(|raw| (clean(raw), raw.to_owned())).collect();
        self.assign(scope, &things)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: &mut Names, raws: &[&str]) -> Vec<String> {
        let named = names.fields("", raws.iter().copied());
        named.into_iter().map(|n| n.name).collect()
    }

    #[test]
    fn a_name_never_passes_to_another_thing() {
        let mut names = Names::default();
        assert_eq!(fields(&mut names, &["a-b", "mail"]), ["a_b", "mail"]);
        let both = fields(&mut names, &["a.b", "a-b"]);
        assert!(both.iter().all(|name| name.starts_with("a_b_")), "{both:?}");
        assert_eq!(fields(&mut names, &["a.b"]), both[..1], "it keeps its name alone");
        assert_eq!(fields(&mut names, &["a-b"]), both[1..]);
        // One after the other, and never both at once.
        let mut names = Names::default();
        assert_eq!(fields(&mut names, &["a-b"]), ["a_b"]);
        assert_eq!(fields(&mut names, &[]), [""; 0]);
        assert_eq!(fields(&mut names, &["a.b"]), both[..1]);
        let named = names.fields("another scope", ["a.b"]);
        assert_eq!((named[0].name.as_str(), named[0].old.as_deref()), ("a_b", None));
    }

    #[test]
    fn what_is_gone_is_forgotten_beyond_the_limit() {
        let mut names = Names::default();
        for i in 0..2 * THINGS_MAX {
            let raw = format!("queue-{i}");
            assert_eq!(fields(&mut names, &[&raw]), [format!("queue_{i}")]);
        }
        assert!(names.seen[""].len() <= THINGS_MAX);
    }
}
