//! A contact as `munin.conf` has it: a command, and a text in Munin's little language
//! (`${var:host}`, `${loop<,>:cfields …}`, `${if:!wfields …}`, `${strtrunc:350 …}`).
//!
//! What is not understood gives nothing; a `$` alone is itself. (There it puts
//! munin-limits into an endless loop.)

use crate::message;
use crate::output::{FieldValue, Notice, Status};
use rookery_plugins::{HostState, State};
use std::collections::BTreeMap;

/// How deep a text may be nested.
const DEPTH_MAX: usize = 16;
/// The longest text that comes of one, bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The longest list that a command is given, bytes.
const WORDS_BYTES_MAX: usize = 8192;

/// A contact of `munin.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MuninContact {
    /// `contact.N.command`: run by the shell, with the text on its standard input.
    pub command: String,
    /// `contact.N.text`; `None`: Munin's own for a contact of this name.
    pub text: Option<String>,
    /// `contact.N.always_send`: services with fields in these states are told again …
    pub always_send: Vec<State>,
    /// … so often, ms: munin-limits' cycle. 0: never.
    pub every_ms: u64,
    /// `contact.N.max_messages`: how many messages one run of the command gets. 0: all
    /// that there are at the time.
    pub max_messages: usize,
    /// What services tell it, and what hosts and services are called.
    pub routes: Routes,
}

/// What `contacts` and `notify_alias` say, by `group;host` or `group;`, and service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Who is told, for all that nothing nearer says; `None`: all.
    pub all: Option<Vec<String>>,
    /// By place: a host, a group that ends with `;`, or `host` and a service.
    pub contacts: BTreeMap<(String, Option<String>), Vec<String>>,
    /// What a place is called in messages.
    pub aliases: BTreeMap<(String, Option<String>), String>,
}

impl Routes {
    /// The value for a place that is nearest to it.
    fn nearest<'m, T>(
        map: &'m BTreeMap<(String, Option<String>), T>,
        node: &str,
        service: Option<&str>,
    ) -> Option<&'m T> {
        let groups = node.rmatch_indices(';').map(|(at, _)| &node[..=at]);
        std::iter::once(node).chain(groups).find_map(|place| {
            let of =
                |service: Option<&str>| map.get(&(place.to_owned(), service.map(str::to_owned)));
            service.and_then(|s| of(Some(s))).or_else(|| of(None))
        })
    }

    /// Whether this contact is told of what happens there.
    pub fn tells(&self, contact: &str, node: &str, service: Option<&str>) -> bool {
        let names = Routes::nearest(&self.contacts, node, service).or(self.all.as_ref());
        names.is_none_or(|names| names.iter().any(|n| n == contact))
    }
}

/// Values by name, and those of the fields by theirs.
struct Scope<'a> {
    vars: BTreeMap<&'static str, String>,
    fields: BTreeMap<&'a str, BTreeMap<&'static str, String>>,
}

impl Scope<'_> {
    fn get(&self, field: Option<&str>, name: &str) -> &str {
        let own = field.and_then(|f| self.fields.get(f)?.get(name));
        own.or_else(|| self.vars.get(name)).map_or("", String::as_str)
    }

    /// Expands a text; within a loop `field` is the one at hand.
    fn expand(&self, text: &str, field: Option<&str>, depth: usize, out: &mut String) {
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            out.push_str(&rest[..at]);
            let Some(end) = closing(&rest[at + 1..]) else {
                return out.push_str(&rest[at..]);
            };
            if depth < DEPTH_MAX && out.len() < TEXT_BYTES_MAX {
                self.one(&rest[at + 2..at + 1 + end], field, depth + 1, out);
            }
            rest = &rest[at + 2 + end..];
        }
        out.push_str(rest);
    }

    /// What stands between the brackets.
    fn one(&self, what: &str, field: Option<&str>, depth: usize, out: &mut String) {
        let Some((verb, rest)) = what.split_once(':') else { return };
        let (verb, separator) = match verb.strip_prefix("loop<") {
            // The separator may hold a colon.
            Some(_) => match what["loop<".len()..].split_once(">:") {
                Some((separator, _)) => ("loop", separator),
                None => return,
            },
            None => (verb, ""),
        };
        let rest = match verb {
            "loop" if !separator.is_empty() => &what["loop<>:".len() + separator.len()..],
            _ => rest,
        };
        if verb == "var" {
            return out.push_str(self.get(field, rest.trim()));
        }
        let Some((word, body)) = rest.trim_start().split_once(char::is_whitespace) else { return };
        match verb {
            "if" => {
                let (is_not, name) = word.strip_prefix('!').map_or((false, word), |w| (true, w));
                let value = self.get(field, name);
                if (value.is_empty() || value == "0") == is_not {
                    self.expand(body, field, depth, out);
                }
            }
            "loop" => {
                for (i, name) in self.get(field, word).split_whitespace().enumerate() {
                    if i > 0 {
                        out.push_str(separator);
                    }
                    self.expand(body, Some(name), depth, out);
                }
            }
            "strtrunc" => {
                let mut text = String::new();
                self.expand(body, field, depth, &mut text);
                out.extend(text.chars().take(word.parse().unwrap_or(usize::MAX)));
            }
            _ => {}
        }
    }
}

