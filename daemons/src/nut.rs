//! UPSes, by Network UPS Tools' protocol (RFC 9271): `LIST UPS`, `LIST VAR`. One
//! connection is kept.

use crate::support::{Daemon, Link, Names, Odd, Place, Sheet, StableName, probe, settings};
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "nut",
    about: "UPSes: charge, runtime, load, voltages, whether on battery (upsd, port 3493)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let place = Place::new("nut", table, own.address.as_deref(), &["127.0.0.1:3493"], 3493)?;
        let (names, odd) = (Names::default(), Odd::default());
        Ok(probe(Nut { place, link: None, names, odd }))
    },
};

const CATEGORY: &str = "ups";
/// The most UPSes of one server.
const UPS_MAX: usize = 50;
/// What refusals begin with.
const ERRORS: &[&str] = &["ERR"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
}

struct Nut {
    place: Place,
    link: Option<Link>,
    names: Names,
    odd: Odd,
}

/// A UPS of upsd.
#[derive(Debug)]
struct Ups {
    name: String,
    variables: BTreeMap<String, String>,
    /// Why nothing is known of it (`DATA-STALE`, `DRIVER-NOT-CONNECTED`).
    silent: Option<String>,
}

impl Daemon for Nut {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        self.odd.begin();
        let mut link = Link::again(&mut self.link, &self.place)?;
        let list = link.ask(b"LIST UPS\n", b"END LIST UPS\n", ERRORS)?;
        let names = list.lines().filter_map(|l| l.strip_prefix("UPS ")?.split(' ').next());
        let mut all: Vec<Ups> = Vec::new();
        for name in names.take(UPS_MAX) {
            all.push(self.look(&mut link, name)?);
        }
        let known = all.iter().filter(|ups| ups.silent.is_none()).count();
        match all.first() {
            None => {
                return Err(ProbeError::NotHere(format!("nut at {}: no UPS", link.address)));
            }
            Some(Ups { silent: Some(why), .. }) if known == 0 => {
                return Err(link.failed(format!("it answers {why:?}")));
            }
            _ => {}
        }
        let raws: Vec<String> = all.iter().map(|ups| format!("ups_{}", ups.name)).collect();
        let fields = self.names.fields("", raws.iter().map(String::as_str));
        write(&fields.into_iter().zip(all).collect::<Vec<_>>(), sheet);
        self.odd.write("nut", CATEGORY, sheet);
        self.link = Some(link);
        Ok(())
    }
}

impl Nut {
    /// What a UPS tells. That one of them is silent is no reason to lose the others.
    fn look(&mut self, link: &mut Link, name: &str) -> Result<Ups, ProbeError> {
        link.send(format!("LIST VAR {name}\n").as_bytes())?;
        let end = format!("END LIST VAR {name}\n");
        let refusal = |text: &[u8]| {
            let line = text.iter().position(|b| *b == b'\n')?;
            text.starts_with(b"ERR").then_some(line + 1)
        };
        let reply = link.read_until(|text| {
            text.ends_with(end.as_bytes()).then_some(text.len()).or_else(|| refusal(text))
        })?;
        let text = String::from_utf8_lossy(&reply).into_owned();
        let silent = refusal(&reply).map(|_| text.trim().to_owned());
        let variables = match silent {
            Some(_) => BTreeMap::new(),
            None => variables(&text, name, &mut self.odd),
        };
        Ok(Ups { name: name.to_owned(), variables, silent })
    }
}

/// `VAR NAME KEY "VALUE"` lines; quotes and backslashes are escaped.
fn variables(text: &str, name: &str, odd: &mut Odd) -> BTreeMap<String, String> {
    let head = format!("VAR {name} ");
    let line = |l: &str| {
        let (key, value) = l.strip_prefix(head.as_str())?.split_once(' ')?;
        let value = value.trim_end().strip_prefix('"')?.strip_suffix('"')?;
        Some((key.to_owned(), value.replace("\\\"", "\"").replace("\\\\", "\\")))
    };
    let mut all = BTreeMap::new();
    let is_frame = |l: &str| l.starts_with("BEGIN ") || l.starts_with("END ");
    for text in text.lines().filter(|l| !l.is_empty() && !is_frame(l)) {
        match line(text) {
            Some((key, value)) => drop(all.insert(key, value)),
            None => odd.left_out(text),
        }
    }
    all
}

