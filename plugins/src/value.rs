//! One number as it was read: integer, float or unknown, to the bit.
//!
//! An integer stays an integer (2^53+1 comes back as 2^53+1) and a float keeps
//! every bit, the sign of zero and a NaN's payload included.

use std::fmt;

/// What a stored 64-bit cell means. The numbers are the wire's and the
/// history's; they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// The field was not read at this time: no sample at all (a gap).
    Absent = 0,
    /// Read, but the source could not say: Munin's `U`.
    Unknown = 1,
    /// An integer in `i64`'s range.
    Int = 2,
    /// An integer above `i64::MAX`.
    Uint = 3,
    /// An IEEE 754 double.
    Float = 4,
}

impl Kind {
    /// The kind with this wire number, if there is one.
    pub fn from_u8(byte: u8) -> Option<Kind> {
        Some(match byte {
            0 => Kind::Absent,
            1 => Kind::Unknown,
            2 => Kind::Int,
            3 => Kind::Uint,
            4 => Kind::Float,
            _ => return None,
        })
    }
}

/// A sample's value. [`PartialEq`] compares bits: NaN equals the same NaN, and
/// 0.0 differs from -0.0, because the history must tell them apart.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// Signed integer; the canonical form of every integer that fits.
    Int(i64),
    /// Integer above `i64::MAX`.
    Uint(u64),
    /// Double, any bit pattern.
    Float(f64),
    /// Munin's `U`.
    Unknown,
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        self.kind() == other.kind() && self.bits() == other.bits()
    }
}

impl Eq for Value {}

impl From<u64> for Value {
    /// The canonical form: [`Value::Int`] wherever it fits.
    fn from(v: u64) -> Value {
        i64::try_from(v).map_or(Value::Uint(v), Value::Int)
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Value {
        Value::Int(v)
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Value {
        Value::Float(v)
    }
}

impl Value {
    /// The kind that goes with [`Value::bits`].
    pub fn kind(self) -> Kind {
        match self {
            Value::Int(_) => Kind::Int,
            Value::Uint(_) => Kind::Uint,
            Value::Float(_) => Kind::Float,
            Value::Unknown => Kind::Unknown,
        }
    }

    /// The 64 bits that are stored; zero for unknown.
    pub fn bits(self) -> u64 {
        match self {
            Value::Int(v) => v as u64,
            Value::Uint(v) => v,
            Value::Float(v) => v.to_bits(),
            Value::Unknown => 0,
        }
    }

    /// The value of stored bits; `None` for [`Kind::Absent`].
    pub fn from_bits(kind: Kind, bits: u64) -> Option<Value> {
        Some(match kind {
            Kind::Absent => return None,
            Kind::Unknown => Value::Unknown,
            Kind::Int => Value::Int(bits as i64),
            Kind::Uint => Value::Uint(bits),
            Kind::Float => Value::Float(f64::from_bits(bits)),
        })
    }

    /// For drawing and thresholds only: the nearest double, `None` for unknown
    /// and for NaN.
    pub fn as_f64(self) -> Option<f64> {
        let v = match self {
            Value::Int(v) => v as f64,
            Value::Uint(v) => v as f64,
            Value::Float(v) => v,
            Value::Unknown => return None,
        };
        (!v.is_nan()).then_some(v)
    }

    /// Reads a number as Munin's master does: sign, decimals, exponents, `.5`,
    /// `5.`, `NaN`, `inf`, `U`. Digits alone become an integer when they fit 64
    /// bits. `None` for anything else (`0x10`, `1,5`, `50%`, `u`).
    pub fn parse(text: &str) -> Option<Value> {
        if text == "U" {
            return Some(Value::Unknown);
        }
        let body = text.strip_prefix(['-', '+']).unwrap_or(text);
        if !body.is_empty() && body.bytes().all(|b| b.is_ascii_digit()) {
            // "-0" keeps its sign only as a float.
            if text.starts_with('-') && body.bytes().all(|b| b == b'0') {
                return Some(Value::Float(-0.0));
            }
            let plain = text.strip_prefix('+').unwrap_or(text);
            if let Ok(v) = plain.parse::<i64>() {
                return Some(Value::Int(v));
            }
            if let Ok(v) = plain.parse::<u64>() {
                return Some(Value::Uint(v));
            }
        }
        let numeric = body.bytes().any(|b| b.is_ascii_digit())
            && body.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
        let lower = body.to_ascii_lowercase();
        if numeric || matches!(lower.as_str(), "nan" | "inf" | "infinity") {
            return text.parse::<f64>().ok().map(Value::Float);
        }
        None
    }
}

/// The text that [`Value::parse`] reads back to the same value: integers as
/// digits, floats in the shortest form that round-trips and that always shows
/// it is a float (`1.0`, `1e300`, `-0.0`), unknown as `U`. A NaN's payload is
/// the one thing that text cannot carry.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(v) => write!(f, "{v}"),
            Value::Uint(v) => write!(f, "{v}"),
            Value::Float(v) => write!(f, "{v:?}"),
            Value::Unknown => f.write_str("U"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_what_munin_accepts() {
        let cases = [
            ("9007199254740993", Value::Int(9_007_199_254_740_993)),
            ("18446744073709551615", Value::Uint(u64::MAX)),
            ("-5", Value::Int(-5)),
            ("+5", Value::Int(5)),
            (".5", Value::Float(0.5)),
            ("5.", Value::Float(5.0)),
            ("1.5e3", Value::Float(1500.0)),
            ("-0", Value::Float(-0.0)),
            ("U", Value::Unknown),
            ("inf", Value::Float(f64::INFINITY)),
            ("-inf", Value::Float(f64::NEG_INFINITY)),
        ];
        for (text, want) in cases {
            assert_eq!(Value::parse(text), Some(want), "{text}");
        }
        for text in ["u", "0x10", "1,5", "50%", "hello", "", "-", ".", "e5", "1e"] {
            assert_eq!(Value::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn display_round_trips(kind in 2u8..5, bits: u64) {
            let kind = Kind::from_u8(kind).expect("in range");
            let value = Value::from_bits(kind, bits).expect("not absent");
            let value = match value {
                Value::Uint(v) => Value::from(v),
                Value::Float(v) if v.is_nan() => Value::Float(f64::NAN),
                v => v,
            };
            prop_assert_eq!(Value::parse(&value.to_string()), Some(value));
        }

        #[test]
        fn bits_round_trip(kind in 1u8..5, bits: u64) {
            let kind = Kind::from_u8(kind).expect("in range");
            let value = Value::from_bits(kind, bits).expect("not absent");
            let bits = if kind == Kind::Unknown { 0 } else { bits };
            prop_assert_eq!((value.kind(), value.bits()), (kind, bits));
        }
    }
}
