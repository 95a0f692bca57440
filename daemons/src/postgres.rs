//! PostgreSQL 10 and later, by SQL over its statistics views
//! (https://www.postgresql.org/docs/current/monitoring-stats.html).
//!
//! One connection is kept. All that is asked goes in one message, and the
//! answers come as text, by column names: what a version lacks is unknown. What
//! is dear (sizes of databases) is asked every [`SIZES_EVERY`] only.

mod figures;
mod graphs;
mod replicas;
mod session;

use crate::support::{Daemon, Names, Place, Ratio, Secret, Sheet, probe, settings};
use figures::Figures;
use rookery_plugins::{Host, ProbeEntry, ProbeError};
use serde::Deserialize;
use session::{Login, Session};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "postgres",
    about: "transactions, connections, cache, locks, sizes, dead tuples, replication (port 5432)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let usual = ["/run/postgresql", "127.0.0.1:5432"];
        let place = Place::new("postgres", table, own.address.as_deref(), &usual, 5432)?;
        let secret = Secret {
            password: own.password,
            password_file: own.password_file,
            password_env: own.password_env,
        };
        let user = own.user.unwrap_or_else(|| "rookery".to_owned());
        let database = own.database.unwrap_or_else(|| "postgres".to_owned());
        let login = Login { user, database, secret };
        let (hits, names) = (Ratio::default(), Names::default());
        Ok(probe(Postgres { place, login, session: None, sizes: None, hits, names }))
    },
};

/// How often sizes are asked for: the server looks at every file of a database.
const SIZES_EVERY: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
    user: Option<String>,
    database: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

/// Databases, and their sizes in bytes.
type Sizes = Vec<(String, Option<u64>)>;

struct Postgres {
    place: Place,
    login: Login,
    /// The connection, and what is asked of a server of its version.
    session: Option<(Session, String)>,
    sizes: Option<(Instant, Sizes)>,
    hits: Ratio,
    names: Names,
}

impl Daemon for Postgres {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let (mut session, statements) = match self.session.take().filter(|(s, _)| s.is_open()) {
            Some(session) => session,
            None => {
                let mut session = Session::open(&self.place, &self.login)?;
                let version = figures::version(&session.ask(figures::VERSION)?)
                    .ok_or_else(|| session.failed("it tells no version"))?;
                (session, figures::statements(version))
            }
        };
        let figures =
            Figures::read(&session.ask(&statements)?).map_err(|why| session.failed(why))?;
        if self.sizes.as_ref().is_none_or(|(at, _)| at.elapsed() >= SIZES_EVERY) {
            let sizes = figures::sizes(&session.ask(figures::SIZES)?);
            self.sizes = Some((Instant::now(), sizes));
        }
        let sizes = self.sizes.as_ref().map_or(&[][..], |(_, sizes)| sizes);
        let database = &self.login.database;
        graphs::write(&figures, sizes, &mut self.hits, &mut self.names, database, sheet);
        self.session = Some((session, statements));
        Ok(())
    }
}
