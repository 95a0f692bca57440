//! Services that show the server's own counters as they are, as a table: which
//! variable is which field.

use super::login::Version;
use super::wire::Table;
use crate::support::{Sheet, number};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};
use std::collections::HashMap;

/// The category of all services.
pub const CATEGORY: &str = "mysql";

/// Variables by name.
pub type Pairs<T> = HashMap<T, T>;

/// What a server said at one reading.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Which server it is.
    pub version: &'a Version,
    /// SHOW GLOBAL STATUS.
    pub status: Pairs<&'a str>,
    /// SHOW GLOBAL VARIABLES, of now or some minutes ago.
    pub variables: &'a Pairs<String>,
}

impl Facts<'_> {
    /// A number of the status; `None`: this server does not have it.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.status.get(name).and_then(|text| number(text.as_bytes()))
    }

    /// A variable that is a number.
    pub fn setting(&self, name: &str) -> Option<u64> {
        self.variables.get(name).and_then(|text| number(text.as_bytes()))
    }

    /// A variable, as it stands there.
    pub fn word(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }

    fn value(&self, of: Of) -> Option<Option<u64>> {
        match of {
            Of::Rate(name) | Of::Level(name) => {
                self.status.contains_key(name).then(|| self.count(name))
            }
            Of::Setting(name) => self.setting(name).map(Some),
        }
    }
}

/// The first two columns of a table, by name and value.
pub fn pairs<'a>(table: &Table<'a>) -> Pairs<&'a str> {
    let pair = |row: &[Option<&'a str>]| Some((*row.first()?.as_ref()?, row.get(1)?.unwrap_or("")));
    table.rows().filter_map(pair).collect()
}

/// Which variable a field is.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// A counter of the status, drawn per second.
    Rate(&'static str),
    /// A level of the status.
    Level(&'static str),
    /// A variable.
    Setting(&'static str),
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    name: &'static str,
    label: &'static str,
    of: Of,
    draw: Draw,
    info: &'static str,
    warning: &'static str,
}

/// A line in a table of fields.
pub const fn field(
    name: &'static str,
    label: &'static str,
    of: Of,
    draw: Draw,
    info: &'static str,
) -> Field {
    Field { name, label, of, draw, info, warning: "" }
}

/// A counter of its own name, as a line.
pub const fn rate(name: &'static str, label: &'static str, info: &'static str) -> Field {
    field(name, label, Of::Rate(name), Draw::Line1, info)
}

impl Field {
    /// The same field, with a warning (Munin's words).
    pub const fn warning(mut self, text: &'static str) -> Field {
        self.warning = text;
        self
    }

    fn describe(&self, name: &str) -> FieldSpec {
        let spec = match self.of {
            Of::Rate(_) => FieldSpec::derive(name, self.label),
            Of::Level(_) | Of::Setting(_) => FieldSpec::gauge(name, self.label),
        };
        let spec = spec.draw(self.draw).info(self.info);
        if self.warning.is_empty() { spec } else { spec.limits(self.warning, "") }
    }
}

/// A service.
#[derive(Clone, Copy, Debug)]
pub struct Chart {
    /// Its name.
    pub service: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What its y axis counts.
    pub vlabel: &'static str,
    /// `graph_args`.
    pub args: &'static str,
    /// What it shows, for someone who has not seen it before.
    pub info: &'static str,
    /// Its fields; those that a server does not have are left out.
    pub fields: &'static [Field],
}

/// Numbers that are counted.
pub const COUNTED: &str = "-l 0 --base 1000";
/// Bytes.
pub const BYTES: &str = "-l 0 --base 1024";
/// A share, in percent.
pub const SHARE: &str = "-l 0 -u 100";

impl Chart {
    /// Writes what this server has of it.
    pub fn write(&self, facts: &Facts<'_>, sheet: &mut Sheet<'_>) {
        let mut service = sheet.service(self.service, |n| {
            ServiceSpec::new(n, self.title, CATEGORY)
                .vlabel(self.vlabel)
                .args(self.args)
                .info(self.info)
        });
        for field in self.fields {
            let Some(value) = facts.value(field.of) else { continue };
            match field.warning.is_empty() {
                true => service.field(field.name, value, |n| field.describe(n)),
                false => service.optional(field.name, value, |n| field.describe(n)),
            };
        }
    }
}

/// A share of an interval, in percent.
pub fn share(service: &str, title: &str, info: &str) -> ServiceSpec {
    let spec = ServiceSpec::new(service, title, CATEGORY).vlabel("%").args(SHARE);
    spec.unscaled().info(info)
}
