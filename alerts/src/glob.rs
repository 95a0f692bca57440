//! Patterns over names: `*` is any run of characters, `?` any one.

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;

/// One pattern or several, of which any may match; none at all matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(pub Vec<String>);

impl Patterns {
    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|p| matches(p, name))
    }

    /// All that can match, where that is a list of whole names.
    pub fn names(&self) -> Option<&[String]> {
        let is_name = |p: &String| !p.contains(['*', '?']);
        (!self.0.is_empty() && self.0.iter().all(is_name)).then_some(&self.0)
    }

    /// Where `from` is named in full, `to` is meant as well; whether it is.
    pub(crate) fn add_name(&mut self, from: &str, to: &str) -> bool {
        let is_named = !from.contains(['*', '?']) && self.0.iter().any(|p| p == from);
        if is_named && !self.0.iter().any(|p| p == to) {
            self.0.push(to.to_owned());
        }
        is_named
    }
}

/// Whether the whole `name` matches `pattern`. Upper and lower case differ.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (p, n) = (pattern.as_bytes(), name.as_bytes());
    let (mut pi, mut ni) = (0, 0);
    // Where to go on after the latest star when what follows does not match.
    let mut retry: Option<(usize, usize)> = None;
    while ni < n.len() {
        match p.get(pi) {
            Some(b'*') => {
                retry = Some((pi + 1, ni));
                pi += 1;
            }
            Some(b'?') => {
                pi += 1;
                ni += 1;
                while ni < n.len() && !name.is_char_boundary(ni) {
                    ni += 1;
                }
            }
            Some(c) if *c == n[ni] => {
                pi += 1;
                ni += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    (pi, ni) = (after_star, from + 1);
                    while ni < n.len() && !name.is_char_boundary(ni) {
                        ni += 1;
                    }
                    retry = Some((after_star, ni));
                }
                None => return false,
            },
        }
    }
    p[pi..].iter().all(|c| *c == b'*')
}

/// `"db*"` or `["db1", "db2"]`.
impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Patterns, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Patterns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pattern such as \"db*\", or a list of patterns")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Patterns, E> {
                Ok(Patterns(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Patterns, A::Error> {
                let mut list = Vec::new();
                while let Some(text) = seq.next_element::<String>()? {
                    list.push(text);
                }
                match list.is_empty() {
                    true => Err(de::Error::custom("an empty list of patterns matches nothing")),
                    false => Ok(Patterns(list)),
                }
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, want) in [
            ("db*", "db1", true),
            ("db*", "web1", false),
            ("*", "", true),
            ("*.example.com", "a.b.example.com", true),
            ("if_*", "if_err_eth0", true),
            ("web??", "web01", true),
            ("web??", "web1", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "ä", true),
            ("DB1", "db1", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_with_any_part_starred(
            name in "[a-cä]{0,12}", from: prop::sample::Index, to: prop::sample::Index,
        ) {
            let chars: Vec<char> = name.chars().collect();
            let (a, b) = (from.index(chars.len() + 1), to.index(chars.len() + 1));
            let head: String = chars[..a.min(b)].iter().collect();
            let tail: String = chars[a.max(b)..].iter().collect();
            let starred = format!("{head}*{tail}");
            prop_assert!(matches(&starred, &name));
            prop_assert!(matches(&name, &name));
        }

        #[test]
        fn nothing_panics(pattern in "[*?ab]{0,10}|.{0,8}", name in "[abä]{0,10}|.{0,8}") {
            let _ = matches(&pattern, &name);
        }
    }
}
