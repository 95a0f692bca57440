//! Munin's `cdef`: rrdtool's RPN over a field and its siblings, on one bucket.
//!
//! Known are numbers, fields' names, arithmetic and comparison. What looks at
//! other times or at the graph itself (PREV, TREND, TIME, COUNT …) is not: such
//! a field is drawn as it is.

/// The most words of an expression; longer ones are refused.
const MAX_WORDS: usize = 500;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Number(f64),
    /// The value of the field with this index.
    Field(usize),
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Abs,
    Ceil,
    Floor,
    Min,
    Max,
    If,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    Un,
    Dup,
    Exc,
    Pop,
    Limit,
    Sqrt,
    Log,
    Exp,
    AddNan,
}

/// A checked expression: it never underflows and leaves exactly one value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cdef {
    ops: Vec<Op>,
}

impl Cdef {
    /// Reads an expression; `field` finds a name's index. The error names the
    /// word that is not understood.
    pub(crate) fn parse(text: &str, field: impl Fn(&str) -> Option<usize>) -> Result<Cdef, String> {
        let mut ops = Vec::new();
        let mut depth = 0usize;
        for word in text.split(',').map(str::trim) {
            // A field may be called as an operator is; Munin prefers the field.
            let op = match field(word) {
                Some(index) => Op::Field(index),
                None => operator(word).ok_or_else(|| format!("{word:?} is not known"))?,
            };
            let (takes, gives) = op.arity();
            depth = depth.checked_sub(takes).ok_or_else(|| format!("{word:?} lacks a value"))?;
            depth += gives;
            ops.push(op);
            if ops.len() > MAX_WORDS {
                return Err(format!("more than {MAX_WORDS} words"));
            }
        }
        if depth != 1 {
            return Err(format!("it leaves {depth} values, not one"));
        }
        Ok(Cdef { ops })
    }

    /// The value; `None`: unknown. `stack` is scratch space, so that thousands
    /// of buckets need no allocation.
    pub(crate) fn eval(
        &self,
        stack: &mut Vec<f64>,
        field: impl Fn(usize) -> Option<f64>,
    ) -> Option<f64> {
        stack.clear();
        for op in &self.ops {
            step(*op, stack, &field)?;
        }
        stack.pop().filter(|v| !v.is_nan())
    }
}

fn operator(word: &str) -> Option<Op> {
    Some(match word {
        "+" => Op::Add,
        "-" => Op::Sub,
        "*" => Op::Mul,
        "/" => Op::Div,
        "%" => Op::Mod,
        "ABS" => Op::Abs,
        "CEIL" => Op::Ceil,
        "FLOOR" => Op::Floor,
        "MIN" => Op::Min,
        "MAX" => Op::Max,
        "IF" => Op::If,
        "LT" => Op::Lt,
        "LE" => Op::Le,
        "GT" => Op::Gt,
        "GE" => Op::Ge,
        "EQ" => Op::Eq,
        "NE" => Op::Ne,
        "UN" => Op::Un,
        "DUP" => Op::Dup,
        "EXC" => Op::Exc,
        "POP" => Op::Pop,
        "LIMIT" => Op::Limit,
        "SQRT" => Op::Sqrt,
        "LOG" => Op::Log,
        "EXP" => Op::Exp,
        "ADDNAN" => Op::AddNan,
        "UNKN" => Op::Number(f64::NAN),
        "INF" => Op::Number(f64::INFINITY),
        "NEGINF" => Op::Number(f64::NEG_INFINITY),
        _ => {
            let number = word.bytes().any(|b| b.is_ascii_digit());
            let known = word.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
            Op::Number(word.parse().ok().filter(|_| number && known)?)
        }
    })
}

impl Op {
    /// How many values it takes from the stack, and how many it leaves.
    fn arity(self) -> (usize, usize) {
        match self {
            Op::Number(_) | Op::Field(_) => (0, 1),
            Op::Abs | Op::Ceil | Op::Floor | Op::Un | Op::Sqrt | Op::Log | Op::Exp => (1, 1),
            Op::Dup => (1, 2),
            Op::Pop => (1, 0),
            Op::Exc => (2, 2),
            Op::If | Op::Limit => (3, 1),
            _ => (2, 1),
        }
    }
}

