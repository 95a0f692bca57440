//! The command line of `check_rookery`, as Nagios' plugins have it: every
//! mistake, and `--help` too, exits 3.

use super::{Answer, Wish};
use clap::Parser;
use rookery_plugins::{Range, State};
use std::ffi::OsString;

/// How long to wait for a collector unless `-t` says otherwise, s.
pub const TIMEOUT_S: f64 = 10.0;
/// How long to wait for a node: a rookery-agent has a new value, and so a
/// counter's rate, only once a step.
pub const NODE_TIMEOUT_S: f64 = 15.0;
/// The most seconds that `-t` and `-a` take.
const SECONDS_MAX: f64 = 1e9;

const EXAMPLES: &str = "\
Examples:
  check_rookery -u http://127.0.0.1:4950 -H db1 -s cpu
      the service's own limits, as the collector knows them
  check_rookery -u http://127.0.0.1:4950 -H db1 -s cpu -f user -w 80 -c 90
      one field against Nagios ranges ([@][start:][end], alert outside)
  check_rookery -u http://127.0.0.1:4950 -H db1
      whether the node reports (UP is 0, DOWN is 2)
  check_rookery -u http://127.0.0.1:4950
      whether the collector answers
  check_rookery --munin -H db1.example.com:4949 -s load
      without a collector: asks the munin-node or rookery-agent itself
  check_rookery -H db1 -u http://127.0.0.1:4950 df 88 94
  check_rookery -H db1 -u http://127.0.0.1:4950 'df!88!94'
  check_rookery -H db1 -u http://127.0.0.1:4950 processes zombie 5 10
      as check_munin: worst field; more than 88 is WARNING, than 94 CRITICAL
Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also: bad arguments,
no answer, no such node or service, data too old; --help and --version).";

#[derive(Parser)]
#[command(
    name = "check_rookery",
    version,
    about = "Answers Nagios from a Rookery collector, or straight from a node",
    after_help = EXAMPLES
)]
struct Line {
    /// The collector; without it, HOST itself is asked by Munin's protocol
    #[arg(short, long, value_name = "URL")]
    url: Option<String>,
    /// Ask HOST itself by Munin's protocol, as without -u
    #[arg(long, conflicts_with = "url")]
    munin: bool,
    /// The node's name at the collector (without it the collector itself is checked),
    /// or without -u HOST[:PORT] (4949)
    #[arg(short = 'H', long = "host", value_name = "NODE")]
    host: Option<String>,
    /// The service (Munin's plugin name); without it the node is checked
    #[arg(short, long, value_name = "SERVICE")]
    service: Option<String>,
    /// NODE and SERVICE are percent-encoded: for names that Nagios or a shell would
    /// take for something else (a%3Bb is a;b)
    #[arg(long)]
    encoded: bool,
    /// Only this field; may be given several times
    #[arg(short, long, value_name = "FIELD")]
    field: Vec<String>,
    /// Warning range, instead of the service's own limits
    #[arg(short, long, value_name = "RANGE", allow_hyphen_values = true)]
    warning: Option<String>,
    /// Critical range, instead of the service's own limits
    #[arg(short, long, value_name = "RANGE", allow_hyphen_values = true)]
    critical: Option<String>,
    /// Data older than this is UNKNOWN [default: 3 steps, at least 60]
    #[arg(short, long, value_name = "SECONDS")]
    age: Option<String>,
    /// How long to wait for an answer [default: 10, without -u 15]
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<String>,
    /// The collector's token; or set ROOKERY_TOKEN, which `ps` does not show
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Print the node's services
    #[arg(long)]
    list: bool,
    /// Also print a line per field
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// As check_munin: SERVICE [FIELD] [WARN CRIT], or SERVICE!WARN!CRIT
    #[arg(value_name = "SERVICE [FIELD] WARN CRIT", allow_negative_numbers = true)]
    words: Vec<String>,
}

/// What was asked for, checked.
#[derive(Clone, Debug)]
pub struct Args {
    /// The collector.
    pub url: Option<String>,
    /// The node's name, or its address; empty: the collector itself.
    pub host: String,
    /// The collector's token.
    pub token: Option<String>,
    /// Only list the services.
    pub list: bool,
    /// How long to wait for an answer, s.
    pub timeout_s: f64,
    /// What to judge, and how.
    pub wish: Wish,
}

