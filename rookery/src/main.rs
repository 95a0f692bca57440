//! `rookery`: the one command. It composes agent, collector and pages, and
//! holds no logic of its own.
//!
//! Exit codes: 0 done, 1 an error (one line on standard error), 2 a wrong
//! command line.

mod alerts;
mod beside;
mod care;
mod client;
mod collector;
mod event;
mod export;
mod graph;
mod hush;
mod import;
mod logging;
mod nagios;
mod node;
mod notify;
mod sql;
mod status;
mod terminal;
mod up;
mod why;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "rookery",
    version,
    about = "Watches hosts, keeps every number exactly, and tells you once when something is wrong",
    after_help = "Examples:\n  rookery up\n  rookery collector --config /etc/rookery/collector.toml\n  \
                  rookery export --node web1 --service cpu --from -1d > cpu.csv\n\n\
                  Exit codes: 0 done, 1 an error, 2 a wrong command line."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Watch this host: agent, collector, pages and alerts in one
    Up(up::Args),
    /// Run the collector: takes batches from agents, serves pages and API
    Collector(collector::Args),
    /// Print exact samples as CSV or JSON lines
    Export(export::Args),
    /// Take in another system's history: a Munin master's RRD files
    Import(import::Args),
    /// Mark a moment on the graphs of all nodes, a group or one node
    Event(event::Args),
    /// Draw a service's graph into a file or the terminal
    Graph(graph::Args),
    /// Show how a running collector is
    Status(status::Args),
    /// Have a running collector seal its head and empty its journal
    Seal(status::SealArgs),
    /// Write Nagios' or Icinga's object definitions of all nodes and services
    NagiosConfig(nagios::Args),
    /// Try rules on the stored history before they wake anyone
    Alerts(alerts::Args),
    /// Say that you are on a problem: it is told no more
    Ack(hush::AckArgs),
    /// Plan work: no problem within it is told
    Downtime(hush::DowntimeArgs),
    /// Rename, retire or remove a node
    Node(node::NodeArgs),
    /// Say why people were told of something, or were not
    Why(why::Args),
    /// Ask the exact history in SQL
    Sql(sql::Args),
    /// Check every byte of a history
    Verify(care::VerifyArgs),
    /// Make what is derived anew, from the exact samples
    Rebuild(care::RebuildArgs),
    /// Copy a history, also while its collector runs
    Backup(care::BackupArgs),
}

fn main() -> ExitCode {
    // reqwest is built without a provider of its own; the first call holds.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match Cli::parse().command {
        Command::Up(args) => up::run(&args),
        Command::Collector(args) => collector::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Event(args) => event::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Seal(args) => status::seal(&args),
        Command::NagiosConfig(args) => nagios::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Ack(args) => hush::ack(&args),
        Command::Downtime(args) => hush::downtime(&args),
        Command::Node(args) => node::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Sql(args) => sql::run(&args),
        Command::Verify(args) => care::verify(&args),
        Command::Rebuild(args) => care::rebuild(&args),
        Command::Backup(args) => care::backup(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("rookery: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line. When nobody reads any more (`rookery status | head`), that is
/// the end, and no error.
fn say(line: std::fmt::Arguments<'_>) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}
