//! Answers that are made and sent in parts: the next one is made when the client has taken
//! the one before, and nothing waits in a thread meanwhile.

use crate::app::App;
use crate::error::WebError;
use axum::body::{Body, Bytes};
use futures_util::{StreamExt, stream};
use rookery_collector::history::History;

/// An answer, part by part.
pub(crate) trait Parts: Send + 'static {
    /// The next part, not empty; `None`: that was all.
    fn next(&mut self, history: &dyn History) -> Result<Option<Bytes>, WebError>;
}

impl App {
    /// The answer as a body. What fails in its first part is an error with a status of its
    /// own; later the client sees the answer break off, not end.
    pub(crate) async fn in_parts<P: Parts>(&self, mut parts: P) -> Result<Body, WebError> {
        let (first, parts) =
            self.blocking(move |app| Ok((parts.next(&*app.history)?, parts))).await?;
        let app = self.clone();
        let rest = stream::unfold(first.is_some().then_some(parts), move |parts| {
            let app = app.clone();
            async move {
                let mut parts = parts?;
                let (reads, history) = (app.reads.clone(), app.history.clone());
                let made = reads.run_next(move || Ok((parts.next(&*history)?, parts))).await;
                match made {
                    Ok((Some(part), parts)) => Some((Ok(part), Some(parts))),
                    Ok((None, _)) => None,
                    Err(e) => {
                        tracing::warn!("an answer breaks off: {}", e.text);
                        Some((Err(std::io::Error::other(e.text)), None))
                    }
                }
            }
        });
        // Compression asks once more after the end.
        Ok(Body::from_stream(stream::iter(first.map(Ok)).chain(rest).fuse()))
    }
}
