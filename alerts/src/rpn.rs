//! A field's `cdef` over its own value, for thresholds.
//!
//! Only expressions over the field itself and numbers are taken (`x,8,*`);
//! one that names a sibling field, or an operator that needs more than one
//! sample, is refused with its word. Of those over siblings the machine makes the value
//! itself; no limit is judged on a value without its `cdef`.

use rookery_plugins::rpn;
use std::cell::RefCell;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Rpn(rpn::Rpn);

thread_local! {
    /// So that nothing is allocated for a value.
    static STACK: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

impl Rpn {
    /// Compiles `text` for the field `own`.
    pub fn compile(text: &str, own: &str) -> Result<Rpn, String> {
        let compiled = rpn::Rpn::parse(text, |word| (word == own).then_some(0));
        compiled.map(Rpn).map_err(|e| {
            let shown: String = text.chars().take(200).collect();
            format!("cdef {shown:?} of {own}: {e}")
        })
    }

    /// The expression's value; `None` is unknown, both ways.
    pub fn eval(&self, own: Option<f64>) -> Option<f64> {
        with_stack(|stack| self.0.eval(stack, |_| own))
    }
}

/// Scratch space for an evaluation.
pub(crate) fn with_stack<T>(eval: impl FnOnce(&mut Vec<f64>) -> T) -> T {
    STACK.with_borrow_mut(eval)
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
        assert!(Rpn::compile(&"x,".repeat(1000), "x").is_err());
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
