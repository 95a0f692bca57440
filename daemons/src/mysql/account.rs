//! Who logs in: `user` and a password of `[probe.mysql]`, a file such as
//! `~/.my.cnf`, or whom the agent runs as; and what to say when it is refused.

use super::login::Version;
use super::rsa::PublicKey;
use super::wire::Refusal;
use crate::support::{Address, Link, Secret};
use rookery_plugins::ProbeError;
use std::path::{Path, PathBuf};

/// Over TCP, if nothing else is said.
const USER: &str = "rookery";

/// How to find out who logs in.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// `user`.
    pub user: Option<String>,
    /// `password`, `password_file`, `password_env`.
    pub secret: Secret,
    /// `defaults_file`: an option file of MySQL's clients.
    pub defaults_file: Option<PathBuf>,
    /// `server_key`: the server's public key, for `caching_sha2_password`.
    pub server_key: Option<PathBuf>,
    /// Whether `~/.my.cnf` is looked at: for the server on this host only.
    pub is_local: bool,
}

impl Account {
    /// User and password; files are read at each call, so that a new password
    /// needs no restart.
    pub fn read(&self, address: &Address) -> Result<(String, String), ProbeError> {
        let file = match &self.defaults_file {
            Some(file) => defaults(file)?,
            None => self.home_defaults(),
        };
        let user = self.user.clone().or(file.user).unwrap_or_else(|| match address {
            Address::Unix(_) => os_user().unwrap_or_else(|| USER.to_owned()),
            Address::Tcp(_) => USER.to_owned(),
        });
        let password = self.secret.read()?.or(file.password).unwrap_or_default();
        Ok((user, password))
    }

    /// The server's public key, where one is given.
    pub fn server_key(&self) -> Result<Option<PublicKey>, ProbeError> {
        let Some(file) = &self.server_key else { return Ok(None) };
        let why = |e: &dyn std::fmt::Display| {
            ProbeError::Failed(format!("server_key {}: {e}", file.display()))
        };
        let text = std::fs::read_to_string(file).map_err(|e| why(&e))?;
        let key = PublicKey::parse(&text);
        key.map(Some).ok_or_else(|| why(&"no RSA key (BEGIN PUBLIC KEY)"))
    }

    /// `~/.my.cnf`, as MySQL's own clients would; none if there is none.
    fn home_defaults(&self) -> Defaults {
        let secret = &self.secret;
        let given = self.user.is_some()
            || secret.password.is_some()
            || secret.password_file.is_some()
            || secret.password_env.is_some();
        if given || !self.is_local {
            return Defaults::default();
        }
        let file = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".my.cnf"));
        file.and_then(|f| std::fs::read_to_string(f).ok())
            .map_or_else(Defaults::default, |text| Defaults::parse(&text))
    }
}

/// What an option file says under `[client]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `user`.
    pub user: Option<String>,
    /// `password`.
    pub password: Option<String>,
    /// `socket`, or else `host` with `port`.
    pub address: Option<String>,
}

/// Reads such a file.
pub fn defaults(file: &Path) -> Result<Defaults, ProbeError> {
    let why = |e| ProbeError::Failed(format!("defaults_file {}: {e}", file.display()));
    std::fs::read_to_string(file).map(|text| Defaults::parse(&text)).map_err(why)
}

impl Defaults {
    fn parse(text: &str) -> Defaults {
        let mut all = Defaults::default();
        let (mut socket, mut host, mut port) = (None, None, None);
        let mut of_client = false;
        for line in text.lines().map(str::trim) {
            if let Some(group) = line.strip_prefix('[') {
                let group = group.trim_end_matches(']');
                of_client =
                    matches!(group, "client" | "client-server" | "mysql" | "client-mariadb");
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| of_client) else { continue };
            let value = unquoted(value.trim());
            match key.trim() {
                "user" => all.user = Some(value),
                "password" => all.password = Some(value),
                "socket" => socket = Some(value),
                "host" => host = Some(value).filter(|h| h != "localhost"),
                "port" => port = Some(value),
                _ => {}
            }
        }
        let at = |host: String| match port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        };
        all.address = host.map(at).or(socket);
        all
    }
}

