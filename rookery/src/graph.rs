//! `rookery graph`: a service's graph as a file or in the terminal, as the collector
//! draws it.

use crate::client::{Client, URL, encode};
use crate::terminal;
use clap::Args as ClapArgs;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

#[derive(ClapArgs)]
#[command(after_help = "Examples:
  rookery graph web1 cpu --from -1w -o cpu.png
  rookery graph web1 load --from 2026-11-01 --to 2026-11-08 --theme dark -o load.svg
  rookery graph web1 cpu --from -1h --percentile 95 --ghost 1d --term
  rookery graph -f sum:web/if_eth0/up -f sum:db/if_eth0/up --from -1w --term")]
pub struct Args {
    /// The node
    #[arg(value_name = "NODE", required_unless_present = "field")]
    node: Option<String>,
    /// The service
    #[arg(value_name = "SERVICE", required_unless_present = "field")]
    service: Option<String>,
    /// Instead of a node's service any fields: NODE/SERVICE/FIELD, sum:GROUP/SERVICE/FIELD,
    /// mean:…; a / in a name as %2F, * as FIELD: all
    #[arg(short, long, value_name = "FIELD", conflicts_with_all = ["node", "service"])]
    field: Vec<String>,
    /// From when on: RFC 3339, seconds or milliseconds since 1970, or -1d
    #[arg(long, value_name = "T", default_value = "-1d", allow_hyphen_values = true)]
    from: String,
    /// Until when
    #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// Of the picture, px [default: 900; with --term the terminal's]
    #[arg(long)]
    width: Option<u32>,
    /// Of the picture without its legend, px [default: 300; with --term 16]
    #[arg(long)]
    height: Option<u32>,
    /// light or dark
    #[arg(long, default_value = "light")]
    theme: String,
    /// Whose hours the axis shows: Europe/Berlin [default: the collector's]
    #[arg(long, default_value = "")]
    tz: String,
    /// Lines at these percentiles of the exact values: 95,99
    #[arg(long, value_name = "P,P", default_value = "")]
    percentile: String,
    /// The same span so much earlier as a dashed line: 1w
    #[arg(long, value_name = "SPAN", default_value = "")]
    ghost: String,
    /// Fields that are not drawn: idle,nice
    #[arg(long, value_name = "FIELD,FIELD", default_value = "")]
    hide: String,
    /// Draw in the terminal itself; --width is columns then, --height rows
    #[arg(long, conflicts_with = "output")]
    term: bool,
    /// The file, .png or .svg; - is standard output, as SVG
    #[arg(short, long, value_name = "FILE", required_unless_present = "term")]
    output: Option<PathBuf>,
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
}

pub fn run(args: &Args) -> Result<(), String> {
    let Some(output) = &args.output else { return term(args) };
    let to_stdout = output.as_os_str() == "-";
    let form = match output.extension().and_then(|e| e.to_str()) {
        Some("png") => "png",
        Some("svg") => "svg",
        _ if to_stdout => "svg",
        _ => return Err(format!("-o {}: write a name in .png or .svg", output.display())),
    };
    let theme = format!("&theme={}", encode(&args.theme));
    let size = (args.width.unwrap_or(900), args.height.unwrap_or(300));
    let picture = ask(args, form, size, &theme)?;
    let written = if to_stdout {
        std::io::stdout().write_all(&picture)
    } else {
        std::fs::write(output, &picture)
    };
    written.map_err(|e| format!("{}: {e}", output.display()))
}

/// In the terminal: as wide as it is, in colours where it is one.
fn term(args: &Args) -> Result<(), String> {
    let out = std::io::stdout();
    let is_terminal = out.is_terminal();
    let width = args.width.or_else(columns).unwrap_or(80);
    let colour = if is_terminal && terminal::wants_colour() { "&colour=1" } else { "" };
    let text = ask(args, "txt", (width, args.height.unwrap_or(16)), colour)?;
    match out.lock().write_all(&text) {
        // Nobody reads any more: that is the end, and no error.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done.map_err(|e| format!("standard output: {e}")),
    }
}

/// Of the terminal, or as the environment has them.
fn columns() -> Option<u32> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let told = size.map(|s| u32::from(s.ws_col)).filter(|n| *n > 0);
    told.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
}

fn ask(args: &Args, form: &str, size: (u32, u32), more: &str) -> Result<Vec<u8>, String> {
    let which = match (&args.node, &args.service) {
        (Some(node), Some(service)) => {
            format!("/graph/{}/{}.{form}?", encode(node), encode(service))
        }
        _ => {
            let fields: String = args.field.iter().map(|f| format!("f={}&", encode(f))).collect();
            format!("/graph.{form}?{fields}")
        }
    };
    Client::new(&args.url)?.get(&format!(
        "{which}from={}&to={}&width={}&height={}&tz={}&pct={}&ghost={}&hide={}{more}",
        encode(&args.from),
        encode(&args.to),
        size.0,
        size.1,
        encode(&args.tz),
        encode(&args.percentile),
        encode(&args.ghost),
        encode(&args.hide),
    ))
}
