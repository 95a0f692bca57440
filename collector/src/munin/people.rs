//! Who is told, as `munin.conf` says it: `contact.NAME.command`, `contacts`,
//! `notify_alias`.

use rookery_alerts::channels::severities;
use rookery_alerts::{ContactConfig, MuninContact, Routes};
use rookery_plugins::State;
use std::collections::BTreeMap;

/// The people of a `munin.conf`.
#[derive(Default)]
pub struct People {
    contacts: BTreeMap<String, MuninContact>,
    routes: Routes,
    /// What `always_send` says.
    always: BTreeMap<String, Vec<State>>,
}

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl People {
    /// The global `contacts`.
    pub fn all(&mut self, value: &str) {
        self.routes.all = Some(names(value));
    }

    /// `contact.NAME.key value`; why it cannot be honoured, if so.
    pub fn contact(&mut self, key: &str, value: &str) -> Option<&'static str> {
        let Some((name, key)) = key["contact.".len()..].rsplit_once('.') else {
            return Some("contact.NAME.command is expected");
        };
        let contact = self.contacts.entry(name.to_owned()).or_default();
        match key {
            "command" => value.clone_into(&mut contact.command),
            "text" => contact.text = Some(value.to_owned()),
            "max_messages" => match value.parse() {
                Ok(n) => contact.max_messages = n,
                Err(_) => return Some("a number is expected; 0: no limit"),
            },
            "always_send" => {
                let states = severities(value);
                if states.is_empty() {
                    return Some("ok, warning, critical or unknown is expected");
                }
                self.always.insert(name.to_owned(), states);
            }
            _ => return Some("not honoured"),
        }
        None
    }

    /// `contacts` or `notify_alias` of a group, a host or a service; whether it is one.
    pub fn setting(&mut self, path: &str, key: &str, value: &str) -> bool {
        let (service, key) = match key.rsplit_once('.') {
            Some((service, key)) => (Some(service.to_owned()), key),
            None => (None, key),
        };
        let place = (path.to_owned(), service);
        match key {
            "contacts" => drop(self.routes.contacts.insert(place, names(value))),
            "notify_alias" => drop(self.routes.aliases.insert(place, value.to_owned())),
            _ => return false,
        }
        true
    }

    /// The contacts with a command; what is missing is noted.
    pub fn contacts(self, notes: &mut Vec<String>) -> Vec<ContactConfig> {
        let told = self.routes.contacts.values().chain(&self.routes.all).flatten();
        for name in told.filter(|n| *n != "none" && !self.contacts.contains_key(*n)) {
            let note = format!("contacts: {name}: there is no contact.{name}.command");
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        let routes = self.routes;
        let default = self.contacts.get("default").and_then(|c| c.text.clone());
        let mut all = Vec::new();
        for (name, mut contact) in self.contacts {
            if contact.command.is_empty() {
                // The others' text may stand under this name.
                if name != "default" {
                    notes.push(format!("contact.{name}: it has no command: nobody is told"));
                }
                continue;
            }
            contact.text = contact.text.or_else(|| default.clone());
            contact.always_send = match self.always.get(&name) {
                Some(states) => states.clone(),
                // As munin-limits has it: Nagios is told again of what is bad.
                None if name == "nagios" => vec![State::Warning, State::Critical],
                None => Vec::new(),
            };
            let munin = Some(MuninContact { routes: routes.clone(), ..contact });
            all.push(ContactConfig { name, munin, ..ContactConfig::default() });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_have_commands_and_places() {
        let mut people = People::default();
        assert_eq!(people.contact("contact.ops.command", "mail ops"), None);
        assert_eq!(people.contact("contact.ops.max_messages", "7"), None);
        assert_eq!(people.contact("contact.ops.always_send", "warning Critical"), None);
        assert_eq!(people.contact("contact.dba.text", "x"), None);
        for key in ["contact.ops.always_send", "contact.ops.max_messages", "contact.x"] {
            assert!(people.contact(key, "never").is_some(), "{key}");
        }
        people.all("ops none gone");
        assert!(people.setting("a;", "contacts", "none"));
        assert!(people.setting("a;b", "df.notify_alias", "Disks"));
        assert!(!people.setting("a;b", "df.graph_title", "Disks"));
        let mut notes = Vec::new();
        let contacts = people.contacts(&mut notes);
        let [ops] = &contacts[..] else { panic!("{contacts:?}") };
        let munin = ops.munin.as_ref().expect("munin's");
        assert_eq!(munin.always_send, [State::Warning, State::Critical]);
        assert_eq!(munin.max_messages, 7);
        assert!(munin.routes.tells("ops", "x;y", None) && !munin.routes.tells("ops", "a;b", None));
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("gone") && notes[1].contains("contact.dba: it has no command"));
    }
}
