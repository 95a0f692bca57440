//! RRDtool's files, as they lie on disk (versions 0001 to 0004, of the machines of
//! [`Machine::ALL`]; rrdtool's `rrd_format.h` says the same in C).
//!
//! A file holds one ring of rows for each archive (RRA). A row's time is the end of
//! the period that it stands for. The file's header gives everything else: nothing is
//! taken on trust, a file that ends early or says impossible things is refused.

use super::machine::Machine;
use rookery_plugins::TimeMs;
use thiserror::Error;

/// Files longer than this are not read, bytes: Munin's largest usual one has 2.8 MB.
pub const FILE_BYTES_MAX: u64 = 256 << 20;
/// More than this of sources or archives is not believed.
pub(super) const PARTS_MAX: i64 = 10_000;

/// Times further from 1970 than this are not believed, s.
const SECONDS_MAX: i64 = 1 << 40;

/// Why a file cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RrdError {
    /// Not one at all.
    #[error("not an RRD file")]
    Foreign,
    /// Of a version that is not known.
    #[error(
        "RRD version {0:?} is not known: `rrdtool dump FILE FILE.xml` and `rrdtool restore \
         FILE.xml NEW` make it anew"
    )]
    Version(String),
    /// Written by another kind of machine.
    #[error(
        "written on a machine of a kind that is not known: take `rrdtool dump` there, and \
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
    machine: Machine,
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
        let number = match version.as_str() {
            "0001" => 1,
            "0002" => 2,
            "0003" => 3,
            "0004" => 4,
            _ => return Err(RrdError::Version(version)),
        };
        let machine = Machine::of(&bytes)?;
        let int = |at: usize| machine.int(&bytes, at);
        let count = |i: usize| int(machine.counts() + i * machine.long());
        // Within bounds, or it would be no known machine.
        let (n_ds, n_rra) = (count(0)? as usize, count(1)? as usize);
        let step_s = count(2)?;
        if step_s <= 0 {
            return Err(RrdError::Damaged("its step"));
        }
        let kind = text(&bytes, machine.head() + 20, 20)?;
        let rras = machine.head() + n_ds * machine.source();
        let live = rras + n_rra * machine.archive();
        let updated_s = int(live)?;
        if !(0..=SECONDS_MAX).contains(&updated_s) {
            return Err(RrdError::Damaged("the time of its last value"));
        }
        let (of_source, of_archive) = machine.scratch();
        let rings = live + machine.live(number) + n_ds * of_source + n_ds * n_rra * of_archive;
        let mut offset = rings + n_rra * machine.long();
        let mut archives = Vec::with_capacity(n_rra);
        for i in 0..n_rra {
            let at = rras + i * machine.archive();
            let ring = rings + i * machine.long();
            let archive = archive(&bytes, machine, at, (step_s, updated_s), ring, offset)?;
            let rows = usize::try_from(archive.n_rows).ok();
            let end = rows.and_then(|n| n.checked_mul(8 * n_ds)?.checked_add(offset));
            offset = end.filter(|e| *e <= bytes.len()).ok_or(RrdError::Damaged("it ends early"))?;
            archives.push(archive);
        }
        if machine.is_small() && offset != bytes.len() {
            // Its times have eight bytes, or it is of a kind that only looks like this one.
            return Err(RrdError::Architecture);
        }
        Ok(Rrd { bytes, machine, n_ds, kind, updated_s, archives })
    }

    /// The row whose period ends at this second; `None`: the archive has none (any
    /// more), NaN: it is unknown.
    pub fn row(&self, archive: &Archive, end_s: i64) -> Option<f64> {
        let back = (archive.newest_s - end_s) / archive.step_s;
        if end_s > archive.newest_s || end_s % archive.step_s != 0 || back >= archive.n_rows {
            return None;
        }
        let row = (archive.at - back).rem_euclid(archive.n_rows) as usize;
        self.machine.float(&self.bytes, archive.offset + row * self.n_ds * 8).ok()
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
    machine: Machine,
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
    let rows = at + machine.rows();
    let (n_rows, each) = (machine.int(bytes, rows)?, machine.int(bytes, rows + machine.long())?);
    let newest = machine.int(bytes, ring)?;
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

/// A C string in a field of `n` bytes.
fn text(bytes: &[u8], at: usize, n: usize) -> Result<String, RrdError> {
    let field = bytes.get(at..at + n).ok_or(RrdError::Damaged("it ends early"))?;
    let end = field.iter().position(|b| *b == 0).unwrap_or(n);
    Ok(String::from_utf8_lossy(&field[..end]).into_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::machine::COOKIE;
    use super::*;
    use proptest::prelude::*;

    /// A file with one GAUGE and an archive of five minutes with these rows, of which
    /// `at` is the newest.
    pub(crate) fn file(rows: &[f64], at: i64, updated_s: i64) -> Vec<u8> {
        file_of(Machine::AMD64, 3, rows, at, updated_s)
    }

    /// The same, of another machine and version.
    fn file_of(m: Machine, version: u32, rows: &[f64], at: i64, updated_s: i64) -> Vec<u8> {
        let mut b = format!("RRD\x00000{version}\0").into_bytes();
        b.resize(m.cookie(), 0);
        b.extend(m.float_bytes(COOKIE));
        for n in [1i64, 1, 300] {
            b.extend(m.long_bytes(n));
        }
        b.resize(m.head(), 0);
        b.extend(b"42");
        b.resize(m.head() + 20, 0);
        b.extend(b"GAUGE");
        let rra = m.head() + m.source();
        b.resize(rra, 0);
        b.extend(b"AVERAGE");
        b.resize(rra + m.rows(), 0);
        b.extend(m.long_bytes(rows.len() as i64));
        b.extend(m.long_bytes(1));
        b.resize(rra + m.archive(), 0);
        b.extend(m.long_bytes(updated_s));
        let (of_source, of_archive) = m.scratch();
        b.resize(rra + m.archive() + m.live(version) + of_source + of_archive, 0);
        b.extend(m.long_bytes(at));
        rows.iter().for_each(|v| b.extend(m.float_bytes(*v)));
        b
    }

    #[test]
    fn other_machines_and_versions_are_read() {
        let rows = [3.0, 4.0, f64::NAN, 2.0];
        for (version, machine) in (1..=4).flat_map(|v| Machine::ALL.map(|m| (v, m))) {
            let bytes = file_of(machine, version, &rows, 1, 3077);
            let rrd = Rrd::parse(bytes.clone()).expect("reads");
            assert_eq!((rrd.machine, rrd.kind.as_str(), rrd.updated_s), (machine, "GAUGE", 3077));
            let a = &rrd.archives[0];
            assert_eq!((a.step_s, a.newest_s), (300, 3000));
            assert_eq!((rrd.row(a, 3000), rrd.row(a, 2400)), (Some(4.0), Some(2.0)));
            for n in 0..bytes.len() {
                assert!(Rrd::parse(bytes[..n].to_vec()).is_err(), "{machine:?} cut at {n}");
            }
            if machine.is_small() {
                let longer = [bytes, vec![0; 8]].concat();
                assert_eq!(Rrd::parse(longer).err(), Some(RrdError::Architecture));
            }
        }
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
        assert_eq!(change(4, b"0009"), Err(RrdError::Version("0009".to_owned())));
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
