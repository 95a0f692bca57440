//! One POST, and what its answer means.

use super::REQUEST_TIMEOUT;
use super::ack::{self, Proof};
use reqwest::{StatusCode, Url, header};
use rookery_plugins::wire::CONTENT_TYPE;
use std::error::Error as _;
use std::time::Duration;
use thiserror::Error;

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why there is no client.
#[derive(Debug, Error)]
#[error("collector {url}: {why}")]
pub struct ClientError {
    /// The collector's URL.
    pub url: String,
    /// What is wrong.
    pub why: String,
}

/// What the collector said to a frame.
#[derive(Debug)]
pub(super) enum Answer {
    /// It is on the collector's disk.
    Durable,
    /// It must be explained.
    UnknownLayouts,
    /// This frame will never be taken.
    Bad(String),
    /// The token is wrong.
    Refused,
    /// Anything else: try again.
    Away(String),
}

#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    authorization: Option<header::HeaderValue>,
}

/// Chooses the cryptography for TLS, once per process; harmless when repeated.
pub fn install_crypto() {
    // An error only says that someone has chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl Client {
    pub fn new(collector: &str, token: &str) -> Result<Client, ClientError> {
        let fail = |why: String| ClientError { url: collector.to_owned(), why };
        install_crypto();
        let base =
            if collector.ends_with('/') { collector.to_owned() } else { format!("{collector}/") };
        let base = Url::parse(&base).map_err(|e| fail(e.to_string()))?;
        let url = base.join("api/v1/ingest").map_err(|e| fail(e.to_string()))?;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("rookery-agent/", env!("CARGO_PKG_VERSION")));
        if url.scheme() == "http" {
            // No TLS, so the system's certificates need not be in memory.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        let http = builder.build().map_err(|e| fail(chain(&e)))?;
        let authorization = (!token.is_empty())
            .then(|| header::HeaderValue::try_from(format!("Bearer {token}")))
            .transpose()
            .map_err(|_| fail("the token holds characters that HTTP cannot carry".to_owned()))?;
        Ok(Client { http, url, authorization })
    }

    /// Sends a frame.
    pub fn post(&self, frame: Vec<u8>) -> impl Future<Output = (Answer, Proof)> + 'static {
        let mut request =
            self.http.post(self.url.clone()).header(header::CONTENT_TYPE, CONTENT_TYPE);
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value.clone());
        }
        let expected = ack::checksum(&frame);
        let request = request.body(frame);
        async move {
            match request.send().await {
                Ok(response) => answer(response, &expected).await,
                Err(e) => away(&e),
            }
        }
    }
}

/// Nobody answered, or not to the end.
fn away(error: &reqwest::Error) -> (Answer, Proof) {
    (Answer::Away(chain(error)), Proof::Foreign)
}

async fn answer(mut response: reqwest::Response, expected: &str) -> (Answer, Proof) {
    let status = response.status();
    let mut body = Vec::new();
    // Read to its end, so that the connection can be used again.
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                body.extend_from_slice(&chunk);
            }
            Ok(_) => break,
            Err(e) => return away(&e),
        }
    }
    let proof = ack::judge(expected, status, response.headers(), &body);
    let answer = match status {
        StatusCode::OK => Answer::Durable,
        StatusCode::CONFLICT => Answer::UnknownLayouts,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Answer::Refused,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
            let text = String::from_utf8_lossy(&body);
            Answer::Bad(format!("{status}: {}", text.trim().chars().take(300).collect::<String>()))
        }
        _ => Answer::Away(format!("it answers {status}")),
    };
    (answer, proof)
}

/// The whole chain of causes: the last one is the one that helps.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}
