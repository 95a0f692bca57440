//! UPSes, by Network UPS Tools' protocol (RFC 9271): `LIST UPS`, `LIST VAR`. One
//! connection is kept.

use crate::support::{Daemon, Link, Place, Sheet, probe, settings, unique};
use rookery_plugins::names::clean_field;
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "nut",
    about: "UPSes: charge, runtime, load, voltages, whether on battery (upsd, port 3493)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let place = Place::new("nut", table, own.address.as_deref(), &["127.0.0.1:3493"], 3493)?;
        Ok(probe(Nut { place, link: None }))
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
}

/// A UPS: its name, and its variables.
type Ups = (String, BTreeMap<String, String>);

impl Daemon for Nut {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let mut link = Link::again(&mut self.link, &self.place)?;
        let list = link.ask(b"LIST UPS\n", b"END LIST UPS\n", ERRORS)?;
        let names = list.lines().filter_map(|l| l.strip_prefix("UPS ")?.split(' ').next());
        let mut all: Vec<Ups> = Vec::new();
        for name in names.take(UPS_MAX) {
            let question = format!("LIST VAR {name}\n");
            let end = format!("END LIST VAR {name}\n");
            let text = link.ask(question.as_bytes(), end.as_bytes(), ERRORS)?;
            all.push((name.to_owned(), variables(&text, name)));
        }
        if all.is_empty() {
            return Err(ProbeError::NotHere(format!("nut at {}: no UPS", link.address)));
        }
        write(&all, sheet);
        self.link = Some(link);
        Ok(())
    }
}

/// `VAR NAME KEY "VALUE"` lines; quotes and backslashes are escaped.
fn variables(text: &str, name: &str) -> BTreeMap<String, String> {
    let head = format!("VAR {name} ");
    let line = |l: &str| {
        let (key, value) = l.strip_prefix(head.as_str())?.split_once(' ')?;
        let value = value.trim_end().strip_prefix('"')?.strip_suffix('"')?;
        Some((key.to_owned(), value.replace("\\\"", "\"").replace("\\\\", "\\")))
    };
    text.lines().filter_map(line).collect()
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

fn write(all: &[Ups], sheet: &mut Sheet<'_>) {
    let mut taken = HashSet::new();
    let named: Vec<(String, &Ups)> = all
        .iter()
        .map(|ups| (unique(clean_field(&format!("ups_{}", ups.0)), &mut taken), ups))
        .collect();
    // `OL` on line, `OB` on battery, `LB` low battery, `RB` replace battery.
    let has = |ups: &Ups, word: &str| {
        let status = ups.1.get("ups.status")?;
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
        for (field, ups) in &named {
            service.field(field, has(ups, word), |n| {
                let spec = FieldSpec::gauge(n, &ups.0).draw(Draw::Area);
                spec.limits(limits.0, limits.1).info(&format!("{word} in its ups.status"))
            });
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
        for (field, ups) in &named {
            let Some(text) = ups.1.get(graph.key) else { continue };
            let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
            service.field(field, value, |n| {
                let spec = FieldSpec::gauge(n, &ups.0).limits(graph.warning, graph.critical);
                spec.info(graph.key)
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
            ("ups_charge.ups_b_2", Value::Unknown),
            ("ups_on_battery.ups_a", Value::Int(0)),
            ("ups_on_battery.ups_b_2", Value::Int(1)),
            ("ups_low_battery.ups_b_2", Value::Int(1)),
            ("ups_load.ups_a", Value::Float(12.0)),
        ] {
            assert_eq!(values.get(name), Some(&want), "{name}");
        }
        assert!(specs.iter().all(|s| s.name != "ups_temperature"), "nobody has one");
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
        assert_eq!(variables("VAR a k \"v\\\\\\\"\"\nVAR b k \"x\"\nVAR a z\n", "a").len(), 1);
    }
}