/// One step; unknown is NaN on the stack. `None` cannot happen in a checked
/// expression.
fn step(op: Op, stack: &mut Vec<f64>, field: &impl Fn(usize) -> Option<f64>) -> Option<()> {
    let truth = |known: bool, b: bool| if known { f64::from(u8::from(b)) } else { f64::NAN };
    let result = match op {
        Op::Number(n) => n,
        Op::Field(i) => field(i).unwrap_or(f64::NAN),
        Op::Abs => stack.pop()?.abs(),
        Op::Ceil => stack.pop()?.ceil(),
        Op::Floor => stack.pop()?.floor(),
        Op::Sqrt => stack.pop()?.sqrt(),
        Op::Log => stack.pop()?.ln(),
        Op::Exp => stack.pop()?.exp(),
        Op::Un => f64::from(u8::from(stack.pop()?.is_nan())),
        Op::Dup => *stack.last()?,
        Op::Pop => {
            stack.pop()?;
            return Some(());
        }
        Op::Exc => {
            let n = stack.len();
            if n < 2 {
                return None;
            }
            stack.swap(n - 1, n - 2);
            return Some(());
        }
        Op::If => {
            let (no, yes, test) = (stack.pop()?, stack.pop()?, stack.pop()?);
            // As in rrdtool, an unknown test counts as true: it is not zero.
            if test == 0.0 { no } else { yes }
        }
        Op::Limit => {
            let (high, low, v) = (stack.pop()?, stack.pop()?, stack.pop()?);
            if v >= low && v <= high { v } else { f64::NAN }
        }
        _ => {
            let (b, a) = (stack.pop()?, stack.pop()?);
            let known = !a.is_nan() && !b.is_nan();
            match op {
                Op::Add => a + b,
                Op::Sub => a - b,
                Op::Mul => a * b,
                Op::Div if b == 0.0 => f64::NAN,
                Op::Div => a / b,
                Op::Mod => a % b,
                Op::Min if known => a.min(b),
                Op::Max if known => a.max(b),
                Op::Lt => truth(known, a < b),
                Op::Le => truth(known, a <= b),
                Op::Gt => truth(known, a > b),
                Op::Ge => truth(known, a >= b),
                Op::Eq => truth(known, a == b),
                Op::Ne => truth(known, a != b),
                Op::AddNan if a.is_nan() => b,
                Op::AddNan if b.is_nan() => a,
                Op::AddNan => a + b,
                _ => f64::NAN,
            }
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
        let cdef = Cdef::parse(text, names).expect(text);
        cdef.eval(&mut Vec::new(), |i| [Some(6.0), Some(4.0), None, Some(1.0)][i])
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
        ];
        for (text, value) in cases {
            assert_eq!(run(text), value, "{text}");
        }
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
            ("a,nan,+", "nan"),
        ] {
            let e = Cdef::parse(text, names).expect_err(text);
            assert!(e.contains(word), "{text}: {e}");
        }
        let endless = "1,".repeat(MAX_WORDS + 2);
        assert!(Cdef::parse(&endless, names).expect_err("long").contains("500"));
    }

    proptest! {
        #[test]
        fn no_expression_panics(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b", "nothing", "1", "0", "1e308", "INF", "+", "-", "*", "/", "%", "IF",
                    "LIMIT", "DUP", "EXC", "POP", "UN", "LOG", "SQRT", "MIN", "EXP", "GT", "x",
                ]),
                0..12,
            ),
        ) {
            if let Ok(cdef) = Cdef::parse(&words.join(","), names) {
                let v = cdef.eval(&mut Vec::new(), |i| [Some(1.0), Some(-0.0), None][i]);
                prop_assert!(!v.is_some_and(f64::is_nan));
            }
        }
    }
}
