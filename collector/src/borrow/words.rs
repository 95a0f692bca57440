//! What `munin.conf`, or a plugin, says of borrowed fields, and what it makes of a
//! service's description.

use rookery_plugins::munin::parse;
use rookery_plugins::{Draw, FieldSpec, ServiceSpec, names};
use std::collections::BTreeSet;

/// The most fields that one service borrows, and the most parts of a sum.
pub const PARTS_MAX: usize = 1000;

/// A field of another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The node, in the order in which they are tried.
    pub nodes: Vec<String>,
    /// Its service.
    pub service: String,
    /// Its field.
    pub field: String,
}

/// A field that is made of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loan {
    /// What it is called here.
    pub name: String,
    /// One: a loan. Several, or `is_sum`: their sum.
    pub sources: Vec<Source>,
    /// It is a sum, even of one.
    pub is_sum: bool,
}

/// A service with borrowed fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Borrowed {
    /// Its node.
    pub node: String,
    /// What is said of it: its borrowed fields too.
    pub spec: ServiceSpec,
    /// `field.attribute` that were said.
    pub(super) said: BTreeSet<String>,
    /// Where they come from.
    pub loans: Vec<Loan>,
    /// So often they are judged, ms; 0: never.
    pub every_ms: u64,
}

/// Reads `plugin.field`, `host:plugin.field` or `group;host:plugin.field`, as seen from
/// `node`.
fn source(text: &str, node: &str) -> Option<Source> {
    let (host, rest) = match text.rsplit_once(':') {
        Some((host, rest)) => (Some(host), rest),
        None => (None, text),
    };
    let (service, field) = rest.rsplit_once('.')?;
    let field = names::clean_field(field);
    if service.is_empty() || field.is_empty() {
        return None;
    }
    let nodes = match host {
        None => vec![node.to_owned()],
        Some(host) if host.contains(';') => {
            let alone = host.rsplit(';').next().unwrap_or(host);
            vec![host.to_owned(), alone.to_owned()]
        }
        Some(host) => {
            let group = node.rsplit_once(';').map(|(group, _)| format!("{group};{host}"));
            let domain = host.split_once('.').map(|(_, domain)| format!("{domain};{host}"));
            group.into_iter().chain(domain).chain([host.to_owned()]).collect()
        }
    };
    Some(Source { nodes, service: service.to_owned(), field })
}

/// `name=source` words.
fn aliased(words: &str, node: &str) -> (Vec<Loan>, Vec<String>) {
    let (mut loans, mut bad) = (Vec::new(), Vec::new());
    for word in words.split_whitespace() {
        let Some((name, from)) = word.split_once('=') else { continue };
        let name = names::clean_field(name.trim_start_matches('-'));
        match source(from, node).filter(|_| !name.is_empty() && loans.len() < PARTS_MAX) {
            Some(source) => loans.push(Loan { name, sources: vec![source], is_sum: false }),
            None => bad.push(word.to_owned()),
        }
    }
    (loans, bad)
}

impl Borrowed {
    /// What `munin.conf` says of one service of a node, as `attribute value` or
    /// `field.attribute value`; `None`: it borrows nothing. Words that cannot be read
    /// are added to `bad`.
    pub fn read(
        node: &str,
        service: &str,
        lines: &[String],
        bad: &mut Vec<String>,
    ) -> Option<Borrowed> {
        let spec = parse(service, lines.join("\n").as_bytes()).services.into_iter().next()?;
        let said = lines.iter().filter_map(|l| Some(l.split_whitespace().next()?.to_owned()));
        let mut borrowed = Borrowed::of(node, spec, said.collect(), bad)?;
        borrowed.spec.source = "munin.conf".to_owned();
        Some(borrowed)
    }

    /// The same of a service that says it of itself, as a plugin may.
    pub(super) fn own(node: &str, spec: &ServiceSpec) -> Option<Borrowed> {
        let is_of_others =
            |f: &FieldSpec| f.extra.contains_key("sum") || f.extra.contains_key("stack");
        if !spec.order.iter().any(|w| w.contains('=')) && !spec.fields.iter().any(is_of_others) {
            return None;
        }
        let drawn = spec.fields.iter().filter(|f| f.draw != Draw::default());
        let said = drawn.map(|f| format!("{}.draw", f.name)).collect();
        Borrowed::of(node, spec.clone(), said, &mut Vec::new())
    }

