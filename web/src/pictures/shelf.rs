//! Pictures that were drawn before, and how they are packed.

use super::key::Key;
use crate::error::WebError;
use axum::body::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};

/// How much is kept of what was drawn, bytes.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A picture may be this old while samples arrive, ms, and never older than an
/// eighth of a pixel.
const STALE_MS_MAX: i64 = 30_000;

pub(super) struct Kept {
    pub(super) body: Bytes,
    pub(super) etag: String,
    pub(super) version: u64,
    pub(super) drawn_ms: i64,
    pub(super) used: u64,
}

/// Drawn pictures, newest used first out last.
#[derive(Default)]
pub struct Pictures(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    kept: HashMap<Key, Kept>,
    bytes: usize,
    clock: u64,
}

impl Pictures {
    pub(super) fn find(&self, key: &Key, version: u64, now_ms: i64) -> Option<(Bytes, String)> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.clock += 1;
        let clock = shelf.clock;
        let kept = shelf.kept.get_mut(key)?;
        let age_ms = now_ms.saturating_sub(kept.drawn_ms);
        let may_be_ms = STALE_MS_MAX.min(key.step_ms / 8);
        if kept.version != version && !(0..may_be_ms).contains(&age_ms) {
            return None;
        }
        kept.used = clock;
        Some((kept.body.clone(), kept.etag.clone()))
    }

    pub(super) fn keep(&self, key: Key, kept: Kept) {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.bytes += kept.body.len();
        let used = shelf.clock;
        if let Some(old) = shelf.kept.insert(key, Kept { used, ..kept }) {
            shelf.bytes -= old.body.len();
        }
        if shelf.bytes <= KEPT_BYTES_MAX {
            return;
        }
        // Half is dropped at once: this happens seldom.
        let mut by_age: Vec<(u64, Key)> =
            shelf.kept.iter().map(|(k, v)| (v.used, k.clone())).collect();
        by_age.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in by_age {
            if shelf.bytes <= KEPT_BYTES_MAX / 2 {
                break;
            }
            if let Some(old) = shelf.kept.remove(&key) {
                shelf.bytes -= old.body.len();
            }
        }
    }
}

/// SVGs are kept like this: a tenth of their size.
pub(super) fn gzip(text: &[u8]) -> Result<Vec<u8>, WebError> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 6), Compression::new(3));
    let packed = encoder.write_all(text).and_then(|()| encoder.finish());
    packed.map_err(|e| WebError::ours(format!("BUG: a picture cannot be packed: {e}")))
}

/// For those few who do not take gzip.
pub(super) fn gunzip(packed: &[u8]) -> Result<Vec<u8>, WebError> {
    let mut text = Vec::with_capacity(packed.len() * 8);
    let unpacked = GzDecoder::new(packed).read_to_end(&mut text);
    unpacked.map_err(|e| WebError::ours(format!("BUG: a picture cannot be unpacked: {e}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::key::{Form, Query, key as asked};

    fn key(n: i64) -> Key {
        let query = Query::default();
        let mut key = asked("n".into(), format!("s{n}"), Form::Svg, &query).expect("a key");
        key.from_ms = n;
        key
    }

    fn kept(version: u64, drawn_ms: i64, bytes: usize) -> Kept {
        let body = Bytes::from(vec![0; bytes]);
        Kept { body, etag: "\"x\"".into(), version, drawn_ms, used: 0 }
    }

    #[test]
    fn new_samples_make_a_picture_old_after_a_moment() {
        let pictures = Pictures::default();
        pictures.keep(key(1), kept(5, 1_000_000, 10));
        assert!(pictures.find(&key(1), 5, 9_000_000).is_some(), "nothing new has come");
        assert!(pictures.find(&key(1), 6, 1_001_000).is_some(), "less than a pixel has come");
        assert!(pictures.find(&key(1), 6, 1_040_000).is_none());
        assert!(pictures.find(&key(2), 5, 1_000_000).is_none());
    }

    #[test]
    fn the_shelf_stays_small_and_keeps_what_is_used() {
        let pictures = Pictures::default();
        for n in 0..40 {
            pictures.keep(key(n), kept(1, 0, 1 << 20));
            assert!(pictures.find(&key(0), 1, 0).is_some(), "used each time, after {n}");
        }
        let shelf = pictures.0.lock().expect("not poisoned");
        assert!(shelf.bytes <= KEPT_BYTES_MAX);
        assert_eq!(shelf.bytes, shelf.kept.values().map(|k| k.body.len()).sum::<usize>());
    }

    #[test]
    fn pictures_are_packed_and_unpacked() {
        let text = "<svg>".repeat(1000).into_bytes();
        let packed = gzip(&text).expect("packs");
        assert!(packed.len() < 100);
        assert_eq!(gunzip(&packed), Ok(text));
        assert!(gunzip(b"no gzip").is_err());
    }
}
