//! A run of integers as differences, divided by what they have in common, in
//! byte planes.
//!
//! Order 0 codes the numbers themselves, order 1 their differences, order 2
//! the differences of those; whichever looks cheapest. All arithmetic wraps, so
//! every run of `i64` comes back.

use super::bytes::{Cursor, Flaw, put_signed, put_varint, unzigzag, zigzag};

/// How a run of integers is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntsHead {
    /// 0, 1 or 2.
    order: u8,
    /// Whether the coded numbers carry a sign.
    signed: bool,
    /// Byte planes above the noise.
    n_planes: u8,
    /// Low bits that are stored as they are.
    noise_bits: u8,
    /// First number, first difference; as many as `order`.
    start: [i64; 2],
    /// Added to each coded number.
    base: i64,
    /// Each coded number was divided by this.
    divisor: u64,
}

/// What columns are coded to.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    /// How each column is coded.
    pub heads: Vec<u8>,
    /// Bytes that compress.
    pub planes: Vec<u8>,
    /// Bits that do not.
    pub noise: Vec<u8>,
}

/// Buffers for [`encode`].
#[derive(Default)]
pub struct IntsScratch {
    diffs: [Vec<i64>; 2],
    coded: Vec<u64>,
}

/// Most noise bits of a number: so many fit in any eight bytes.
const NOISE_BITS_MAX: u32 = 56;
/// Of an average number so many bits go to zstd and the rest is noise: few
/// enough to have a distribution that a few hundred rows show, enough that it
/// is flat below.
const TOP_BITS: u32 = 4;
/// With more zeros than one in so many, nothing is noise.
const ZEROS_SHARE: u64 = 16;

/// Codes `values`, which are not empty.
pub fn encode(values: &[i64], scratch: &mut IntsScratch, out: &mut Streams) {
    let [d1, d2] = &mut scratch.diffs;
    differences(values, d1);
    let (order, x): (u8, &[i64]) = if d1.iter().all(|d| *d == 0) {
        (0, values)
    } else if d1.iter().all(|d| *d == d1[0]) {
        (1, d1)
    } else {
        differences(d1, d2);
        let costs = [cost(values), cost(d1), cost(d2)];
        if costs[0] < costs[1] && costs[0] < costs[2] {
            (0, values)
        } else if costs[1] <= costs[2] + 16 {
            (1, d1)
        } else {
            (2, d2)
        }
    };
    let plan = Plan::of(x);
    scratch.coded.clear();
    plan.code(x, &mut scratch.coded);
    let noise_bits = noise_bits(&scratch.coded);
    let max = scratch.coded.iter().fold(0, |a, u| a | u >> noise_bits);
    let n_planes = (64 - max.leading_zeros()).div_ceil(8) as u8;
    let has_noise = u8::from(noise_bits > 0) << 7;
    out.heads.push(order | u8::from(plan.signed) << 2 | n_planes << 3 | has_noise);
    if noise_bits > 0 {
        out.heads.push(noise_bits as u8);
    }
    if order > 0 {
        put_signed(&mut out.heads, values[0]);
    }
    if order > 1 {
        put_signed(&mut out.heads, d1[0]);
    }
    put_signed(&mut out.heads, plan.base);
    if n_planes > 0 || noise_bits > 0 {
        put_varint(&mut out.heads, plan.divisor);
    }
    for plane in 0..n_planes {
        let shift = 8 * u32::from(plane) + noise_bits;
        out.planes.extend(scratch.coded.iter().map(|u| (u >> shift) as u8));
    }
    if noise_bits > 0 {
        put_noise(&scratch.coded, noise_bits, &mut out.noise);
    }
}

/// About how many bits [`encode`] would take.
pub fn estimate(values: &[i64], scratch: &mut IntsScratch) -> u64 {
    let [d1, d2] = &mut scratch.diffs;
    differences(values, d1);
    differences(d1, d2);
    cost(values).min(cost(d1)).min(cost(d2))
}

fn differences(values: &[i64], out: &mut Vec<i64>) {
    out.clear();
    out.extend(values.windows(2).map(|w| w[1].wrapping_sub(w[0])));
}

/// A number in the middle, from some of them.
fn middle(x: &[i64]) -> i64 {
    let n = 15.min(x.len());
    if n == 0 {
        return 0;
    }
    let mut some = [0; 15];
    for (i, s) in some[..n].iter_mut().enumerate() {
        *s = x[i * x.len() / n];
    }
    some[..n].sort_unstable();
    some[n / 2]
}

/// About how many bits the numbers take.
fn cost(x: &[i64]) -> u64 {
    let base = middle(x);
    x.iter().map(|v| 65 - u64::from(zigzag(v.wrapping_sub(base)).leading_zeros())).sum()
}

