//! Doubles as whole numbers: the decimal that a daemon printed, times a power
//! of ten.
//!
//! `m / 10^d` (as one prints a number) or `m * 10^-d` (as one scales a counter
//! of milliseconds) is compared with the double; what is left over, in units of
//! the last place, is the value's correction. So no value need be a decimal:
//! whatever bits it has, the correction brings them back.

use rookery_plugins::Kind;

/// Powers of ten that a double holds exactly.
const POW: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];
/// The doubles nearest to the negative powers of ten.
const NEG_POW: [f64; 16] = [
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14,
    1e-15,
];
const INT_POW: [i64; 16] = {
    let mut p = [1; 16];
    let mut i = 1;
    while i < 16 {
        p[i] = p[i - 1] * 10;
        i += 1;
    }
    p
};

/// The most decimals that are tried.
const DECIMALS_MAX: u8 = 12;
/// A value that far off its decimal, in ulps, is a decimal still: daemons that
/// add up doubles drift. The fewer digits it has, the less that is by chance.
fn near_ulps(scaled: f64) -> u64 {
    match scaled.abs() {
        m if m < 4_294_967_296.0 => 1 << 16,
        m if m < 17_592_186_044_416.0 => 1 << 8,
        _ => 2,
    }
}

/// How many values are looked at to guess the number of decimals.
const LOOK_AT: usize = 24;
/// Adding it to a double below 2^51 rounds that to a whole number, which then
/// stands in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
const ROUND_LIMIT: f64 = 2_251_799_813_685_248.0;
const TWO_53: f64 = 9_007_199_254_740_992.0;

/// How a column's whole numbers become its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `m / 10^d`.
    Divided(u8),
    /// `m * 10^-d`.
    Times(u8),
    /// `m / 10^d` at first; then the double before it plus the difference of the
    /// `m`, `/ 10^d`: a daemon that adds up doubles.
    Summed(u8),
    /// The bits themselves, negative doubles turned round so that whole numbers
    /// and doubles have one order.
    Bits,
}

impl Form {
    /// Decimals: `d`.
    pub fn decimals(self) -> u8 {
        match self {
            Form::Divided(d) | Form::Times(d) | Form::Summed(d) => d,
            Form::Bits => 0,
        }
    }

    /// What the sum of `count` whole numbers stands for that exceed `min` by `over`
    /// altogether.
    pub fn double_of_sum(self, min: i64, count: usize, over: u64) -> f64 {
        let d = usize::from(self.decimals());
        // Fast path: of 64 bits the processor makes a double itself, and the same one.
        let short = || {
            let all_min = min.checked_mul(i64::try_from(count).ok()?)?;
            all_min.checked_add_unsigned(over)
        };
        #[cold]
        fn long(min: i64, count: usize, over: u64) -> f64 {
            (i128::from(min) * count as i128 + i128::from(over)) as f64
        }
        let total = short().map_or_else(|| long(min, count, over), |total| total as f64);
        match self {
            Form::Times(_) => total * NEG_POW[d],
            _ => total / POW[d],
        }
    }

    /// The double that `m` stands for.
    #[inline]
    pub fn double(self, m: i64) -> f64 {
        match self {
            Form::Divided(d) | Form::Summed(d) => m as f64 / POW[usize::from(d)],
            Form::Times(d) => m as f64 * NEG_POW[usize::from(d)],
            Form::Bits => f64::from_bits(ordered(m as u64) as u64),
        }
    }

    /// The bits that `m` stands for in a cell of this kind.
    #[inline]
    pub fn bits(self, m: i64, kind: u8) -> u64 {
        if self == Form::Bits {
            ordered(m as u64) as u64
        } else if kind == Kind::Float as u8 {
            self.double(m).to_bits()
        } else {
            m.div_euclid(INT_POW[usize::from(self.decimals())]) as u64
        }
    }

