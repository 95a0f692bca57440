//! `rookery export`: exact samples on standard output.

use crate::client::{Client, URL, encode};
use clap::{Args as ClapArgs, ValueEnum};
use rookery_web::times;
use serde_json::Value as Json;
use std::io::{self, Write};

/// How much time one request covers, ms: long exports stay small in memory.
const WINDOW_MS: i64 = 30 * 86_400_000;

#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  \
    rookery export --node web1 --service cpu --from -1d --to now > cpu.csv\n  \
    rookery export --node web1 --service cpu --field iowait --from 2026-11-01T00:00:00Z --format json")]
pub struct Args {
    /// The node
    #[arg(long)]
    node: String,
    /// The service
    #[arg(long)]
    service: String,
    /// The field; without it all fields, one after the other
    #[arg(long)]
    field: Option<String>,
    /// From when on: RFC 3339, seconds or milliseconds since 1970, or -1d
    #[arg(long, value_name = "T", default_value = "0", allow_hyphen_values = true)]
    from: String,
    /// Until when, not included
    #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// How to write it
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// time,node,service,field,value
    Csv,
    /// One JSON object a line
    Json,
}

pub fn run(args: &Args) -> Result<(), String> {
    let now = rookery_collector::store::now_ms();
    let from = times::parse(&args.from, now).map_err(|e| format!("--from: {e}"))?;
    let to = times::parse(&args.to, now).map_err(|e| format!("--to: {e}"))?;
    let client = Client::new(&args.url)?;
    let fields = match &args.field {
        Some(field) => vec![field.clone()],
        None => all_fields(&client, args)?,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = write(&client, args, &fields, (from, to), &mut out);
    match done.and_then(|()| out.flush().map_err(Failure::Io)) {
        Ok(()) => Ok(()),
        // `rookery export … | head` is no error.
        Err(Failure::Io(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Failure::Io(e)) => Err(format!("standard output: {e}")),
        Err(Failure::Ask(e)) => Err(e),
    }
}

enum Failure {
    Ask(String),
    Io(io::Error),
}

fn all_fields(client: &Client, args: &Args) -> Result<Vec<String>, String> {
    let body = client.get(&format!(
        "/api/v1/services?node={}&service={}",
        encode(&args.node),
        encode(&args.service)
    ))?;
    let json: Json = serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", args.url))?;
    let services = json.as_array().map_or(&[][..], Vec::as_slice);
    let service = services
        .iter()
        .find(|s| s["service"] == args.service.as_str())
        .ok_or_else(|| format!("no service {:?} on node {:?}", args.service, args.node))?;
    let fields = service["fields"].as_array().map_or(&[][..], Vec::as_slice);
    let now = fields.iter().filter_map(|f| f["field"].as_str());
    // What a plugin no longer has was measured all the same.
    let past = service["past_fields"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(now.chain(past.iter().filter_map(Json::as_str)).map(str::to_owned).collect())
}

fn write(
    client: &Client,
    args: &Args,
    fields: &[String],
    span: (i64, i64),
    out: &mut impl Write,
) -> Result<(), Failure> {
    if args.format == Format::Csv {
        out.write_all(b"time,node,service,field,value\n").map_err(Failure::Io)?;
    }
    for field in fields {
        let mut from = span.0;
        while from < span.1 {
            let to = span.1.min(from.saturating_add(WINDOW_MS));
            let format = if args.format == Format::Csv { "csv" } else { "json" };
            let body = client
                .get(&format!(
                    "/api/v1/samples?node={}&service={}&field={}&from={}&to={}&format={format}",
                    encode(&args.node),
                    encode(&args.service),
                    encode(field),
                    times::rfc3339(from),
                    times::rfc3339(to),
                ))
                .map_err(Failure::Ask)?;
            match args.format {
                Format::Csv => {
                    let header = body.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
                    out.write_all(&body[header..]).map_err(Failure::Io)?;
                }
                Format::Json => json_lines(&body, args, out)?,
            }
            from = to;
        }
    }
    Ok(())
}

fn json_lines(body: &[u8], args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let json: Json =
        serde_json::from_slice(body).map_err(|e| Failure::Ask(format!("{}: {e}", args.url)))?;
    for field in json["fields"].as_array().map_or(&[][..], Vec::as_slice) {
        let times = field["times_ms"].as_array().map_or(&[][..], Vec::as_slice);
        let values = field["values"].as_array().map_or(&[][..], Vec::as_slice);
        for (time, value) in times.iter().zip(values) {
            let time = times::rfc3339(time.as_i64().unwrap_or_default());
            let line = serde_json::json!({
                "time": time,
                "node": args.node,
                "service": args.service,
                "field": field["field"],
                "value": value,
            });
            writeln!(out, "{line}").map_err(Failure::Io)?;
        }
    }
    Ok(())
}
