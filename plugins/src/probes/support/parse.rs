//! Parsers over the kernel's bytes: no allocation, no UTF-8, no panic.

/// The lines that are not empty.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

/// The words of a line, split at blanks and tabs.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// A word of digits alone that fits 64 bits.
pub fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for b in word {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// A finite decimal such as `0.72`.
pub fn decimal(word: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(word).ok()?;
    text.parse().ok().filter(|v: &f64| v.is_finite())
}

/// Picks numbers out of `key 12` or `Key:   12 kB` lines: for each of `keys`
/// the first number behind it, `None` where the key or the number is missing.
/// Lines with other keys are passed over, as kernels grow new ones.
pub fn keyed<const N: usize>(text: &[u8], keys: &[&str; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    // Kernels print the keys in a fixed order, so the one after the last hit
    // is tried first.
    let mut next = 0;
    for line in lines(text) {
        let Some(end) = line.iter().position(|b| matches!(b, b' ' | b'\t' | b':')) else {
            continue;
        };
        let key = &line[..end];
        let hit = (next..N).chain(0..next.min(N)).find(|i| keys[*i].as_bytes() == key);
        if let Some(i) = hit {
            found[i] = words(&line[end + 1..]).next().and_then(number);
            next = i + 1;
        }
    }
    found
}

/// Which of `keys` have a line, whatever stands behind them: fields are offered by this,
/// never by the value of the moment, which may be nonsense when it is first looked at.
pub fn has_keys<const N: usize>(text: &[u8], keys: &[&str; N]) -> [bool; N] {
    let mut found = [false; N];
    for line in lines(text) {
        let end = line.iter().position(|b| matches!(b, b' ' | b'\t' | b':'));
        let key = &line[..end.unwrap_or(line.len())];
        if let Some(i) = keys.iter().position(|k| k.as_bytes() == key) {
            found[i] = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_digits_that_fit() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["18446744073709551616", "", "-1", "1.5", "12x", " 1"] {
            assert_eq!(number(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(decimal(b"0.72"), Some(0.72));
        assert_eq!(decimal(b"nan"), None);
    }

    #[test]
    fn keys_are_found_in_any_order_and_with_any_separator() {
        let text = b"MemFree:  12 kB\npswpin 7\nMemTotal:\t9 kB\nodd\nbad: x\n";
        let got = keyed(text, &["MemTotal", "MemFree", "pswpin", "bad", "absent"]);
        assert_eq!(got, [Some(9), Some(12), Some(7), None, None]);
        let has = has_keys(text, &["MemTotal", "odd", "pswpin", "bad", "absent"]);
        assert_eq!(has, [true, true, true, true, false]);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = keyed(&text, &["a", "b"]);
            for line in lines(&text) {
                for word in words(line) {
                    let _ = (number(word), decimal(word));
                }
            }
        }

        #[test]
        fn a_number_reads_back(v: u64) {
            prop_assert_eq!(number(v.to_string().as_bytes()), Some(v));
        }
    }
}
