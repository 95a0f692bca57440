//! A field's `cdef` over its own value, for thresholds.
//!
//! Only expressions over the field itself and numbers are taken (`x,8,*`);
//! one that names a sibling field, or an operator that needs more than one
//! sample, is refused with its word, and the limits then apply to the value
//! without it.

use std::fmt::Write;

/// The most words of an expression.
pub const WORDS_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
enum Op {
    Own,
    Number(f64),
    Unary(fn(f64) -> f64),
    Binary(fn(f64, f64) -> f64),
    /// `A,B,C,IF`: B where A is not 0, else C.
    If,
    /// `A,B,C,LIMIT`: A where it is within B..C, else unknown.
    Limit,
    Dup,
    Exch,
    Pop,
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Rpn {
    ops: Vec<Op>,
}

fn flag(b: bool) -> f64 {
    f64::from(u8::from(b))
}

fn operator(word: &str) -> Option<Op> {
    Some(match word {
        "+" => Op::Binary(|a, b| a + b),
        "-" => Op::Binary(|a, b| a - b),
        "*" => Op::Binary(|a, b| a * b),
        "/" => Op::Binary(|a, b| if b == 0.0 { f64::NAN } else { a / b }),
        "%" => Op::Binary(|a, b| a % b),
        "LT" => Op::Binary(|a, b| flag(a < b)),
        "LE" => Op::Binary(|a, b| flag(a <= b)),
        "GT" => Op::Binary(|a, b| flag(a > b)),
        "GE" => Op::Binary(|a, b| flag(a >= b)),
        "EQ" => Op::Binary(|a, b| flag(a == b)),
        "NE" => Op::Binary(|a, b| flag(a != b)),
        // Unlike f64::min, either being unknown makes the result unknown.
        "MIN" => Op::Binary(|a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }),
        "MAX" => Op::Binary(|a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }),
        "ADDNAN" => Op::Binary(|a, b| match (a.is_nan(), b.is_nan()) {
            (true, _) => b,
            (_, true) => a,
            _ => a + b,
        }),
        "UN" => Op::Unary(|a| flag(a.is_nan())),
        "ABS" => Op::Unary(f64::abs),
        "FLOOR" => Op::Unary(f64::floor),
        "CEIL" => Op::Unary(f64::ceil),
        "SQRT" => Op::Unary(f64::sqrt),
        "LOG" => Op::Unary(f64::ln),
        "EXP" => Op::Unary(f64::exp),
        "IF" => Op::If,
        "LIMIT" => Op::Limit,
        "DUP" => Op::Dup,
        "EXC" | "EXCH" => Op::Exch,
        "POP" => Op::Pop,
        "UNKN" => Op::Number(f64::NAN),
        "INF" => Op::Number(f64::INFINITY),
        "NEGINF" => Op::Number(f64::NEG_INFINITY),
        _ => return None,
    })
}

impl Rpn {
    /// Compiles `text` for the field `own`. The stack's depth is checked here,
    /// so that evaluating cannot fail.
    pub fn compile(text: &str, own: &str) -> Result<Rpn, String> {
        let mut ops = Vec::new();
        let mut depth = 0usize;
        for word in text.trim().split(',').map(str::trim) {
            let op = if word == own {
                Op::Own
            } else if let Some(op) = operator(word) {
                op
            } else if let Some(v) = number(word) {
                Op::Number(v)
            } else {
                return Err(format!(
                    "cdef {text:?}: {word:?} is not {own}, a number or an operator"
                ));
            };
            let (takes, gives) = match op {
                Op::Own | Op::Number(_) => (0, 1),
                Op::Unary(_) => (1, 1),
                Op::Binary(_) => (2, 1),
                Op::If | Op::Limit => (3, 1),
                Op::Dup => (1, 2),
                Op::Exch => (2, 2),
                Op::Pop => (1, 0),
            };
            if depth < takes {
                return Err(format!("cdef {text:?}: {word:?} finds too few values"));
            }
            depth = depth - takes + gives;
            ops.push(op);
            if ops.len() > WORDS_MAX {
                let mut e = format!("cdef of {own}: more than {WORDS_MAX} words");
                let _ = write!(e, " ({} bytes)", text.len());
                return Err(e);
            }
        }
        match depth {
            1 => Ok(Rpn { ops }),
            _ => Err(format!("cdef {text:?}: leaves {depth} values instead of one")),
        }
    }

