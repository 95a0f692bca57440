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
    /// Byte planes; 0: every coded number is `base`.
    n_planes: u8,
    /// First number, first difference; as many as `order`.
    start: [i64; 2],
    /// Added to each coded number.
    base: i64,
    /// Each coded number was divided by this.
    divisor: u64,
}

/// Buffers for [`encode`].
#[derive(Default)]
pub struct IntsScratch {
    diffs: [Vec<i64>; 2],
    coded: Vec<u64>,
}

/// Writes the head of `values` (not empty) to `head` and its planes to `planes`.
pub fn encode(values: &[i64], scratch: &mut IntsScratch, head: &mut Vec<u8>, planes: &mut Vec<u8>) {
    let [d1, d2] = &mut scratch.diffs;
    differences(values, d1);
    // Fast path: a constant.
    let (order, x): (u8, &[i64]) = if d1.iter().all(|d| *d == 0) {
        (0, values)
    } else {
        differences(d1, d2);
        let costs = [cost_from(values, values[0]), cost(d1), cost(d2) + 16];
        if costs[0] < costs[1] && costs[0] < costs[2] {
            (0, values)
        } else if costs[1] <= costs[2] {
            (1, d1)
        } else {
            (2, d2)
        }
    };
    let plan = Plan::of(x);
    scratch.coded.clear();
    plan.code(x, &mut scratch.coded);
    let max = scratch.coded.iter().fold(0, |a, u| a | u);
    let n_planes = (64 - max.leading_zeros()).div_ceil(8) as u8;
    head.push(order | u8::from(plan.signed) << 2 | n_planes << 3);
    if order > 0 {
        put_signed(head, values[0]);
    }
    if order > 1 {
        put_signed(head, d1[0]);
    }
    put_signed(head, plan.base);
    if n_planes > 0 {
        put_varint(head, plan.divisor);
    }
    for plane in 0..n_planes {
        planes.extend(scratch.coded.iter().map(|u| (u >> (8 * plane)) as u8));
    }
}

/// About how many bits [`encode`] would take.
pub fn estimate(values: &[i64], scratch: &mut IntsScratch) -> u64 {
    let [d1, d2] = &mut scratch.diffs;
    differences(values, d1);
    differences(d1, d2);
    let level = values.first().map_or(0, |base| cost_from(values, *base));
    level.min(cost(d1)).min(cost(d2))
}

fn differences(values: &[i64], out: &mut Vec<i64>) {
    out.clear();
    out.extend(values.windows(2).map(|w| w[1].wrapping_sub(w[0])));
}

/// About how many bits the numbers take.
fn cost(x: &[i64]) -> u64 {
    cost_from(x, 0)
}

fn cost_from(x: &[i64], base: i64) -> u64 {
    x.iter().map(|v| 65 - u64::from(zigzag(v.wrapping_sub(base)).leading_zeros())).sum()
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
            // A signed divisor: at most 2^63, and then the quotient is 0 or -1.
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
        let (order, n_planes) = (flags & 3, flags >> 3);
        if order > 2 || n_planes > 8 {
            return Err("an unknown way to code integers");
        }
        let mut start = [0; 2];
        for s in &mut start[..usize::from(order)] {
            *s = cursor.signed()?;
        }
        let base = cursor.signed()?;
        let divisor = if n_planes > 0 { cursor.varint()? } else { 1 };
        Ok(IntsHead { order, signed: flags & 4 != 0, n_planes, start, base, divisor })
    }

    /// How many bytes the planes of `n` integers take.
    pub fn planes_len(&self, n: usize) -> usize {
        usize::from(self.n_planes) * self.n_coded(n)
    }

    fn n_coded(&self, n: usize) -> usize {
        n.saturating_sub(usize::from(self.order))
    }

    /// The `n` integers, out of their `planes_len(n)` bytes.
    pub fn decode(&self, planes: &[u8], n: usize, out: &mut Vec<i64>) {
        out.clear();
        out.resize(n, 0);
        let n_coded = self.n_coded(n);
        let skip = n - n_coded;
        let x = &mut out[skip..];
        self.join(planes, x);
        if self.order == 2 {
            accumulate(self.start[1], x);
            // The first difference has no coded number of its own.
            if let Some(first) = out.get_mut(1) {
                *first = self.start[1];
            }
            let n = out.len().min(1);
            accumulate(self.start[0], &mut out[n..]);
        } else if self.order == 1 {
            accumulate(self.start[0], x);
        }
        if let (1.., Some(first)) = (self.order, out.first_mut()) {
            *first = self.start[0];
        }
    }

    fn join(&self, planes: &[u8], x: &mut [i64]) {
        let n = x.len();
        if self.n_planes == 0 {
            x.fill(self.base);
            return;
        }
        let plane = |i: usize| &planes[i * n..(i + 1) * n];
        match self.n_planes {
            1 => x.iter_mut().zip(plane(0)).for_each(|(x, a)| *x = i64::from(*a)),
            2 => {
                let bytes = plane(0).iter().zip(plane(1));
                x.iter_mut()
                    .zip(bytes)
                    .for_each(|(x, (a, b))| *x = i64::from(*a) | i64::from(*b) << 8);
            }
            _ => {
                for i in 0..usize::from(self.n_planes) {
                    let pairs = x.iter_mut().zip(plane(i));
                    pairs.for_each(|(x, a)| *x |= i64::from(*a) << (8 * i));
                }
            }
        }
        let (base, g) = (self.base, self.divisor as i64);
        match (self.signed, self.divisor) {
            (false, 1) => x.iter_mut().for_each(|x| *x = x.wrapping_add(base)),
            (false, _) => {
                x.iter_mut().for_each(|x| *x = x.wrapping_mul(g).wrapping_add(base));
            }
            (true, _) => x.iter_mut().for_each(|x| {
                *x = unzigzag(*x as u64).wrapping_mul(g).wrapping_add(base);
            }),
        }
    }
}

/// Turns differences into sums that begin at `start`.
fn accumulate(start: i64, x: &mut [i64]) {
    let mut sum = start;
    for x in x {
        sum = sum.wrapping_add(*x);
        *x = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(values: &[i64]) -> usize {
        let (mut head, mut planes) = (vec![], vec![]);
        encode(values, &mut IntsScratch::default(), &mut head, &mut planes);
        let mut cursor = Cursor::new(&head);
        let read = IntsHead::read(&mut cursor).expect("a head");
        assert_eq!(cursor.position(), head.len());
        assert_eq!(read.planes_len(values.len()), planes.len());
        let mut out = vec![];
        read.decode(&planes, values.len(), &mut out);
        assert_eq!(out, values);
        head.len() + planes.len()
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
