//! The address of a page with graphs: what one sees is what it holds.

use super::layout::segment;
use crate::pictures::is_muted;
use maud::{Markup, html};

/// A page's path, span, and what lies over its graphs; each empty where not asked.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// With all of it that stands before `?`.
    pub path: String,
    /// From and to as written; `None`: the overview.
    pub span: Option<(String, String)>,
    /// Muted fields, separated by commas.
    pub hide: String,
    /// Percentiles, separated by commas.
    pub pct: String,
    /// How much earlier the ghost is.
    pub ghost: String,
}

impl Address {
    fn overlays(&self) -> [(&'static str, &str); 3] {
        [("hide", &self.hide), ("pct", &self.pct), ("ghost", &self.ghost)]
    }

    /// What lies over the graphs, for a query that has begun: `&hide=idle`.
    pub fn over(&self) -> String {
        let given = self.overlays().into_iter().filter(|(_, text)| !text.is_empty());
        given.map(|(name, text)| format!("&{name}={}", segment(text))).collect()
    }

    /// The same as inputs of a form.
    pub fn inputs(&self) -> Markup {
        html! { @for (name, text) in self.overlays() { @if !text.is_empty() {
            input type="hidden" name=(name) value=(text);
        } } }
    }

    /// What a query begins or goes on with.
    fn joint(&self) -> char {
        if self.path.ends_with('?') || !self.path.contains('?') { '?' } else { '&' }
    }

    /// The address itself.
    pub fn url(&self) -> String {
        match &self.span {
            Some((from, to)) => self.of(from, to),
            None => self.overview(),
        }
    }

    /// Without a span.
    pub fn overview(&self) -> String {
        match self.over().strip_prefix('&') {
            Some(query) => format!("{}{}{query}", self.path, self.joint()),
            None => self.path.clone(),
        }
    }

    /// Of another span.
    pub fn of(&self, from: &str, to: &str) -> String {
        let over = self.over();
        let joint = self.joint();
        format!("{}{joint}from={}&to={}{over}", self.path, segment(from), segment(to))
    }

    /// With other muted fields.
    pub fn with_hide(&self, hide: &str) -> String {
        Address { hide: hide.to_owned(), ..self.clone() }.url()
    }

    /// With another ghost; empty: none.
    pub fn with_ghost(&self, ghost: &str) -> String {
        Address { ghost: ghost.to_owned(), ..self.clone() }.url()
    }

    /// With the field muted, or shown again.
    pub fn toggled_field(&self, field: &str) -> String {
        if !is_muted(&self.hide, field) {
            let comma = if self.hide.is_empty() { "" } else { "," };
            return self.with_hide(&format!("{}{comma}{field}", self.hide));
        }
        let rest = format!(",{},", self.hide).replacen(&format!(",{field},"), ",", 1);
        self.with_hide(rest.trim_matches(','))
    }

    /// With or without a percentile.
    pub fn toggled_percent(&self, percent: &str) -> String {
        let mut all: Vec<&str> =
            self.pct.split(',').map(str::trim).filter(|p| !p.is_empty()).collect();
        match all.iter().position(|p| *p == percent) {
            Some(at) => drop(all.remove(at)),
            None => all.push(percent),
        }
        Address { pct: all.join(","), ..self.clone() }.url()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_seen_is_kept() {
        let mut a = Address { path: "/node/a/b".into(), ..Address::default() };
        assert_eq!(a.url(), "/node/a/b");
        assert_eq!(a.toggled_field("x&y"), "/node/a/b?hide=x%26y");
        a.hide = "a,b,c".into();
        assert_eq!(a.toggled_field("b"), "/node/a/b?hide=a%2Cc");
        assert_eq!(a.toggled_field("d"), "/node/a/b?hide=a%2Cb%2Cc%2Cd");
        a.hide = "a".into();
        assert_eq!(a.toggled_field("a"), "/node/a/b");
        a.pct = "95".into();
        a.span = Some(("-1w".into(), "now".into()));
        assert_eq!(a.toggled_percent("99"), "/node/a/b?from=-1w&to=now&hide=a&pct=95%2C99");
        assert_eq!(a.toggled_percent("95"), "/node/a/b?from=-1w&to=now&hide=a");
        assert_eq!(a.with_ghost("1w"), "/node/a/b?from=-1w&to=now&hide=a&pct=95&ghost=1w");
    }
}
