//! Names as Munin cleans them.

/// The longest name of a node, service or field, in bytes. Longer ones are
/// refused on the wire, so that a runaway plugin cannot fill the catalog.
pub const NAME_BYTES_MAX: usize = 255;

/// A field's name as Munin's master stores it: a first character that is not a
/// letter or `_` becomes `_`, and so does every later one that is not a letter,
/// digit or `_` (`9lead` → `_lead`, `with-dash` → `with_dash`).
pub fn clean_field(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (i, c) in name.chars().enumerate() {
        let good = c == '_' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit());
        out.push(if good { c } else { '_' });
    }
    out
}

/// A service's name from a plugin's file name or a `multigraph` line: letters,
/// digits, `_`, `-` and `.` (the nesting) stay, all else becomes `_`
/// (`wild_br-lan@x:y` → `wild_br-lan_x_y`).
pub fn clean_service(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' })
        .collect()
}

/// Whether `name` may name a node, service or field: not empty, not too long,
/// and without control characters or `/`. Nodes may hold `;` (Munin's groups).
pub fn is_valid(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.chars().any(|c| c.is_control() || c == '/')
}

/// The longest beginning of `text` that has at most `bytes` bytes and no half character.
pub fn cut_at_char(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// FNV-1a, 64 bits. Names are made of it: its constants may never change.
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    let eat = |hash: u64, b: &u8| (hash ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, eat)
}

/// The group and the short name of a node: `web;front;www1` is `www1` in
/// `web;front`; a name without `;` belongs to the group of its domain, or to
/// no group.
pub fn split_node(node: &str) -> (&str, &str) {
    if let Some((group, host)) = node.rsplit_once(';') {
        return (group, host);
    }
    let is_address = node.parse::<std::net::IpAddr>().is_ok();
    match node.split_once('.') {
        Some((_, domain)) if !is_address => (domain, node),
        _ => ("", node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cleaned_as_munin_does() {
        for (raw, want) in [("9lead", "_lead"), ("with-dash", "with_dash"), ("ok_1", "ok_1")] {
            assert_eq!(clean_field(raw), want);
        }
        assert_eq!(clean_service("wild_br-lan@x:y"), "wild_br-lan_x_y");
        assert_eq!(clean_service("diskstats_iops.sda"), "diskstats_iops.sda");
    }

    #[test]
    fn nodes_split_into_group_and_host() {
        assert_eq!(split_node("web;front;www1"), ("web;front", "www1"));
        assert_eq!(split_node("db1.example.com"), ("example.com", "db1.example.com"));
        assert_eq!(split_node("127.0.0.1"), ("", "127.0.0.1"));
        assert_eq!(split_node("vm"), ("", "vm"));
    }
}
