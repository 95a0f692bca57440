//! The numbers below a service's graphs: their legend. A click on a field mutes it.

use super::layout::{segment, state_badge};
use super::service::Shown;
use super::words::number;
use crate::graph::{Figures, Limits, Percentile, Theme, Unit, colours, figures};
use crate::pictures::mix::{field_text, mix_path};
use crate::pictures::{is_muted, percents};
use maud::{Markup, html};
use rookery_collector::history::{FieldRollup, Rollup};
use rookery_plugins::munin::EXTINFO;
use rookery_plugins::{FieldSpec, FieldType, ServiceSpec, State as FieldState};

/// A square in a field's colour, light or dark as the reader's system is; empty
/// where the field is muted.
pub fn swatch(colours: (&str, &str), is_muted: bool) -> Markup {
    let fill = |colour: &str| if is_muted { "none".to_owned() } else { colour.to_owned() };
    html! {
        svg.swatch width="12" height="12" aria-hidden="true" {
            @for (class, colour) in [("light", colours.0), ("dark", colours.1)] {
                rect class=(class) x="1" y="1" width="10" height="10" fill=(fill(colour))
                    stroke=(colour) stroke-width="2" {}
            }
        }
    }
}

/// Each drawn field's two colours, by name.
pub struct Swatches {
    light: Vec<(String, String)>,
    dark: Vec<(String, String)>,
}

impl Swatches {
    /// As the pictures of this rollup have them.
    pub fn of(rollup: &Rollup) -> Swatches {
        Swatches { light: colours(rollup, Theme::Light), dark: colours(rollup, Theme::Dark) }
    }

    /// `None`: the field is not drawn.
    pub fn get(&self, field: &str) -> Option<(&str, &str)> {
        let at = self.light.iter().position(|(name, _)| name == field)?;
        Some((self.light[at].1.as_str(), self.dark[at].1.as_str()))
    }
}

/// What the rows share.
struct Table<'a> {
    shown: &'a Shown<'a>,
    swatches: Swatches,
    percentiles: Vec<Percentile>,
    percents: Vec<f64>,
    /// The legend's numbers of each field.
    figures: Vec<Figures>,
    has_growth: bool,
}

/// The table of all fields over the span.
pub fn table(shown: &Shown, rollup: &Rollup) -> Markup {
    let address = &shown.address;
    let asked = percents(Some(&address.pct)).unwrap_or_default();
    let muted: Vec<String> = rollup
        .fields
        .iter()
        .filter(|f| is_muted(&address.hide, &f.spec.name))
        .map(|f| f.spec.name.clone())
        .collect();
    // The picture's own span: its lines are the same.
    let span = (rollup.from_ms, shown.picture.to_ms, rollup.step_ms);
    let figures = figures(rollup);
    let read = shown.view.app.percentiles(shown.node, rollup, span, (&muted, &asked));
    let (percentiles, fault) = match read {
        Ok(percentiles) => (percentiles, None),
        Err(e) => (Vec::new(), Some(e.text)),
    };
    let table = Table {
        shown,
        swatches: Swatches::of(rollup),
        percentiles,
        percents: asked.iter().map(|p| f64::from(*p) / 1000.0).collect(),
        has_growth: !Unit::of(&rollup.spec).is_share() && figures.iter().any(|f| f.total.is_some()),
        figures,
    };
    let local = |ms: i64| shown.view.local(ms);
    html! {
        h2 id="numbers" { "Numbers"
            span.more.soft { (local(shown.from_ms)) " to " (local(shown.to_ms)) }
            a.more href=(shown.export(None, "csv")) { "exact samples as CSV" }
            a.more href=(shown.export(None, "json")) { "JSON" }
        }
        @if let Some(fault) = fault { p.soft { (fault) } }
        (table.sums())
        div.scroll { table {
            thead { tr {
                th { "field" } th.n { "cur" } th.n { "min" } th.n { "avg" } th.n { "max" }
                @for p in &table.percents { th.n { (p) " %" } }
                @if table.has_growth { th.n { "total" } }
                th.n { "warning" } th.n { "critical" } th { "state" } th { "exact" }
            } }
            tbody {
                @for (i, field) in rollup.fields.iter().enumerate() {
                    @if shown.field.is_none_or(|f| f == field.spec.name) { (table.field(i, field)) }
                }
            }
        } }
    }
}

