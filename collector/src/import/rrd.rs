//! RRDtool's files, as they lie on disk (format 0003 and 0004 on 64-bit machines of
//! this byte order; rrdtool's `rrd_format.h` says the same in C).
//!
//! A file holds one ring of rows for each archive (RRA). A row's time is the end of
//! the period that it stands for. The file's header gives everything else: nothing is
//! taken on trust, a file that ends early or says impossible things is refused.

use rookery_plugins::TimeMs;
use thiserror::Error;

/// Files longer than this are not read, bytes: Munin's largest usual one has 2.8 MB.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// The sign of this machine's floats and alignment (`FLOAT_COOKIE`).
const COOKIE: f64 = 8.642_135E130;
/// The parts' sizes: head, data source, archive, the head of now, a source's and an
/// archive's scratch.
const HEAD: usize = 128;
const DS: usize = 120;
const RRA: usize = 120;
const LIVE: usize = 16;
const PDP: usize = 112;
const CDP: usize = 80;
/// More than this of sources or archives is not believed.
const PARTS_MAX: u64 = 10_000;

/// Times further from 1970 than this are not believed, s.
const SECONDS_MAX: i64 = 1 << 40;

/// Why a file cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RrdError {
    /// Not one at all.
    #[error("not an RRD file")]
    Foreign,
    /// Of a version that is not known.
    #[error("RRD version {0:?} is not known: rrdtool dump and rrdtool restore make it anew")]
    Version(String),
    /// Written by another kind of machine.
    #[error(
        "written on a machine of another kind: take `rrdtool dump` there, and \
         `rrdtool restore` here"
    )]
    Architecture,
    /// Ends early, or says what cannot be.
    #[error("damaged: {0}")]
    Damaged(&'static str),
}

/// What the rows of an archive stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consolidation {
    /// The mean over the period.
    Average,
    /// The least of the primary values of the period.
    Min,
    /// The largest of them.
    Max,
}

/// An archive: a ring of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// What a row is; `None`: something that Munin does not make (LAST, HWPREDICT).
    pub what: Option<Consolidation>,
    /// The time that a row stands for, s.
    pub step_s: i64,
    /// The end of the newest row's period, s since 1970.
    pub newest_s: i64,
    /// How many rows there are.
    pub n_rows: i64,
    /// The newest row's place in the ring.
    at: i64,
    /// Where its rows begin in the file.
    offset: usize,
}

/// A file's content.
#[derive(Clone, Debug)]
pub struct Rrd {
    bytes: Vec<u8>,
    n_ds: usize,
    /// GAUGE, COUNTER, DERIVE or ABSOLUTE: what it was made from. What it holds are
    /// levels or, for all others, rates a second.
    pub kind: String,
    /// When a value came last, s since 1970.
    pub updated_s: i64,
    /// Its archives.
    pub archives: Vec<Archive>,
}

impl Rrd {
    /// Reads a file's bytes; of several data sources the first counts (Munin has one).
    pub fn parse(bytes: Vec<u8>) -> Result<Rrd, RrdError> {
        if !bytes.starts_with(b"RRD\0") {
            return Err(RrdError::Foreign);
        }
        let version = text(&bytes, 4, 5)?;
        if version != "0003" && version != "0004" {
            return Err(RrdError::Version(version));
        }
        if float(&bytes, 16)? != COOKIE {
            return Err(RrdError::Architecture);
        }
        let count = |at: usize| match int(&bytes, at)? {
            n if n > 0 && n as u64 <= PARTS_MAX => Ok(n as usize),
            _ => Err(RrdError::Damaged("its head")),
        };
        let (n_ds, n_rra) = (count(24)?, count(32)?);
        let step_s = int(&bytes, 40)?;
        if step_s <= 0 {
            return Err(RrdError::Damaged("its step"));
        }
        let kind = text(&bytes, HEAD + 20, 20)?;
        let rras = HEAD + n_ds * DS;
        let live = rras + n_rra * RRA;
        let updated_s = int(&bytes, live)?;
        if !(0..=SECONDS_MAX).contains(&updated_s) {
            return Err(RrdError::Damaged("the time of its last value"));
        }
        let rings = live + LIVE + n_ds * PDP + n_ds * n_rra * CDP;
        let mut offset = rings + n_rra * 8;
        let mut archives = Vec::with_capacity(n_rra);
        for i in 0..n_rra {
            let at = rras + i * RRA;
            let archive = archive(&bytes, at, (step_s, updated_s), rings + i * 8, offset)?;
            let rows = usize::try_from(archive.n_rows).ok();
            let end = rows.and_then(|n| n.checked_mul(8 * n_ds)?.checked_add(offset));
            offset = end.filter(|e| *e <= bytes.len()).ok_or(RrdError::Damaged("it ends early"))?;
            archives.push(archive);
        }
        Ok(Rrd { bytes, n_ds, kind, updated_s, archives })
    }