/// A service of one field for each UPS that has the variable.
struct Graph {
    service: &'static str,
    key: &'static str,
    title: &'static str,
    vlabel: &'static str,
    info: &'static str,
    warning: &'static str,
    critical: &'static str,
}

const GRAPHS: [Graph; 5] = [
    Graph {
        service: "ups_charge",
        key: "battery.charge",
        title: "UPS battery charge",
        vlabel: "% of full",
        info: "How full each battery is.",
        warning: "50:",
        critical: "20:",
    },
    Graph {
        service: "ups_runtime",
        key: "battery.runtime",
        title: "UPS runtime",
        vlabel: "seconds",
        info: "How long each battery would last at the present load, as the UPS thinks.",
        warning: "",
        critical: "",
    },
    Graph {
        service: "ups_load",
        key: "ups.load",
        title: "UPS load",
        vlabel: "% of what it can give",
        info: "How much each UPS has to give. Above 100 it gives up.",
        warning: "80",
        critical: "95",
    },
    Graph {
        service: "ups_input",
        key: "input.voltage",
        title: "UPS input voltage",
        vlabel: "volts",
        info: "What comes from the mains.",
        warning: "",
        critical: "",
    },
    Graph {
        service: "ups_temperature",
        key: "ups.temperature",
        title: "UPS temperature",
        vlabel: "degrees Celsius",
        info: "How warm each UPS is: warmth shortens a battery's life.",
        warning: "",
        critical: "",
    },
];

