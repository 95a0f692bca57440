//! MySQL and MariaDB, by SHOW GLOBAL STATUS and its like. One connection is
//! kept; the statements that need a right of their own leave their services out
//! where it is missing.

mod account;
mod charts;
mod innodb;
mod innodb_status;
mod login;
mod queries;
mod replication;
mod rsa;
mod server;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use crate::support::{
    Daemon, Link, Names, Odd, Place, REPLY_BYTES_MAX, Secret, Sheet, probe, settings,
};
use account::Account;
use charts::{Facts, Pairs, pairs};
use login::{Failure, Version};
use rookery_plugins::{Host, ProbeEntry, ProbeError};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wire::{Refusal, Reply, Table};

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "mysql",
    about: "queries, query cache, connections, InnoDB, replication (/run/mysqld, port 3306)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let Settings { address, user, password, password_file, password_env, .. } = own;
        let Settings { defaults_file, server_key, .. } = own;
        // A file that cannot be read now is told when it is needed.
        let file = defaults_file.as_deref().and_then(|f| account::defaults(f).ok());
        let address = address.or_else(|| file?.address);
        let place = Place::new("mysql", table, address.as_deref(), &USUAL, 3306)?;
        let secret = Secret { password, password_file, password_env };
        let account = Account { user, secret, defaults_file, server_key, is_local: !place.given };
        Ok(probe(Mysql { place, account, link: None, known: None, past: Past::default() }))
    },
};

/// Debian's socket, that of the RPMs, and the port.
const USUAL: [&str; 3] = ["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "127.0.0.1:3306"];
/// Variables change seldom, and what was refused may be granted.
const VARIABLES_KEPT: Duration = Duration::from_secs(300);
/// The server looks at every file to tell the size of its binary logs.
const BINLOG_KEPT: Duration = Duration::from_secs(60);
/// "You need (at least one of) the ... privilege(s)", and its like.
const LACKS_RIGHT: [u16; 3] = [1044, 1142, 1227];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    defaults_file: Option<PathBuf>,
    server_key: Option<PathBuf>,
}

struct Mysql {
    place: Place,
    account: Account,
    link: Option<Link>,
    known: Option<Known>,
    past: Past,
}

/// What is worked out from one reading to the next.
#[derive(Default)]
struct Past {
    queries: queries::Queries,
    server: server::Server,
    innodb: innodb::Innodb,
    channels: Names,
    odd: Odd,
}

/// What is known of the server that the connection leads to.
struct Known {
    version: Version,
    user: String,
    variables: Pairs<String>,
    since: Instant,
    /// What is left out, and why it was refused.
    refused: Vec<(Extra, Refusal)>,
    binlog: Option<(Instant, u64)>,
}

/// A statement that may be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    Innodb,
    Replication,
    Binlog,
}

impl Extra {
    fn label(self) -> &'static str {
        match self {
            Extra::Innodb => "InnoDB's transactions",
            Extra::Replication => "replication",
            Extra::Binlog => "the size of the binary logs",
        }
    }
}

impl Daemon for Mysql {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let kept = Link::still(&mut self.link, &self.place).zip(self.known.take());
        let (mut link, mut known) = match kept {
            Some((link, known)) if known.since.elapsed() < VARIABLES_KEPT => (link, known),
            Some((mut link, known)) => {
                let known = get_to_know(&mut link, known.version, known.user)?;
                (link, known)
            }
            None => self.connect()?,
        };
        self.past.ask(&mut link, &mut known, sheet)?;
        self.link = Some(link);
        self.known = Some(known);
        Ok(())
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        // One that only hangs up is counted among Aborted_clients, and logged.
        const COM_QUIT: u8 = 1;
        if let Some(mut link) = Link::still(&mut self.link, &self.place) {
            let _ = link.send(&wire::packed(0, &[COM_QUIT]));
        }
    }
}

impl Mysql {
    fn connect(&self) -> Result<(Link, Known), ProbeError> {
        let mut link = Link::open(&self.place)?;
        let (user, password) = self.account.read(&link.address)?;
        let key = self.account.server_key()?;
        let version = login::log_in(&mut link, &user, &password, key).map_err(|e| match e {
            Failure::Broken(error) => error,
            Failure::Refused(refusal) => account::refused(&link, &user, &refusal),
        })?;
        let known = get_to_know(&mut link, version, user)?;
        Ok((link, known))
    }
}

fn get_to_know(link: &mut Link, version: Version, user: String) -> Result<Known, ProbeError> {
    let bytes = query(link, "SHOW GLOBAL VARIABLES")?;
    let table = rows(link, &bytes)?;
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let variables = pairs(&table).into_iter().map(owned).collect();
    Ok(Known { version, user, variables, since: Instant::now(), refused: vec![], binlog: None })
}

