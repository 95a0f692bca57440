//! What a source says that is not understood, to be named once and not at each reading.

use super::parse::Parsed;
use std::collections::HashSet;

/// How many fields one line of the log names.
const NAMED_MAX: usize = 5;

/// What of a source was named already.
#[derive(Debug, Default)]
pub struct Oddities {
    /// Fields whose value was no number the last time.
    strange: HashSet<(String, String)>,
    is_noisy: bool,
}

impl Oddities {
    /// What is to be logged of an output: fields whose value is no number, and lines that
    /// are not Munin's, where the output before had none. One text each.
    pub fn news(&mut self, parsed: &Parsed) -> Vec<String> {
        let mut news = Vec::new();
        let new: Vec<String> = parsed
            .strange
            .iter()
            .filter(|s| !self.strange.contains(&(s.service.clone(), s.field.clone())))
            .map(|s| format!("{}.{} = {:?}", s.service, s.field, s.text))
            .collect();
        if !new.is_empty() {
            news.push(format!(
                "values that are no numbers count as unknown ({} in this output): {}{}",
                parsed.n_strange,
                new[..new.len().min(NAMED_MAX)].join(", "),
                if new.len() > NAMED_MAX { " …" } else { "" }
            ));
        }
        let strange = parsed.strange.iter().map(|s| (s.service.clone(), s.field.clone()));
        self.strange = strange.collect();
        let is_noisy = parsed.n_noise > 0;
        if is_noisy && !std::mem::replace(&mut self.is_noisy, is_noisy) {
            let first = parsed.first_noise.as_deref().unwrap_or_default();
            let n = parsed.n_noise;
            news.push(format!("lines that are not Munin's are skipped ({n}), as {first:?}"));
        }
        self.is_noisy = is_noisy;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    #[test]
    fn each_is_named_once_until_it_has_passed() {
        let mut odd = Oddities::default();
        let mut news = |text: &str| odd.news(&parse("p", text.as_bytes()));
        let first = news("a.value 17,060\nb.value 5\nwhat\n");
        assert_eq!(
            first,
            [
                "values that are no numbers count as unknown (1 in this output): p.a = \"17,060\"",
                "lines that are not Munin's are skipped (1), as \"what\"",
            ]
        );
        assert!(news("a.value 17,061\nwhat\n").is_empty(), "it is known");
        let more = news("a.value 17,062\nb.value n/a\n");
        assert_eq!(more.len(), 1);
        assert!(more[0].ends_with("(2 in this output): p.b = \"n/a\""), "{more:?}");
        assert!(news("a.value 1\nb.value 2\n").is_empty());
        assert_eq!(news("a.value \n").len(), 1, "again");
    }
}
