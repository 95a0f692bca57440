//! `rookery node`: renaming, retiring and removing nodes.

use crate::client::{Client, URL};
use crate::hush::Desk;
use crate::say;
use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value as Json, json};

#[derive(ClapArgs)]
#[command(
    after_help = "Examples:\n  rookery node rename web1 web1.example.com\n  rookery node retire \
                        web2\n  rookery node retire web3 --service apache_accesses\n  rookery node \
                        remove test7 --yes\n  rookery node retired"
)]
pub struct NodeArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Call a node otherwise: its history stays one, what still uses the old name is
    /// understood
    Rename(RenameArgs),
    /// Take a node off all lists and alerts; its history stays, and it returns when it
    /// sends again
    Retire(RetireArgs),
    /// Remove a node with all its history; or free a name that a node had
    Remove(RemoveArgs),
    /// Show the retired nodes
    Retired(RetiredArgs),
}

#[derive(ClapArgs)]
struct RenameArgs {
    /// What it is called
    old: String,
    /// What it is to be called
    new: String,
    #[command(flatten)]
    desk: Desk,
}

#[derive(ClapArgs)]
struct RetireArgs {
    /// The node
    node: String,
    /// Only this service of it
    #[arg(long, default_value = "", hide_default_value = true)]
    service: String,
    #[command(flatten)]
    desk: Desk,
}

#[derive(ClapArgs)]
struct RemoveArgs {
    /// The node, or a name that one had
    node: String,
    /// Its history goes, and does not come back
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    desk: Desk,
}

#[derive(ClapArgs)]
struct RetiredArgs {
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
}

pub fn run(args: &NodeArgs) -> Result<(), String> {
    match &args.what {
        What::Rename(args) => {
            let what = json!({ "node": args.old, "to": args.new });
            args.desk.post("/api/v1/node/rename", &what)?;
            say(format_args!("{} is called {} now", args.old, args.new));
        }
        What::Retire(args) => {
            let what = json!({ "node": args.node, "service": args.service });
            args.desk.post("/api/v1/node/retire", &what)?;
            let slash = if args.service.is_empty() { "" } else { "/" };
            say(format_args!("{}{slash}{} is retired", args.node, args.service));
        }
        What::Remove(args) => {
            if !args.yes {
                return Err(format!(
                    "{} would go with all its history, which does not come back: say --yes; \
                     \"rookery node retire {}\" keeps the history",
                    args.node, args.node
                ));
            }
            let what = json!({ "node": args.node, "confirm": args.node });
            args.desk.post("/api/v1/node/remove", &what)?;
            say(format_args!("{} is removed", args.node));
        }
        What::Retired(args) => {
            let body = Client::new(&args.url)?.get("/api/v1/node/retired")?;
            let all: Json =
                serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", args.url))?;
            for name in all["retired"].as_array().into_iter().flatten().filter_map(Json::as_str) {
                say(format_args!("{}", rookery_alerts::message::line(name)));
            }
        }
    }
    Ok(())
}
