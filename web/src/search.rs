//! Finding groups, nodes, services and fields by a few letters.
//!
//! In: what someone typed. Out: the best hits, best first, and how many there
//! are in all. A hit has every word of the query in its path (group, node,
//! service, field) or its title, and at least one in what is its own, so that
//! `web1 cpu` finds the CPU of web1 and not all that web1 has. It reads the
//! catalog, never samples.

use crate::error::WebError;
use crate::pages::{field_path, node_path, segment, service_path};
use crate::pictures::mix::field_text;
use rookery_collector::history::History;
use rookery_plugins::{FieldSpec, ServiceSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Longest query, bytes.
pub const QUERY_BYTES_MAX: usize = 200;
/// Most words of a query.
pub const WORDS_MAX: usize = 8;
/// Hits unless asked for.
pub const HITS: usize = 20;
/// Most hits that can be asked for.
pub const HITS_MAX: usize = 200;

/// What was found; of two that fit as well, the wider comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A group of nodes.
    Group,
    /// A node.
    Node,
    /// A node's service.
    Service,
    /// A service's field.
    Field,
}

impl Kind {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Group => "group",
            Kind::Node => "node",
            Kind::Service => "service",
            Kind::Field => "field",
        }
    }
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// Group, node, service or field.
    pub kind: Kind,
    /// The name to show: of a service its title, of a field its label.
    pub title: String,
    /// Where it is: `web1 › diskstats_iops › sda_rd`.
    pub place: String,
    /// The page that shows it.
    pub link: String,
    /// A field's `f` of a graph's address: `web1/cpu/user`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    #[serde(skip)]
    rank: Rank,
}

/// How well a word fits, the sum over words; then shorter names first.
type Rank = (usize, Kind, usize);

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// All that fit, shown or not.
    pub total: usize,
    /// The best, best first.
    pub hits: Vec<Hit>,
}

/// Searches the catalog; an empty query finds nothing.
pub fn search(history: &dyn History, query: &str, limit: usize) -> Result<Found, WebError> {
    search_only(history, query, limit, None)
}

/// The same for one kind of things alone.
pub fn search_only(
    history: &dyn History,
    query: &str,
    limit: usize,
    only: Option<Kind>,
) -> Result<Found, WebError> {
    let words = words(query)?;
    let mut all = Hits { words: &words, hits: Vec::new() };
    if words.is_empty() {
        return Ok(Found { total: 0, hits: Vec::new() });
    }
    let nodes = history.nodes();
    let groups: BTreeSet<&str> = nodes.iter().map(|n| n.group.as_str()).collect();
    for group in groups.into_iter().filter(|g| !g.is_empty()) {
        all.group(group);
    }
    for node in &nodes {
        let inside = lower(&[&node.group, &node.name]);
        all.node(&node.group, &node.name);
        // A node that has just been forgotten has none.
        for (spec, _) in history.specs(&node.name).unwrap_or_default() {
            all.service(&inside, &node.name, &spec);
        }
    }
    all.hits.retain(|hit| only.is_none_or(|kind| hit.kind == kind));
    Ok(all.best(limit.clamp(1, HITS_MAX)))
}

/// The query's words, in small letters.
fn words(query: &str) -> Result<Vec<String>, WebError> {
    if query.len() > QUERY_BYTES_MAX {
        let text = format!("q: {} bytes; at most {QUERY_BYTES_MAX} are searched for", query.len());
        return Err(WebError::bad(text));
    }
    let words: Vec<String> = query.to_lowercase().split_whitespace().map(str::to_owned).collect();
    if words.len() > WORDS_MAX {
        let text = format!("q: {} words; at most {WORDS_MAX} are searched for", words.len());
        return Err(WebError::bad(text));
    }
    Ok(words)
}

fn lower(texts: &[&str]) -> String {
    texts.join("\n").to_lowercase()
}

/// How well a word fits a text in small letters: 0 it is the text, 1 its
/// start, 2 the start of a word in it, 3 anywhere.
fn fit(word: &str, text: &str) -> Option<usize> {
    text.lines().filter_map(|line| fit_line(word, line)).min()
}

fn fit_line(word: &str, line: &str) -> Option<usize> {
    let at = line.find(word)?;
    if at == 0 {
        return Some(usize::from(line.len() > word.len()));
    }
    let begins = |at: usize| !line[..at].ends_with(char::is_alphanumeric);
    Some(if line.match_indices(word).any(|(at, _)| begins(at)) { 2 } else { 3 })
}

/// A word that only fits what the thing is in.
const OUTSIDE: usize = 4;

struct Hits<'a> {
    words: &'a [String],
    hits: Vec<Hit>,
}