    /// Whether `m` stands for a whole number.
    #[inline]
    pub fn is_whole(self, m: i64) -> bool {
        m % INT_POW[usize::from(self.decimals())] == 0
    }

    /// Calls `f` with the row of each whole number of a column, and whether it
    /// stands for one.
    pub fn each_is_whole(self, whole: &[i64], mut f: impl FnMut(usize, bool)) {
        // Division by a constant is a multiplication.
        fn by<const P: i64>(whole: &[i64], mut f: impl FnMut(usize, bool)) {
            whole.iter().enumerate().for_each(|(i, m)| f(i, m % P == 0));
        }
        match self.decimals() {
            0 => by::<1>(whole, f),
            1 => by::<10>(whole, f),
            2 => by::<100>(whole, f),
            3 => by::<1000>(whole, f),
            4 => by::<10_000>(whole, f),
            6 => by::<1_000_000>(whole, f),
            9 => by::<1_000_000_000>(whole, f),
            _ => whole.iter().enumerate().for_each(|(i, m)| f(i, self.is_whole(*m))),
        }
    }

    /// The bits of all cells of a column; those without a value get 0.
    pub fn all_bits(self, whole: &[i64], kinds: &[u8], out: &mut Vec<u64>) {
        // Fast path: doubles in a loop without branches, then the others.
        match self {
            Form::Bits => out.extend(whole.iter().map(|m| ordered(*m as u64) as u64)),
            Form::Divided(d) | Form::Summed(d) => {
                let pow = POW[usize::from(d)];
                out.extend(whole.iter().map(|m| (*m as f64 / pow).to_bits()));
            }
            Form::Times(d) => {
                let pow = NEG_POW[usize::from(d)];
                out.extend(whole.iter().map(|m| (*m as f64 * pow).to_bits()));
            }
        }
        for ((bits, kind), m) in out.iter_mut().zip(kinds).zip(whole) {
            if *kind <= Kind::Unknown as u8 {
                *bits = 0;
            } else if *kind != Kind::Float as u8 {
                *bits = self.bits(*m, *kind);
            }
        }
    }

    /// The whole number for a cell, if there is one that stands for exactly it.
    pub fn exact(self, kind: u8, bits: u64) -> Option<i64> {
        let m = self.nearest(kind, bits)?;
        (self.bits(m, kind) == bits).then_some(m)
    }

    /// The whole number that comes closest to a cell.
    pub fn nearest(self, kind: u8, bits: u64) -> Option<i64> {
        let d = usize::from(self.decimals());
        if self == Form::Bits {
            return Some(ordered(bits));
        }
        if kind == Kind::Float as u8 {
            let scaled = f64::from_bits(bits) * POW[d];
            return (scaled.abs() < TWO_53).then(|| scaled.round_ties_even() as i64);
        }
        if kind == Kind::Uint as u8 && d > 0 {
            return None;
        }
        (bits as i64).checked_mul(INT_POW[d])
    }
}

/// Doubles' bits in the order of the doubles; its own inverse.
#[inline]
fn ordered(bits: u64) -> i64 {
    let b = bits as i64;
    b ^ (((b >> 63) as u64) >> 1) as i64
}

/// Buffers of [`scale`].
#[derive(Default)]
pub struct Scaled {
    /// A whole number for each value.
    pub whole: Vec<i64>,
    /// What must be added to the bits it stands for.
    pub corrections: Vec<i64>,
    /// How many corrections are not 0.
    pub n_corrected: usize,
}

/// Finds the decimals of a column's doubles; integers among them are given as
/// doubles too. [`Form::Bits`]: they have none.
pub fn guess(values: &[f64]) -> Form {
    let stride = values.len().div_ceil(LOOK_AT).max(1);
    let Some(d) = most_common_decimals(values.iter().step_by(stride), 8) else {
        return Form::Bits;
    };
    Form::Divided(d)
}

