//! `rookery verify`, `backup` and `rebuild`: looking after a history.

use crate::say;
use clap::Args as ClapArgs;
use rookery_collector::{backup, rebuild, verify};
use rookery_web::times::rfc3339;
use std::path::PathBuf;

#[derive(ClapArgs)]
#[command(after_help = "Example: rookery verify --data /var/lib/rookery\n\n\
                        Exit codes: 0 all is whole, 1 something is damaged.")]
pub struct VerifyArgs {
    /// The history's folder
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
}

#[derive(ClapArgs)]
#[command(after_help = "Example: rookery backup --data /var/lib/rookery /backup/rookery\n\n\
                        Sealed months that have not changed since the last backup to the same\n\
                        folder are not copied again. A collector opens the copy like any history:\n\
                        rookery up --data /backup/rookery")]
pub struct BackupArgs {
    /// The history's folder
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
    /// Where the copy goes
    #[arg(value_name = "DEST")]
    dest: PathBuf,
}

#[derive(ClapArgs)]
#[command(after_help = "Example: rookery rebuild --data /var/lib/rookery\n\n\
                        The collector must not run. Only what is derived is written: summaries\n\
                        that are damaged, from samples that are whole.")]
pub struct RebuildArgs {
    /// The history's folder
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
}

/// How many fields of a damaged block are named.
const FIELDS_NAMED: usize = 8;

pub fn verify(args: &VerifyArgs) -> Result<(), String> {
    let report = verify::verify(&args.data).map_err(|e| e.to_string())?;
    for d in &report.blocks {
        let names: Vec<String> = d
            .fields
            .iter()
            .take(FIELDS_NAMED)
            .map(|f| format!("{}.{}", f.service, f.field))
            .collect();
        let more = d.fields.len().saturating_sub(FIELDS_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        say(format_args!(
            "damaged: {} {}{more} from {} to {}: {} ({}, block {})",
            d.node,
            names.join(", "),
            rfc3339(d.from_ms),
            rfc3339(d.to_ms),
            d.error,
            d.path.display(),
            d.block
        ));
    }
    for f in &report.files {
        say(format_args!("damaged: {}: {}", f.path.display(), f.error));
    }
    say(format_args!(
        "{} databases, {} blocks with {} cells, {} batches in the journal",
        report.n_files, report.n_blocks, report.n_cells, report.n_frames
    ));
    let n = report.blocks.len() + report.files.len();
    if report.is_whole() {
        return Ok(());
    }
    Err(format!("{n} damaged; all else is whole, and is served: take these from a backup"))
}

pub fn backup(args: &BackupArgs) -> Result<(), String> {
    let done = backup::backup(&args.data, &args.dest).map_err(|e| e.to_string())?;
    say(format_args!(
        "{} databases copied, {} bytes; {} had not changed",
        done.n_copied, done.bytes_copied, done.n_unchanged
    ));
    for path in &done.only_here {
        say(format_args!("kept, though the history has lost it: {}", path.display()));
    }
    for (path, why) in &done.failed {
        eprintln!("rookery: {}: {why}", path.display());
    }
    if done.failed.is_empty() {
        return Ok(());
    }
    Err(format!("{} databases could not be copied; rookery verify says more", done.failed.len()))
}

pub fn rebuild(args: &RebuildArgs) -> Result<(), String> {
    if !args.data.join("catalog.sqlite").exists() {
        return Err(format!("{}: no history here", args.data.display()));
    }
    let done = rebuild::rebuild(&args.data).map_err(|e| e.to_string())?;
    say(format_args!("{} blocks have new summaries", done.rebuilt));
    if done.damaged == 0 {
        return Ok(());
    }
    Err(format!("{} have damaged samples: rookery verify names them", done.damaged))
}
