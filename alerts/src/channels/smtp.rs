//! One mail to one recipient over SMTP.
//!
//! Each recipient gets a transaction of its own, so that a server that refuses one
//! does not cost the others theirs. What a server refuses is for good only where it
//! is about this recipient or this mail: a greeting, a login or a sender that is
//! refused is tried again, as an administrator can mend those.

use crate::message;
use crate::passive::chain;
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{SmtpConnection, Tls, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// How long the server may take for each answer.
const SMTP_TIMEOUT: Duration = Duration::from_secs(20);

/// `[mail]` of `collector.toml`.
///
/// ```toml
/// [mail]
/// smtp = "mail.example.com:587"     # or smtp://host:port, smtps://host
/// from = "Rookery <rookery@example.com>"
/// to = ["ops@example.com"]
/// user = "rookery"                  # optional
/// password_file = "/etc/rookery/smtp-password"
/// text_only = false                 # true: neither HTML nor graph
/// starttls = true                   # default: if offered; with a user: required
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailConfig {
    /// `host:port`, `smtp://host[:port]` (port 25) or `smtps://host[:port]`
    /// (TLS from the start, port 465).
    pub smtp: String,
    /// The sender.
    pub from: String,
    /// Who gets every notice whose rules name no contacts.
    pub to: Vec<String>,
    /// The user to authenticate as.
    pub user: Option<String>,
    /// A file whose first line is the user's password.
    pub password_file: Option<PathBuf>,
    /// Require STARTTLS (`true`) or never use it (`false`).
    pub starttls: Option<bool>,
    /// Plain text only, without HTML and graph.
    pub text_only: bool,
}

/// A mail server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    host: String,
    port: u16,
    tls: Tls,
    credentials: Option<Credentials>,
}

/// Why a mail was not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Whether trying again is of no use.
    pub permanent: bool,
    /// Whether the recipient was taken and the mail itself was not.
    pub is_of_content: bool,
    /// What was said, and by which server.
    pub message: String,
}

impl Server {
    /// Checks `[mail]`; no connection is made yet.
    pub fn new(config: &MailConfig) -> Result<Server, String> {
        let (host, port, tls) = place(config)?;
        let credentials = match &config.user {
            Some(user) => Some(Credentials::new(user.clone(), password(config)?)),
            None => None,
        };
        Ok(Server { host, port, tls, credentials })
    }

    /// Hands a mail over for one recipient. Blocks, for some [`SMTP_TIMEOUT`]s at most.
    pub fn hand_over(&self, from: &Address, to: &Address, mail: &[u8]) -> Result<(), Refusal> {
        let mut parameters = Vec::new();
        let mut connection = self.connect().map_err(|e| self.refusal(e, false, false))?;
        if !is_ascii(from) || !is_ascii(to) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                connection.abort();
                let message = format!(
                    "SMTP server {}: it takes no address like {to} (SMTPUTF8)",
                    self.name()
                );
                return Err(Refusal { permanent: true, is_of_content: false, message });
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let talk = |connection: &mut SmtpConnection| {
            let begin = Mail::new(Some(from.clone()), parameters);
            connection.command(begin).map_err(|e| self.refusal(e, false, false))?;
            let whom = Rcpt::new(to.clone(), vec![]);
            connection.command(whom).map_err(|e| self.refusal(e, true, false))?;
            connection.command(Data).map_err(|e| self.refusal(e, true, true))?;
            connection.message(mail).map_err(|e| self.refusal(e, true, true))
        };
        match talk(&mut connection) {
            Ok(_) => {
                // It has the mail: how the connection ends is all one.
                let _ = connection.quit();
                Ok(())
            }
            Err(refusal) => {
                connection.abort();
                Err(refusal)
            }
        }
    }