/// Where the bracket that opens the text is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, b) in text.bytes().enumerate() {
        match b {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

/// Munin's own words for the fields of one state.
fn part(head: &str, list: &str, name: &str, range: &str) -> String {
    let range = match range {
        "" => String::new(),
        range => format!(" (outside range [${{var:{range}}}])"),
    };
    let each =
        format!(" ${{var:label}} is ${{var:value}}{range}${{if:extinfo : ${{var:extinfo}}}}");
    format!("${{if:{list} {head}{name}:${{loop<,>:{list} {each}}}.}}")
}

/// What Munin says to a contact of this name that has no text of its own.
fn default_text(name: &str) -> String {
    let parts = |head: &str| {
        [
            part(head, "cfields", "CRITICALs", "crange"),
            part(head, "wfields", "WARNINGs", "wrange"),
            part(head, "ufields", "UNKNOWNs", ""),
            part(head, "fofields", "OKs", ""),
        ]
        .concat()
    };
    match name {
        "nagios" => format!(
            "${{var:host}}\\t${{var:graph_title}}\\t${{var:worstid}}\\t${{strtrunc:350 {}}}",
            parts("")
        ),
        "old-nagios" => format!(
            "${{var:host}}\\t${{var:plugin}}\\t${{var:worstid}}\\t\
             ${{strtrunc:350 ${{var:graph_title}}:{}}}",
            parts("")
        ),
        _ => {
            format!("${{var:group}} :: ${{var:host}} :: ${{var:graph_title}}{}\\n", parts("\\n\\t"))
        }
    }
}

/// A range as Munin prints it: `:90`, `5:10`.
fn range(text: Option<&String>) -> String {
    match text.map(String::as_str) {
        None => ":".to_owned(),
        Some(text) => match text.trim_start_matches('~') {
            end if end.contains(':') => end.to_owned(),
            end => format!("0:{end}"),
        },
    }
}

fn names(values: &[FieldValue], state: State) -> Vec<&str> {
    values.iter().filter(|v| v.state == state).map(|v| v.field.as_str()).collect()
}

/// Munin's variables for a notice, as `${var:…}` has them; for the environment of a
/// command.
pub(super) fn variables(notice: &Notice) -> BTreeMap<&'static str, String> {
    MuninContact::default().scope(notice).vars
}

/// The states of an `always_send`: words with commas or blanks between, in any case. Other
/// words are left out, as in Munin.
pub fn severities(text: &str) -> Vec<State> {
    let words = text.to_ascii_lowercase();
    let words: Vec<&str> = words.split([',', ' ', '\t']).collect();
    let states = [
        ("ok", State::Ok),
        ("warning", State::Warning),
        ("critical", State::Critical),
        ("unknown", State::Unknown),
    ];
    states.into_iter().filter(|(word, _)| words.contains(word)).map(|(_, state)| state).collect()
}

impl MuninContact {
    /// Whether how a service stands is told again and again.
    pub(super) fn repeats(&self, notice: &Notice) -> bool {
        notice.values.iter().any(|v| self.always_send.contains(&v.state))
    }