impl Args {
    /// Reads a command line. `Err` is what is to be printed instead.
    pub fn read(argv: impl IntoIterator<Item = OsString>) -> Result<Args, Answer> {
        let line = Line::try_parse_from(argv).map_err(|e| {
            let text = e.to_string();
            let text = match e.exit_code() {
                0 => text.trim_end().to_owned(),
                _ => bad(text.strip_prefix("error: ").unwrap_or(&text)).text,
            };
            Answer { state: State::Unknown, text }
        })?;
        Args::check(line).map_err(|e| bad(&e))
    }

    fn check(line: Line) -> Result<Args, String> {
        let plain = |text: String| match line.encoded {
            true => decoded(&text),
            false => Ok(text),
        };
        let host = plain(line.host.unwrap_or_default())?;
        let mut wish = Wish {
            service: plain(line.service.unwrap_or_default())?,
            fields: line.field,
            warning: range("-w", line.warning)?,
            critical: range("-c", line.critical)?,
            age_s: seconds("-a", line.age)?,
            verbose: line.verbose > 0,
            as_munin: false,
        };
        let words: Vec<&str> = line.words.iter().flat_map(|w| w.split('!')).collect();
        positional(&mut wish, &words)?;
        let is_of_collector = line.url.is_some() && wish.service.is_empty() && !line.list;
        if host.is_empty() && !is_of_collector {
            return Err("-H NODE is missing".to_owned());
        }
        if wish.service.is_empty() && !line.list {
            let useless = !wish.fields.is_empty() || wish.has_limits();
            if useless {
                return Err("-f, -w and -c need a service: -s SERVICE".to_owned());
            }
        }
        let env = || std::env::var("ROOKERY_TOKEN").ok().filter(|t| !t.is_empty());
        let timeout_s = if line.url.is_some() { TIMEOUT_S } else { NODE_TIMEOUT_S };
        Ok(Args {
            url: line.url,
            host,
            token: line.token.or_else(env),
            list: line.list,
            timeout_s: seconds("-t", line.timeout)?.unwrap_or(timeout_s),
            wish,
        })
    }
}

/// A name that was percent-encoded.
fn decoded(text: &str) -> Result<String, String> {
    let text_bytes = percent_encoding::percent_decode_str(text).decode_utf8();
    text_bytes.map(|t| t.into_owned()).map_err(|_| format!("{text:?} is not UTF-8 when decoded"))
}

/// `SERVICE`, `SERVICE FIELD`, `SERVICE WARN CRIT`, `SERVICE FIELD WARN CRIT`.
fn positional(wish: &mut Wish, words: &[&str]) -> Result<(), String> {
    let (service, field, limits) = match words {
        [] => return Ok(()),
        [service] => (service, None, None),
        [service, field] => (service, Some(field), None),
        [service, w, c] => (service, None, Some((w, c))),
        [service, field, w, c] => (service, Some(field), Some((w, c))),
        _ => return Err(format!("too many words: {:?}", words.join(" "))),
    };
    if !wish.service.is_empty() && wish.service != *service {
        return Err(format!("both -s {} and {service:?}", wish.service));
    }
    if service.is_empty() {
        return Err("the service's name is empty".to_owned());
    }
    (*service).clone_into(&mut wish.service);
    wish.fields.extend(field.map(|f| (*f).to_owned()));
    if let Some((w, c)) = limits {
        if wish.has_limits() {
            return Err(format!("limits given twice: -w or -c, and {w:?} {c:?}"));
        }
        (wish.warning, wish.critical) = (munin_limit(w)?, munin_limit(c)?);
        wish.as_munin = true;
    }
    Ok(())
}

/// A number as check_munin takes it (more than it is bad), or a Nagios range;
/// empty is none.
fn munin_limit(text: &str) -> Result<Option<Range>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains([':', '@', '~']) { text.parse() } else { Range::from_munin(text) }.map(Some)
}

fn range(option: &str, text: Option<String>) -> Result<Option<Range>, String> {
    // An empty argument is an unset macro of a Nagios command line.
    let text = text.filter(|t| !t.is_empty());
    text.map(|t| t.parse().map_err(|e| format!("{option}: {e}"))).transpose()
}

fn seconds(option: &str, text: Option<String>) -> Result<Option<f64>, String> {
    let Some(text) = text else { return Ok(None) };
    match text.strip_suffix('s').unwrap_or(&text).parse::<f64>() {
        Ok(s) if s > 0.0 && s <= SECONDS_MAX => Ok(Some(s)),
        _ => Err(format!("{option}: {text:?} is no number of seconds above 0")),
    }
}

