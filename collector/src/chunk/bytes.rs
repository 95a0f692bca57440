//! Variable-length integers, and reading them without a panic.

/// What is wrong with bytes; whoever reads them knows which section it is.
pub type Flaw = &'static str;

const SHORT: Flaw = "a field runs past the end";

/// Small magnitudes of either sign as small numbers: 0, -1, 1, -2, …
pub fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub fn unzigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

/// Seven bits a byte, low ones first; the top bit says that more follow.
pub fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// [`put_varint`] of a signed number.
pub fn put_signed(out: &mut Vec<u8>, v: i64) {
    put_varint(out, zigzag(v));
}

/// Reads forward through bytes.
#[derive(Clone)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// From the start.
    pub fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// How far it is.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Flaw> {
        let rest = &self.bytes[self.at..];
        let got = rest.get(..n).ok_or(SHORT)?;
        self.at += n;
        Ok(got)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let got = self.bytes[self.at..].first_chunk::<N>().ok_or(SHORT)?;
        self.at += N;
        Ok(*got)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Flaw> {
        Ok(self.array::<1>()?[0])
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, Flaw> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, Flaw> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// The inverse of [`put_varint`].
    pub fn varint(&mut self) -> Result<u64, Flaw> {
        let mut v = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err("a number has more than 64 bits");
            }
            v |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(v);
            }
        }
        Err("a number has more than 64 bits")
    }

    /// The inverse of [`put_signed`].
    pub fn signed(&mut self) -> Result<i64, Flaw> {
        self.varint().map(unzigzag)
    }

    /// A count or a length of at most `max`.
    pub fn size(&mut self, max: usize) -> Result<usize, Flaw> {
        let v = self.varint()?;
        usize::try_from(v).ok().filter(|v| *v <= max).ok_or("a size exceeds its limit")
    }
}