    fn connect(&self) -> Result<SmtpConnection, Error> {
        let wrapped = match &self.tls {
            Tls::Wrapper(parameters) => Some(parameters),
            _ => None,
        };
        let hello = ClientId::default();
        let place = (self.host.as_str(), self.port);
        let mut connection =
            SmtpConnection::connect(place, Some(SMTP_TIMEOUT), &hello, wrapped, None)?;
        match &self.tls {
            Tls::Opportunistic(parameters) if connection.can_starttls() => {
                connection.starttls(parameters, &hello)?;
            }
            Tls::Required(parameters) => connection.starttls(parameters, &hello)?,
            _ => {}
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials)?;
        }
        Ok(connection)
    }

    fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn refusal(&self, e: Error, can_be_permanent: bool, is_of_content: bool) -> Refusal {
        let message = message::line(&format!("SMTP server {}: {}", self.name(), chain(&e)));
        Refusal { permanent: can_be_permanent && e.is_permanent(), is_of_content, message }
    }
}

fn is_ascii(address: &Address) -> bool {
    let text: &str = address.as_ref();
    text.is_ascii()
}

/// Host, port and how to encrypt.
fn place(config: &MailConfig) -> Result<(String, u16, Tls), String> {
    let bad = |why: &str| {
        format!("[mail] smtp = {:?}: {why}; write host:port or smtps://host", config.smtp)
    };
    let (wrapped, rest) = match config.smtp.split_once("://") {
        Some(("smtp", rest)) => (false, rest),
        Some(("smtps", rest)) => (true, rest),
        Some((scheme, _)) => return Err(bad(&format!("{scheme}:// is not a mail server's"))),
        None => (false, config.smtp.as_str()),
    };
    let rest = rest.trim_end_matches('/');
    // `[::1]:25`, `::1`, `host:25`, `host`.
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| bad(&format!("{port:?} is not a port")))?)
        }
        _ => (rest, if wrapped { 465 } else { 25 }),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains(['@', '/']) {
        return Err(bad("it names no host"));
    }
    let parameters = |lenient: bool| {
        TlsParameters::builder(host.to_owned())
            .dangerous_accept_invalid_certs(lenient)
            .build()
            .map_err(|e| bad(&format!("TLS: {e}")))
    };
    let local = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let tls = match (wrapped, config.starttls) {
        (true, _) => Tls::Wrapper(parameters(false)?),
        (false, Some(true)) => Tls::Required(parameters(false)?),
        (false, Some(false)) => Tls::None,
        // Nothing leaves this host.
        (false, None) if local => Tls::None,
        // A password is only told to a server that has proved who it is.
        (false, None) if config.user.is_some() => Tls::Required(parameters(false)?),
        // Where clear text would do, a certificate of no authority does too.
        (false, None) => Tls::Opportunistic(parameters(true)?),
    };
    Ok((host.to_owned(), port, tls))
}

fn password(config: &MailConfig) -> Result<String, String> {
    let path = config
        .password_file
        .as_ref()
        .ok_or("[mail] has a user: add password_file, a file whose first line is the password")?;
    let text = std::fs::read_to_string(path)
        .map_err(|e| format!("[mail] password_file {}: {e}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        let config = |smtp: &str| MailConfig { smtp: smtp.to_owned(), ..MailConfig::default() };
        let port = |text: &str| place(&config(text)).map(|(h, p, _)| (h, p));
        assert_eq!(port("mail:587"), Ok(("mail".to_owned(), 587)));
        assert_eq!(port("smtps://mail"), Ok(("mail".to_owned(), 465)));
        assert_eq!(port("smtp://[::1]:26/"), Ok(("::1".to_owned(), 26)));
        assert_eq!(port("::1"), Ok(("::1".to_owned(), 25)));
        for bad in ["", "http://x", "mail:port", "user@mail:25"] {
            assert!(port(bad).expect_err(bad).contains(bad), "{bad}");
        }
        let mut with_user = config("mail:587");
        with_user.user = Some("u".to_owned());
        assert!(matches!(place(&with_user), Ok((_, _, Tls::Required(_)))));
        assert!(password(&with_user).expect_err("refused").contains("password_file"));
    }
}
