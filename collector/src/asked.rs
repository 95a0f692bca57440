//! What a person or a script asks for with a POST: JSON, or a page's form.

use crate::auth::Auth;
use crate::ingest::{NO_TOKEN, failure};
use axum::Form;
use axum::body::{Body, to_bytes};
use axum::extract::FromRequest;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The most bytes of a request.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Yes or no: as JSON's words, or as a form's box says it.
#[derive(Default, Deserialize)]
#[serde(untagged)]
pub enum Flag {
    /// `true` or `false`.
    Yes(bool),
    /// `on`, `1`, `yes`; or what means no.
    Word(String),
    /// Left out.
    #[default]
    No,
}

impl Flag {
    /// Whether it is yes.
    pub fn is_set(&self) -> bool {
        match self {
            Flag::Yes(is_set) => *is_set,
            Flag::Word(word) => !matches!(word.as_str(), "" | "0" | "false" | "off" | "no"),
            Flag::No => false,
        }
    }
}

/// A request that was read.
pub struct Asked<T> {
    /// What was asked for.
    pub what: T,
    /// A page's form, answered by a redirect.
    pub is_form: bool,
}

/// Sends a form's sender on to a page.
pub fn see(location: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, location.to_owned())]).into_response()
}

/// Reads a request of somebody who may write.
pub async fn read<T: DeserializeOwned>(
    auth: &Auth,
    request: Request<Body>,
) -> Result<Asked<T>, Box<Response>> {
    let kind = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    let is_form = kind.starts_with(b"application/x-www-form-urlencoded");
    if !auth.allows(request.headers()) {
        return Err(Box::new(if is_form {
            see("/login")
        } else {
            failure(StatusCode::UNAUTHORIZED, NO_TOKEN)
        }));
    }
    let bad = |text: String| Box::new(failure(StatusCode::BAD_REQUEST, &text));
    if is_form {
        let form = Form::<T>::from_request(request, &()).await;
        let what = form.map_err(|e| bad(e.body_text()))?.0;
        return Ok(Asked { what, is_form });
    }
    let body = to_bytes(request.into_body(), BODY_BYTES_MAX).await;
    let body = body.map_err(|_| bad(format!("more than {BODY_BYTES_MAX} bytes")))?;
    let what = serde_json::from_slice(&body).map_err(|e| bad(format!("JSON: {e}")))?;
    Ok(Asked { what, is_form })
}
