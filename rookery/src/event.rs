//! `rookery event`: a mark in time, drawn on graphs.

use crate::client::{Client, URL};
use crate::say;
use clap::Args as ClapArgs;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  rookery event \"deployed r1234\"\n  \
                        rookery event \"new disk\" --node db1 --at 2026-11-20T12:00:00Z")]
pub struct Args {
    /// What happened, in one line
    #[arg(value_name = "TEXT")]
    text: String,
    /// The node that it concerns [default: all]
    #[arg(long, value_name = "N", conflicts_with = "group")]
    node: Option<String>,
    /// The group that it concerns
    #[arg(long, value_name = "G")]
    group: Option<String>,
    /// When: RFC 3339, seconds or milliseconds since 1970, or -10m
    #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true)]
    at: String,
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
    /// The folder that its token is in
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
}

pub fn run(args: &Args) -> Result<(), String> {
    let token = crate::client::token(&args.data)?;
    let body = json!({
        "text": args.text, "node": args.node, "group": args.group, "time": args.at,
    });
    let answer = Client::new(&args.url)?.post_json("/api/v1/events", &token, &body)?;
    let event: Json = serde_json::from_slice(&answer).map_err(|e| format!("{}: {e}", args.url))?;
    let about = event["node"].as_str().or(event["group"].as_str()).unwrap_or("all nodes");
    let text = event["text"].as_str().unwrap_or_default();
    say(format_args!("event {}: {text} ({about})", event["id"]));
    Ok(())
}
