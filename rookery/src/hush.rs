//! `rookery ack` and `rookery downtime`: who is on a problem, and what is meant
//! to be so.

use crate::client::{Client, URL, token};
use crate::say;
use clap::{Args as ClapArgs, Subcommand};
use rookery_alerts::{Downtime, message};
use rookery_web::times;
use serde_json::{Value as Json, json};
use std::path::PathBuf;

/// Where, and as whom.
#[derive(ClapArgs)]
pub(crate) struct Desk {
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
    /// The folder that its token is in
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
    /// Who says so; by default who you are logged in as
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

impl Desk {
    fn author(&self) -> String {
        let of = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let known = || self.author.clone().or_else(|| of("SUDO_USER")).or_else(|| of("USER"));
        known().unwrap_or_else(|| "root".to_owned())
    }

    pub(crate) fn post(&self, path: &str, what: &Json) -> Result<Json, String> {
        let token = token(&self.data)?;
        let answer = Client::new(&self.url)?.post_json(path, &token, what)?;
        serde_json::from_slice(&answer).map_err(|e| format!("{}: {e}", self.url))
    }
}

#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  rookery ack db1 mysql_connections --comment \"raising the \
                        limit\" --for 2h\n  rookery ack db1            # the node is DOWN\n  \
                        rookery ack db1 mysql_connections --undo\n  rookery ack --group web \
                        --service apache_accesses   # of a group with a quorum")]
pub struct AckArgs {
    /// The node
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    node: Option<String>,
    /// The service; without it the node itself, when it is DOWN
    #[arg(conflicts_with = "group")]
    service: Option<String>,
    /// Instead of a node: a group with a quorum, of which a problem was notified
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The service of the group's nodes; without it those that are DOWN
    #[arg(long = "service", value_name = "SERVICE", requires = "group")]
    of_group: Option<String>,
    /// What is being done
    #[arg(long, default_value = "")]
    comment: String,
    /// How long it holds, 2h; without it as long as the problem
    #[arg(long = "for", value_name = "SPAN", default_value = "")]
    lasts: String,
    /// Holds also when the state changes to another that is not OK
    #[arg(long)]
    sticky: bool,
    /// Take the acknowledgement back
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    desk: Desk,
}

pub fn ack(args: &AckArgs) -> Result<(), String> {
    let (node, group) = (args.node.as_deref().unwrap_or(""), args.group.as_deref());
    let service = args.service.as_deref().or(args.of_group.as_deref()).unwrap_or("");
    let slash = if service.is_empty() { "" } else { "/" };
    let place = match group {
        Some(group) => format!("group {group}{slash}{service}"),
        None => format!("{node}{slash}{service}"),
    };
    let group = group.unwrap_or("");
    if args.undo {
        let what = json!({ "node": node, "group": group, "service": service });
        args.desk.post("/api/v1/unacknowledge", &what)?;
        say(format_args!("{place} is not acknowledged any more"));
        return Ok(());
    }
    let what = json!({
        "node": node, "group": group, "service": service, "author": args.desk.author(),
        "comment": args.comment, "sticky": args.sticky, "for": args.lasts,
    });
    args.desk.post("/api/v1/acknowledge", &what)?;
    say(format_args!("{place} is acknowledged by {}", args.desk.author()));
    Ok(())
}

#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  rookery downtime add --node db1 --for 30m --comment \"new \
                        disk\"\n  rookery downtime add --group 'web*' --service 'apache_*' --for \
                        1h\n  rookery downtime add --group web --repeat 'sun 02:00-04:00' --zone \
                        Europe/Berlin\n  rookery downtime add --node db1 --for 8h --flexible \
                        30m\n  rookery downtime list\n  rookery downtime cancel 1f3a5c77")]
pub struct DowntimeArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Begin or plan one: no problem within it is told
    Add(AddArgs),
    /// Show those that are, or are to come
    List(ListArgs),
    /// End one now
    Cancel(CancelArgs),
}

