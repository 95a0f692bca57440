//! Values in a rule that are written as text: ranges, expressions and spans of time.

use crate::expression::Expression;
use rookery_plugins::{Range, config};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;
use std::sync::Arc;

/// A limit in a rule: a range, or none at all (`""`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit(pub Option<Range>);

/// `"~:80"`, `80` (the same as `"80"`), or `""` for no limit.
impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limit, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Nagios range such as \"~:80\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                match text {
                    "" => Ok(Limit(None)),
                    text => text.parse().map(|r| Limit(Some(r))).map_err(E::custom),
                }
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Limit, E> {
                self.visit_str(&v.to_string())
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Limit, E> {
                self.visit_str(&v.to_string())
            }

            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Limit, E> {
                self.visit_str(&v.to_string())
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// An expression, `"hits / (hits + misses)"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula(pub Arc<Expression>);

impl<'de> Deserialize<'de> for Formula {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Formula, D::Error> {
        let text = String::deserialize(deserializer)?;
        Expression::compile(&text).map(|e| Formula(Arc::new(e))).map_err(de::Error::custom)
    }
}

/// A span of time, `"4h"`, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub i64);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ms = config::parse_span_ms(&text).map_err(de::Error::custom)?;
        i64::try_from(ms).map(Span).map_err(de::Error::custom)
    }
}