    fn scope<'n>(&self, notice: &'n Notice) -> Scope<'n> {
        let service = notice.service.as_deref();
        let alias = |place: &str, service: Option<&str>| {
            let key = (place.to_owned(), service.map(str::to_owned));
            self.routes.aliases.get(&key).cloned()
        };
        let (group, host) = rookery_plugins::names::split_node(&notice.node);
        let mut path = String::new();
        let groups = group.split(';').map(|part| {
            path = format!("{path}{part};");
            alias(&path, None).unwrap_or_else(|| part.to_owned())
        });
        let group = groups.collect::<Vec<_>>().join("-");
        let worst = match notice.state {
            Status::Service(state) => state,
            Status::Host(HostState::Up) => State::Ok,
            Status::Host(_) => State::Critical,
        };
        let title = match (service, notice.title.as_str()) {
            (None, _) => notice.text.clone(),
            (Some(service), "") => service.to_owned(),
            (Some(_), title) => title.to_owned(),
        };
        let mut vars: BTreeMap<&'static str, String> = [
            ("group", group),
            ("host", alias(&notice.node, None).unwrap_or_else(|| host.to_owned())),
            ("plugin", service.unwrap_or_default().to_owned()),
            ("graph_title", service.and_then(|s| alias(&notice.node, Some(s))).unwrap_or(title)),
            ("worst", worst.to_string()),
            ("worstid", worst.exit_code().to_string()),
        ]
        .into();
        let lists = [
            ("cfields", "numcfields", State::Critical),
            ("wfields", "numwfields", State::Warning),
            ("ufields", "numufields", State::Unknown),
            ("ofields", "numofields", State::Ok),
        ];
        for (list, count, state) in lists {
            let names = names(&notice.values, state);
            vars.insert(count, names.len().to_string());
            vars.insert(list, names.join(" "));
        }
        // Those that have recovered; where none has, Munin names all that are well.
        let recovered = vars["ofields"].clone();
        vars.insert("numfofields", recovered.split_whitespace().count().to_string());
        vars.insert("fofields", recovered);
        vars.values_mut().for_each(|v| *v = message::line(v));
        let fields = notice.values.iter().map(|v| {
            let limits = |of: &Option<String>, state| {
                range(of.as_ref().or(v.limit.as_ref().filter(|_| v.state == state)))
            };
            let value = v.value.map_or_else(|| "unknown".to_owned(), |v| format!("{v:.2}"));
            let own: BTreeMap<&'static str, String> = [
                ("label", message::line(&v.label)),
                ("value", value),
                ("crange", limits(&v.critical, State::Critical)),
                ("wrange", limits(&v.warning, State::Warning)),
                ("state", v.state.to_string().to_lowercase()),
                ("extinfo", message::line(&v.extinfo)),
            ]
            .into();
            (v.field.as_str(), own)
        });
        Scope { vars, fields: fields.collect() }
    }

    /// The text for a notice, as it goes to the command.
    pub fn text(&self, name: &str, notice: &Notice) -> String {
        let template = self.text.clone().unwrap_or_else(|| default_text(name));
        // Before what others wrote is put in: only the template's are meant.
        let template = template.replace("\\n", "\n").replace("\\t", "\t");
        let mut out = String::new();
        self.scope(notice).expand(&template, None, 0, &mut out);
        out = message::cut(&out, TEXT_BYTES_MAX);
        out.push('\n');
        out
    }

    /// The command for a notice, for the shell. What comes from a plugin loses all that a
    /// shell would act on.
    pub fn command(&self, notice: &Notice) -> String {
        let mut scope = self.scope(notice);
        let fields = scope.fields.values_mut().flat_map(BTreeMap::values_mut);
        for value in scope.vars.values_mut().chain(fields) {
            // The shell takes no command of more than 128 KiB.
            *value = message::words(value, WORDS_BYTES_MAX).to_owned();
            let is_plain = |c: char| c.is_alphanumeric() || " _-.,:@%+=/".contains(c);
            *value = value.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        }
        let mut out = String::new();
        scope.expand(self.command.trim_start_matches(['|', '<', '>', ' ']), None, 0, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(field: &str, value: Option<f64>, state: State, limit: &str) -> FieldValue {
        let limit = (!limit.is_empty()).then(|| limit.to_owned());
        let (label, extinfo) = (format!("{field} label"), String::new());
        let field = field.to_owned();
        FieldValue { field, label, value, state, limit, warning: None, critical: None, extinfo }
    }

    fn notice() -> Notice {
        let state = Status::Service(State::Critical);
        Notice {
            node: "a;b;db1".to_owned(),
            title: "Disk $use".to_owned(),
            values: vec![
                value("sda", Some(95.0), State::Critical, "~:90"),
                value("sdb", Some(85.125), State::Warning, "10:80"),
                value("sdc", None, State::Unknown, ""),
                value("sdd", Some(1.0), State::Ok, "5"),
            ],
            service: Some("df".to_owned()),
            state,
            ..crate::message::tests::sample(crate::NoticeKind::Problem, 0)
        }
    }

    fn said(name: &str, text: Option<&str>) -> String {
        let contact = MuninContact { text: text.map(str::to_owned), ..MuninContact::default() };
        contact.text(name, &notice())
    }

    #[test]
    fn munins_own_texts() {
        assert_eq!(
            said("ops", None),
            "a-b :: db1 :: Disk $use\n\tCRITICALs: sda label is 95.00 (outside range [:90]).\
             \n\tWARNINGs: sdb label is 85.12 (outside range [10:80]).\
             \n\tUNKNOWNs: sdc label is unknown.\
             \n\tOKs: sdd label is 1.00.\n\n"
        );
        assert_eq!(
            said("nagios", None),
            "db1\tDisk $use\t2\tCRITICALs: sda label is 95.00 (outside range [:90]).\
             WARNINGs: sdb label is 85.12 (outside range [10:80]).\
             UNKNOWNs: sdc label is unknown.OKs: sdd label is 1.00.\n"
        );
    }

    #[test]
    fn what_is_told_again() {
        assert_eq!(
            severities("Critical, warning ok,odd"),
            [State::Ok, State::Warning, State::Critical]
        );
        assert!(severities("none x").is_empty());
        let contact = |text| MuninContact { always_send: severities(text), ..Default::default() };
        assert!(contact("ok").repeats(&notice()) && !contact("").repeats(&notice()));
        let fine = Notice { values: notice().values.split_off(3), ..notice() };
        assert!(contact("ok").repeats(&fine) && !contact("critical,unknown").repeats(&fine));
    }

    #[test]
    fn more_of_a_field_is_told() {
        let mut with = notice();
        with.values[0].extinfo = "on\nfire".to_owned();
        let contact = MuninContact::default();
        let text = contact.text("ops", &with);
        assert!(text.contains("[:90]): on fire.\n"), "{text}");
    }

    #[test]
    fn the_language() {
        let is = |text: &str, want: &str| assert_eq!(said("x", Some(text)), format!("{want}\n"));
        is("${var:worst} ${var:worstid} ${var:plugin} ${var:nothing}!", "CRITICAL 2 df !");
        is("${loop<, >:cfields ${var:label}=${var:value}}", "sda label=95.00");
        is("${loop<::>:nofields x}${if:numufields u}${if:!fofields none}${if:fofields f}", "uf");
        is("${strtrunc:4 ${var:graph_title}}", "Disk");
        is("100 $ and $x, ${open", "100 $ and $x, ${open");
        is("${odd}${odd:x}${if:cfields}\\ta", "\ta");
    }

    #[test]
    fn a_shell_gets_nothing_that_it_would_act_on() {
        let command = "| mail -s \"${var:host}: ${var:graph_title}\" ops".to_owned();
        let contact = MuninContact { command, ..MuninContact::default() };
        let evil = Notice { title: "a\"; rm -rf `x` $(y) \\ '|&".to_owned(), ..notice() };
        assert_eq!(contact.command(&evil), "mail -s \"db1: a__ rm -rf _x_ __y_ _ ___\" ops");
    }

    #[test]
    fn the_nearest_word_holds() {
        let mut routes = Routes { all: Some(vec!["ops".to_owned()]), ..Routes::default() };
        let key =
            |place: &str, service: Option<&str>| (place.to_owned(), service.map(str::to_owned));
        routes.contacts.insert(key("a;", None), vec!["dba".to_owned()]);
        routes.contacts.insert(key("a;b;db1", Some("df")), vec!["none".to_owned()]);
        assert!(routes.tells("ops", "x;y", Some("df")) && !routes.tells("dba", "x;y", None));
        assert!(routes.tells("dba", "a;b;db1", Some("load")) && !routes.tells("ops", "a;z", None));
        assert!(!routes.tells("dba", "a;b;db1", Some("df")));
        assert!(Routes::default().tells("x", "y", None), "all are told");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([${}<>:! a-c]|var|loop|if|strtrunc|cfields|[0-9]){0,40}") {
            let _ = said("x", Some(&text));
        }
    }
}
