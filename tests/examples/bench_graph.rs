//! What a graph costs, read from the history and drawn, beside rrdtool in one run.
//!
//! `cargo run --release -p rookery-tests --example bench_graph -- --dir DIR`
//!
//! Fills `DIR`, if it is not there, with services of 1, 5 and 20 stacked fields every
//! 10 s for a year, and RRD files of the same values as Munin keeps them (a field a
//! file, 300 s; means, least and greatest by 5 min, 30 min, 2 h and a day). Needs
//! `rrdtool` (tests/install installs it). CPU time alone: of this process, of the
//! `rrdtool -` that is asked through its pipe, and of one command a graph.

use bytes::Bytes;
use clap::Parser;
use rookery_collector::Collector;
use rookery_collector::config::Config;
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{Cells, Draw, FieldKey, FieldSpec, Layout, ServiceSpec, Value};
use rookery_tests::cost::Cost;
use rookery_tests::server::TOKEN;
use rookery_web::App;
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NODE: &str = "bench;node0";
const STEP_MS: i64 = 10_000;
const DAY_MS: i64 = 86_400_000;
/// Munin's step, s.
const RRD_STEP_S: i64 = 300;
const FRAME_ROWS: i64 = 180;
/// Fields of each service.
const SIZES: [usize; 3] = [1, 5, 20];
/// Of the plot, px.
const SIZE: (u32, u32) = (900, 300);
/// Asked for in turn, so that nothing of the machine's moods falls to one side.
const ROUNDS: usize = 5;

#[derive(Parser)]
struct Args {
    /// The history and the RRD files; filled if it is not there
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value_t = 365)]
    days: i64,
    /// Graphs of each kind a round
    #[arg(long, default_value_t = 10)]
    graphs: u32,
    /// Without rrdtool, while one works on ours
    #[arg(long)]
    ours: bool,
    /// Draw only ours of five fields over so many days, for ever (for a profiler)
    #[arg(long)]
    profile: Option<i64>,
    /// With --profile: svg or png
    #[arg(long, default_value = "svg")]
    form: String,
}

fn main() -> Res<()> {
    let args = Args::parse();
    let data = args.dir.join("data");
    let end_file = args.dir.join("end");
    let is_new = !data.exists();
    std::fs::create_dir_all(&args.dir)?;
    let config = Config {
        data,
        token: TOKEN.to_owned(),
        alerts: args.dir.join("alerts.d"),
        ..Config::default()
    };
    let collector = Collector::open(&config)?;
    if is_new {
        let end = now_ms() / DAY_MS * DAY_MS;
        fill(&args, &collector, end)?;
        fill_rrds(&args, end)?;
        std::fs::write(&end_file, end.to_string())?;
    }
    let end: i64 = std::fs::read_to_string(&end_file)?.trim().parse()?;
    let app =
        App::new(collector.history(), collector.states(), collector.events(), collector.auth());
    if let Some(days) = args.profile {
        loop {
            app.draw_at(&ours(5, days, end, &args.form)).map_err(|e| e.text)?;
        }
    }
    compare(&args, &app, end)
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}

fn service(n: usize) -> String {
    format!("stack{n}")
}

