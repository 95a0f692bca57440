//! What the tests of several modules share.

use crate::rules::Rules;

/// The first TOML example in the documentation of a module, given its source, so that
/// an operator can copy it as it stands.
pub(crate) fn documented_toml(source: &str) -> String {
    let lines = source.lines().skip_while(|l| *l != "//! ```toml").skip(1);
    let lines = lines.take_while(|l| *l != "//! ```").map(|l| l.trim_start_matches("//!"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The rules of one file, `a.toml`.
pub(crate) fn load_rules(text: &str) -> Result<Rules, String> {
    Rules::load(&[("a.toml".to_owned(), text.to_owned())])
}