    /// The row whose period ends at this second; `None`: the archive has none (any
    /// more), NaN: it is unknown.
    pub fn row(&self, archive: &Archive, end_s: i64) -> Option<f64> {
        let back = (archive.newest_s - end_s) / archive.step_s;
        if end_s > archive.newest_s || end_s % archive.step_s != 0 || back >= archive.n_rows {
            return None;
        }
        let row = (archive.at - back).rem_euclid(archive.n_rows) as usize;
        float(&self.bytes, archive.offset + row * self.n_ds * 8).ok()
    }

    /// The end of the oldest row that is known; `None`: none is.
    pub fn oldest_s(&self, archive: &Archive) -> Option<i64> {
        let ends = (0..archive.n_rows).rev().map(|i| archive.newest_s - i * archive.step_s);
        ends.into_iter().find(|end| self.row(archive, *end).is_some_and(|v| !v.is_nan()))
    }
}

impl Archive {
    /// The time of the row whose period ends then, ms.
    pub fn time_ms(end_s: i64) -> TimeMs {
        end_s.saturating_mul(1000)
    }
}

fn archive(
    bytes: &[u8],
    at: usize,
    (step_s, updated_s): (i64, i64),
    ring: usize,
    offset: usize,
) -> Result<Archive, RrdError> {
    let what = match text(bytes, at, 20)?.as_str() {
        "AVERAGE" => Some(Consolidation::Average),
        "MIN" => Some(Consolidation::Min),
        "MAX" => Some(Consolidation::Max),
        _ => None,
    };
    let damaged = RrdError::Damaged("an archive's head");
    let (n_rows, each) = (int(bytes, at + 24)?, int(bytes, at + 32)?);
    let newest = int(bytes, ring)?;
    let step_s = step_s.checked_mul(each).filter(|s| *s > 0 && each > 0);
    let Some(step_s) = step_s.filter(|_| n_rows > 0 && (0..n_rows).contains(&newest)) else {
        return Err(damaged);
    };
    let newest_s = updated_s - updated_s.rem_euclid(step_s);
    // No row's time may leave what a time can be.
    if n_rows.checked_mul(step_s).is_none_or(|span| span > SECONDS_MAX) {
        return Err(damaged);
    }
    Ok(Archive { what, step_s, newest_s, n_rows, at: newest, offset })
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], RrdError> {
    let part = bytes.get(at..).and_then(|b| b.first_chunk::<N>());
    part.copied().ok_or(RrdError::Damaged("it ends early"))
}

fn int(bytes: &[u8], at: usize) -> Result<i64, RrdError> {
    part(bytes, at).map(i64::from_le_bytes)
}

fn float(bytes: &[u8], at: usize) -> Result<f64, RrdError> {
    part(bytes, at).map(f64::from_le_bytes)
}