    /// The expression's value; `None` is unknown, both ways. No allocation.
    pub fn eval(&self, own: Option<f64>) -> Option<f64> {
        // Each word pushes at most one value net, and there are at most
        // WORDS_MAX words.
        let mut stack = [0.0f64; WORDS_MAX + 1];
        let mut n = 0;
        let own = own.unwrap_or(f64::NAN);
        for op in &self.ops {
            match *op {
                Op::Own => {
                    stack[n] = own;
                    n += 1;
                }
                Op::Number(v) => {
                    stack[n] = v;
                    n += 1;
                }
                Op::Unary(f) => stack[n - 1] = f(stack[n - 1]),
                Op::Binary(f) => {
                    n -= 1;
                    stack[n - 1] = f(stack[n - 1], stack[n]);
                }
                Op::If => {
                    n -= 2;
                    let test = stack[n - 1];
                    stack[n - 1] =
                        if test != 0.0 && !test.is_nan() { stack[n] } else { stack[n + 1] };
                }
                Op::Limit => {
                    n -= 2;
                    let within = stack[n - 1] >= stack[n] && stack[n - 1] <= stack[n + 1];
                    if !within {
                        stack[n - 1] = f64::NAN;
                    }
                }
                Op::Dup => {
                    stack[n] = stack[n - 1];
                    n += 1;
                }
                Op::Exch => stack.swap(n - 1, n - 2),
                Op::Pop => n -= 1,
            }
        }
        let v = stack[0];
        (!v.is_nan()).then_some(v)
    }
}

/// A finite number.
fn number(word: &str) -> Option<f64> {
    let good = word.bytes().any(|b| b.is_ascii_digit())
        && word.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    if good { word.parse().ok().filter(|v: &f64| v.is_finite()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn eval(text: &str, own: Option<f64>) -> Option<f64> {
        Rpn::compile(text, "x").expect(text).eval(own)
    }

    #[test]
    fn the_usual_ones() {
        assert_eq!(eval("x,8,*", Some(3.0)), Some(24.0));
        assert_eq!(eval("100,x,-", Some(3.0)), Some(97.0));
        assert_eq!(eval("x,UN,0,x,IF", None), Some(0.0));
        assert_eq!(eval("x,UN,0,x,IF", Some(2.0)), Some(2.0));
        assert_eq!(eval("x,0,10,LIMIT", Some(11.0)), None);
        assert_eq!(eval("x,0,/", Some(1.0)), None);
        assert_eq!(eval("x,8,*", None), None);
        assert_eq!(eval("x,DUP,*,1,EXCH,-", Some(3.0)), Some(-8.0));
        assert_eq!(eval("x,-1,*", Some(2.0)), Some(-2.0));
    }

    #[test]
    fn what_is_not_simple_is_refused_with_its_word() {
        for (text, word) in
            [("x,y,+", "\"y\""), ("x,+", "\"+\""), ("x,8", "2 values"), ("x,5,TREND", "TREND")]
        {
            let e = Rpn::compile(text, "x").expect_err(text);
            assert!(e.contains(word), "{e}");
        }
        assert!(Rpn::compile(&"x,".repeat(100), "x").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(words in proptest::collection::vec(
            prop::sample::select(vec!["x", "1", "+", "/", "IF", "LIMIT", "DUP", "EXC", "POP",
                "UN", "UNKN", "-1e9", "MAX"]), 0..80), own: f64) {
            if let Ok(rpn) = Rpn::compile(&words.join(","), "x") {
                let _ = rpn.eval(Some(own));
                let _ = rpn.eval(None);
            }
        }
    }
}
