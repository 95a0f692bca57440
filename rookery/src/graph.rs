//! `rookery graph`: a service's graph as a file, as the collector draws it.

use crate::client::{Client, URL, encode};
use clap::Args as ClapArgs;
use std::io::Write;
use std::path::PathBuf;

#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  rookery graph web1 cpu --from -1w -o cpu.png\n  \
                        rookery graph web1 load --from 2026-11-01 --to 2026-11-08 --theme dark -o load.svg")]
pub struct Args {
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// From when on: RFC 3339, seconds or milliseconds since 1970, or -1d
    #[arg(long, value_name = "T", default_value = "-1d", allow_hyphen_values = true)]
    from: String,
    /// Until when
    #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// Of the picture, px
    #[arg(long, default_value_t = 900)]
    width: u32,
    /// Of the picture without its legend, px
    #[arg(long, default_value_t = 300)]
    height: u32,
    /// light or dark
    #[arg(long, default_value = "light")]
    theme: String,
    /// Whose hours the axis shows: Europe/Berlin [default: the collector's]
    #[arg(long, default_value = "")]
    tz: String,
    /// The file, .png or .svg; - is standard output, as SVG
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
}

pub fn run(args: &Args) -> Result<(), String> {
    let to_stdout = args.output.as_os_str() == "-";
    let form = match args.output.extension().and_then(|e| e.to_str()) {
        Some("png") => "png",
        Some("svg") => "svg",
        _ if to_stdout => "svg",
        _ => return Err(format!("-o {}: write a name in .png or .svg", args.output.display())),
    };
    let picture = Client::new(&args.url)?.get(&format!(
        "/graph/{}/{}.{form}?from={}&to={}&width={}&height={}&theme={}&tz={}",
        encode(&args.node),
        encode(&args.service),
        encode(&args.from),
        encode(&args.to),
        args.width,
        args.height,
        encode(&args.theme),
        encode(&args.tz),
    ))?;
    let written = if to_stdout {
        std::io::stdout().write_all(&picture)
    } else {
        std::fs::write(&args.output, &picture)
    };
    written.map_err(|e| format!("{}: {e}", args.output.display()))
}