/// A C string in a field of `n` bytes.
fn text(bytes: &[u8], at: usize, n: usize) -> Result<String, RrdError> {
    let field = bytes.get(at..at + n).ok_or(RrdError::Damaged("it ends early"))?;
    let end = field.iter().position(|b| *b == 0).unwrap_or(n);
    Ok(String::from_utf8_lossy(&field[..end]).into_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file with one GAUGE and an archive of five minutes with these rows, of which
    /// `at` is the newest.
    pub(crate) fn file(rows: &[f64], at: i64, updated_s: i64) -> Vec<u8> {
        let mut b = b"RRD\x000003\0".to_vec();
        b.resize(16, 0);
        b.extend(COOKIE.to_le_bytes());
        for n in [1i64, 1, 300] {
            b.extend(n.to_le_bytes());
        }
        b.resize(HEAD, 0);
        b.extend(b"42");
        b.resize(HEAD + 20, 0);
        b.extend(b"GAUGE");
        b.resize(HEAD + DS, 0);
        b.extend(b"AVERAGE");
        b.resize(HEAD + DS + 24, 0);
        b.extend((rows.len() as i64).to_le_bytes());
        b.extend(1i64.to_le_bytes());
        b.resize(HEAD + DS + RRA, 0);
        b.extend(updated_s.to_le_bytes());
        b.resize(HEAD + DS + RRA + LIVE + PDP + CDP, 0);
        b.extend(at.to_le_bytes());
        rows.iter().for_each(|v| b.extend(v.to_le_bytes()));
        b
    }

    #[test]
    fn rows_have_the_times_of_their_ring() {
        let rrd = Rrd::parse(file(&[3.0, 4.0, f64::NAN, 2.0], 1, 3077)).expect("reads");
        assert_eq!((rrd.kind.as_str(), rrd.updated_s), ("GAUGE", 3077));
        let a = &rrd.archives[0];
        assert_eq!((a.what, a.step_s, a.newest_s), (Some(Consolidation::Average), 300, 3000));
        assert_eq!(rrd.row(a, 3000), Some(4.0));
        assert_eq!(rrd.row(a, 2700), Some(3.0));
        assert_eq!(rrd.row(a, 2400), Some(2.0));
        assert!(rrd.row(a, 2100).is_some_and(f64::is_nan));
        assert_eq!((rrd.row(a, 1800), rrd.row(a, 3300), rrd.row(a, 2999)), (None, None, None));
        assert_eq!(rrd.oldest_s(a), Some(2400));
    }

    #[test]
    fn what_is_none_is_refused_with_the_reason() {
        let whole = file(&[1.0, 2.0], 0, 3000);
        assert_eq!(Rrd::parse(b"GIF89".to_vec()).err(), Some(RrdError::Foreign));
        let change = |at: usize, to: &[u8]| {
            let mut other = whole.clone();
            other[at..at + to.len()].copy_from_slice(to);
            Rrd::parse(other).map(|_| ())
        };
        assert_eq!(change(4, b"0001"), Err(RrdError::Version("0001".to_owned())));
        assert_eq!(change(16, &[1]), Err(RrdError::Architecture));
        assert_eq!(change(24, &[0; 8]), Err(RrdError::Damaged("its head")));
        assert_eq!(change(40, &[0; 8]), Err(RrdError::Damaged("its step")));
        let ring = whole.len() - 24;
        assert_eq!(change(ring, &[2]), Err(RrdError::Damaged("an archive's head")));
        for n in 0..whole.len() {
            assert!(Rrd::parse(whole[..n].to_vec()).is_err(), "cut at {n}");
        }
        assert!(Rrd::parse(whole).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            changes in prop::collection::vec((0usize..500, any::<u8>()), 0..20),
            end_s: i64,
        ) {
            let mut bytes = file(&[1.0, 2.0, 3.0], 2, 9000);
            for (at, byte) in changes {
                if let Some(b) = bytes.get_mut(at) {
                    *b = byte;
                }
            }
            if let Ok(rrd) = Rrd::parse(bytes) {
                for a in &rrd.archives {
                    let end_s = end_s.clamp(i64::MIN / 4, i64::MAX / 4);
                    let _ = (rrd.row(a, end_s), rrd.oldest_s(a));
                }
            }
        }
    }
}