#[derive(ClapArgs)]
#[group(id = "whom", required = true, multiple = true)]
struct Whom {
    /// The nodes: a pattern with * and ?
    #[arg(long, default_value = "", group = "whom")]
    node: String,
    /// The groups: a pattern
    #[arg(long, default_value = "", group = "whom")]
    group: String,
}

#[derive(ClapArgs)]
struct AddArgs {
    #[command(flatten)]
    whom: Whom,
    /// The services: a pattern; without it the nodes and all their services
    #[arg(long, default_value = "")]
    service: String,
    /// From when; now, if it is left out: 2026-11-20T22:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// How long: 30m, 2h, 1d [default: 2h; with --repeat 10 years]
    #[arg(long = "for", value_name = "SPAN", default_value = "", hide_default_value = true)]
    lasts: String,
    /// It begins with the first problem in that time, and lasts so long: 30m
    #[arg(long, value_name = "SPAN", default_value = "", hide_default_value = true)]
    flexible: String,
    /// It comes again, in that time: "sat 02:00-04:00", "daily 22:00-06:00"; may be given
    /// several times
    #[arg(long, value_name = "TIMES")]
    repeat: Vec<String>,
    /// The time zone of --repeat; without it the collector's own
    #[arg(long, value_name = "ZONE", default_value = "", hide_default_value = true)]
    zone: String,
    /// Why
    #[arg(long, default_value = "")]
    comment: String,
    /// The names are names of one thing each, also where they hold a * or ?
    #[arg(long)]
    exact: bool,
    /// Also when nothing is called so yet
    #[arg(long)]
    anyway: bool,
    #[command(flatten)]
    desk: Desk,
}

#[derive(ClapArgs)]
struct ListArgs {
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
}

#[derive(ClapArgs)]
struct CancelArgs {
    /// Its id
    id: String,
    #[command(flatten)]
    desk: Desk,
}

pub fn downtime(args: &DowntimeArgs) -> Result<(), String> {
    match &args.what {
        What::Add(args) => add(args),
        What::List(args) => list(args),
        What::Cancel(args) => {
            args.desk.post("/api/v1/downtime/cancel", &json!({ "id": args.id }))?;
            say(format_args!("{} is over", args.id));
            Ok(())
        }
    }
}

fn add(args: &AddArgs) -> Result<(), String> {
    let now_ms = rookery_collector::store::now_ms();
    let from_ms = args.from.as_deref().map(|t| times::parse(t, now_ms)).transpose()?;
    let what = json!({
        "node": args.whom.node, "group": args.whom.group, "service": args.service,
        "from_ms": from_ms, "for": args.lasts, "author": args.desk.author(),
        "comment": args.comment, "flexible": args.flexible, "repeat": args.repeat.join(";"),
        "zone": args.zone, "exact": args.exact, "anyway": args.anyway,
    });
    let answer = args.desk.post("/api/v1/downtime", &what)?;
    let text = |key: &str| answer[key].as_str().unwrap_or("?").to_owned();
    say(format_args!("{}: {}", text("id"), text("when")));
    Ok(())
}

fn list(args: &ListArgs) -> Result<(), String> {
    let body = Client::new(&args.url)?.get("/api/v1/downtimes")?;
    let all: Json = serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", args.url))?;
    for d in all.as_array().map_or(&[][..], Vec::as_slice) {
        let text = |key: &str| message::line(d[key].as_str().unwrap_or("*"));
        let when = serde_json::from_value::<Downtime>(d.clone()).map_or_else(
            |e| format!("(not understood: {e})"),
            |downtime| message::line(&downtime.when()),
        );
        say(format_args!(
            "{}  {when}  group {} node {} service {}  {}: {}",
            text("id"),
            text("group"),
            text("node"),
            text("service"),
            text("author"),
            text("comment")
        ));
    }
    Ok(())
}
