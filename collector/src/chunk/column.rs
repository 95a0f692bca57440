//! One column's cells as whole numbers, kinds and corrections.
//!
//! A column's head (its form, its kinds, its corrections, the head of its
//! integers) and its byte planes are written apart: a part holds the heads of
//! all its columns, then the planes of all its columns.

use super::block::ColumnBuf;
use super::bytes::{Cursor, Flaw, put_signed, put_varint, zigzag};
use super::decimal::{self, Form, Scaled};
use super::ints::{self, IntsHead, IntsScratch, Lens, Streams};
use rookery_plugins::Kind;
use std::ops::Range;

const UNKNOWN: u8 = Kind::Unknown as u8;
const INT: u8 = Kind::Int as u8;
const UINT: u8 = Kind::Uint as u8;
const FLOAT: u8 = Kind::Float as u8;
/// In place of a kind: `Int` where the number is whole, else `Float`.
pub const AUTO: u8 = 5;
/// In place of a kind: runs of kinds follow.
const RUNS: u8 = 7;

/// Added to the number of decimals of [`Form::Summed`].
const SUMMED: u8 = 16;

/// In place of a number of corrections: a plane of them.
const SPARSE: u8 = 1;
const DENSE: u8 = 2;

/// The kinds of a column's cells.
#[derive(Clone, Copy)]
pub enum Kinds<'a> {
    /// Of all cells.
    All(u8),
    /// Of each cell.
    Each(&'a [u8]),
}

impl Kinds<'_> {
    /// Of cell `i`.
    pub fn get(&self, i: usize) -> u8 {
        match self {
            Kinds::All(k) => *k,
            Kinds::Each(k) => k[i],
        }
    }
}

/// How a column was coded; its whole numbers stand in [`ColumnCoder::whole`].
#[derive(Clone, Copy)]
pub struct Coded {
    /// How whole numbers become values.
    pub form: Form,
    /// The kind of every known cell: `Int`, `Float`, [`AUTO`]; 0: mixed.
    pub known: u8,
    /// All cells are known and none has a correction.
    pub is_plain: bool,
    /// All cells are the same.
    pub is_constant: bool,
}

/// Codes columns; holds the buffers.
#[derive(Default)]
pub struct ColumnCoder {
    scaled: Scaled,
    other: Scaled,
    values: Vec<f64>,
    ints: IntsScratch,
}

impl ColumnCoder {
    /// The whole number of each cell of the column coded last (of the first
    /// cell alone where all are the same).
    pub fn whole(&self) -> &[i64] {
        &self.scaled.whole
    }

    /// Codes a column of at least one cell.
    pub fn encode(&mut self, kinds: Kinds<'_>, bits: &[u64], out: &mut Streams) -> Coded {
        if let Kinds::All(kind) = kinds
            && (kind <= UNKNOWN || bits.iter().all(|b| *b == bits[0]))
        {
            return self.encode_constant(kind, bits[0], out);
        }
        let form = match kinds {
            Kinds::All(FLOAT) => {
                self.values.clear();
                self.values.extend(bits.iter().map(|b| f64::from_bits(*b)));
                self.scale_doubles(true)
            }
            Kinds::All(_) => {
                self.take_bits(|b| b as i64, bits);
                Form::Divided(0)
            }
            Kinds::Each(kinds) => self.scale_mixed(kinds, bits),
        };
        let known = self.known_symbol(kinds, form);
        let corrections = match self.scaled.n_corrected {
            0 => 0,
            n if n * 8 > bits.len() => DENSE,
            _ => SPARSE,
        };
        let symbol = match kinds {
            Kinds::All(kind) => kind,
            Kinds::Each(k) if known == AUTO && k.iter().all(|k| *k > UNKNOWN) => AUTO,
            Kinds::Each(_) => RUNS,
        };
        put_form(&mut out.heads, form, corrections, symbol);
        if let (RUNS, Kinds::Each(kinds)) = (symbol, kinds) {
            put_runs(&mut out.heads, kinds, known);
        }
        match corrections {
            SPARSE => self.put_sparse(&mut out.heads),
            DENSE => ints::encode(&self.scaled.corrections, &mut self.ints, out),
            _ => {}
        }
        ints::encode(&self.scaled.whole, &mut self.ints, out);
        let is_sum = matches!(form, Form::Summed(_));
        let is_plain = corrections == 0 && symbol != RUNS && !is_sum;
        Coded { form, known, is_plain, is_constant: false }
    }

