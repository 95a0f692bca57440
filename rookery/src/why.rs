//! `rookery why`: why people were told of something, or were not.

use crate::client::{Client, URL, encode};
use crate::say;
use clap::Args as ClapArgs;
use rookery_alerts::message;
use serde_json::Value as Json;

#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  rookery why db1 mysql_connections\n  \
                        rookery why db1          # the node itself\n  \
                        rookery why 19aa1268e90-2275b219267f9cd3  # an incident, as messages name it")]
pub struct Args {
    /// The node, or an incident
    node: String,
    /// The service; without it the node itself
    service: Option<String>,
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
}

pub fn run(args: &Args) -> Result<(), String> {
    if args.service.is_none() && is_incident(&args.node) {
        return incident(args);
    }
    let service =
        args.service.as_ref().map_or(String::new(), |s| format!("&service={}", encode(s)));
    let path = format!("/api/v1/why?node={}{service}", encode(&args.node));
    let body = Client::new(&args.url)?.get(&path)?;
    let why: Json = serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", args.url))?;
    let text = |json: &Json| message::line(json.as_str().unwrap_or("?"));
    say(format_args!("Now: {}", text(&why["now"])));
    say_past(&why, change);
    Ok(())
}

/// `19aa1268e90-2275b219267f9cd3`: when it began, and a hash; that of a way that fails
/// is shorter.
fn is_incident(word: &str) -> bool {
    let is_hex = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_hexdigit());
    word.split_once('-').is_some_and(|(time, hash)| {
        is_hex(time) && is_hex(hash) && matches!(hash.len(), 8 | 16) && time.len() > 8
    })
}

fn incident(args: &Args) -> Result<(), String> {
    let path = format!("/api/v1/why?incident={}", encode(&args.node));
    let body = Client::new(&args.url)?.get(&path)?;
    let why: Json = serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", args.url))?;
    let members = why["members"].as_array().cloned().unwrap_or_default();
    say(format_args!("Now: {}", if why["is_open"] == true { "it is open" } else { "it is over" }));
    for m in &members {
        let now = message::line(m["now"].as_str().unwrap_or("?"));
        say(format_args!("{}: {now}", place(m)));
    }
    say_past(&why, |t| format!("{} {}", place(t), change(t)));
    Ok(())
}

/// `db1/load`, or `db1`.
fn place(json: &Json) -> String {
    let text = |key: &str| json[key].as_str().map(message::line);
    let node = text("node").unwrap_or_default();
    text("service").map_or(node.clone(), |service| format!("{node}/{service}"))
}

/// What was told and how states changed, the newest first.
fn say_past(why: &Json, change: impl Fn(&Json) -> String) {
    let list = |key: &str| why[key].as_array().cloned().unwrap_or_default();
    let (notices, transitions) = (list("notices"), list("transitions"));
    let mut lines: Vec<(i64, String)> =
        notices.iter().map(|n| (time_of(n, "created_ms"), telling(n))).collect();
    lines.extend(transitions.iter().map(|t| (time_of(t, "time_ms"), change(t))));
    lines.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    for (time, line) in lines {
        say(format_args!("{}  {line}", message::time(time)));
    }
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
