//! A connection to a PostgreSQL server, with a deadline for each reading.

use crate::support::{Address, Place, Secret};
use rookery_plugins::ProbeError;
use std::io;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

/// Who asks, and which database.
pub(super) struct Login {
    pub user: String,
    pub database: String,
    pub secret: Secret,
}

/// One statement's answer: each row by column name, as text.
pub(super) type Rows = Vec<Vec<(String, Option<String>)>>;

/// A connection.
pub(super) struct Session {
    runtime: Runtime,
    client: Client,
    place: String,
    limit: Duration,
}

impl Session {
    /// Connects to the first address where someone answers.
    pub fn open(place: &Place, login: &Login) -> Result<Session, ProbeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| ProbeError::Failed(format!("no runtime: {e}")))?;
        let password = login.secret.read()?;
        let mut why = None;
        for address in &place.addresses {
            let config = config(address, login, password.as_deref(), place.timeout);
            let connecting = async {
                let late = || io::Error::from(io::ErrorKind::TimedOut);
                timeout(place.timeout, config.connect(NoTls)).await.map_err(|_| late())
            };
            match runtime.block_on(connecting) {
                Ok(Ok((client, connection))) => {
                    runtime.spawn(async {
                        // Its end is seen by the client.
                        let _ = connection.await;
                    });
                    let place_name = format!("postgres at {address}");
                    return Ok(Session {
                        runtime,
                        client,
                        place: place_name,
                        limit: place.timeout,
                    });
                }
                // Nobody there: the next address may do.
                Ok(Err(e)) if e.as_db_error().is_none() && is_unreachable(&e) => {
                    let e = io::Error::other(said(&e));
                    why = why.or(Some(place.unreachable(address, &e)));
                }
                Ok(Err(e)) => return Err(refused(address, login, &e)),
                Err(e) => why = why.or(Some(place.unreachable(address, &e))),
            }
        }
        Err(why.unwrap_or_else(|| ProbeError::NotHere("postgres: no address".to_owned())))
    }

    /// Whether the server still holds it, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// An error that names the server.
    pub fn failed(&self, why: impl std::fmt::Display) -> ProbeError {
        ProbeError::Failed(format!("{}: {why}", self.place))
    }

    /// The answers to statements, one after the other.
    pub fn ask(&mut self, statements: &str) -> Result<Vec<Rows>, ProbeError> {
        let asked = self
            .runtime
            .block_on(async { timeout(self.limit, self.client.simple_query(statements)).await });
        let messages = match asked {
            Ok(Ok(messages)) => messages,
            Ok(Err(e)) => return Err(self.failed(said(&e))),
            Err(_) => return Err(self.failed("it did not answer in time")),
        };
        let (mut answers, mut rows) = (Vec::new(), Rows::new());
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => {
                    let names = row.columns().iter().map(|c| c.name().to_owned());
                    let values = (0..row.len()).map(|i| row.get(i).map(str::to_owned));
                    rows.push(names.zip(values).collect());
                }
                SimpleQueryMessage::CommandComplete(_) => answers.push(std::mem::take(&mut rows)),
                _ => {}
            }
        }
        Ok(answers)
    }
}

fn config(address: &Address, login: &Login, password: Option<&str>, limit: Duration) -> Config {
    let mut config = Config::new();
    match address {
        Address::Unix(path) => {
            // The folder is named, or the socket in it (`.s.PGSQL.5433`).
            let file = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            match file.strip_prefix(".s.PGSQL.").and_then(|port| port.parse().ok()) {
                Some(port) => config.host_path(path.parent().unwrap_or(path)).port(port),
                None => config.host_path(path),
            };
        }
        Address::Tcp(text) => {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
            config.host(host.trim_matches(['[', ']'])).port(port.parse().unwrap_or(5432));
        }
    }
    config
        .user(&login.user)
        .dbname(&login.database)
        .application_name("rookery-agent")
        .connect_timeout(limit)
        // The server, too, is to stop when we have given up.
        .options(format!("-c statement_timeout={}", limit.as_millis()));
    if let Some(password) = password {
        config.password(password);
    }
    config
}

fn is_unreachable(e: &Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() != io::ErrorKind::InvalidData)
        {
            return true;
        }
        source = error.source();
    }
    false
}

/// An error with its causes, in one line.
fn said(e: &Error) -> String {
    if let Some(db) = e.as_db_error() {
        return format!("it answers {:?}", db.message());
    }
    let mut text = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A refusal, with what to do about it.
fn refused(address: &Address, login: &Login, e: &Error) -> ProbeError {
    let user = &login.user;
    let remedy = match e.code() {
        Some(&SqlState::INVALID_PASSWORD) => {
            "; see password_file in [probe.postgres] of agent.toml".to_owned()
        }
        Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => format!(
            "; make the user: CREATE ROLE {user} LOGIN PASSWORD '…'; GRANT pg_monitor TO {user}; \
             and let it in by pg_hba.conf"
        ),
        Some(&SqlState::INVALID_CATALOG_NAME) => {
            "; see database in [probe.postgres] of agent.toml".to_owned()
        }
        Some(_) => String::new(),
        // No answer of a server: there was no password, or it speaks otherwise.
        None => "; see user and password_file in [probe.postgres] of agent.toml".to_owned(),
    };
    ProbeError::Failed(format!("postgres at {address} refuses user {user:?}: {}{remedy}", said(e)))
}