    fn encode_constant(&mut self, kind: u8, bits: u64, out: &mut Streams) -> Coded {
        let bits = if kind <= UNKNOWN { 0 } else { bits };
        let mut form = Form::Divided(0);
        let mut whole = bits as i64;
        if kind == FLOAT {
            let d = decimal::guess(&[f64::from_bits(bits)]).decimals();
            let forms = [Form::Divided(d), Form::Times(d), Form::Bits];
            let exact = forms.into_iter().find_map(|f| Some((f, f.exact(kind, bits)?)));
            // Bits are always exact.
            (form, whole) = exact.unwrap_or((Form::Bits, 0));
        }
        put_form(&mut out.heads, form, 0, kind);
        ints::encode(&[whole], &mut self.ints, out);
        self.scaled.whole.clear();
        self.scaled.whole.push(whole);
        let known = if kind == UINT { 0 } else { kind };
        Coded { form, known, is_plain: kind > UNKNOWN, is_constant: true }
    }

    fn take_bits(&mut self, map: impl Fn(u64) -> i64, bits: &[u64]) {
        self.scaled.whole.clear();
        self.scaled.whole.extend(bits.iter().map(|b| map(*b)));
        self.scaled.corrections.clear();
        self.scaled.n_corrected = 0;
    }

    /// Scales `self.values` in the way that leaves the least over.
    fn scale_doubles(&mut self, may_sum: bool) -> Form {
        let n = self.values.len();
        let mut form = decimal::guess(&self.values);
        if form == Form::Bits {
            return self.use_bits();
        }
        decimal::scale(&self.values, form, &mut self.scaled);
        // Fast path: decimals as they are printed.
        if self.scaled.n_corrected == 0 {
            return form;
        }
        form = self.try_form(form, Form::Times(form.decimals()));
        if self.scaled.n_corrected > n / 16
            && let Form::Divided(d) = decimal::guess_from_all(&self.values)
            && d != form.decimals()
        {
            form = self.try_form(form, Form::Divided(d));
            form = self.try_form(form, Form::Times(d));
        }
        if may_sum && self.scaled.n_corrected > n / 16 {
            let (d, whole) = (form.decimals(), &self.scaled.whole);
            let more = decimal::sum_up(&self.values, whole, d, &mut self.other.corrections);
            if more * 4 < self.scaled.n_corrected * 3 {
                std::mem::swap(&mut self.scaled.corrections, &mut self.other.corrections);
                self.scaled.n_corrected = more;
                return Form::Summed(d);
            }
        }
        if self.scaled.n_corrected > n / 4 {
            let bits = self.values.iter().map(|v| whole_bits(v.to_bits()));
            self.other.whole.clear();
            self.other.whole.extend(bits);
            let corrections = self.scaled.corrections.iter().filter(|e| **e != 0);
            let extra: u64 = corrections.map(|e| 72 - u64::from(zigzag(*e).leading_zeros())).sum();
            let decimal = ints::estimate(&self.scaled.whole, &mut self.ints) + extra;
            if ints::estimate(&self.other.whole, &mut self.ints) < decimal {
                return self.use_bits();
            }
        }
        form
    }

    /// Keeps whichever of two forms needs fewer corrections.
    fn try_form(&mut self, now: Form, other: Form) -> Form {
        decimal::scale(&self.values, other, &mut self.other);
        if self.other.n_corrected >= self.scaled.n_corrected {
            return now;
        }
        std::mem::swap(&mut self.scaled, &mut self.other);
        other
    }

    fn use_bits(&mut self) -> Form {
        self.scaled.whole.clear();
        self.scaled.whole.extend(self.values.iter().map(|v| whole_bits(v.to_bits())));
        self.scaled.corrections.clear();
        self.scaled.n_corrected = 0;
        Form::Bits
    }

