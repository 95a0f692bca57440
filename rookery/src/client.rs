//! Asking a running collector.

use rookery_plugins::wire::CONTENT_TYPE;
use serde_json::Value as Json;
use std::path::Path;

/// Where a collector is by default.
pub const URL: &str = "http://127.0.0.1:4950";

/// A collector, by its URL.
pub struct Client {
    url: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// Makes no connection yet.
    pub fn new(url: &str) -> Result<Client, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("no runtime: {e}"))?;
        let mut builder = reqwest::Client::builder().no_proxy();
        if url.starts_with("http://") {
            // No TLS: a host without any certificates must do.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        let http = builder.build().map_err(|e| format!("no client: {e}"))?;
        Ok(Client { url: url.trim_end_matches('/').to_owned(), http, runtime })
    }

    /// The body of a GET; an answer that is not 2xx is an error with its text.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, String> {
        self.ask(self.http.get(format!("{}{path}", self.url)))
    }

    /// A GET whose body goes to `each` as it arrives, part by part.
    pub fn stream(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<std::io::Result<()>, String> {
        let fail = |e: reqwest::Error| format!("{}: the answer breaks off: {e}", self.url);
        self.runtime.block_on(async {
            let request = self.http.get(format!("{}{path}", self.url));
            let mut answer = request.send().await.map_err(|e| self.unreached(&e))?;
            if !answer.status().is_success() {
                let status = answer.status();
                return Err(self.refused(status, &answer.bytes().await.map_err(fail)?));
            }
            while let Some(part) = answer.chunk().await.map_err(fail)? {
                if let Err(e) = each(&part) {
                    return Ok(Err(e));
                }
            }
            Ok(Ok(()))
        })
    }

    /// The same of a POST with a token.
    pub fn post(&self, path: &str, token: &str) -> Result<Vec<u8>, String> {
        self.ask(self.http.post(format!("{}{path}", self.url)).bearer_auth(token))
    }

    /// A POST of a batch, as agents send it.
    pub fn post_batch(&self, token: &str, batch: &[u8]) -> Result<(), String> {
        let request = self.http.post(format!("{}/api/v1/ingest", self.url)).bearer_auth(token);
        let request = request.header("Content-Type", CONTENT_TYPE).body(batch.to_vec());
        self.ask(request).map(|_| ())
    }

    /// A POST of JSON with a token.
    pub fn post_json(&self, path: &str, token: &str, body: &Json) -> Result<Vec<u8>, String> {
        self.ask(self.http.post(format!("{}{path}", self.url)).bearer_auth(token).json(body))
    }

    fn unreached(&self, e: &reqwest::Error) -> String {
        if e.is_connect() {
            format!("no collector answers at {}: is it running? (--url)", self.url)
        } else {
            format!("{}: {e}", self.url)
        }
    }

    /// What the collector says of a request that it does not answer.
    fn refused(&self, status: reqwest::StatusCode, body: &[u8]) -> String {
        let json: Option<Json> = serde_json::from_slice(body).ok();
        let text = json.as_ref().and_then(|j| j.get("error")?.as_str());
        text.map_or_else(|| format!("{}: {status}", self.url), str::to_owned)
    }

    fn ask(&self, request: reqwest::RequestBuilder) -> Result<Vec<u8>, String> {
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(|e| self.unreached(&e))?;
            let status = answer.status();
            let body = answer.bytes().await.map_err(|e| self.unreached(&e))?;
            if status.is_success() { Ok(body.to_vec()) } else { Err(self.refused(status, &body)) }
        })
    }
}

/// The token of the collector whose data folder this is.
pub fn token(data: &Path) -> Result<String, String> {
    let file = data.join("token");
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) => {
            Err(format!("{}: {e}; name the collector's data folder (--data)", file.display()))
        }
    }
}

/// One part of a query, percent-encoded.
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
