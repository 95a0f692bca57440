//! Munin's `cdef`: rrdtool's RPN over a field and its siblings, at one time.
//!
//! Known are numbers, fields' names, arithmetic, comparison and what looks at several
//! values of the stack, if their number is written (`a,b,c,3,AVG`). What looks at other
//! times or at the graph itself (PREV, TREND, TIME, COUNT …) is not. A test runs
//! rrdtool beside it.

use std::cmp::Ordering;

/// The most words of an expression; longer ones are refused.
pub const WORDS_MAX: usize = 500;

#[derive(Clone, Copy, Debug)]
enum Op {
    Number(f64),
    /// The value of the field with this index.
    Field(usize),
    Unary(fn(f64) -> f64),
    Add,
    Sub,
    Mul,
    Div,
    Binary(fn(f64, f64) -> f64),
    /// `A,B,C,IF`: B where A is known and not 0, else C.
    If,
    /// `A,B,C,LIMIT`: A where it is within B..C, else unknown.
    Limit,
    Dup,
    Exc,
    Pop,
    /// One of so many values; those that are unknown do not count.
    Of(fn(&mut [f64]) -> f64, usize),
    /// So many values in another order.
    Order(fn(&mut [f64]), usize),
}

/// A checked expression: it never lacks a value and leaves exactly one.
#[derive(Clone, Debug)]
pub struct Rpn {
    ops: Vec<Op>,
}

impl Rpn {
    /// Reads an expression; `field` finds a name's index. The error names the word that
    /// is not understood.
    pub fn parse(text: &str, field: impl Fn(&str) -> Option<usize>) -> Result<Rpn, String> {
        let mut ops = Vec::new();
        let mut depth = 0usize;
        for word in text.split(',').map(str::trim) {
            // A field may be called as an operator is; Munin prefers the field.
            let op = match field(word) {
                Some(index) => Op::Field(index),
                None => match several(word, &ops, depth) {
                    Some(op) => {
                        // Their number is no value.
                        ops.pop();
                        depth -= 1;
                        op
                    }
                    None => operator(word).ok_or_else(|| format!("{word:?} is not known"))?,
                },
            };
            let (takes, gives) = op.arity();
            depth = depth.checked_sub(takes).ok_or_else(|| format!("{word:?} lacks a value"))?;
            depth += gives;
            ops.push(op);
            if ops.len() > WORDS_MAX {
                return Err(format!("more than {WORDS_MAX} words"));
            }
        }
        if depth != 1 {
            return Err(format!("it leaves {depth} values, not one"));
        }
        Ok(Rpn { ops })
    }

    /// The indices of the fields that it names, each once, in their order.
    pub fn fields(&self) -> Vec<usize> {
        let mut out = Vec::new();
        for op in &self.ops {
            if let Op::Field(i) = op
                && !out.contains(i)
            {
                out.push(*i);
            }
        }
        out
    }

    /// `(a, b)` where the value is `a * v + b` of this one field's value `v`, and unknown
    /// where that is: then means and extremes of values are those of the field after it,
    /// too. `None`: it is something else, or cannot be told to be so.
    pub fn linear(&self, field: usize) -> Option<(f64, f64)> {
        let mut stack: Vec<(f64, f64)> = Vec::new();
        for op in &self.ops {
            let value = match op {
                Op::Number(n) => (0.0, *n),
                Op::Field(i) if *i == field => (1.0, 0.0),
                Op::Add | Op::Sub | Op::Mul | Op::Div => {
                    let (b, a) = (stack.pop()?, stack.pop()?);
                    match op {
                        Op::Add => (a.0 + b.0, a.1 + b.1),
                        Op::Sub => (a.0 - b.0, a.1 - b.1),
                        Op::Mul if b.0 == 0.0 => (a.0 * b.1, a.1 * b.1),
                        Op::Mul if a.0 == 0.0 => (a.1 * b.0, a.1 * b.1),
                        Op::Div if b.0 == 0.0 && b.1 != 0.0 => (a.0 / b.1, a.1 / b.1),
                        _ => return None,
                    }
                }
                _ => return None,
            };
            stack.push(value);
        }
        stack.pop().filter(|(a, b)| a.is_finite() && *a != 0.0 && b.is_finite())
    }

