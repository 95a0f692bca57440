//! `rookery export`: exact samples on standard output.

use crate::client::{Client, URL, encode};
use clap::{Args as ClapArgs, ValueEnum};
use rookery_web::api::csv_cell;
use rookery_web::times;
use serde_json::json;
use std::io::{self, Write};

/// `2026-11-20T12:00:00.000Z`.
const TIME_CHARS: usize = 24;

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
    /// The field; without it all that the service has or had, one after the other
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
    let field = args.field.as_ref().map_or(String::new(), |f| format!("&field={}", encode(f)));
    let path = format!(
        "/api/v1/samples?node={}&service={}{field}&from={}&to={}&format=csv",
        encode(&args.node),
        encode(&args.service),
        // A small number would be taken for seconds.
        encode(&times::rfc3339(from)),
        encode(&times::rfc3339(to)),
    );
    let mut out = io::BufWriter::new(io::stdout().lock());
    let client = Client::new(&args.url)?;
    let written = match args.format {
        Format::Csv => client.stream(&path, |part| out.write_all(part))?,
        Format::Json => {
            let mut lines = JsonLines::new(args);
            client.stream(&path, |part| lines.push(part, &mut out))?
        }
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // `rookery export … | head` is no error.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(format!("standard output: {e}")),
    }
}

/// Makes JSON lines of the collector's CSV: what a value is, its text tells.
struct JsonLines {
    /// What stands between time and field: node and service.
    between: String,
    /// The same as JSON.
    names: String,
    /// A line that is not whole yet.
    rest: Vec<u8>,
    is_first: bool,
}

impl JsonLines {
    fn new(args: &Args) -> JsonLines {
        let mut between = String::from(",");
        csv_cell(&args.node, &mut between);
        between.push(',');
        csv_cell(&args.service, &mut between);
        between.push(',');
        let (node, service) = (json!(args.node), json!(args.service));
        let names = format!("\"node\":{node},\"service\":{service}");
        JsonLines { between, names, rest: Vec::new(), is_first: true }
    }

    fn push(&mut self, part: &[u8], out: &mut impl Write) -> io::Result<()> {
        self.rest.extend_from_slice(part);
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else { return Ok(()) };
        let lines: Vec<u8> = self.rest.drain(..=end).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            // The headline.
            if !std::mem::take(&mut self.is_first) {
                self.line(line, out)?;
            }
        }
        Ok(())
    }

    fn line(&self, line: &str, out: &mut impl Write) -> io::Result<()> {
        let unread = || io::Error::other(format!("not a line of samples: {line:?}"));
        let (time, rest) = line.split_at_checked(TIME_CHARS).ok_or_else(unread)?;
        let rest = rest.strip_prefix(&self.between).ok_or_else(unread)?;
        let (field, value) = rest.rsplit_once(',').ok_or_else(unread)?;
        let field = field.strip_prefix('"').and_then(|f| f.strip_suffix('"')).unwrap_or(field);
        let field = json!(field.replace("\"\"", "\""));
        let names = &self.names;
        write!(out, "{{\"time\":\"{time}\",{names},\"field\":{field},\"value\":")?;
        match value {
            "" => write!(out, "null")?,
            // JSON has neither.
            v if v.ends_with("inf") || v.ends_with("NaN") => write!(out, "{}", json!(v))?,
            v => write!(out, "{v}")?,
        }
        writeln!(out, "}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn csv_becomes_json_lines_wherever_it_is_cut() {
        let line = Line::parse_from(["x", "--node", "a,b", "--service", "s"]);
        let csv = "time,node,service,field,value\n\
                   2026-11-20T12:00:00.000Z,\"a,b\",s,f,9007199254740993\n\
                   2026-11-20T12:00:00.001Z,\"a,b\",s,f,\n\
                   2026-11-20T12:00:00.002Z,\"a,b\",s,g,-0.0\n\
                   2026-11-20T12:00:00.003Z,\"a,b\",s,g,-inf\n";
        let values = ["9007199254740993", "null", "-0.0", "\"-inf\""];
        for cut in 0..csv.len() {
            let (mut out, mut lines) = (Vec::new(), JsonLines::new(&line.args));
            for part in [&csv[..cut], &csv[cut..]] {
                lines.push(part.as_bytes(), &mut out).expect("writes");
            }
            let text = String::from_utf8(out).expect("UTF-8");
            assert_eq!(text.lines().count(), 4, "cut at {cut}");
            for (i, (line, value)) in text.lines().zip(values).enumerate() {
                let field = if i < 2 { "f" } else { "g" };
                let want = format!(
                    "{{\"time\":\"2026-11-20T12:00:00.00{i}Z\",\"node\":\"a,b\",\
                     \"service\":\"s\",\"field\":\"{field}\",\"value\":{value}}}"
                );
                assert_eq!(line, want);
            }
        }
    }
}