impl Past {
    fn ask(
        &mut self,
        link: &mut Link,
        known: &mut Known,
        sheet: &mut Sheet<'_>,
    ) -> Result<(), ProbeError> {
        self.odd.begin();
        let bytes = query(link, "SHOW GLOBAL STATUS")?;
        let status = pairs(&rows(link, &bytes)?);
        if !["Com_select", "Questions", "Uptime"].iter().all(|name| status.contains_key(name)) {
            return Err(link.failed("its status has no Com_select: is it a MySQL or MariaDB?"));
        }
        // A text that is not understood, or none where InnoDB is off, is no reason
        // to lose all else.
        let text = known.extra(link, Extra::Innodb, "SHOW ENGINE INNODB STATUS", |table| {
            table.rows().next().and_then(|row| *row.last()?).and_then(innodb_status::parse)
        })?;
        let text = text.flatten();
        let statement = replication::statement(&known.version);
        let replicas = known.extra(link, Extra::Replication, statement, replication::parse)?;
        if replicas == Some(None) {
            self.odd.left_out(statement);
        }
        let replicas = replicas.flatten().unwrap_or_default();
        let binlog = known.binlog(link, &mut self.odd)?;
        let left_out = known.left_out();
        let facts = Facts { version: &known.version, status, variables: &known.variables };
        self.queries.write(&facts, &left_out, sheet);
        self.server.write(&facts, sheet);
        self.innodb.write(&facts, text.as_ref(), sheet);
        replication::write(&facts, &replicas, binlog, &mut self.channels, sheet);
        self.odd.write("mysql", charts::CATEGORY, sheet);
        Ok(())
    }
}

impl Known {
    /// What `parse` makes of a statement that may be refused; `None`: it is, now
    /// or before.
    fn extra<T>(
        &mut self,
        link: &mut Link,
        what: Extra,
        statement: &str,
        parse: impl FnOnce(&Table<'_>) -> T,
    ) -> Result<Option<T>, ProbeError> {
        if self.refused.iter().any(|(it, _)| *it == what) {
            return Ok(None);
        }
        let bytes = query(link, statement)?;
        match wire::reply(&bytes).ok_or_else(|| foreign(link))? {
            Reply::Refused(refusal) => {
                self.refused.push((what, refusal));
                Ok(None)
            }
            Reply::Table(table) => Ok(Some(parse(&table))),
        }
    }

    /// The size of all binary logs, bytes; `None`: there are none.
    fn binlog(&mut self, link: &mut Link, odd: &mut Odd) -> Result<Option<u64>, ProbeError> {
        if self.variables.get("log_bin").is_none_or(|text| text != "ON") {
            return Ok(None);
        }
        if let Some((_, size)) = self.binlog.filter(|(at, _)| at.elapsed() < BINLOG_KEPT) {
            return Ok(Some(size));
        }
        let size = self.extra(link, Extra::Binlog, "SHOW BINARY LOGS", |table| {
            // Before 5.0.7 it told no sizes.
            let at = table.columns.iter().position(|c| *c == "File_size")?;
            let size = |row: &[Option<&str>]| row.get(at).copied().flatten()?.parse::<u64>().ok();
            let count = |sum: u64, row: &[Option<&str>]| match size(row) {
                Some(size) => sum.saturating_add(size),
                None => {
                    odd.left_out(row.first().copied().flatten().unwrap_or("NULL"));
                    sum
                }
            };
            Some(table.rows().fold(0, count))
        })?;
        let size = size.flatten();
        self.binlog = size.map(|size| (Instant::now(), size));
        Ok(size)
    }

    /// What is left out for want of a right, as a sentence; mostly empty.
    fn left_out(&self) -> String {
        let lacking = || self.refused.iter().filter(|(_, r)| LACKS_RIGHT.contains(&r.code));
        let Some((_, refusal)) = lacking().next() else { return String::new() };
        let what: Vec<_> = lacking().map(|(what, _)| what.label()).collect();
        let user = &self.user;
        format!(
            " Left out are {}: the server says {:?}; remedy: GRANT {} ON *.* TO '{user}'@...;",
            what.join(" and "),
            refusal.text,
            account::rights(&self.version)
        )
    }
}

fn query(link: &mut Link, statement: &str) -> Result<Vec<u8>, ProbeError> {
    const COM_QUERY: u8 = 3;
    link.send(&wire::packed(0, &[&[COM_QUERY], statement.as_bytes()].concat()))?;
    link.read_until(wire::one_result)
}

/// The table of a reply that must be one.
fn rows<'a>(link: &Link, bytes: &'a [u8]) -> Result<Table<'a>, ProbeError> {
    match wire::reply(bytes).ok_or_else(|| foreign(link))? {
        Reply::Table(table) => Ok(table),
        Reply::Refused(refusal) => {
            Err(link.failed(format!("it answers {:?} (error {})", refusal.text, refusal.code)))
        }
    }
}

fn foreign(link: &Link) -> ProbeError {
    link.failed(format!(
        "its reply is not of MySQL's protocol, or longer than {REPLY_BYTES_MAX} bytes"
    ))
}