/// How many low bits hold nothing that could be compressed.
fn noise_bits(coded: &[u64]) -> u32 {
    let n = coded.len() as u64;
    let n_zeros = coded.iter().filter(|u| **u == 0).count() as u64;
    // Numbers that stand still half of the time are better off with zstd.
    if n_zeros * ZEROS_SHARE > n {
        return 0;
    }
    let bits: u64 = coded.iter().map(|u| u64::from(64 - u.leading_zeros())).sum();
    let mean = (bits + n / 2).checked_div(n).unwrap_or(0) as u32;
    mean.saturating_sub(TOP_BITS).min(NOISE_BITS_MAX)
}

/// The low bits of each number, one after the other.
fn put_noise(coded: &[u64], n_bits: u32, out: &mut Vec<u8>) {
    let mask = (1 << n_bits) - 1;
    let (mut word, mut used) = (0u64, 0);
    for u in coded {
        let low = u & mask;
        word |= low << used;
        used += n_bits;
        if used >= 64 {
            out.extend(word.to_le_bytes());
            used -= 64;
            word = if used > 0 { low >> (n_bits - used) } else { 0 };
        }
    }
    out.extend(&word.to_le_bytes()[..used.div_ceil(8) as usize]);
}

/// What is common to the numbers to be coded.
struct Plan {
    signed: bool,
    base: i64,
    divisor: u64,
}

impl Plan {
    fn of(x: &[i64]) -> Plan {
        let min = x.iter().copied().min().unwrap_or(0);
        let max = x.iter().copied().max().unwrap_or(0);
        // Differences around zero keep their sign; all else counts from the least.
        let signed = min < 0 && max > 0;
        let base = if signed { 0 } else { min };
        let mut divisor = 0;
        for v in x {
            divisor = gcd(divisor, v.wrapping_sub(base), signed);
            if divisor == 1 {
                break;
            }
        }
        Plan { signed, base, divisor: divisor.max(1) }
    }

    fn code(&self, x: &[i64], out: &mut Vec<u64>) {
        let base = self.base;
        match (self.signed, self.divisor) {
            (false, 1) => out.extend(x.iter().map(|v| v.wrapping_sub(base) as u64)),
            (false, g) => out.extend(x.iter().map(|v| v.wrapping_sub(base) as u64 / g)),
            (true, 1) => out.extend(x.iter().map(|v| zigzag(*v))),
            (true, g) => out.extend(x.iter().map(|v| zigzag(quotient(*v, g)))),
        }
    }
}

fn quotient(v: i64, g: u64) -> i64 {
    let q = (v.unsigned_abs() / g) as i64;
    if v < 0 { q.wrapping_neg() } else { q }
}

fn gcd(mut a: u64, v: i64, signed: bool) -> u64 {
    let mut b = if signed { v.unsigned_abs() } else { v as u64 };
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl IntsHead {
    /// Reads a head.
    pub fn read(cursor: &mut Cursor<'_>) -> Result<IntsHead, Flaw> {
        let flags = cursor.byte()?;
        let (order, n_planes) = (flags & 3, flags >> 3 & 15);
        let noise_bits = if flags & 0x80 != 0 { cursor.byte()? } else { 0 };
        if order > 2 || n_planes > 8 || u32::from(noise_bits) > NOISE_BITS_MAX {
            return Err("an unknown way to code integers");
        }
        let mut start = [0; 2];
        for s in &mut start[..usize::from(order)] {
            *s = cursor.signed()?;
        }
        let base = cursor.signed()?;
        let divisor = if n_planes > 0 || noise_bits > 0 { cursor.varint()? } else { 1 };
        let signed = flags & 4 != 0;
        Ok(IntsHead { order, signed, n_planes, noise_bits, start, base, divisor })
    }

    /// How many bytes of planes and of noise `n` integers take.
    pub fn lens(&self, n: usize) -> Lens {
        let n = self.n_coded(n);
        let noise = (usize::from(self.noise_bits) * n).div_ceil(8);
        Lens { planes: usize::from(self.n_planes) * n, noise }
    }

    fn n_coded(&self, n: usize) -> usize {
        n.saturating_sub(usize::from(self.order))
    }

    /// Whether all integers are the same, so that none of them is coded.
    pub fn is_constant(&self) -> bool {
        self.order == 0 && self.n_planes == 0 && self.noise_bits == 0
    }

    /// The `n` integers, out of as many bytes as [`IntsHead::lens`] says.
    pub fn decode(&self, planes: &[u8], noise: &[u8], n: usize, out: &mut Vec<i64>) {
        out.clear();
        let n_coded = self.n_coded(n);
        let plane = |i: usize| &planes[i * n_coded..(i + 1) * n_coded];
        // Fast paths: all that is left to do is one pass.
        match (self.noise_bits, self.n_planes) {
            (0, 0) => return self.undo(std::iter::repeat_n(0, n_coded), n, out),
            (0, 1) => return self.undo(plane(0).iter().map(|a| u64::from(*a)), n, out),
            (0, 2) => {
                let bytes = plane(0).iter().zip(plane(1));
                return self.undo(bytes.map(|(a, b)| u64::from(*a) | u64::from(*b) << 8), n, out);
            }
            // The most usual over noise: so few bits that most end in one plane.
            (n_bits, 1) => {
                let low = low_bits(noise, u32::from(n_bits));
                let codes = plane(0).iter().enumerate();
                let codes = codes.map(|(i, a)| u64::from(*a) << n_bits | low(i));
                return self.undo(codes, n, out);
            }
            _ => {}
        }
        let mut codes = vec![0; n_coded];
        for i in 0..usize::from(self.n_planes) {
            let pairs = codes.iter_mut().zip(plane(i));
            pairs.for_each(|(x, a)| *x |= u64::from(*a) << (8 * i));
        }
        if self.noise_bits > 0 {
            let low = low_bits(noise, u32::from(self.noise_bits));
            codes.iter_mut().enumerate().for_each(|(i, x)| *x = *x << self.noise_bits | low(i));
        }
        self.undo(codes.iter().copied(), n, out);
    }

    /// From coded numbers to integers.
    fn undo(&self, codes: impl Iterator<Item = u64>, n: usize, out: &mut Vec<i64>) {
        let (base, g) = (self.base, self.divisor as i64);
        if self.signed {
            let x = codes.map(|c| unzigzag(c).wrapping_mul(g).wrapping_add(base));
            self.sum(x, n, out);
        } else {
            self.sum(codes.map(|c| (c as i64).wrapping_mul(g).wrapping_add(base)), n, out);
        }
    }

    /// From differences to what they are between.
    fn sum(&self, mut x: impl Iterator<Item = i64>, n: usize, out: &mut Vec<i64>) {
        let [mut value, mut step] = self.start;
        if self.order > 0 && n > 0 {
            out.push(value);
        }
        match self.order {
            0 => out.extend(x),
            1 => {
                out.extend(x.by_ref().map(|d| {
                    value = value.wrapping_add(d);
                    value
                }));
            }
            _ => {
                if n > 1 {
                    value = value.wrapping_add(step);
                    out.push(value);
                }
                out.extend(x.by_ref().map(|d| {
                    step = step.wrapping_add(d);
                    value = value.wrapping_add(step);
                    value
                }));
            }
        }
    }
}

/// How many bytes of each stream belong to something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lens {
    /// Of the planes.
    pub planes: usize,
    /// Of the noise.
    pub noise: usize,
}