/// A value without the quotes around it.
fn unquoted(text: &str) -> String {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.replace("\\\"", "\"").replace("\\\\", "\\");
        }
    }
    text.to_owned()
}

/// The name of whom the agent runs as: what `unix_socket` goes by.
fn os_user() -> Option<String> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, _, id) = (parts.next()?, parts.next()?, parts.next()?);
        (id == uid).then(|| name.to_owned())
    })
}

const DENIED: [u16; 3] = [1044, 1045, 1698];
const TOO_MANY: [u16; 2] = [1040, 1203];
const HOST_NOT_ALLOWED: u16 = 1130;
const HOST_BLOCKED: u16 = 1129;

/// What to say when a login is refused.
pub fn refused(link: &Link, user: &str, refusal: &Refusal) -> ProbeError {
    let text = &refusal.text;
    let server = if text.contains("MariaDB") { "MariaDB" } else { "it" };
    match refusal.code {
        code if DENIED.contains(&code) => {
            let way = match &link.address {
                Address::Unix(_) => {
                    "IDENTIFIED VIA unix_socket (MariaDB) or WITH auth_socket (MySQL)"
                }
                Address::Tcp(_) => "IDENTIFIED BY 'a password' (and `password` in [probe.mysql])",
            };
            link.failed(format!(
                "{server} refused user {user:?}: {text}. Let it in with: CREATE USER \
                 '{user}'@'localhost' {way}; GRANT PROCESS, REPLICATION CLIENT ON *.* TO \
                 '{user}'@'localhost'; (MariaDB since 10.5: SLAVE MONITOR, too)"
            ))
        }
        HOST_NOT_ALLOWED => link.failed(format!(
            "{text}: create the user for this host ('{user}'@'HOST'), not for localhost"
        )),
        HOST_BLOCKED => link.failed(format!("{text}: FLUSH HOSTS there once the cause is gone")),
        code if TOO_MANY.contains(&code) => {
            link.failed(format!("{text}: all its connections are taken (max_connections)"))
        }
        code => link.failed(format!("it refused user {user:?}: {text} (error {code})")),
    }
}

/// What a user needs so that nothing is left out.
pub fn rights(version: &Version) -> &'static str {
    match version.is_mariadb && version.number >= (10, 5, 0) {
        true => "PROCESS, REPLICATION CLIENT, SLAVE MONITOR",
        false => "PROCESS, REPLICATION CLIENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn option_files_are_read() {
        let text = "# Automatically generated for Debian scripts.\n[client]\nhost     = localhost\n\
                    user = debian-sys-maint\npassword = \"se same\"\nsocket = /run/m.sock\n\
                    [mysqld]\nuser = mysql\nport = 1\n";
        let read = Defaults::parse(text);
        assert_eq!(read.user.as_deref(), Some("debian-sys-maint"));
        assert_eq!(read.password.as_deref(), Some("se same"));
        assert_eq!(read.address.as_deref(), Some("/run/m.sock"));
        let read = Defaults::parse("[client]\nhost=db2\nport=3307\n");
        assert_eq!(read.address.as_deref(), Some("db2:3307"));
    }

    #[test]
    fn who_logs_in_depends_on_the_way() {
        let tcp = Address::Tcp("db2:3306".to_owned());
        let account = Account::default();
        assert_eq!(account.read(&tcp).expect("reads"), ("rookery".to_owned(), String::new()));
        let (user, _) = account.read(&Address::Unix("/run/m".into())).expect("reads");
        assert_eq!(Some(user), os_user());
        let file = tempfile::NamedTempFile::new().expect("tmp");
        std::fs::write(file.path(), "[client]\nuser=a\npassword=b\n").expect("writes");
        let defaults_file = Some(file.path().to_owned());
        let mut account = Account { defaults_file, ..Account::default() };
        assert_eq!(account.read(&tcp).expect("reads"), ("a".to_owned(), "b".to_owned()));
        account.user = Some("c".to_owned());
        assert_eq!(account.read(&tcp).expect("reads").0, "c");
        account.defaults_file = Some("/no/such".into());
        assert!(account.read(&tcp).expect_err("no file").to_string().contains("defaults_file"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[\\[\\]a-z=\"'\\\\\n ]*") {
            let _ = Defaults::parse(&text);
        }
    }
}