/// Slow waves and noise, as a processor's states.
fn value(field: usize, at_ms: i64) -> f64 {
    let day = at_ms as f64 / DAY_MS as f64;
    let wave = ((day + field as f64 * 0.17) * std::f64::consts::TAU).sin();
    let mut x = (at_ms as u64 ^ ((field as u64) << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let noise = (x >> 40) as f64 / f64::from(1u32 << 24);
    ((10.0 + 3.0 * wave + 4.0 * noise) * 100.0).round() / 100.0
}

fn fill(args: &Args, collector: &Collector, end: i64) -> Res<()> {
    let mut services = Vec::new();
    let mut keys = Vec::new();
    for n in SIZES {
        let name = service(n);
        let fields = (0..n).map(|i| {
            FieldSpec::gauge(&format!("f{i}"), &format!("field {i}")).draw(Draw::AreaStack)
        });
        let mut spec = ServiceSpec::new(&name, &name, "bench").vlabel("%").fields(fields.collect());
        spec.step_ms = STEP_MS as u64;
        keys.extend((0..n).map(|i| FieldKey::new(&name, &format!("f{i}"))));
        services.push(spec);
    }
    let layout = Layout::new(keys);
    let (mut cells, mut writer) = (Cells::new(), FrameWriter::default());
    let n_rows = args.days * DAY_MS / STEP_MS;
    let start = end - args.days * DAY_MS;
    let queue = &collector.shared().queue;
    let mut waiting = Vec::new();
    for from in (0..n_rows).step_by(FRAME_ROWS as usize) {
        writer.start(NODE, 1, (from / FRAME_ROWS) as u64 + 1);
        if from == 0 {
            writer.announce(&Announce { services: services.clone(), ..Announce::default() });
            writer.layout(&layout);
        }
        for i in from..n_rows.min(from + FRAME_ROWS) {
            let at = start + i * STEP_MS;
            cells.clear();
            for n in SIZES {
                (0..n).for_each(|f| cells.push(Value::Float(value(f, at))));
            }
            writer.row(layout.id(), at, &cells);
        }
        let frame = Bytes::copy_from_slice(writer.finish());
        waiting.push(queue.send(frame).ok_or("too many wait")?);
        if waiting.len() >= 32 {
            for answer in waiting.drain(..) {
                answer.blocking_recv()??;
            }
        }
    }
    for answer in waiting {
        answer.blocking_recv()??;
    }
    queue.seal_all().ok_or("too many wait")?.blocking_recv()??;
    Ok(())
}

fn rrd(dir: &Path, n: usize, field: usize) -> String {
    dir.join(format!("{}-f{field}.rrd", service(n))).display().to_string()
}

/// As munin-update makes and feeds them.
fn fill_rrds(args: &Args, end: i64) -> Res<()> {
    let mut pipe = Pipe::start()?;
    let start = (end - args.days * DAY_MS) / 1000 / RRD_STEP_S * RRD_STEP_S;
    for n in SIZES {
        for field in 0..n {
            let path = rrd(&args.dir, n, field);
            let mut command = format!(
                "create {path} --start {} --step {RRD_STEP_S} DS:42:GAUGE:600:U:U",
                start - 1
            );
            for how in ["AVERAGE", "MIN", "MAX"] {
                for (steps, rows) in [(1, 576), (6, 432), (24, 540), (288, 450)] {
                    let _ = write!(command, " RRA:{how}:0.5:{steps}:{rows}");
                }
            }
            pipe.ask(&command)?;
            let mut at = start;
            while at < end / 1000 {
                let mut command = format!("update {path}");
                for _ in 0..1000 {
                    if at < end / 1000 {
                        let _ = write!(command, " {at}:{}", value(field, at * 1000));
                        at += RRD_STEP_S;
                    }
                }
                pipe.ask(&command)?;
            }
        }
    }
    Ok(())
}

/// `rrdtool -`: one process for all commands.
struct Pipe {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Pipe {
    fn start() -> Res<Pipe> {
        let mut child = Command::new("rrdtool")
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("rrdtool: {e}; install Debian's package rrdtool"))?;
        let to = child.stdin.take().ok_or("no pipe")?;
        let from = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Pipe { child, to, from })
    }

    /// Bytes that were answered before `OK`.
    fn ask(&mut self, command: &str) -> Res<usize> {
        writeln!(self.to, "{command}")?;
        self.to.flush()?;
        let mut n = 0;
        loop {
            let mut line = Vec::new();
            if self.from.read_until(b'\n', &mut line)? == 0 {
                return Err("rrdtool ended".into());
            }
            if line.starts_with(b"OK ") {
                return Ok(n);
            }
            if line.starts_with(b"ERROR") {
                return Err(String::from_utf8_lossy(&line).into_owned().into());
            }
            // `graphv` tells the picture's size and then gives it.
            if let Some(size) = line.strip_prefix(b"image = BLOB_SIZE:") {
                let size: usize = String::from_utf8_lossy(size).trim().parse()?;
                let mut image = vec![0; size];
                self.from.read_exact(&mut image)?;
                n += size;
            }
        }
    }

    /// Time on a processor so far, s, by the kernel's scheduler: to the nanosecond.
    fn cpu_s(&self) -> Res<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()))?;
        let ns: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
        Ok(ns / 1e9)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words of an `rrdtool graph` as munin-graph writes them.
