//! Pages for people: from the fleet to one service in three clicks.
//!
//! Everything works without JavaScript. Text from nodes is escaped by the
//! template (maud); nothing is loaded from another site.

mod address;
mod assets;
mod board;
mod category;
mod compare;
mod events;
mod fleet;
mod hush;
mod layout;
mod manage;
mod mixed;
mod node;
mod numbers;
mod outliers;
mod problems;
mod report;
mod search;
mod service;
mod tiles;
mod visitor;
mod wall;
mod words;

use crate::app::App;
use crate::error::{WebError, retry_later};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
pub(crate) use compare::matches as fits;
pub(crate) use layout::{field_path, node_path, segment, service_path};
use maud::{Markup, html};
use visitor::{View, Visitor};

/// The routes of pages, their style and script; all else is a 404 page.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(fleet::fleet))
        .route("/group/{group}", get(fleet::group))
        .route("/nodes", get(fleet::nodes))
        .route("/wall", get(wall::wall))
        .route("/node/{node}", get(node::node))
        .route("/node/{node}/{service}", get(service::service))
        .route("/node/{node}/{service}/{field}", get(service::field))
        .route("/category/{category}", get(category::category))
        .route("/problems", get(problems::problems))
        .route("/outliers", get(outliers::outliers))
        .route("/compare", get(compare::compare))
        .route("/graph", get(mixed::graph))
        .route("/graph.csv", get(mixed::csv))
        .route("/graph.json", get(mixed::json))
        .route("/reports", get(report::list))
        .route("/report/{name}", get(report::report))
        .route("/events", get(events::events).post(events::add))
        .route("/search", get(search::results))
        .route("/zone", get(visitor::choose))
        .route("/login", get(hush::login).post(hush::check))
        .merge(assets::routes())
        .fallback(nothing)
}

/// An error as a page.
struct PageError(WebError);

impl From<WebError> for PageError {
    fn from(e: WebError) -> PageError {
        PageError(e)
    }
}

impl From<rookery_collector::history::ReadError> for PageError {
    fn from(e: rookery_collector::history::ReadError) -> PageError {
        PageError(e.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let WebError { status, text } = self.0;
        let title = match status {
            StatusCode::NOT_FOUND => "There is no such thing here",
            StatusCode::UNAUTHORIZED => "Not without the token",
            StatusCode::BAD_REQUEST => "That was not understood",
            StatusCode::SERVICE_UNAVAILABLE => "Not at the moment",
            _ => "This should not have happened",
        };
        let page = layout::plain_page(
            title,
            html! {
                h1 { (title) }
                p { (text) }
                p { a href="/" { "The fleet" } " has all nodes; " a href="/problems" { "problems" }
                    " shows what is wrong now." }
            },
        );
        retry_later((status, page).into_response())
    }
}

/// Most of an error that is shown, bytes.
const FAULT_BYTES_MAX: usize = 16 * 1024;

/// These routes, whose forms are filled in by people: what is wrong with one of those
/// is told by a page. Scripts that send JSON get JSON.
pub fn for_people(router: Router) -> Router {
    router.layer(from_fn(async |request: Request, next: Next| {
        let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
        let is_form = kind.starts_with(b"application/x-www-form-urlencoded");
        let response = next.run(request).await;
        let status = response.status();
        match is_form && (status.is_client_error() || status.is_server_error()) {
            true => as_page(response).await,
            false => response,
        }
    }))
}

async fn as_page(response: Response) -> Response {
    let status = response.status();
    let body = to_bytes(response.into_body(), FAULT_BYTES_MAX).await.unwrap_or_default();
    let error = serde_json::from_slice::<serde_json::Value>(&body).ok();
    let text = error.as_ref().and_then(|e| e["error"].as_str()).map(str::to_owned);
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    PageError(WebError { status, text }).into_response()
}

/// A page as an answer.
struct Html(Markup);

impl IntoResponse for Html {
    fn into_response(self) -> Response {
        let head = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-cache"),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; \
                 connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            ),
        ];
        (head, self.0.into_string()).into_response()
    }
}

type Page = Result<Html, PageError>;

/// Makes a page off the threads that serve.
async fn make(
    app: &App,
    visitor: Visitor,
    work: impl FnOnce(&View) -> Result<Html, WebError> + Send + 'static,
) -> Page {
    app.blocking(move |app| work(&View::new(app, &visitor))).await.map_err(PageError)
}

async fn nothing(uri: Uri) -> PageError {
    PageError(WebError::not_found(format!("nothing stands at {}", uri.path())))
}