    /// The value; `None`: unknown. `stack` is scratch space, so that thousands of values
    /// need no allocation.
    pub fn eval(&self, stack: &mut Vec<f64>, field: impl Fn(usize) -> Option<f64>) -> Option<f64> {
        stack.clear();
        for op in &self.ops {
            step(*op, stack, &field)?;
        }
        stack.pop().filter(|v| !v.is_nan())
    }
}

/// 1 where it holds, 0 where not, unknown where one of both is.
fn compare(a: f64, b: f64, holds: fn(Ordering) -> bool) -> f64 {
    a.partial_cmp(&b).map_or(f64::NAN, |order| f64::from(u8::from(holds(order))))
}

/// The one that is known; with two, what `of` makes of them.
fn nan_or(a: f64, b: f64, of: fn(f64, f64) -> f64) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ => of(a, b),
    }
}

/// Unlike `f64::min`, either being unknown makes the result unknown.
fn known(a: f64, b: f64, of: fn(f64, f64) -> f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { of(a, b) }
}

fn operator(word: &str) -> Option<Op> {
    Some(match word {
        "+" => Op::Add,
        "-" => Op::Sub,
        "*" => Op::Mul,
        "/" => Op::Div,
        "%" => Op::Binary(|a, b| a % b),
        "LT" => Op::Binary(|a, b| compare(a, b, Ordering::is_lt)),
        "LE" => Op::Binary(|a, b| compare(a, b, Ordering::is_le)),
        "GT" => Op::Binary(|a, b| compare(a, b, Ordering::is_gt)),
        "GE" => Op::Binary(|a, b| compare(a, b, Ordering::is_ge)),
        "EQ" => Op::Binary(|a, b| compare(a, b, Ordering::is_eq)),
        "NE" => Op::Binary(|a, b| compare(a, b, Ordering::is_ne)),
        "MIN" => Op::Binary(|a, b| known(a, b, f64::min)),
        "MAX" => Op::Binary(|a, b| known(a, b, f64::max)),
        "MINNAN" => Op::Binary(|a, b| nan_or(a, b, f64::min)),
        "MAXNAN" => Op::Binary(|a, b| nan_or(a, b, f64::max)),
        "ADDNAN" => Op::Binary(|a, b| nan_or(a, b, |a, b| a + b)),
        "POW" => Op::Binary(f64::powf),
        "ATAN2" => Op::Binary(f64::atan2),
        "UN" => Op::Unary(|a| f64::from(u8::from(a.is_nan()))),
        "ISINF" => Op::Unary(|a| f64::from(u8::from(a.is_infinite()))),
        "ABS" => Op::Unary(f64::abs),
        "FLOOR" => Op::Unary(f64::floor),
        "CEIL" => Op::Unary(f64::ceil),
        "SQRT" => Op::Unary(f64::sqrt),
        "LOG" => Op::Unary(f64::ln),
        "EXP" => Op::Unary(f64::exp),
        "SIN" => Op::Unary(f64::sin),
        "COS" => Op::Unary(f64::cos),
        "ATAN" => Op::Unary(f64::atan),
        "DEG2RAD" => Op::Unary(f64::to_radians),
        "RAD2DEG" => Op::Unary(f64::to_degrees),
        "IF" => Op::If,
        "LIMIT" => Op::Limit,
        "DUP" => Op::Dup,
        "EXC" | "EXCH" => Op::Exc,
        "POP" => Op::Pop,
        "UNKN" => Op::Number(f64::NAN),
        "INF" => Op::Number(f64::INFINITY),
        "NEGINF" => Op::Number(f64::NEG_INFINITY),
        _ => {
            let number = word.bytes().any(|b| b.is_ascii_digit());
            let known = word.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
            let value = word.parse().ok().filter(|v: &f64| number && known && v.is_finite());
            Op::Number(value?)
        }
    })
}