/// Like [`guess`], from every value.
pub fn guess_from_all(values: &[f64]) -> Form {
    most_common_decimals(values.iter(), 16).map_or(Form::Bits, Form::Divided)
}

/// The fewest decimals that do for all but one in `tolerate` of the values that
/// have decimals at all; `None` when fewer than half have.
fn most_common_decimals<'a>(values: impl Iterator<Item = &'a f64>, tolerate: usize) -> Option<u8> {
    let mut count = [0usize; DECIMALS_MAX as usize + 1];
    let mut n = 0;
    let mut from = 0;
    for v in values {
        n += 1;
        // Fast path: most have as many as the one before.
        let found = (0..=DECIMALS_MAX).find(|d| is_near(*v, *d));
        if let Some(d) = found {
            count[usize::from(d)] += 1;
            from = from.max(d);
        }
    }
    let n_decimal: usize = count.iter().sum();
    if n_decimal * 2 < n || n_decimal == 0 {
        return None;
    }
    let mut more = n_decimal;
    for d in 0..=from {
        more -= count[usize::from(d)];
        if more * tolerate <= n_decimal {
            return Some(d);
        }
    }
    Some(from)
}

fn is_near(v: f64, d: u8) -> bool {
    let scaled = v * POW[usize::from(d)];
    if scaled.abs() >= TWO_53 || scaled.is_nan() {
        return false;
    }
    let back = scaled.round_ties_even() / POW[usize::from(d)];
    back.to_bits().abs_diff(v.to_bits()) <= near_ulps(scaled)
}

/// Scales doubles by a decimal form. Values that have not so few decimals get
/// the whole number before them, and a correction.
pub fn scale(values: &[f64], form: Form, out: &mut Scaled) {
    let pow = POW[usize::from(form.decimals())];
    let round_bits = ROUND.to_bits() as i64;
    out.whole.clear();
    out.corrections.clear();
    out.whole.extend(values.iter().map(|v| {
        let rounded = v * pow + ROUND;
        (rounded.to_bits() as i64).wrapping_sub(round_bits)
    }));
    let back = |factor: f64, times: bool, out: &mut Scaled| {
        out.corrections.extend(values.iter().map(|v| {
            let whole = (v * pow + ROUND) - ROUND;
            let back = if times { whole * factor } else { whole / factor };
            (v.to_bits() as i64).wrapping_sub(back.to_bits() as i64)
        }));
    };
    match form {
        Form::Times(d) => back(NEG_POW[usize::from(d)], true, out),
        _ => back(pow, false, out),
    }
    let mut worst = 0;
    let mut in_range = true;
    for (e, v) in out.corrections.iter().zip(values) {
        worst |= e.unsigned_abs();
        in_range &= (v * pow).abs() < ROUND_LIMIT;
    }
    out.n_corrected = 0;
    // Fast path: all are decimals.
    if worst == 0 && in_range {
        return;
    }
    for (i, v) in values.iter().enumerate() {
        let scaled = v * pow;
        let is_sound = scaled.abs() < ROUND_LIMIT;
        if !is_sound || out.corrections[i].unsigned_abs() > near_ulps(scaled) {
            let before = if i > 0 { out.whole[i - 1] } else { 0 };
            let near = form
                .nearest(Kind::Float as u8, v.to_bits())
                .filter(|m| form.double(*m).to_bits().abs_diff(v.to_bits()) <= near_ulps(scaled));
            out.whole[i] = near.unwrap_or(before);
            let back = form.double(out.whole[i]).to_bits();
            out.corrections[i] = v.to_bits().wrapping_sub(back) as i64;
        }
        out.n_corrected += usize::from(out.corrections[i] != 0);
    }
}

