//! Addresses that name a node by a name that it had: pages and pictures redirect to the
//! same thing under today's name, the API answers for it.

use crate::app::App;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rookery_collector::history::History;

/// A layer over all routes.
pub async fn follow(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let Some(to) = today(&*app.history, request.uri()) else { return next.run(request).await };
    let is_page = !request.uri().path().starts_with("/api/");
    if is_page && (request.method() == Method::GET || request.method() == Method::HEAD) {
        // Not for good: the name may be given to another node one day.
        let head = [(header::LOCATION, to.to_string())];
        return (StatusCode::TEMPORARY_REDIRECT, head).into_response();
    }
    *request.uri_mut() = to;
    next.run(request).await
}

/// The same address by today's names; `None`: it is that.
fn today(history: &dyn History, uri: &Uri) -> Option<Uri> {
    let mut changed = false;
    let mut rename = |text: &str| -> String {
        let name = percent_decode_str(text).decode_utf8_lossy();
        match history.node(&name) {
            Some(node) if node.name != name => {
                changed = true;
                utf8_percent_encode(&node.name, NON_ALPHANUMERIC).to_string()
            }
            _ => text.to_owned(),
        }
    };
    let mut segments: Vec<String> = uri.path().split('/').map(str::to_owned).collect();
    if matches!(segments.get(1).map(String::as_str), Some("node" | "graph"))
        && let Some(node) = segments.get_mut(2)
    {
        *node = rename(node);
    }
    let pairs = uri.query().map(|query| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            // In a query a blank may be a plus.
            Some(("node", name)) => format!("node={}", rename(&name.replace('+', "%20"))),
            // NODE/SERVICE/FIELD
            Some(("f", field)) => {
                let end = field.find("%2F").into_iter().chain(field.find('/')).min();
                let (name, rest) = field.split_at(end.unwrap_or(field.len()));
                format!("f={}{rest}", rename(&name.replace('+', "%20")))
            }
            _ => pair.to_owned(),
        });
        pairs.collect::<Vec<_>>().join("&")
    });
    let path = segments.join("/");
    if !changed {
        return None;
    }
    pairs.map_or(path.clone(), |query| format!("{path}?{query}")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Memory;

    #[test]
    fn addresses_by_former_names_lead_to_todays() {
        let mut all = Memory::default();
        all.add("new name", "", vec![]);
        all.former("old", "new name");
        let of =
            |uri: &str| today(&all, &uri.parse().expect("an address")).map(|to| to.to_string());
        for (from, to) in [
            ("/node/old", Some("/node/new%20name")),
            ("/node/old/cpu?from=-1d", Some("/node/new%20name/cpu?from=-1d")),
            ("/graph/old/cpu.png?width=9", Some("/graph/new%20name/cpu.png?width=9")),
            ("/api/v1/services?node=old", Some("/api/v1/services?node=new%20name")),
            ("/graph?f=old/cpu/user&f=x/y/z", Some("/graph?f=new%20name/cpu/user&f=x/y/z")),
            ("/graph?f=old%2Fcpu%2Fuser", Some("/graph?f=new%20name%2Fcpu%2Fuser")),
            ("/node/new%20name/old", None),
            ("/group/old", None),
            ("/search?q=old", None),
            ("/", None),
        ] {
            assert_eq!(of(from).as_deref(), to, "{from}");
        }
    }
}