fn bad(why: &str) -> Answer {
    let first = why.lines().next().unwrap_or_default();
    Answer::unknown("", &format!("{first}; see check_rookery --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, Answer> {
        let words = std::iter::once("check_rookery").chain(line.split(' '));
        Args::read(words.map(OsString::from))
    }

    fn limits(line: &str) -> (String, Vec<String>, [Option<String>; 2]) {
        let wish = read(line).expect(line).wish;
        let text = |r: Option<Range>| r.map(|r| r.to_string());
        (wish.service, wish.fields, [text(wish.warning), text(wish.critical)])
    }

    #[test]
    fn encoded_names_are_decoded() {
        let args = read("-u http://c --encoded -H a%3Bb%27 -s x%20y").expect("right");
        assert_eq!((args.host.as_str(), args.wish.service.as_str()), ("a;b'", "x y"));
        assert_eq!(read("-u http://c -H a%3Bb").expect("right").host, "a%3Bb");
        let e = read("-u http://c --encoded -H %ff").expect_err("not UTF-8");
        assert!(e.text.contains("not UTF-8"), "{}", e.text);
    }

    #[test]
    fn options_and_positions() {
        let some = |t: &str| Some(t.to_owned());
        let want = ("df".to_owned(), vec![], [some("~:88"), some("~:94")]);
        assert_eq!(limits("-H h -u http://c df 88 94"), want);
        assert_eq!(limits("-H h -u http://c df!88!94"), want);
        let want =
            ("processes".to_owned(), vec!["zombie".to_owned()], [some("~:5"), some("@1:10")]);
        assert_eq!(limits("-H h processes zombie 5 @1:10"), want);
        assert_eq!(limits("-H h processes!zombie!5!@1:10"), want);
        let want = ("t".to_owned(), vec![], [some("-10:"), some("5")]);
        assert_eq!(limits("-H h -s t -w -10: -c 5"), want);
        assert_eq!(limits("-H h t!!5").2, [None, some("~:5")]);
        assert_eq!(read("-H h -t 3 -a 90s").expect("reads").timeout_s, 3.0);
        assert_eq!(read("-H h --munin -s df").expect("reads").url, None);
        assert_eq!(read("-u http://c").expect("the collector itself").host, "");
    }

    #[test]
    fn mistakes_are_unknown_with_the_offending_text() {
        for (line, want) in [
            ("-s cpu", "-H NODE"),
            ("-H h -s cpu -w 10%", "\"10%\""),
            ("-H h -s cpu -c -10", "\"-10\""),
            ("-H h -s cpu -t soon", "\"soon\""),
            ("-H h -w 5", "-s SERVICE"),
            ("-H h df 10", "df"),
            ("-H h a b 1 2 3", "a b 1 2 3"),
            ("-H h -s cpu df 1 2", "-s cpu"),
            ("-H h -s cpu -w 1 cpu 1 2", "twice"),
            ("-H h --bogus", "--bogus"),
            ("-H h --munin -u http://c -s cpu", "--munin"),
            ("-u http://c -s cpu", "-H NODE"),
            ("-H h df 1 x%", "x%"),
        ] {
            match read(line) {
                // Two words are a service and a field, which cannot be known
                // here to be none.
                Ok(args) => assert_eq!((line, args.wish.fields.len()), ("-H h df 10", 1)),
                Err(answer) => {
                    assert_eq!(answer.state, State::Unknown);
                    assert!(answer.text.starts_with("ROOKERY UNKNOWN - "), "{}", answer.text);
                    assert!(answer.text.contains(want), "{}", answer.text);
                    assert!(!answer.text.contains('\n'), "{}", answer.text);
                }
            }
        }
    }

    #[test]
    fn help_has_examples_and_exits_3() {
        for flag in ["--help", "-h"] {
            let answer = read(flag).expect_err("help");
            assert_eq!(answer.state, State::Unknown);
            assert!(answer.text.contains("check_rookery -u http://127.0.0.1:4950 -H db1 -s cpu"));
        }
        let answer = read("-V").expect_err("version");
        assert_eq!(answer.text, concat!("check_rookery ", env!("CARGO_PKG_VERSION")));
    }
}
