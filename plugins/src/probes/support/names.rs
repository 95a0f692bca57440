//! Names that stay apart after cleaning.

use std::collections::HashSet;

/// `name`, or where `taken` has it already `name_2`, `name_3` and so on:
/// `/dev/sd-a` and `/dev/sd_a` must not share a field.
pub fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.clone();
    let mut n = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}_{n}");
        n += 1;
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_numbered() {
        let mut taken = HashSet::new();
        let mut name = |n: &str| unique(n.to_owned(), &mut taken);
        assert_eq!([name("a"), name("a"), name("a"), name("b")], ["a", "a_2", "a_3", "b"]);
    }
}