    fn of(
        node: &str,
        mut spec: ServiceSpec,
        mut said: BTreeSet<String>,
        bad: &mut Vec<String>,
    ) -> Option<Borrowed> {
        let (mut loans, wrong) = aliased(&spec.order.join(" "), node);
        bad.extend(wrong);
        let mut stacked: Vec<(String, Vec<Loan>)> = Vec::new();
        for field in &spec.fields {
            if let Some(words) = field.extra.get("sum") {
                let parts = words.split_whitespace().map(|w| w.split_once('=').map_or(w, |p| p.1));
                let (mut sources, name) = (Vec::new(), field.name.clone());
                for word in parts.take(PARTS_MAX) {
                    match source(word, node) {
                        Some(source) => sources.push(source),
                        None => bad.push(word.to_owned()),
                    }
                }
                loans.push(Loan { name, sources, is_sum: true });
            } else if let Some(words) = field.extra.get("stack") {
                let (parts, wrong) = aliased(words, node);
                bad.extend(wrong);
                stacked.push((field.name.clone(), parts));
            }
        }
        for (dummy, parts) in stacked {
            unfold(&mut spec, &mut said, &dummy, &parts);
            loans.extend(parts);
        }
        if loans.is_empty() {
            return None;
        }
        for loan in &loans {
            if spec.field(&loan.name).is_none() {
                spec.fields.push(FieldSpec::gauge(&loan.name, ""));
            }
        }
        for field in &mut spec.fields {
            field.extra.retain(|k, _| k != "sum" && k != "stack");
        }
        Some(Borrowed { node: node.to_owned(), spec, said, loans, every_ms: 0 })
    }
}

/// A stack's parts take the place of the field that names them, which is not drawn.
fn unfold(spec: &mut ServiceSpec, said: &mut BTreeSet<String>, dummy: &str, parts: &[Loan]) {
    let Some(at) = spec.fields.iter().position(|f| f.name == dummy) else { return };
    let head = spec.fields.remove(at);
    let first = if said.contains(&format!("{dummy}.draw")) { head.draw } else { Draw::Line1 };
    for (i, part) in parts.iter().enumerate() {
        let mut field = FieldSpec::gauge(&part.name, &part.name);
        field.draw = if i == 0 { first } else { Draw::Stack };
        field.cdef = head.cdef.as_ref().map(|cdef| {
            let own = |word: &str| if word == dummy { part.name.clone() } else { word.to_owned() };
            cdef.split(',').map(own).collect::<Vec<_>>().join(",")
        });
        said.insert(format!("{}.draw", part.name));
        spec.fields.insert((at + i).min(spec.fields.len()), field);
    }
    let names: Vec<String> = parts.iter().map(|p| p.name.clone()).collect();
    if let Some(at) = spec.order.iter().position(|w| w == dummy) {
        spec.order.splice(at..=at, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(lines: &[&str]) -> (Option<Borrowed>, Vec<String>) {
        let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        let mut bad = Vec::new();
        (Borrowed::read("web;all", "traffic", &lines, &mut bad), bad)
    }

    #[test]
    fn loans_sums_and_stacks_as_munin_writes_them() {
        let (found, bad) = read(&[
            "graph_title All traffic",
            "graph_order up=www1:if_eth0.up down total nonsense= parts",
            "down.label down",
            "total.label Total",
            "total.sum www1:if_eth0.up db;db1:if_eth0.up www3.example.com:disks.sda.rd",
            "total.draw LINE2",
            "parts.label unused",
            "parts.draw AREA",
            "parts.cdef parts,8,*",
            "parts.stack a=www1:if_eth0.up b=www2:if_eth0.up",
        ]);
        let found = found.expect("borrows");
        assert_eq!(bad, ["nonsense="]);
        let names: Vec<&str> = found.loans.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["up", "total", "a", "b"]);
        assert_eq!(found.loans[0].sources[0].nodes, ["web;www1", "www1"]);
        let total = &found.loans[1];
        assert!(total.is_sum && total.sources.len() == 3);
        assert_eq!(total.sources[1].nodes, ["db;db1", "db1"]);
        assert_eq!(total.sources[2].service, "disks.sda");
        let three = ["web;www3.example.com", "example.com;www3.example.com", "www3.example.com"];
        assert_eq!(total.sources[2].nodes, three);
        assert_eq!(found.spec.title, "All traffic");
        assert!(found.spec.field("parts").is_none(), "only its parts are drawn");
        let a = found.spec.field("a").expect("a part");
        assert_eq!((a.draw, a.cdef.as_deref(), a.label.as_str()), (Draw::Area, Some("a,8,*"), "a"));
        assert_eq!(found.spec.field("b").map(|f| f.draw), Some(Draw::Stack));
        assert_eq!(found.spec.order.last().map(String::as_str), Some("b"));
        assert_eq!(read(&["graph_title x", "a.label a"]).0, None);
        // A plugin may say so of itself.
        let own = parse("s", b"s.label Sum\ns.sum load.load users.tty\n").services.remove(0);
        let own = Borrowed::own("web;www1", &own).expect("borrows");
        assert_eq!(own.loans[0].sources[1].nodes, ["web;www1"]);
        assert_eq!(Borrowed::own("n", &ServiceSpec::new("s", "s", "s")), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(
            lines in prop::collection::vec("(graph_order |a.sum |a.stack )?[a-c;:.= -]{0,16}", 0..6),
        ) {
            let mut bad = Vec::new();
            let _ = Borrowed::read("g;n", "s", &lines, &mut bad);
        }
    }
}
