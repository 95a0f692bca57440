//! `rookery why`: why people were told of something, or were not.

use crate::client::{Client, URL, encode};
use crate::say;
use clap::Args as ClapArgs;
use rookery_alerts::message;
use serde_json::Value as Json;

#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  rookery why db1 mysql_connections\n  \
                        rookery why db1          # the node itself")]
pub struct Args {
    /// The node
    node: String,
    /// The service; without it the node itself
    service: Option<String>,
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
}

pub fn run(args: &Args) -> Result<(), String> {
    let service =
        args.service.as_ref().map_or(String::new(), |s| format!("&service={}", encode(s)));
    let path = format!("/api/v1/why?node={}{service}", encode(&args.node));
    let body = Client::new(&args.url)?.get(&path)?;
    let why: Json = serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", args.url))?;
    let text = |json: &Json| message::line(json.as_str().unwrap_or("?"));
    say(format_args!("Now: {}", text(&why["now"])));
    let list = |key: &str| why[key].as_array().cloned().unwrap_or_default();
    let (notices, transitions) = (list("notices"), list("transitions"));
    // Both as they were, the newest first.
    let mut lines: Vec<(i64, String)> =
        notices.iter().map(|n| (time_of(n, "created_ms"), telling(n))).collect();
    lines.extend(transitions.iter().map(|t| (time_of(t, "time_ms"), change(t))));
    lines.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    for (time, line) in lines {
        say(format_args!("{}  {line}", message::time(time)));
    }
    Ok(())
}

fn time_of(json: &Json, key: &str) -> i64 {
    json[key].as_i64().unwrap_or_default()
}

fn change(t: &Json) -> String {
    let text = |key: &str| message::line(t[key].as_str().unwrap_or("?"));
    let patience = match (t["hard"].as_bool(), t["attempt"].as_u64()) {
        (Some(false), Some(n)) => format!(" (soft, {n}.)"),
        _ => String::new(),
    };
    let stale = match t["stale"].as_bool() {
        Some(true) => "; of an old sample, so nobody is told",
        _ => "",
    };
    format!("{} -> {}{patience}: {}{stale}", text("from"), text("to"), text("text"))
}

fn telling(n: &Json) -> String {
    let text = |key: &str| message::line(n["notice"][key].as_str().unwrap_or("?"));
    let (kind, channel) = (text("kind"), message::line(n["channel"].as_str().unwrap_or("?")));
    let error = n["error"].as_str().map(message::line);
    let time = |key: &str| n[key].as_i64().map(message::time);
    let because = error.clone().unwrap_or_default();
    let became = match (time("sent_ms"), error) {
        (_, _) if n["held"] == "never" => format!("not told: {because}"),
        (None, _) if n["held"] == "period" => format!("waits: {because}"),
        (None, _) if n["held"] == "digest" => format!("waits for the digest: {because}"),
        (Some(_), _) if n["held"] == "digest" => because,
        (Some(at), None) => format!("told at {at}"),
        (Some(at), Some(why)) => format!("given up at {at}: {why}"),
        (None, Some(why)) => {
            let tries = n["n_tries"].as_u64().unwrap_or_default();
            let next = time("next_ms").unwrap_or_default();
            format!("failed {tries} times, next at {next}: {why}")
        }
        (None, None) => "not told yet".to_owned(),
    };
    format!("{kind} {} by {channel}: {became}", text("state"))
}
