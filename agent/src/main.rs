//! `rookery-agent`: the command line around [`rookery_agent::run`].

use clap::{Parser, Subcommand, ValueEnum};
use rookery_agent::config::CONFIG_FILE;
use rookery_agent::configure::{self, Action, Options};
use rookery_agent::configure_snmp::{self, Snmp};
use rookery_agent::probes::PROBES;
use rookery_agent::{Config, cli, nrpe};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Parser)]
#[command(
    name = "rookery-agent",
    version,
    about = "Watches this host: samples probes and plugins, and ships exact values to a collector",
    after_help = "Examples:\n  rookery-agent --config /etc/rookery/agent.toml\n  \
                  rookery-agent --check-config\n  rookery-agent list\n  \
                  rookery-agent run cpu config\n\n\
                  Exit codes: 0 stopped or done, 1 an error, 2 a wrong command line."
)]
struct Cli {
    /// The configuration; without it /etc/rookery/agent.toml, if it is there
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Only say whether the configuration is right
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run one plugin or read one probe, as munin-run does
    #[command(after_help = "Example: rookery-agent run load config")]
    Run {
        /// A plugin's file name, a probe, or a probe's service
        service: String,
        /// What to ask it for
        #[arg(value_enum, default_value = "fetch")]
        verb: Verb,
    },
    /// Show all probes and plugins, and what is wrong with them
    #[command(after_help = "Examples:\n  rookery-agent list\n  \
                            rookery-agent list --available")]
    List {
        /// Every probe there is: what it watches, whether it is found here, and
        /// why not
        #[arg(long)]
        available: bool,
    },
    /// Write a snippet for nrpe.d with a command for each service of this host
    #[command(after_help = "Example:\n  \
                            rookery-agent nrpe-config > /etc/nagios/nrpe.d/rookery.cfg\n\n\
                            Asks the running agent for its services.")]
    NrpeConfig {
        /// Where check_rookery is
        #[arg(long, value_name = "PATH", default_value = nrpe::CHECK)]
        check: String,
    },
    /// Ask the plugins of a folder whether they would work here, as
    /// munin-node-configure does
    #[command(after_help = "Examples:\n  rookery-agent configure\n  \
                            rookery-agent configure --shell | sh\n  \
                            rookery-agent configure --apply --remove-also\n\n\
                            Exit code 1: some plugin answered wrongly, or a link failed.")]
    Configure(ConfigureArgs),
}

#[derive(clap::Args)]
struct ConfigureArgs {
    /// Print the shell commands that make the suggested links
    #[arg(long, conflicts_with = "apply")]
    shell: bool,
    /// Make the suggested links
    #[arg(long)]
    apply: bool,
    /// With --shell or --apply: remove links that are not suggested
    #[arg(long)]
    remove_also: bool,
    /// The folder of plugins to choose from
    #[arg(long, value_name = "DIR", default_value = configure::LIBRARY)]
    library: PathBuf,
    /// The folder of links; without it the first of `plugin_dirs`
    #[arg(long, value_name = "DIR")]
    links: Option<PathBuf>,
    /// Which families of plugins: auto, manual, contrib [default: auto, with --snmp snmpauto]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    families: Vec<String>,
    /// Ask these devices by SNMP, and suggest plugins for them
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    snmp: Vec<String>,
    /// The devices' port
    #[arg(long, value_name = "PORT", default_value_t = 161)]
    snmpport: u16,
    /// Version 1 or 2c
    #[arg(long, value_name = "V", default_value = "2c", value_parser = ["1", "2c"])]
    snmpversion: String,
    /// What the devices are asked with
    #[arg(long, value_name = "TEXT", default_value = "public")]
    snmpcommunity: String,
}

impl ConfigureArgs {
    fn options(&self) -> Options {
        let action = match (self.shell, self.apply) {
            (true, _) => Action::Shell,
            (_, true) => Action::Apply,
            _ => Action::Table,
        };
        Options {
            library: self.library.clone(),
            links: self.links.clone(),
            families: match (self.families.is_empty(), self.snmp.is_empty()) {
                (false, _) => self.families.clone(),
                (true, true) => vec![configure::FAMILY.to_owned()],
                (true, false) => vec![configure_snmp::FAMILY.to_owned()],
            },
            snmp: (!self.snmp.is_empty()).then(|| Snmp {
                hosts: self.snmp.clone(),
                port: self.snmpport,
                community: self.snmpcommunity.clone(),
                v1: self.snmpversion == "1",
            }),
            action,
            remove_also: self.remove_also,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Verb {
    Config,
    Fetch,
    Autoconf,
    Suggest,
}

/// One heap for all threads: glibc gives each thread one of its own, which for a
/// thread per daemon is more memory than all that they hold. They seldom allocate
/// at the same time.
fn share_heap() {
    // SAFETY: mallopt only sets a number, and no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

fn main() -> ExitCode {
    share_heap();
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("ROOKERY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match start(&cli) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("rookery-agent: {e}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<ExitCode, String> {
    let file = cli.config.as_deref().unwrap_or(Path::new(CONFIG_FILE));
    let config = Config::load(file, cli.config.is_some(), &PROBES)?;
    if cli.check_config {
        let from = if file.exists() { "is right" } else { "is not there: the defaults hold" };
        println!("{} {from}", file.display());
        for note in &config.munin.notes {
            println!("not honoured: {note}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    runtime.block_on(async {
        match &cli.command {
            None => serve(config).await.map(|()| ExitCode::SUCCESS),
            Some(Command::List { available: true }) => {
                print(&cli::available(&config, &PROBES).await)
            }
            Some(Command::List { available: false }) => print(&cli::list(&config, &PROBES).await),
            Some(Command::NrpeConfig { check }) => print(&nrpe::nrpe_config(&config, check)),
            Some(Command::Configure(args)) => {
                print(&configure::configure(&config, &args.options()).await)
            }
            Some(Command::Run { service, verb }) => {
                let verb = match verb {
                    Verb::Config => "config",
                    Verb::Fetch => "fetch",
                    Verb::Autoconf => "autoconf",
                    Verb::Suggest => "suggest",
                };
                print(&cli::run_service(&config, &PROBES, service, verb).await)
            }
        }
    })
}

fn print(outcome: &cli::Outcome) -> Result<ExitCode, String> {
    eprint!("{}", outcome.err);
    match std::io::stdout().write_all(&outcome.out) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.to_string()),
        _ => Ok(ExitCode::from(outcome.code)),
    }
}

async fn serve(config: Config) -> Result<(), String> {
    let (stop, stopped) = watch::channel(false);
    let mut term = signal(SignalKind::terminate()).map_err(|e| format!("SIGTERM: {e}"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| format!("SIGINT: {e}"))?;
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        let _ = stop.send(true);
    });
    rookery_agent::run(config, stopped, |_| {}).await.map_err(|e| e.to_string())
}