/// Corrections of [`Form::Summed`], from the whole numbers of
/// [`Form::Divided`]: how many there are.
pub fn sum_up(values: &[f64], whole: &[i64], d: u8, corrections: &mut Vec<i64>) -> usize {
    let pow = POW[usize::from(d)];
    let off = |v: &f64, guess: f64| v.to_bits().wrapping_sub(guess.to_bits()) as i64;
    let pairs = values.windows(2).zip(whole.windows(2));
    let later = pairs.map(|(v, m)| off(&v[1], v[0] + m[1].wrapping_sub(m[0]) as f64 / pow));
    let first = off(&values[0], whole[0] as f64 / pow);
    corrections.clear();
    corrections.push(first);
    corrections.extend(later);
    corrections.iter().filter(|e| **e != 0).count()
}

/// The bits of a column of [`Form::Summed`].
pub fn undo_sum(whole: &[i64], corrections: &[i64], d: u8, out: &mut Vec<u64>) {
    let pow = POW[usize::from(d)];
    let mut before = 0;
    let mut sum = 0.0;
    for (i, m) in whole.iter().enumerate() {
        let step = m.wrapping_sub(before) as f64 / pow;
        let guess = if i == 0 { step } else { sum + step };
        let e = corrections.get(i).copied().unwrap_or(0);
        sum = f64::from_bits(guess.to_bits().wrapping_add(e as u64));
        before = *m;
        out.push(sum.to_bits());
    }
}

/// Whether a double is a whole number that an agent reads as an integer.
pub fn is_whole_double(v: f64) -> bool {
    v == v.trunc() && v.abs() < TWO_53 && v.to_bits() != (-0.0f64).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scaled(values: &[f64]) -> (Form, Scaled) {
        let form = guess(values);
        let mut out = Scaled::default();
        scale(values, form, &mut out);
        (form, out)
    }

    #[test]
    fn decimals_are_found() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(i * 37) / 100.0).collect();
        let (form, out) = scaled(&values);
        assert_eq!((form, out.n_corrected), (Form::Divided(2), 0));
        assert_eq!(out.whole[3], 111);
    }

    #[test]
    fn one_value_that_is_no_decimal_costs_only_itself() {
        let mut values: Vec<f64> = (0..360).map(|i| f64::from(i) / 1000.0).collect();
        values[100] = 0.282_000_000_000_000_03;
        values[200] = f64::NAN;
        values[300] = -0.0;
        let (form, out) = scaled(&values);
        assert_eq!((form, out.n_corrected), (Form::Divided(3), 3));
        assert_eq!(out.whole[100], 282);
        assert_eq!((out.whole[200], out.whole[300]), (199, 299));
    }

    #[test]
    fn scaled_counters_are_exact_one_way_or_the_other() {
        let values: Vec<f64> = (0..360).map(|i| f64::from(i) * 0.001).collect();
        let mut out = Scaled::default();
        scale(&values, Form::Times(3), &mut out);
        assert_eq!(out.n_corrected, 0);
        scale(&values, Form::Divided(3), &mut out);
        assert!(out.n_corrected > 0);
    }

    proptest! {
        #[test]
        fn whole_and_correction_give_the_bits(
            bits in proptest::collection::vec(any::<u64>(), 1..40),
            d in 0u8..16,
            times: bool,
        ) {
            let values: Vec<f64> = bits.iter().map(|b| f64::from_bits(*b)).collect();
            let form = if times { Form::Times(d) } else { Form::Divided(d) };
            let mut out = Scaled::default();
            scale(&values, form, &mut out);
            for (i, b) in bits.iter().enumerate() {
                let back = form.bits(out.whole[i], Kind::Float as u8)
                    .wrapping_add(out.corrections[i] as u64);
                prop_assert_eq!(back, *b);
            }
        }

        #[test]
        fn bits_keep_their_order(a: f64, b: f64) {
            let (x, y) = (ordered(a.to_bits()), ordered(b.to_bits()));
            prop_assert_eq!(ordered(x as u64) as u64, a.to_bits());
            prop_assert!(x < y || !matches!(a.partial_cmp(&b), Some(std::cmp::Ordering::Less)));
        }
    }
}