    /// Cells of several kinds. Cells without a value get the whole number
    /// before them.
    fn scale_mixed(&mut self, kinds: &[u8], bits: &[u64]) -> Form {
        if !kinds.contains(&FLOAT) {
            self.take_bits(|b| b as i64, bits);
            self.fill_gaps(kinds);
            return Form::Divided(0);
        }
        self.values.clear();
        let first = kinds.iter().position(|k| *k > UNKNOWN).unwrap_or(0);
        let mut last = as_double(kinds[first], bits[first]);
        for (kind, bits) in kinds.iter().zip(bits) {
            if *kind > UNKNOWN {
                last = as_double(*kind, *bits);
            }
            self.values.push(last);
        }
        let sums_up = |(k, v): (&u8, &f64)| match *k {
            INT => decimal::is_whole_double(*v),
            FLOAT => !decimal::is_whole_double(*v),
            _ => false,
        };
        let may_sum = kinds.iter().zip(&self.values).all(sums_up);
        let form = self.scale_doubles(may_sum);
        if let Form::Summed(_) = form {
            return form;
        }
        self.scaled.corrections.resize(bits.len(), 0);
        for i in 0..bits.len() {
            // Integers that a double does not hold need a look of their own.
            let big = kinds[i] == UINT || bits[i].cast_signed().unsigned_abs() >= 1 << 50;
            if kinds[i] <= UNKNOWN {
                self.scaled.corrections[i] = 0;
            } else if form == Form::Bits {
                self.scaled.whole[i] = whole_bits(bits[i]);
            } else if kinds[i] != FLOAT && (big || self.scaled.corrections[i] != 0) {
                let before = if i > 0 { self.scaled.whole[i - 1] } else { 0 };
                let whole = form.nearest(kinds[i], bits[i]).unwrap_or(before);
                self.scaled.whole[i] = whole;
                self.scaled.corrections[i] =
                    bits[i].wrapping_sub(form.bits(whole, kinds[i])) as i64;
            }
        }
        self.scaled.n_corrected = self.scaled.corrections.iter().filter(|e| **e != 0).count();
        if form == Form::Bits {
            self.fill_gaps(kinds);
        }
        form
    }

    fn fill_gaps(&mut self, kinds: &[u8]) {
        let first = kinds.iter().position(|k| *k > UNKNOWN).unwrap_or(0);
        let mut last = if kinds[first] > UNKNOWN { self.scaled.whole[first] } else { 0 };
        for (whole, kind) in self.scaled.whole.iter_mut().zip(kinds) {
            if *kind > UNKNOWN {
                last = *whole;
            }
            *whole = last;
        }
    }

    /// See [`Coded::known`].
    fn known_symbol(&self, kinds: Kinds<'_>, form: Form) -> u8 {
        let kinds = match kinds {
            Kinds::All(UINT) => return 0,
            Kinds::All(kind) => return kind,
            Kinds::Each(kinds) => kinds,
        };
        let has = |kind| kinds.contains(&kind);
        let is_sum = matches!(form, Form::Summed(_));
        match (has(INT), has(UINT), has(FLOAT)) {
            (true, false, false) => return INT,
            (false, false, true) => return FLOAT,
            (true, false, true) if is_sum => return AUTO,
            (true, false, true) if form != Form::Bits => {}
            _ => return 0,
        }
        let agrees = |i: usize, whole: bool| {
            let corrected = self.scaled.corrections.get(i).is_some_and(|e| *e != 0);
            match kinds[i] {
                INT => whole && !corrected,
                FLOAT => !whole || corrected,
                _ => true,
            }
        };
        let mut all = true;
        form.each_is_whole(&self.scaled.whole, |i, whole| all &= agrees(i, whole));
        if all { AUTO } else { 0 }
    }

    fn put_sparse(&self, head: &mut Vec<u8>) {
        put_varint(head, self.scaled.n_corrected as u64);
        let mut next = 0;
        for (i, e) in self.scaled.corrections.iter().enumerate() {
            if *e != 0 {
                put_varint(head, (i - next) as u64);
                put_signed(head, *e);
                next = i + 1;
            }
        }
    }
}

fn whole_bits(bits: u64) -> i64 {
    Form::Bits.nearest(FLOAT, bits).unwrap_or(0)
}

