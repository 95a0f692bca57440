//! Names and values, as most daemons print their figures.

use super::number;
use std::collections::BTreeMap;

/// What a daemon said, by name.
#[derive(Clone, Debug, Default)]
pub struct Stats<'a> {
    by_name: BTreeMap<&'a str, &'a str>,
}

impl<'a> Stats<'a> {
    /// From the lines of a text; `split` finds name and value of one, `None`
    /// where it has none. Of a name that stands twice the first counts.
    pub fn parse(
        text: &'a str,
        split: impl Fn(&'a str) -> Option<(&'a str, &'a str)>,
    ) -> Stats<'a> {
        let mut by_name = BTreeMap::new();
        for (name, value) in text.lines().filter_map(split) {
            by_name.entry(name.trim()).or_insert(value.trim());
        }
        Stats { by_name }
    }

    /// A value as it was printed.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.by_name.get(name).copied()
    }

    /// A whole number that is not negative; `None` if it is none.
    pub fn count(&self, name: &str) -> Option<u64> {
        number(self.text(name)?.as_bytes())
    }

    /// A finite decimal.
    pub fn decimal(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok().filter(|v: &f64| v.is_finite())
    }

    /// The sum of two counts, if both are there.
    pub fn sum(&self, a: &str, b: &str) -> Option<u64> {
        Some(self.count(a)?.saturating_add(self.count(b)?))
    }

    /// All names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.by_name.iter().map(|(name, value)| (*name, *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_whole_or_not_there() {
        let stats = Stats::parse("a: 5\r\nb: -1\nc: 0.5\nnoise\na: 6\n", |l| l.split_once(':'));
        assert_eq!(stats.count("a"), Some(5), "the first counts");
        assert_eq!((stats.count("b"), stats.count("c"), stats.count("d")), (None, None, None));
        assert_eq!((stats.decimal("c"), stats.text("b")), (Some(0.5), Some("-1")));
        assert_eq!((stats.sum("a", "a"), stats.sum("a", "b")), (Some(10), None));
    }

    proptest! {
        #[test]
        fn noise_never_panics(text: String) {
            let stats = Stats::parse(&text, |l| l.split_once(':'));
            for (name, _) in stats.iter() {
                let _ = (stats.count(name), stats.decimal(name));
            }
        }
    }
}
