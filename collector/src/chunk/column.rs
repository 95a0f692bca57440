//! One column's cells as whole numbers, kinds and corrections.
//!
//! A column's head (its form, its kinds, its corrections, the head of its
//! integers) and its byte planes are written apart: a part holds the heads of
//! all its columns, then the planes of all its columns.

use super::bytes::{Cursor, Flaw, put_signed, put_varint, unzigzag, zigzag};
use super::decimal::{self, Form, Scaled};
use super::ints::{self, IntsHead, IntsScratch};
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
    pub fn encode(
        &mut self,
        kinds: Kinds<'_>,
        bits: &[u64],
        head: &mut Vec<u8>,
        planes: &mut Vec<u8>,
    ) -> Coded {
        if let Kinds::All(kind) = kinds
            && (kind <= UNKNOWN || bits.iter().all(|b| *b == bits[0]))
        {
            return self.encode_constant(kind, bits[0], head);
        }
        let form = match kinds {
            Kinds::All(FLOAT) => {
                self.values.clear();
                self.values.extend(bits.iter().map(|b| f64::from_bits(*b)));
                self.scale_doubles()
            }
            Kinds::All(_) => {
                self.take_bits(|b| b as i64, bits);
                Form::Divided(0)
            }
            Kinds::Each(kinds) => self.scale_mixed(kinds, bits),
        };
        let known = self.known_symbol(kinds, form);
        let n_corrected = self.scaled.n_corrected;
        let max = self.scaled.corrections.iter().fold(0, |a, e| a | zigzag(*e));
        let n_planes = (64 - max.leading_zeros()).div_ceil(8) as usize;
        let corrections = match n_corrected {
            0 => 0,
            n if n * 2 > bits.len() * n_planes => DENSE,
            _ => SPARSE,
        };
        let symbol = match kinds {
            Kinds::All(kind) => kind,
            Kinds::Each(k) if known == AUTO && k.iter().all(|k| *k > UNKNOWN) => AUTO,
            Kinds::Each(_) => RUNS,
        };
        put_form(head, form, corrections, symbol);
        if let (RUNS, Kinds::Each(kinds)) = (symbol, kinds) {
            put_runs(head, kinds, known);
        }
        match corrections {
            SPARSE => self.put_sparse(head),
            DENSE => head.push(n_planes as u8),
            _ => {}
        }
        ints::encode(&self.scaled.whole, &mut self.ints, head, planes);
        if corrections == DENSE {
            for plane in 0..n_planes {
                let zigzags = self.scaled.corrections.iter().map(|e| zigzag(*e));
                planes.extend(zigzags.map(|u| (u >> (8 * plane)) as u8));
            }
        }
        let is_plain = corrections == 0 && symbol != RUNS;
        Coded { form, known, is_plain, is_constant: false }
    }

    fn encode_constant(&mut self, kind: u8, bits: u64, head: &mut Vec<u8>) -> Coded {
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
        put_form(head, form, 0, kind);
        ints::encode(&[whole], &mut self.ints, head, &mut Vec::new());
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
    fn scale_doubles(&mut self) -> Form {
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
        let form = self.scale_doubles();
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
        match (has(INT), has(UINT), has(FLOAT)) {
            (true, false, false) => return INT,
            (false, false, true) => return FLOAT,
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

fn put_form(head: &mut Vec<u8>, form: Form, corrections: u8, symbol: u8) {
    let code = match form {
        Form::Divided(0) => 0,
        Form::Divided(_) => 1,
        Form::Times(_) => 2,
        Form::Bits => 3,
    };
    head.push(code | corrections << 2 | symbol << 4);
    if let 1 | 2 = code {
        head.push(form.decimals());
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
    /// So many planes.
    Dense(usize),
}

impl ColumnHead {
    /// Reads the head of a column of `n` cells.
    pub fn read(cursor: &mut Cursor<'_>, n: usize) -> Result<ColumnHead, Flaw> {
        let flags = cursor.byte()?;
        let form = match flags & 3 {
            0 => Form::Divided(0),
            3 => Form::Bits,
            code => match cursor.byte()? {
                d if d > 15 => return Err("too many decimals"),
                d if code == 1 => Form::Divided(d),
                d => Form::Times(d),
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
            DENSE => match cursor.byte()? {
                planes @ 1..=8 => Corrections::Dense(usize::from(planes)),
                _ => return Err("too many planes of corrections"),
            },
            _ => return Err("an unknown kind of corrections"),
        };
        let ints = IntsHead::read(cursor)?;
        Ok(ColumnHead { form, symbol, runs, corrections, ints })
    }

    /// How many bytes of planes a column of `n` cells has.
    pub fn planes_len(&self, n: usize) -> usize {
        let dense = if let Corrections::Dense(planes) = self.corrections { planes } else { 0 };
        self.ints.planes_len(n) + dense * n
    }

    /// The cells of a column of `n` cells, out of its part's bytes and its own
    /// `planes`.
    pub fn decode(
        &self,
        part: &[u8],
        planes: &[u8],
        n: usize,
        whole: &mut Vec<i64>,
        kinds: &mut Vec<u8>,
        bits: &mut Vec<u64>,
    ) -> Result<(), Flaw> {
        let (planes, dense) = planes.split_at(self.ints.planes_len(n));
        self.ints.decode(planes, n, whole);
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
        self.put_symbols(part, n, kinds)?;
        if kinds.contains(&AUTO) {
            self.each_correction(part, dense, n, |i, _| {
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
        self.each_correction(part, dense, n, |i, e| bits[i] = bits[i].wrapping_add(e as u64))?;
        Ok(())
    }

    fn put_symbols(&self, part: &[u8], n: usize, kinds: &mut Vec<u8>) -> Result<(), Flaw> {
        if self.symbol != RUNS {
            kinds.resize(n, self.symbol);
            return Ok(());
        }
        let mut cursor = Cursor::new(&part[self.runs.1.clone()]);
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
        part: &[u8],
        dense: &[u8],
        n: usize,
        mut f: impl FnMut(usize, i64),
    ) -> Result<(), Flaw> {
        match &self.corrections {
            Corrections::None => {}
            Corrections::Sparse(count, range) => {
                let mut cursor = Cursor::new(&part[range.clone()]);
                let mut next = 0;
                for _ in 0..*count {
                    let i = next + cursor.size(n)?;
                    f(i, cursor.signed()?);
                    next = i + 1;
                }
            }
            Corrections::Dense(planes) => {
                for i in 0..n {
                    let bytes = (0..*planes).map(|p| u64::from(dense[p * n + i]) << (8 * p));
                    let e = unzigzag(bytes.fold(0, |a, b| a | b));
                    if e != 0 {
                        f(i, e);
                    }
                }
            }
        }
        Ok(())
    }
}