fn write(named: &[(StableName, Ups)], sheet: &mut Sheet<'_>) {
    // Why one is silent stands in its description.
    named.iter().for_each(|(_, ups)| sheet.note(ups.silent.as_deref().unwrap_or("")));
    // `OL` on line, `OB` on battery, `LB` low battery, `RB` replace battery.
    let has = |ups: &Ups, word: &str| {
        let status = ups.variables.get("ups.status")?;
        Some(u64::from(status.split(' ').any(|w| w == word)))
    };
    for (service, word, title, vlabel, info, limits) in [
        (
            "ups_on_battery",
            "OB",
            "UPS on battery",
            "1 = on battery",
            "Whether the mains have failed, and each UPS lives on its battery.",
            ("0", ""),
        ),
        (
            "ups_low_battery",
            "LB",
            "UPS battery low",
            "1 = low",
            "Whether a battery is nearly empty: machines are about to be shut down.",
            ("", "0"),
        ),
        (
            "ups_replace_battery",
            "RB",
            "UPS battery worn",
            "1 = to be replaced",
            "Whether a UPS says that its battery is to be replaced.",
            ("0", ""),
        ),
    ] {
        let mut service = sheet.service(service, |n| {
            ServiceSpec::new(n, title, CATEGORY)
                .vlabel(vlabel)
                .args("-l 0 -u 1")
                .unscaled()
                .info(info)
        });
        for (field, ups) in named {
            let describe = |n: &str| {
                let spec = FieldSpec::gauge(n, &ups.name).draw(Draw::Area);
                let info = match &ups.silent {
                    None => format!("{word} in its ups.status"),
                    Some(why) => format!("Unknown: upsd answers {why:?}"),
                };
                field.announce(spec.limits(limits.0, limits.1).info(&info))
            };
            // Some have no status (a distribution unit, say); one that upsd has lost
            // is not well.
            match ups.silent {
                Some(_) => service.field(&field.name, None::<u64>, describe),
                None => service.optional(&field.name, has(ups, word), describe),
            };
        }
    }
    for graph in &GRAPHS {
        let mut service = sheet.service(graph.service, |n| {
            ServiceSpec::new(n, graph.title, CATEGORY)
                .vlabel(graph.vlabel)
                .args("-l 0")
                .unscaled()
                .info(graph.info)
        });
        for (field, ups) in named {
            let text = ups.variables.get(graph.key);
            let value = text.and_then(|t| t.parse::<f64>().ok()).filter(|v| v.is_finite());
            service.optional(&field.name, value, |n| {
                let spec = FieldSpec::gauge(n, &ups.name).limits(graph.warning, graph.critical);
                field.announce(spec.info(graph.key))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{Said, ask, make, serve};
    use rookery_plugins::Value;
    use std::io::{Read, Write};

    fn said(answer: impl Fn(&str) -> String + Send + 'static) -> Result<Said, ProbeError> {
        let at = serve(move |mut s| {
            let mut question = [0; 100];
            while let Ok(n @ 1..) = s.read(&mut question) {
                let text = answer(&String::from_utf8_lossy(&question[..n]));
                if s.write_all(text.as_bytes()).is_err() || text.is_empty() {
                    return;
                }
            }
        });
        ask(make("nut", &format!("address = {at:?}")).as_mut())
    }

    #[test]
    fn two_upses_are_read() {
        let (specs, values) = said(|q| match q {
            "LIST UPS\n" => "BEGIN LIST UPS\nUPS a \"Rack \\\"1\\\"\"\nUPS b-2 \"x\"\nEND LIST UPS\n",
            "LIST VAR a\n" => {
                "BEGIN LIST VAR a\nVAR a battery.charge \"97.5\"\nVAR a ups.status \"OL CHRG\"\n\
                 VAR a ups.load \"12\"\nEND LIST VAR a\n"
            }
            _ => {
                "BEGIN LIST VAR b-2\nVAR b-2 ups.status \"OB LB\"\nVAR b-2 battery.charge \"x\"\n\
                 END LIST VAR b-2\n"
            }
        }
        .to_owned())
        .expect("answers");
        for (name, want) in [
            ("ups_charge.ups_a", Value::Float(97.5)),
            ("ups_on_battery.ups_a", Value::Int(0)),
            ("ups_on_battery.ups_b_2", Value::Int(1)),
            ("ups_low_battery.ups_b_2", Value::Int(1)),
            ("ups_load.ups_a", Value::Float(12.0)),
        ] {
            assert_eq!(values.get(name), Some(&want), "{name}");
        }
        assert!(specs.iter().all(|s| s.name != "ups_temperature"), "nobody has one");
        assert!(!values.contains_key("ups_charge.ups_b_2"), "it is no number");
    }

    #[test]
    fn one_that_upsd_has_lost_is_unknown_and_costs_no_other() {
        let (specs, values) = said(|q| match q {
            "LIST UPS\n" => "BEGIN LIST UPS\nUPS a-1 \"x\"\nUPS a_1 \"y\"\nUPS pdu \"z\"\nEND LIST UPS\n",
            "LIST VAR a-1\n" => "ERR DRIVER-NOT-CONNECTED\n",
            "LIST VAR pdu\n" => {
                "BEGIN LIST VAR pdu\nVAR pdu outlet.count \"8\"\nVAR pdu broken\nEND LIST VAR pdu\n"
            }
            _ => {
                "BEGIN LIST VAR a_1\nVAR a_1 ups.status \"OL\"\nVAR a_1 battery.charge \"100\"\n\
                 END LIST VAR a_1\n"
            }
        }
        .to_owned())
        .expect("answers");
        let of = |service: &str, label: &str| {
            let service = specs.iter().find(|s| s.name == service).expect("a service");
            let field = service.fields.iter().find(|f| f.label == label)?;
            Some(values[&format!("{}.{}", service.name, field.name)])
        };
        assert_eq!(of("ups_on_battery", "a-1"), Some(Value::Unknown), "it is not well");
        assert_eq!(of("ups_on_battery", "a_1"), Some(Value::Int(0)));
        assert_eq!(of("ups_charge", "a_1"), Some(Value::Float(100.0)));
        assert_eq!(of("ups_on_battery", "pdu"), None, "it has no status");
        assert_eq!(values["nut_odd.odd"], Value::Int(1));
    }

    #[test]
    fn refusals_and_nothing_are_told() {
        let none = "BEGIN LIST UPS\nEND LIST UPS\n";
        for (text, want) in [
            ("ERR ACCESS-DENIED\n", "it answers \"ERR ACCESS-DENIED\""),
            (none, "no UPS"),
            ("", "hung up after 0 bytes"),
        ] {
            let error = said(move |_| text.to_owned()).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
        let mut odd = Odd::default();
        let text = "VAR a k \"v\\\\\\\"\"\nVAR b k \"x\"\nVAR a z\n";
        assert_eq!(variables(text, "a", &mut odd).len(), 1);
        assert_eq!(odd.count(), 2);
    }
}