/// What looks at as many values as the number before it says.
fn several(word: &str, ops: &[Op], depth: usize) -> Option<Op> {
    let Some(Op::Number(n)) = ops.last() else { return None };
    // The number itself is on the stack, too.
    let n = (n.fract() == 0.0 && *n >= 1.0 && *n < depth as f64).then_some(*n as usize)?;
    Some(match word {
        "AVG" => Op::Of(|v| v.iter().sum::<f64>() / v.len() as f64, n),
        "SMIN" => Op::Of(|v| v.iter().copied().fold(f64::NAN, f64::min), n),
        "SMAX" => Op::Of(|v| v.iter().copied().fold(f64::NAN, f64::max), n),
        "MEDIAN" => Op::Of(median, n),
        "STDEV" => Op::Of(deviation, n),
        "SORT" => Op::Order(|v| v.sort_by(f64::total_cmp), n),
        "REV" => Op::Order(|v| v.reverse(), n),
        _ => return None,
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

fn deviation(values: &mut [f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

impl Op {
    /// How many values it takes from the stack, and how many it leaves.
    fn arity(self) -> (usize, usize) {
        match self {
            Op::Number(_) | Op::Field(_) => (0, 1),
            Op::Unary(_) => (1, 1),
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Binary(_) => (2, 1),
            Op::Dup => (1, 2),
            Op::Pop => (1, 0),
            Op::Exc => (2, 2),
            Op::If | Op::Limit => (3, 1),
            Op::Of(_, n) => (n, 1),
            Op::Order(_, n) => (n, n),
        }
    }
}

/// What is made of the two values on top.
fn two(stack: &mut Vec<f64>, of: impl Fn(f64, f64) -> f64) -> Option<f64> {
    let (b, a) = (stack.pop()?, stack.pop()?);
    Some(of(a, b))
}

/// One step; unknown is NaN on the stack. `None` cannot happen in a checked expression.
fn step(op: Op, stack: &mut Vec<f64>, field: &impl Fn(usize) -> Option<f64>) -> Option<()> {
    let result = match op {
        Op::Number(n) => n,
        Op::Field(i) => field(i).unwrap_or(f64::NAN),
        Op::Unary(of) => of(stack.pop()?),
        Op::Add => two(stack, |a, b| a + b)?,
        Op::Sub => two(stack, |a, b| a - b)?,
        Op::Mul => two(stack, |a, b| a * b)?,
        Op::Div => two(stack, |a, b| if b == 0.0 { f64::NAN } else { a / b })?,
        Op::Binary(of) => {
            let (b, a) = (stack.pop()?, stack.pop()?);
            of(a, b)
        }
        Op::Dup => *stack.last()?,
        Op::Pop => {
            stack.pop()?;
            return Some(());
        }
        Op::Exc => {
            let at = stack.len().checked_sub(2)?;
            stack.swap(at, at + 1);
            return Some(());
        }
        Op::If => {
            let (no, yes, test) = (stack.pop()?, stack.pop()?, stack.pop()?);
            if test == 0.0 || test.is_nan() { no } else { yes }
        }
        Op::Limit => {
            let (high, low, v) = (stack.pop()?, stack.pop()?, stack.pop()?);
            if v >= low && v <= high { v } else { f64::NAN }
        }
        Op::Of(of, n) => {
            let mut values = stack.split_off(stack.len().checked_sub(n)?);
            values.retain(|v| !v.is_nan());
            of(&mut values)
        }
        Op::Order(of, n) => {
            let at = stack.len().checked_sub(n)?;
            of(&mut stack[at..]);
            return Some(());
        }
    };
    stack.push(result);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(name: &str) -> Option<usize> {
        ["a", "b", "nothing", "MAX2"].iter().position(|n| *n == name)
    }

    fn run(text: &str) -> Option<f64> {
        let rpn = Rpn::parse(text, names).expect(text);
        rpn.eval(&mut Vec::new(), |i| [Some(6.0), Some(4.0), None, Some(1.0)][i])
    }

    #[test]
    fn expressions_are_computed() {
        let cases = [
            ("a,8,*", Some(48.0)),
            ("a,b,-", Some(2.0)),
            ("a,b,%", Some(2.0)),
            ("a,100,*,a,b,+,/", Some(60.0)),
            ("a,0,/", None),
            ("nothing,1,+", None),
            ("nothing,UN,0,nothing,IF", Some(0.0)),
            ("a,b,GT,a,b,IF", Some(6.0)),
            ("a,b,LT,a,b,IF", Some(4.0)),
            ("a,b,MIN,a,b,MAX,EXC,/", Some(1.5)),
            ("a,DUP,*", Some(36.0)),
            ("a,b,POP", Some(6.0)),
            ("a,0,5,LIMIT", None),
            ("a,0,10,LIMIT", Some(6.0)),
            ("16,SQRT,-2.5,ABS,+,CEIL", Some(7.0)),
            ("1,EXP,LOG", Some(1.0)),
            ("nothing,3,ADDNAN", Some(3.0)),
            (" a , 1e3 , / ", Some(0.006)),
            ("-1,SQRT", None),
            ("nothing,a,b,IF", Some(4.0)),
            ("nothing,1,GT", None),
            ("2,a,POW,nothing,MINNAN", Some(64.0)),
            ("a,b,nothing,3,AVG", Some(5.0)),
            ("1,b,a,9,4,MEDIAN", Some(5.0)),
            ("a,b,2,SORT,-", Some(-2.0)),
        ];
        for (text, value) in cases {
            assert_eq!(run(text), value, "{text}");
        }
    }

    #[test]
    fn what_is_linear_is_known_to_be_so() {
        let linear = |text: &str| Rpn::parse(text, names).expect(text).linear(0);
        assert_eq!(linear("a,8,*"), Some((8.0, 0.0)));
        assert_eq!(linear("100,a,-"), Some((-1.0, 100.0)));
        assert_eq!(linear("a,2,/,3,a,*,+,1,-"), Some((3.5, -1.0)));
        assert_eq!(linear("a"), Some((1.0, 0.0)));
        for other in [
            "a,b,+",
            "b",
            "a,a,*",
            "1,a,/",
            "a,0,/",
            "5",
            "a,UN,0,a,IF",
            "a,a,-",
            "a,DUP,+",
            "a,INF,*",
            "a,0,10,LIMIT",
        ] {
            assert_eq!(linear(other), None, "{other}");
        }
        let fields = |text: &str| Rpn::parse(text, names).expect(text).fields();
        assert_eq!(fields("b,a,/,b,+"), [1, 0]);
        assert!(fields("1,2,+").is_empty());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, word) in [
            ("a,TREND", "TREND"),
            ("a,c,+", "\"c\""),
            ("+", "\"+\""),
            ("a,b", "2 values"),
            ("", "\"\""),
            ("a,POP", "0 values"),
            ("a,2,AVG", "AVG"),
            ("a,b,b,AVG", "AVG"),
            ("a,nan,+", "nan"),
        ] {
            let e = Rpn::parse(text, names).expect_err(text);
            assert!(e.contains(word), "{text}: {e}");
        }
        let endless = "1,".repeat(WORDS_MAX + 2);
        assert!(Rpn::parse(&endless, names).expect_err("long").contains("500"));
    }

    proptest! {
        #[test]
        fn no_expression_panics(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b", "nothing", "1", "0", "1e308", "INF", "+", "-", "*", "/", "%", "IF",
                    "LIMIT", "DUP", "EXC", "POP", "UN", "LOG", "SQRT", "MIN", "EXP", "GT", "x", "2", "AVG", "SORT",
                    "MEDIAN",
                ]),
                0..12,
            ),
        ) {
            if let Ok(rpn) = Rpn::parse(&words.join(","), names) {
                let v = rpn.eval(&mut Vec::new(), |i| [Some(1.0), Some(-0.0), None][i]);
                prop_assert!(!v.is_some_and(f64::is_nan));
            }
        }
    }
}
