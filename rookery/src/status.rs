//! `rookery status` and `rookery seal`: how a running collector is, and a word
//! to it.

use crate::client::{Client, URL, token};
use crate::say;
use clap::Args as ClapArgs;
use serde_json::Value as Json;
use std::path::PathBuf;

#[derive(ClapArgs)]
#[command(after_help = "Example: rookery status --url http://127.0.0.1:4950")]
pub struct Args {
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
}

#[derive(ClapArgs)]
#[command(after_help = "Example: rookery seal --data ./rookery-data")]
pub struct SealArgs {
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
    /// The folder that its token is in
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
}

pub fn run(args: &Args) -> Result<(), String> {
    let client = Client::new(&args.url)?;
    let body = client.get("/api/v1/nodes")?;
    let nodes: Json = serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", args.url))?;
    for node in nodes.as_array().map_or(&[][..], Vec::as_slice) {
        let services = &node["services"];
        say(format_args!(
            "{:<12} {:<40} ok {} warning {} critical {} unknown {}",
            node["state"].as_str().unwrap_or("?"),
            node["node"].as_str().unwrap_or("?"),
            services["OK"],
            services["WARNING"],
            services["CRITICAL"],
            services["UNKNOWN"]
        ));
    }
    let body = client.get("/api/v1/troubles")?;
    let troubles: Json = serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", args.url))?;
    for t in troubles.as_array().map_or(&[][..], Vec::as_slice) {
        let word = |key: &str| t[key].as_str().unwrap_or("?").to_owned();
        let since = rookery_alerts::message::time(t["since_ms"].as_i64().unwrap_or(0));
        say(format_args!("TELLING FAILS {} since {since}: {}", word("what"), word("error")));
    }
    let metrics = client.get("/metrics")?;
    for line in String::from_utf8_lossy(&metrics).lines().filter(|l| !l.starts_with('#')) {
        if let Some((name, value)) = line.split_once(' ') {
            let name = name.trim_start_matches("rookery_").trim_end_matches("_total");
            say(format_args!("{name:<20} {value}"));
        }
    }
    Ok(())
}

pub fn seal(args: &SealArgs) -> Result<(), String> {
    Client::new(&args.url)?.post("/api/v1/seal", &token(&args.data)?)?;
    Ok(())
}
