//! `check_rookery`: what Nagios asks, answered from a collector or straight
//! from a node by Munin's protocol.
//!
//! Whatever goes wrong before there is a value to judge is UNKNOWN (3), never
//! CRITICAL: bad arguments, a collector that cannot be reached, data that is
//! too old. The first line always says what and why.

mod args;
mod collector;
mod judge;
mod munin;
mod node;

use rookery_plugins::perfdata::clean_text;
use rookery_plugins::{State, TimeMs};
use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use args::Args;
pub use judge::{AGE_MS_MIN, FieldReading, Reading, Wish, judge};

/// What a check prints and how it exits.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The exit code's state.
    pub state: State,
    /// The text, with perfdata, without the last newline.
    pub text: String,
}

impl Answer {
    /// UNKNOWN, because of `why`.
    fn unknown(what: &str, why: &str) -> Answer {
        let text = clean_text(&format!("{} UNKNOWN - {why}", title(what)));
        Answer { state: State::Unknown, text }
    }
}

/// The name that a line begins with.
fn title(what: &str) -> String {
    if what.is_empty() { "ROOKERY".to_owned() } else { what.to_uppercase() }
}

/// Runs the check with a command line (the program's name first).
pub fn run(argv: impl IntoIterator<Item = OsString>) -> Answer {
    let args = match Args::read(argv) {
        Ok(args) => args,
        Err(answer) => return answer,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return Answer::unknown(&args.wish.service, &format!("no runtime: {e}")),
    };
    let limit = Duration::from_secs_f64(args.timeout_s);
    let answer = runtime.block_on(async { tokio::time::timeout(limit, ask(&args)).await });
    match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => Answer::unknown(&args.wish.service, &why),
        Err(_) => {
            let whom = args.url.as_deref().unwrap_or(&args.host);
            let why = format!("no answer from {whom} within {} s", args.timeout_s);
            Answer::unknown(&args.wish.service, &why)
        }
    }
}

async fn ask(args: &Args) -> Result<Answer, String> {
    let service = &args.wish.service;
    match &args.url {
        Some(url) => {
            let collector = collector::Collector::new(url, args.token.as_deref())?;
            if args.list {
                return collector.list(&args.host).await;
            }
            if args.host.is_empty() {
                return collector.itself().await;
            }
            if service.is_empty() {
                return collector.node(&args.host, args.wish.age_s, now_ms).await;
            }
            collector.service(&args.host, &args.wish, now_ms).await
        }
        None => {
            let mut node = node::NodeClient::connect(&args.host).await?;
            if args.list || service.is_empty() {
                return node.list(args.list).await;
            }
            let deadline = Duration::from_secs_f64(args.timeout_s * 0.8);
            let reading = node.reading(service, deadline).await?;
            Ok(judge(&reading, &args.wish, now_ms()))
        }
    }
}

/// The one place where the check reads the clock.
fn now_ms() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}
