//! Every daemon that there is a probe for, under a steady load, watched each
//! second: to look at the pages.
//!
//! `cargo build --workspace && cargo run -p rookery-tests --example showroom -- --for 10m`
//!
//! As root, with what `tests/install` installs. Ctrl-C ends all of it; nothing
//! is left behind.

use clap::Parser;
use rookery_tests::server::{Server, TOKEN};
use rookery_tests::zoo::{Res, Zoo, built};
use std::process::{Child, Command};
use std::time::Duration;

#[derive(Parser)]
struct Args {
    /// How long: "120s", "10m", "2h"
    #[arg(long = "for", default_value = "10m", value_parser = length)]
    length: Duration,
    /// How often the agent asks
    #[arg(long, default_value = "1s")]
    step: String,
}

fn length(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: write 120s, 10m or 2h");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

/// Ends with this value.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Res<()> {
    let args = Args::parse();
    let mut zoo = Zoo::start()?;
    let server = Server::start(&zoo.path("collector"), Some(&built("rookery")?))?;
    let config = format!(
        "node = \"showroom\"\ncollector = \"http://{}\"\ntoken = {TOKEN:?}\nlisten = \"none\"\n\
         step = {:?}\nspool = {:?}\nplugin_dirs = []\n{}",
        server.addr,
        args.step,
        zoo.path("spool"),
        zoo.agent_config()
    );
    let file = zoo.path("agent.toml");
    std::fs::write(&file, config)?;
    let agent = Command::new(built("rookery-agent")?).arg("--config").arg(file).spawn()?;
    let agent = Agent(agent);
    zoo.drive()?;
    println!("http://{}/node/showroom, for {:?}", server.addr, args.length);
    tokio::select! {
        () = tokio::time::sleep(args.length) => {}
        said = tokio::signal::ctrl_c() => said?,
    }
    drop(agent);
    Ok(())
}
