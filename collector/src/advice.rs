//! What stands in the configuration and is of no use: said by `--check-config` and at the
//! start, and no reason not to start.

use crate::config::Config;
use rookery_alerts::Rules;
use std::collections::BTreeSet;

impl Config {
    /// Limits that cannot do what they seem to, contacts and groups that nobody uses.
    pub fn advice(&self, rules: &Rules) -> Vec<String> {
        let mut all = rules.notes().to_vec();
        let groups = || self.contact_group.iter();
        // What is named, and what that stands for.
        let mut used: BTreeSet<&str> = rules.contacts().collect();
        used.extend(self.digest.to.iter().map(String::as_str));
        // What no rule has contacts for goes to all of them.
        let goes_to_all = !rules.has_contacts_for_all();
        if goes_to_all {
            used.extend(self.contact.iter().map(|c| c.name.as_str()));
        }
        // To its end: a contact's fallback may be a group with others.
        loop {
            let n = used.len();
            for group in groups().filter(|g| used.contains(g.name.as_str())).collect::<Vec<_>>() {
                used.extend(group.members.iter().map(String::as_str));
            }
            for contact in &self.contact {
                if used.contains(contact.name.as_str()) && !contact.fallback.is_empty() {
                    used.insert(&contact.fallback);
                }
            }
            if used.len() == n {
                break;
            }
        }
        let unused = |kind: &str, name: &str| {
            format!(
                "[[{kind}]] {name:?}: nobody uses it: name it in contacts or escalate_to of a \
                 rule, or remove it"
            )
        };
        let contacts = self.contact.iter().map(|c| c.name.as_str());
        all.extend(contacts.filter(|n| !used.contains(n)).map(|n| unused("contact", n)));
        let groups = groups().map(|g| g.name.as_str());
        all.extend(groups.filter(|n| !used.contains(n)).map(|n| unused("contact_group", n)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_that_nobody_uses_are_named() {
        let config: Config = toml::from_str(
            "[[contact]]\nname = \"a\"\nsyslog = true\nfallback = \"g\"\n\
             [[contact]]\nname = \"b\"\nsyslog = true\n\
             [[contact]]\nname = \"c\"\nsyslog = true\n\
             [[contact_group]]\nname = \"g\"\nmembers = [\"b\"]\n\
             [[contact_group]]\nname = \"h\"\nmembers = [\"c\"]\n",
        )
        .expect("TOML");
        let of = |rule: &str| -> Vec<String> {
            let rules = Rules::load(&[("a.toml".to_owned(), rule.to_owned())]).expect("loads");
            let notes = config.advice(&rules);
            let name = |n: &String| n.split('"').nth(1).expect("a name").to_owned();
            notes.iter().map(name).collect()
        };
        // Whatever no rule has contacts for goes to all.
        assert_eq!(of("[[rule]]\nservice = \"s\"\ncontacts = [\"a\"]\n"), ["h"]);
        // One rule for everything: its contact, and whom that has as fallback.
        assert_eq!(of("[[rule]]\ncontacts = [\"a\"]\n"), ["c", "h"]);
        assert_eq!(of("[[rule]]\ncontacts = [\"h\"]\n"), ["a", "b", "g"]);
    }
}