fn theirs(args: &Args, n: usize, days: i64, end: i64, form: &str) -> Vec<String> {
    let (from, to) = (end / 1000 - days * 86_400, end / 1000);
    let mut words: Vec<String> = ["--start", &from.to_string(), "--end", &to.to_string()]
        .into_iter()
        .chain(["--width", &SIZE.0.to_string(), "--height", &SIZE.1.to_string()])
        .chain(["--imgformat", &form.to_uppercase(), "--title", "stack", "--lower-limit", "0"])
        .map(str::to_owned)
        .collect();
    for field in 0..n {
        let path = rrd(&args.dir, n, field);
        for (name, how) in [("g", "AVERAGE"), ("i", "MIN"), ("a", "MAX")] {
            words.push(format!("DEF:{name}{field}={path}:42:{how}"));
        }
        let colour = format!("{:06x}", 0x2f74c0 + field * 0x091d31);
        let stack = if field == 0 { "" } else { ":STACK" };
        words.push(format!("AREA:g{field}#{}:field{field}{stack}", &colour[..6]));
        for (name, how) in [("g", "LAST"), ("i", "MIN"), ("g", "AVERAGE"), ("a", "MAX")] {
            words.push(format!("GPRINT:{name}{field}:{how}:%6.2lf%s"));
        }
        if let Some(last) = words.last_mut() {
            *last += "\\j";
        }
    }
    words
}

fn ours(n: usize, days: i64, end: i64, form: &str) -> String {
    let (width, height) = SIZE;
    let node = NODE.replace(';', "%3B");
    let from = end - days * DAY_MS;
    format!(
        "/graph/{node}/{}.{form}?from={from}&to={end}&width={width}&height={height}&tz=UTC",
        service(n)
    )
}

/// Of all threads: the longest spans are read by several.
fn own_cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// CPU ms a graph: least of the rounds, since what disturbs only adds.
#[derive(Clone, Copy)]
struct Figure {
    ms: f64,
    bytes: usize,
}

fn least(rounds: &[(f64, usize)]) -> Figure {
    let best = rounds.iter().copied().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::NAN, 0));
    Figure { ms: best.0 * 1e3, bytes: best.1 }
}

fn compare(args: &Args, app: &App, end: i64) -> Res<()> {
    println!(
        "CPU ms a graph of {} x {} px (least of {ROUNDS} rounds of {})",
        SIZE.0, SIZE.1, args.graphs
    );
    println!("| span, fields | form | Rookery | rrdtool - | rrdtool graph | bytes | rrdtool's |");
    println!("|---|---|---|---|---|---|---|");
    let mut pipe = Pipe::start()?;
    for (name, days) in [("day", 1), ("week", 7), ("year", 365)] {
        for n in SIZES {
            for form in ["svg", "png"] {
                let address = ours(n, days.min(args.days), end, form);
                let words = theirs(args, n, days.min(args.days), end, form);
                let mut rounds: [Vec<(f64, usize)>; 3] = Default::default();
                for _ in 0..ROUNDS {
                    rounds[0].push(draw_ours(args, app, &address)?);
                    if !args.ours {
                        rounds[1].push(draw_piped(args, &mut pipe, &words)?);
                        rounds[2].push(draw_commands(args, &words)?);
                    }
                }
                let [a, b, c] = rounds.map(|r| least(&r));
                println!(
                    "| {name}, {n} | {form} | {:.2} | {:.1} | {:.1} | {} | {} |",
                    a.ms, b.ms, c.ms, a.bytes, b.bytes
                );
            }
        }
    }
    Ok(())
}

fn draw_ours(args: &Args, app: &App, address: &str) -> Res<(f64, usize)> {
    let mut bytes = 0;
    let began = own_cpu_s();
    for _ in 0..args.graphs {
        bytes = app.draw_at(address).map_err(|e| e.text)?.len();
    }
    Ok(((own_cpu_s() - began) / f64::from(args.graphs), bytes))
}

fn draw_piped(args: &Args, pipe: &mut Pipe, words: &[String]) -> Res<(f64, usize)> {
    let command = format!("graphv - {}", words.join(" "));
    let mut bytes = 0;
    let began = pipe.cpu_s()?;
    for _ in 0..args.graphs {
        bytes = pipe.ask(&command)?;
    }
    Ok(((pipe.cpu_s()? - began) / f64::from(args.graphs), bytes))
}

fn draw_commands(args: &Args, words: &[String]) -> Res<(f64, usize)> {
    let own = || Cost::of(std::process::id()).map(|c| c.children_s);
    let mut bytes = 0;
    let began = own()?;
    for _ in 0..args.graphs {
        let output = Command::new("rrdtool").arg("graph").arg("-").args(words).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        bytes = output.stdout.len();
    }
    Ok(((own()? - began) / f64::from(args.graphs), bytes))
}