/// The field on a graph to which others can be added.
fn alone(shown: &Shown, field: &str) -> String {
    let text = field_text(shown.node, &shown.info.spec.name, field);
    format!("{}&from={}&to={}", mix_path(&[text]), segment(shown.from), segment(shown.to))
}

/// What stands below a field's label: its name, unless the label is the name.
fn about(spec: &FieldSpec, service: &ServiceSpec) -> String {
    let mut parts: Vec<&str> = Vec::new();
    if spec.label_or_name() != spec.name {
        parts.push(&spec.name);
    }
    // As it is stored: what is drawn by the minute is a level by now.
    let stored = service.field(&spec.name).unwrap_or(spec);
    if stored.kind != FieldType::Gauge {
        parts.push(match service.per(stored.kind) {
            60.0 => "per minute",
            3600.0 => "per hour",
            _ => "per second",
        });
    }
    let head = parts.join(", ");
    match (head.is_empty(), spec.info.is_empty()) {
        (_, true) => head,
        (true, _) => spec.info.clone(),
        _ => format!("{head}: {}", spec.info),
    }
}

impl Table<'_> {
    fn number(&self, v: f64) -> String {
        number(v, &self.shown.info.spec)
    }

    /// The percentiles of the stack.
    fn sums(&self) -> Markup {
        let of: Vec<&Percentile> = self.percentiles.iter().filter(|p| p.field.is_none()).collect();
        html! { @if !of.is_empty() {
            p { "The stack's sum:" @for p in of { " " (p.percent) " % " b { (self.number(p.value)) } } }
        } }
    }

    /// The label, which mutes the field or brings it back.
    fn name(&self, field: &FieldRollup) -> Markup {
        let (spec, address) = (&field.spec, &self.shown.address);
        let muted = is_muted(&address.hide, &spec.name);
        let label = spec.label_or_name();
        html! {
            @if let Some(colours) = self.swatches.get(&spec.name) {
                a.legend href=(address.toggled_field(&spec.name)) rel="nofollow"
                    aria-pressed=(muted) data-mute=(spec.name)
                    title={ (if muted { "show " } else { "mute " }) (label) } {
                    (swatch(colours, muted)) " " (label)
                }
            } @else { (label) }
            " " span.soft { (about(spec, &self.shown.info.spec)) }
            @if let Some(more) = spec.extra.get(EXTINFO) { div.soft { (more) } }
        }
    }

    fn field(&self, i: usize, field: &FieldRollup) -> Markup {
        let (shown, spec) = (self.shown, &field.spec);
        let service = &shown.info.spec.name;
        let states = &shown.view.app.states;
        let figures = self.figures.get(i).copied().unwrap_or_default();
        let told = |v: Option<f64>| v.map_or("–".to_owned(), |v| self.number(v));
        let total = Unit::of(&shown.info.spec).total();
        let (warning, critical) = states.field_limits(shown.node, service, &spec.name);
        // In the unit of the other numbers.
        let stored = shown.info.spec.field(&spec.name).unwrap_or(spec);
        let drawn = |limit: Option<String>| Limits::drawn(&shown.info.spec, stored, &limit?);
        let (warning, critical) = (drawn(warning), drawn(critical));
        let state = states.field_state(shown.node, service, &spec.name);
        let percentile = |p: &f64| {
            let own = |q: &&Percentile| q.field.as_ref() == Some(&spec.name) && q.percent == *p;
            self.percentiles.iter().find(own).map_or("–".to_owned(), |q| self.number(q.value))
        };
        html! {
            tr id={ "field-" (segment(&spec.name)) } {
                td { (self.name(field)) }
                td.n { (told(figures.cur)) }
                td.n { (told(figures.min)) }
                td.n { (told(figures.avg)) }
                td.n { (told(figures.max)) }
                @for p in &self.percents { td.n { (percentile(p)) } }
                @if self.has_growth {
                    td.n { (figures.total.map_or(String::new(), |v| total.text(v))) }
                }
                td.n { (warning.unwrap_or_default()) }
                td.n { (critical.unwrap_or_default()) }
                td { @if state != FieldState::Ok { (state_badge(state, true)) } @else { "OK" } }
                td { a href=(shown.export(Some(&spec.name), "csv")) { "CSV" } " "
                    a href=(shown.export(Some(&spec.name), "json")) { "JSON" } " "
                    a href=(alone(shown, &spec.name)) rel="nofollow"
                        title="on a graph with fields of other services" { "graph" } }
            }
        }
    }
}
