//! Long texts in a database: compressed where that is shorter.
//!
//! A TEXT is what it says; a BLOB is a zstd frame (with its content size) of it.
//! Layouts and specs are JSON that says the same words again and again.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use std::cell::RefCell;
use zstd::bulk::Compressor;

/// The longest text that is taken out of a frame, bytes: a layout of the most
/// columns with the longest names is well below.
const TEXT_BYTES_MAX: usize = 256 << 20;
/// zstd's level: these are written once.
const LEVEL: i32 = 9;

thread_local! {
    /// Made once: of thousands of short texts it took most of the time.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> =
        RefCell::new(Compressor::new(LEVEL).ok());
}

/// The text as it is stored.
pub fn pack(text: &str) -> ToSqlOutput<'_> {
    let packed = COMPRESSOR
        .with_borrow_mut(|compressor| compressor.as_mut().map(|c| c.compress(text.as_bytes())));
    match packed {
        Some(Ok(packed)) if packed.len() < text.len() => ToSqlOutput::Owned(Value::Blob(packed)),
        _ => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
    }
}

/// The text out of what is stored; `None`: it is damaged.
pub fn unpack(stored: ValueRef<'_>) -> Option<String> {
    match stored {
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).ok(),
        ValueRef::Blob(packed) => {
            let len = zstd::zstd_safe::get_frame_content_size(packed).ok()??;
            let len = usize::try_from(len).ok().filter(|len| *len <= TEXT_BYTES_MAX)?;
            String::from_utf8(zstd::bulk::decompress(packed, len).ok()?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored<'a>(out: &'a ToSqlOutput<'_>) -> ValueRef<'a> {
        match out {
            ToSqlOutput::Owned(value) => value.into(),
            ToSqlOutput::Borrowed(value) => *value,
            _ => ValueRef::Null,
        }
    }

    #[test]
    fn layouts_shrink_and_damage_is_nothing() {
        let text = "{\"service\":\"cpu\",\"field\":\"user\"}".repeat(300);
        let packed = pack(&text);
        let ValueRef::Blob(bytes) = stored(&packed) else { panic!("a blob") };
        assert!(bytes.len() < text.len() / 20, "{}", bytes.len());
        for len in 0..bytes.len() {
            assert_eq!(unpack(ValueRef::Blob(&bytes[..len])), None, "{len} bytes");
        }
        assert_eq!(unpack(ValueRef::Integer(7)), None);
        assert_eq!(unpack(ValueRef::Text(b"\xff")), None);
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in "(?s).{0,300}", times in 0usize..5) {
            let text = text.repeat(times);
            let back = unpack(stored(&pack(&text)));
            prop_assert_eq!(back, Some(text));
        }
    }
}