fn as_double(kind: u8, bits: u64) -> f64 {
    match kind {
        FLOAT => f64::from_bits(bits),
        INT => bits as i64 as f64,
        UINT => bits as f64,
        _ => 0.0,
    }
}

/// Gives the doubles of [`Form::Summed`] their kinds.
fn resolve_sums(kinds: &mut [u8], bits: &mut [u64]) {
    for (kind, bits) in kinds.iter_mut().zip(bits) {
        let double = f64::from_bits(*bits);
        if *kind == AUTO {
            *kind = if decimal::is_whole_double(double) { INT } else { FLOAT };
        }
        match *kind {
            FLOAT => {}
            INT | UINT => *bits = double as i64 as u64,
            _ => *bits = 0,
        }
    }
}

fn put_form(head: &mut Vec<u8>, form: Form, corrections: u8, symbol: u8) {
    let code = match form {
        Form::Divided(0) => 0,
        Form::Divided(_) | Form::Summed(_) => 1,
        Form::Times(_) => 2,
        Form::Bits => 3,
    };
    head.push(code | corrections << 2 | symbol << 4);
    if let 1 | 2 = code {
        let sum = if let Form::Summed(_) = form { SUMMED } else { 0 };
        head.push(form.decimals() | sum);
    }
}

fn put_runs(head: &mut Vec<u8>, kinds: &[u8], known: u8) {
    let symbol = |k: u8| if known == AUTO && k > UNKNOWN { AUTO } else { k };
    let runs = || kinds.chunk_by(|a, b| symbol(*a) == symbol(*b));
    put_varint(head, runs().count() as u64);
    for run in runs() {
        head.push(symbol(run[0]));
        put_varint(head, run.len() as u64);
    }
}

/// Where a column's pieces are in its part.
#[derive(Clone)]
pub struct ColumnHead {
    form: Form,
    symbol: u8,
    /// Runs of kinds, in the part's bytes.
    runs: (usize, Range<usize>),
    corrections: Corrections,
    ints: IntsHead,
}

#[derive(Clone)]
enum Corrections {
    None,
    /// So many, in these of the part's bytes.
    Sparse(usize, Range<usize>),
    /// A run of integers, before that of the values.
    Dense(IntsHead),
}

impl ColumnHead {
    /// Reads the head of a column of `n` cells.
    pub fn read(cursor: &mut Cursor<'_>, n: usize) -> Result<ColumnHead, Flaw> {
        let flags = cursor.byte()?;
        let form = match flags & 3 {
            0 => Form::Divided(0),
            3 => Form::Bits,
            code => match (code, cursor.byte()?) {
                (1, d @ 0..SUMMED) => Form::Divided(d),
                (1, d @ SUMMED..32) => Form::Summed(d - SUMMED),
                (2, d @ 0..SUMMED) => Form::Times(d),
                _ => return Err("too many decimals"),
            },
        };
        let symbol = flags >> 4;
        let mut runs = (0, 0..0);
        if symbol == RUNS {
            runs.0 = cursor.size(n)?;
            let from = cursor.position();
            let mut total = 0;
            for _ in 0..runs.0 {
                if cursor.byte()? > AUTO {
                    return Err("an unknown kind");
                }
                total += cursor.size(n)?;
            }
            if total != n {
                return Err("the runs of kinds do not cover the rows");
            }
            runs.1 = from..cursor.position();
        } else if symbol > AUTO {
            return Err("an unknown kind");
        }
        let corrections = match flags >> 2 & 3 {
            0 => Corrections::None,
            SPARSE => {
                let count = cursor.size(n)?;
                let from = cursor.position();
                let mut next = 0;
                for _ in 0..count {
                    next += cursor.size(n)? + 1;
                    cursor.varint()?;
                }
                if next > n {
                    return Err("a correction beyond the last row");
                }
                Corrections::Sparse(count, from..cursor.position())
            }
            DENSE => Corrections::Dense(IntsHead::read(cursor)?),
            _ => return Err("an unknown kind of corrections"),
        };
        let ints = IntsHead::read(cursor)?;
        Ok(ColumnHead { form, symbol, runs, corrections, ints })
    }