/// The low bits of each number, by its place.
fn low_bits(noise: &[u8], n_bits: u32) -> impl Fn(usize) -> u64 {
    let mask = (1u64 << n_bits) - 1;
    move |i| {
        let at = i * n_bits as usize;
        let from = &noise[at / 8..];
        // Slow path: the last few bytes.
        let word = from.first_chunk::<8>().copied().unwrap_or_else(|| {
            let mut word = [0; 8];
            word[..from.len()].copy_from_slice(from);
            word
        });
        u64::from_le_bytes(word) >> (at % 8) & mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[i64]) -> usize {
        let mut s = Streams::default();
        encode(values, &mut IntsScratch::default(), &mut s);
        let mut cursor = Cursor::new(&s.heads);
        let read = IntsHead::read(&mut cursor).expect("a head");
        assert_eq!(cursor.position(), s.heads.len());
        let lens = Lens { planes: s.planes.len(), noise: s.noise.len() };
        assert_eq!(read.lens(values.len()), lens);
        let mut out = vec![];
        read.decode(&s.planes, &s.noise, values.len(), &mut out);
        assert_eq!(out, values);
        s.heads.len() + lens.planes + lens.noise
    }

    #[test]
    fn every_shape_comes_back() {
        let rows = 0..360i64;
        assert!(
            round_trip(&rows.clone().map(|i| 1_795_000_000_000 + i * 10_000).collect::<Vec<_>>())
                <= 10
        );
        assert!(round_trip(&[7; 360]) <= 2);
        // Multiples of a page around a level.
        let pages: Vec<i64> = rows.clone().map(|i| (1 << 40) + i * 31 % 17 * 4096).collect();
        assert!(round_trip(&pages) < 360 + 20);
        let squares: Vec<i64> = rows.map(|i| i * i).collect();
        assert!(round_trip(&squares) <= 6);
    }

    #[test]
    fn extremes_come_back() {
        let (lo, hi) = (i64::MIN, i64::MAX);
        let cases: [&[i64]; 9] = [
            &[lo],
            &[hi, lo],
            &[lo, hi, lo],
            &[0, lo, 0, lo],
            &[lo, 0, hi, -1, 1],
            &[hi, hi, lo],
            &[lo, lo, lo + 2, lo],
            &[0, 0, lo, lo, hi, 0],
            &[1, 2],
        ];
        for case in cases {
            round_trip(case);
        }
    }

    proptest! {
        #[test]
        fn any_integers_come_back(
            values in proptest::collection::vec(any::<i64>(), 1..50),
            shift in 0u32..64,
            times in prop_oneof![Just(1i64), any::<i64>()],
        ) {
            let small: Vec<i64> =
                values.iter().map(|v| (v >> shift).wrapping_mul(times)).collect();
            round_trip(&small);
        }
    }
}
