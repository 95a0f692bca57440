//! `/api/v1/nodes` and `/api/v1/services`: what there is, and how it is now.

use super::json;
use crate::app::App;
use crate::error::{Asked, WebError};
use axum::extract::State;
use axum::response::Response;
use rookery_collector::history::{NodeInfo, ServiceInfo};
use rookery_plugins::{HostState, State as ServiceState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize)]
struct NodeAnswer {
    node: String,
    group: String,
    state: HostState,
    since_ms: i64,
    last_seen_ms: Option<i64>,
    services: BTreeMap<&'static str, usize>,
    /// On what it depends; it is UNREACHABLE while all of one list are DOWN.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<Vec<String>>,
}

/// `GET /api/v1/nodes`.
pub async fn nodes(State(app): State<App>) -> Result<Response, WebError> {
    let answer = app.blocking(|app| Ok(all_nodes(app))).await?;
    json(&answer)
}

fn all_nodes(app: &App) -> Vec<NodeAnswer> {
    app.history.nodes().into_iter().map(|n| node(app, n)).collect()
}

fn node(app: &App, info: NodeInfo) -> NodeAnswer {
    let (state, since_ms) = app.states.host_state(&info.name);
    let mut services: BTreeMap<&'static str, usize> =
        ["OK", "WARNING", "CRITICAL", "UNKNOWN"].map(|w| (w, 0)).into();
    // A node that has just been forgotten has none.
    for (spec, _) in app.history.specs(&info.name).unwrap_or_default() {
        let state = app.states.service_state(&info.name, &spec.name).state;
        *services.entry(state.word()).or_default() += 1;
    }
    NodeAnswer {
        depends_on: app.states.depends_on(&info.name, &info.group, None),
        node: info.name,
        group: info.group,
        state,
        since_ms,
        last_seen_ms: info.last_seen_ms,
        services,
    }
}

#[derive(Deserialize)]
pub struct Which {
    node: Option<String>,
    service: Option<String>,
}

#[derive(Serialize)]
struct ServiceAnswer {
    node: String,
    service: String,
    title: String,
    category: String,
    state: ServiceState,
    hard: bool,
    /// The latest hard state: what Nagios is told.
    hard_state: ServiceState,
    since_ms: i64,
    text: String,
    active: bool,
    /// As declared, else by its rhythm; 0: not known.
    step_ms: u64,
    vlabel: String,
    info: String,
    fields: Vec<FieldAnswer>,
    /// What it was called before: it answers to that, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    formerly: Vec<String>,
    /// Names of fields that it had once: their samples are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    past_fields: Vec<String>,
    /// Services with averages of it, from before it came here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    averages: Vec<AveragesAnswer>,
    /// On what it depends; nobody is told of it while all of one list are in trouble.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct AveragesAnswer {
    service: String,
    step_ms: i64,
}

#[derive(Serialize)]
struct FieldAnswer {
    field: String,
    /// What it was called before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    formerly: Vec<String>,
    label: String,
    #[serde(rename = "type")]
    kind: rookery_plugins::FieldType,
    state: ServiceState,
    /// As it is judged: a counter's is its rate per second, after the `cdef`.
    value: Option<f64>,
    /// `inf` or `-inf`, which JSON has no number for: `value` is null then.
    #[serde(skip_serializing_if = "Option::is_none")]
    infinite: Option<String>,
    /// As it is drawn: the same by the service's `graph_period`.
    drawn: Option<f64>,
    time_ms: Option<i64>,
    warning: Option<String>,
    critical: Option<String>,
    min: Option<f64>,
    max: Option<f64>,
}

/// `GET /api/v1/services?node=N[&service=S]`.
pub async fn services(
    State(app): State<App>,
    Asked(asked): Asked<Which>,
) -> Result<Response, WebError> {
    let answer = app
        .blocking(move |app| {
            let name = asked.node.ok_or_else(|| WebError::bad("node is missing: ?node=NAME"))?;
            // By an old name, too: that of one that is gone is another's now.
            let wanted = asked.service.map(|service| {
                app.history.spec(&name, &service).map_or(service, |spec| spec.name.clone())
            });
            let wanted = wanted.as_deref();
            let all = app.history.services(&name)?;
            let all = all.into_iter().filter(|s| wanted.is_none_or(|w| s.spec.name == w));
            let nodes = app.history.nodes().into_iter();
            let group = nodes.filter(|n| n.name == name).map(|n| n.group).next();
            let place = (name.as_str(), group.as_deref().unwrap_or(""));
            Ok(all.map(|s| service(app, place, &s)).collect::<Vec<_>>())
        })
        .await?;
    json(&answer)
}

fn service(app: &App, (node, group): (&str, &str), s: &ServiceInfo) -> ServiceAnswer {
    let name = &s.spec.name;
    let state = s.stands(app.states.service_state(node, name), rookery_collector::store::now_ms());
    let now: Vec<Option<f64>> = s.now.iter().map(|n| n.value).collect();
    let values = crate::graph::newest(&s.spec, &now).into_iter();
    let values = values.zip(crate::graph::newest_drawn(&s.spec, &now));
    let fields = s.spec.fields.iter().zip(s.now.iter().zip(values));
    let fields = fields.map(|(f, (now, (value, drawn)))| {
        let (warning, critical) = app.states.field_limits(node, name, &f.name);
        FieldAnswer {
            field: f.name.clone(),
            formerly: f.old_names().map(str::to_owned).collect(),
            label: f.label_or_name().to_owned(),
            kind: f.kind,
            state: app.states.field_state(node, name, &f.name),
            value,
            infinite: value.filter(|v| v.is_infinite()).map(|v| v.to_string()),
            drawn,
            time_ms: now.time_ms,
            warning,
            critical,
            min: f.min,
            max: f.max,
        }
    });
    let past = app.history.fields(node, name).unwrap_or_default().into_iter().map(|f| f.name);
    // What is read under a new name is none of the past.
    let past_fields = past.filter(|f| s.spec.field_once(f).is_none()).collect();
    let averages = app.history.averages(node, name).into_iter();
    let averages = averages.map(|(service, step_ms)| AveragesAnswer { service, step_ms });
    ServiceAnswer {
        depends_on: app.states.depends_on(node, group, Some(name)),
        formerly: s.spec.old_names().map(str::to_owned).collect(),
        past_fields,
        averages: averages.collect(),
        node: node.to_owned(),
        service: name.clone(),
        title: s.spec.title.clone(),
        category: s.spec.category.clone(),
        state: state.state,
        hard: state.hard,
        hard_state: state.hard_state,
        since_ms: state.since_ms,
        text: state.text,
        active: s.active,
        step_ms: s.step_ms,
        vlabel: s.spec.vlabel.clone(),
        info: s.spec.info.clone(),
        fields: fields.collect(),
    }
}