    /// How many bytes of planes and noise a column of `n` cells has.
    pub fn lens(&self, n: usize) -> Lens {
        let (own, more) = (self.ints.lens(n), self.dense_lens(n));
        Lens { planes: own.planes + more.planes, noise: own.noise + more.noise }
    }

    fn is_constant(&self) -> bool {
        let is_plain = matches!(self.corrections, Corrections::None) && self.symbol != RUNS;
        is_plain && !matches!(self.form, Form::Summed(_)) && self.ints.is_constant()
    }

    fn dense_lens(&self, n: usize) -> Lens {
        match &self.corrections {
            Corrections::Dense(ints) => ints.lens(n),
            _ => Lens::default(),
        }
    }

    /// The cells of a column of `n` cells, out of its part's heads and its own
    /// planes and noise.
    pub fn decode(
        &self,
        heads: &[u8],
        (planes, noise): (&[u8], &[u8]),
        n: usize,
        out: &mut ColumnBuf,
    ) -> Result<(), Flaw> {
        let ColumnBuf { kinds, bits, is_constant, whole, corrections } = out;
        let dense = self.dense_lens(n);
        let (more_planes, planes) = planes.split_at(dense.planes);
        let (more_noise, noise) = noise.split_at(dense.noise);
        *is_constant = self.is_constant();
        self.ints.decode(planes, noise, n, whole);
        kinds.clear();
        bits.clear();
        // Fast path: integers.
        if let (INT | UINT, Form::Divided(0), Corrections::None) =
            (self.symbol, self.form, &self.corrections)
        {
            kinds.resize(n, self.symbol);
            bits.extend(whole.iter().map(|m| *m as u64));
            return Ok(());
        }
        if let Corrections::Dense(ints) = &self.corrections {
            ints.decode(more_planes, more_noise, n, corrections);
        }
        self.put_symbols(heads, n, kinds)?;
        if let Form::Summed(d) = self.form {
            if let Corrections::Sparse(..) = self.corrections {
                let mut sparse = vec![0; n];
                self.each_correction(heads, &[], |i, e| sparse[i] = e)?;
                *corrections = sparse;
            } else if let Corrections::None = self.corrections {
                corrections.clear();
            }
            decimal::undo_sum(whole, corrections, d, bits);
            resolve_sums(kinds, bits);
            return Ok(());
        }
        if kinds.contains(&AUTO) {
            self.each_correction(heads, corrections, |i, _| {
                if kinds[i] == AUTO {
                    kinds[i] = FLOAT;
                }
            })?;
            self.form.each_is_whole(whole, |i, is_whole| {
                if kinds[i] == AUTO {
                    kinds[i] = if is_whole { INT } else { FLOAT };
                }
            });
        }
        self.form.all_bits(whole, kinds, bits);
        self.each_correction(heads, corrections, |i, e| {
            bits[i] = bits[i].wrapping_add(e as u64);
        })
    }

    fn put_symbols(&self, heads: &[u8], n: usize, kinds: &mut Vec<u8>) -> Result<(), Flaw> {
        if self.symbol != RUNS {
            kinds.resize(n, self.symbol);
            return Ok(());
        }
        let mut cursor = Cursor::new(&heads[self.runs.1.clone()]);
        for _ in 0..self.runs.0 {
            let kind = cursor.byte()?;
            let len = cursor.size(n - kinds.len())?;
            kinds.resize(kinds.len() + len, kind);
        }
        Ok(())
    }

    /// Calls `f` with the row and the value of each correction that is not 0.
    fn each_correction(
        &self,
        heads: &[u8],
        dense: &[i64],
        mut f: impl FnMut(usize, i64),
    ) -> Result<(), Flaw> {
        match &self.corrections {
            Corrections::None => {}
            Corrections::Sparse(count, range) => {
                let mut cursor = Cursor::new(&heads[range.clone()]);
                let mut next = 0;
                for _ in 0..*count {
                    let i = next + cursor.varint()? as usize;
                    f(i, cursor.signed()?);
                    next = i + 1;
                }
            }
            Corrections::Dense(_) => {
                let each = dense.iter().enumerate().filter(|(_, e)| **e != 0);
                each.for_each(|(i, e)| f(i, *e));
            }
        }
        Ok(())
    }
}
