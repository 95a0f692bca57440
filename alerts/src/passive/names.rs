//! What a node and a service are called in Nagios and Icinga: the same in the
//! definitions that are generated as in the results that are sent.
//!
//! Nagios' own rules (object definitions, nagios.cfg's `illegal_object_name_chars`):
//! a name holds none of `` `~!$%^&*|'"<>?,()= ``, and a `;` begins a comment. Icinga
//! takes more, but parts host and service with a `!`.

use std::collections::{BTreeSet, HashMap};

/// What no name of an object may hold, by default, and what would end a line or
/// an argument.
const ILLEGAL: &str = "`~!$%^&*|'\"<>?,()=;\\";

/// The service of the collector's own host that says that results come at all.
pub const HEARTBEAT: &str = "results";

/// Names and what they are called there. Those that may stay as they are keep their
/// name; of others that would be called alike the later one, in the order of their
/// own names, gets a number. So a name changes only when another comes or goes
/// that loses the same signs.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// Of all names at once; none is called `reserved`.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>, reserved: &str) -> Names {
        let mut all: Vec<&str> = names.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        let mut taken: BTreeSet<String> = BTreeSet::new();
        if !reserved.is_empty() {
            taken.insert(reserved.to_owned());
        }
        let mut map = HashMap::with_capacity(all.len());
        let (plain, changed): (Vec<&str>, Vec<&str>) =
            all.into_iter().partition(|n| clean(n) == **n && *n != reserved);
        for name in plain {
            taken.insert(name.to_owned());
            map.insert(name.to_owned(), name.to_owned());
        }
        for name in changed {
            let base = clean(name);
            let numbered = |n: u32| if n == 1 { base.clone() } else { format!("{base}_{n}") };
            let free = (1..).map(numbered).find(|name| !taken.contains(name));
            let free = free.unwrap_or(base);
            taken.insert(free.clone());
            map.insert(name.to_owned(), free);
        }
        Names(map)
    }

    /// What it is called there; as by itself, if it is not among them.
    pub fn of(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_else(|| clean(name))
    }
}

/// Without the signs that Nagios refuses.
pub fn clean(name: &str) -> String {
    let fits = |c: char| !c.is_control() && !ILLEGAL.contains(c);
    let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    // A blank at an end is lost in a line of a definition.
    match name.trim() {
        "" => "_".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_nagios_refuses_and_stay_apart() {
        let names = Names::new(["db;db1", "a`b$c\n", "db_db1", "db'db1", "rookery"], "rookery");
        assert_eq!(names.of("db_db1"), "db_db1", "a good name is kept, whoever comes first");
        assert_eq!(names.of("db'db1"), "db_db1_2");
        assert_eq!(names.of("db;db1"), "db_db1_3");
        assert_eq!(names.of("a`b$c\n"), "a_b_c_");
        assert_eq!(names.of("rookery"), "rookery_2");
        assert_eq!(names.of("not;there"), "not_there");
        assert_eq!(clean(" "), "_");
    }
}
