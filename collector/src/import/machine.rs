//! How machines lay out an RRD file: the size of a C `long`, the order of bytes, and where
//! a `double` may stand. The file is the C structures of rrdtool's `rrd_format.h`, as
//! they lie in memory.

use super::rrd::{PARTS_MAX, RrdError};

/// What `FLOAT_COOKIE` is, by which a machine knows its own files.
pub(super) const COOKIE: f64 = 8.642_135E130;
/// Ten numbers, at the end of most structures.
const TEN: usize = 80;
/// A name, or a kind.
const WORD: usize = 20;

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    is_big: bool,
    /// A C `long`, bytes.
    long: usize,
    /// What a `double`'s place is a multiple of, bytes.
    align: usize,
}

const fn up(at: usize, align: usize) -> usize {
    at.div_ceil(align) * align
}

impl Machine {
    /// 64 bits (amd64, arm64), of this byte order.
    pub const AMD64: Machine = Machine { is_big: false, long: 8, align: 8 };

    /// All that are known: 64 bits of both byte orders, ARM, i386, and 32 bits of the
    /// other byte order (PowerPC, SPARC).
    pub const ALL: [Machine; 5] = [
        Machine::AMD64,
        Machine { is_big: true, long: 8, align: 8 },
        Machine { is_big: false, long: 4, align: 8 },
        Machine { is_big: false, long: 4, align: 4 },
        Machine { is_big: true, long: 4, align: 8 },
    ];

    /// The one that wrote this file.
    pub fn of(bytes: &[u8]) -> Result<Machine, RrdError> {
        let is_plausible = |m: &Machine| {
            let count = |i: usize| m.int(bytes, m.counts() + i * m.long);
            let is_count = |n: Result<i64, _>| n.is_ok_and(|n| (1..=PARTS_MAX).contains(&n));
            m.float(bytes, m.cookie()) == Ok(COOKIE) && is_count(count(0)) && is_count(count(1))
        };
        if let Some(machine) = Machine::ALL.into_iter().find(is_plausible) {
            return Ok(machine);
        }
        let is_known = |m: &Machine| m.float(bytes, m.cookie()) == Ok(COOKIE);
        match Machine::ALL.iter().any(is_known) {
            true => Err(RrdError::Damaged("its head")),
            false => Err(RrdError::Architecture),
        }
    }

    /// Whether a C `long` has four bytes.
    pub fn is_small(self) -> bool {
        self.long == 4
    }

    /// A `long`, bytes.
    pub fn long(self) -> usize {
        self.long
    }

    /// Where the float is that tells machines apart.
    pub fn cookie(self) -> usize {
        up(4 + 5, self.align)
    }

    /// Where the numbers of sources and archives and the step are, a `long` each.
    pub fn counts(self) -> usize {
        self.cookie() + 8
    }

    /// The size of the head.
    pub fn head(self) -> usize {
        up(self.counts() + 3 * self.long, self.align) + TEN
    }

    /// The size of a data source.
    pub fn source(self) -> usize {
        2 * WORD + TEN
    }

    /// Where in an archive's head its rows and their steps are.
    pub fn rows(self) -> usize {
        up(WORD, self.long)
    }

    /// The size of an archive's head.
    pub fn archive(self) -> usize {
        up(self.rows() + 2 * self.long, self.align) + TEN
    }

    /// The size of the time of the last value; before version 3 it had no microseconds.
    pub fn live(self, version: u32) -> usize {
        if version < 3 { self.long } else { 2 * self.long }
    }

    /// The size of what is kept between for a source, and for each of its archives.
    pub fn scratch(self) -> (usize, usize) {
        (up(30, self.align) + TEN, TEN)
    }

    /// A `long`; of four bytes without its sign, so that times reach to 2106.
    pub fn int(self, bytes: &[u8], at: usize) -> Result<i64, RrdError> {
        Ok(match (self.long, self.is_big) {
            (8, false) => i64::from_le_bytes(part(bytes, at)?),
            (8, true) => i64::from_be_bytes(part(bytes, at)?),
            (_, false) => i64::from(u32::from_le_bytes(part(bytes, at)?)),
            (_, true) => i64::from(u32::from_be_bytes(part(bytes, at)?)),
        })
    }

    /// A `double`.
    pub fn float(self, bytes: &[u8], at: usize) -> Result<f64, RrdError> {
        let part = part(bytes, at)?;
        Ok(if self.is_big { f64::from_be_bytes(part) } else { f64::from_le_bytes(part) })
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], RrdError> {
    let part = bytes.get(at..).and_then(|b| b.first_chunk::<N>());
    part.copied().ok_or(RrdError::Damaged("it ends early"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    impl Machine {
        /// As it writes a `long`.
        pub(in super::super) fn long_bytes(self, n: i64) -> Vec<u8> {
            let mut bytes = n.to_le_bytes()[..self.long].to_vec();
            if self.is_big {
                bytes.reverse();
            }
            bytes
        }

        /// As it writes a `double`.
        pub(in super::super) fn float_bytes(self, v: f64) -> [u8; 8] {
            if self.is_big { v.to_be_bytes() } else { v.to_le_bytes() }
        }
    }

    /// What C compilers make of the structures: stat_head_t, ds_def_t, rra_def_t,
    /// live_head_t and pdp_prep_t.
    #[test]
    fn sizes_as_in_c() {
        let sizes = |m: Machine| [m.head(), m.source(), m.archive(), m.live(4), m.scratch().0];
        let [amd64, s390, arm, i386, powerpc] = Machine::ALL;
        assert_eq!(sizes(amd64), [128, 120, 120, 16, 112]);
        assert_eq!(sizes(s390), sizes(amd64));
        assert_eq!(sizes(i386), [112, 120, 108, 8, 112]);
        assert_eq!(sizes(arm), [120, 120, 112, 8, 112]);
        assert_eq!(sizes(powerpc), sizes(arm));
        assert_eq!((i386.cookie(), i386.rows(), arm.rows(), amd64.rows()), (12, 20, 20, 24));
    }
}