impl Hits<'_> {
    /// How well all words fit; `None`: not all do, or none its own names.
    fn rank(&self, own: &str, inside: &str) -> Option<usize> {
        let mut sum = 0;
        let mut is_own = false;
        for word in self.words {
            match fit(word, own) {
                Some(n) => {
                    sum += n;
                    is_own = true;
                }
                None if inside.contains(word.as_str()) => sum += OUTSIDE,
                None => return None,
            }
        }
        is_own.then_some(sum)
    }

    fn add(&mut self, rank: usize, kind: Kind, title: &str, place: String, link: String) {
        let rank = (rank, kind, place.len());
        self.hits.push(Hit { kind, title: title.to_owned(), place, link, graph: None, rank });
    }

    fn group(&mut self, group: &str) {
        if let Some(rank) = self.rank(&lower(&[group]), "") {
            let link = format!("/group/{}", segment(group));
            self.add(rank, Kind::Group, group, group.to_owned(), link);
        }
    }

    fn node(&mut self, group: &str, node: &str) {
        if let Some(rank) = self.rank(&lower(&[node]), &lower(&[group])) {
            let place =
                if group.is_empty() { node.to_owned() } else { format!("{group} › {node}") };
            self.add(rank, Kind::Node, node, place, node_path(node));
        }
    }

    fn service(&mut self, inside: &str, node: &str, spec: &ServiceSpec) {
        let own = lower(&[&spec.name, &spec.title]);
        if let Some(rank) = self.rank(&own, inside) {
            let place = format!("{node} › {}", spec.name);
            self.add(rank, Kind::Service, &spec.title, place, service_path(node, &spec.name));
        }
        let inside = format!("{inside}\n{own}");
        for field in &spec.fields {
            self.field(&inside, node, &spec.name, field);
        }
    }

    fn field(&mut self, inside: &str, node: &str, service: &str, field: &FieldSpec) {
        let label = field.label_or_name();
        if let Some(rank) = self.rank(&lower(&[&field.name, label]), inside) {
            let place = format!("{node} › {service} › {}", field.name);
            self.add(rank, Kind::Field, label, place, field_path(node, service, &field.name));
            if let Some(hit) = self.hits.last_mut() {
                hit.graph = Some(field_text(node, service, &field.name));
            }
        }
    }

    fn best(mut self, limit: usize) -> Found {
        self.hits.sort_by(|a, b| a.rank.cmp(&b.rank).then_with(|| a.place.cmp(&b.place)));
        let total = self.hits.len();
        self.hits.truncate(limit);
        Found { total, hits: self.hits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Memory;
    use proptest::prelude::*;

    fn fleet() -> Memory {
        let mut fleet = Memory::default();
        for name in ["db1", "web1", "web10", "myweb1"] {
            let group = if name.starts_with("db") { "databases" } else { "web servers" };
            let disk = ServiceSpec::new("diskstats_sda", "Disk sda", "disk")
                .fields(vec![FieldSpec::gauge("util", "Busy")]);
            let cpu = ServiceSpec::new("cpu", "CPU usage", "system")
                .fields(vec![FieldSpec::gauge("user", "User")]);
            fleet.add(name, group, vec![cpu, disk]);
        }
        fleet
    }

    fn places(query: &str) -> Vec<String> {
        let found = search(&fleet(), query, 50).expect("a good query");
        found.hits.into_iter().map(|h| h.place).collect()
    }

    #[test]
    fn whole_names_come_before_starts_and_middles() {
        let web = "web servers › ";
        let nodes = ["web1", "web10", "myweb1"].map(|n| format!("{web}{n}"));
        assert_eq!(places("WEB1"), nodes);
        assert_eq!(places("web")[0], "web servers");
    }

    #[test]
    fn every_word_must_fit_and_one_the_thing_itself() {
        assert_eq!(places("web1 cpu")[0], "web1 › cpu");
        assert!(places("web1 cpu").iter().all(|p| p.contains("web1") && p.contains("cpu")));
        assert_eq!(places("db1 busy"), ["db1 › diskstats_sda › util"]);
        assert_eq!(places("databases sda"), ["db1 › diskstats_sda"]);
        assert!(places("db1 nothing").is_empty() && places("  ").is_empty());
    }

    #[test]
    fn limits_hold_and_say_so() {
        let found = search(&fleet(), "u", 2).expect("a good query");
        assert!(found.total > 2 && found.hits.len() == 2);
        let long = search(&fleet(), &"x".repeat(201), 2).expect_err("too long");
        assert_eq!(long.text, "q: 201 bytes; at most 200 are searched for");
        let many = search(&fleet(), "a b c d e f g h i", 2).expect_err("too many");
        assert_eq!(many.text, "q: 9 words; at most 8 are searched for");
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "\\PC{0,40}") {
            if let Ok(found) = search(&fleet(), &query, 3) {
                prop_assert!(found.hits.len() <= 3 && found.hits.len() <= found.total);
            }
        }
    }
}
