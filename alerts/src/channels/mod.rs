//! The channels that tell people: mail, commands, webhooks, IRC, files, syslog.
//! The only I/O besides the check.
//!
//! A notice goes to the contacts that its rules name, or, when they name none,
//! to `[mail] to` and to every `[[contact]]`. Each way is a channel with a
//! name (`mail`, `contact dba mail`, `contact dba command`), so that one that
//! fails can be tried again without telling the others twice.

mod command;
mod line;
mod mail;
mod munin;
mod webhook;

#[cfg(test)]
mod tests;

use crate::output::Notice;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use command::{COMMAND_SECONDS_MAX, STDERR_BYTES_MAX, environment};
pub use line::{IRC_BYTES_MAX, IRC_SECONDS_MAX, SYSLOG_SOCKET};
pub use mail::{MailConfig, PNG_BYTES_MAX};
pub use munin::{MuninContact, Routes};
pub use webhook::WEBHOOK_SECONDS_MAX;

/// A `[[contact]]`: someone to tell, in one way or several.
///
/// ```toml
/// [[contact]]
/// name = "dba"
/// mail = ["dba@example.com"]            # sent as [mail] says
/// command = ["/usr/local/bin/page", "dba"]  # no shell; NAGIOS_* in the
///                                       # environment, the text on stdin
/// webhook = "https://hooks.example.com/x"   # Alertmanager's JSON
/// irc = "127.0.0.1:12345 #ops"          # an irccat
/// file = "/var/log/rookery-told"
/// syslog = true
/// fallback = "boss"                     # told in its stead while a way fails
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContactConfig {
    /// What rules call it.
    pub name: String,
    /// Addresses.
    pub mail: Vec<String>,
    /// A program and its arguments.
    pub command: Vec<String>,
    /// A URL that takes Alertmanager's JSON; empty: none.
    pub webhook: String,
    /// An irccat, `HOST:PORT` and whom it is to tell; empty: none.
    pub irc: String,
    /// A file that gets a line; empty: none.
    pub file: PathBuf,
    /// Whether the system's log gets a line.
    pub syslog: bool,
    /// Another contact, who is told in its stead while one of its ways fails.
    pub fallback: String,
    /// It is one of `munin.conf`.
    #[serde(skip)]
    pub munin: Option<MuninContact>,
}

/// Why a channel did not take a notice.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelError {
    /// The channel's name, for [`Notifier::send_to`].
    pub channel: String,
    /// Whether trying again is of no use (the server refused it for good).
    pub permanent: bool,
    /// What happened, and where.
    pub message: String,
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.channel, self.message)
    }
}

impl std::error::Error for ChannelError {}

/// The channels that did not take a notice; the others have it.
#[derive(Clone, Debug, PartialEq)]
pub struct SendError {
    /// At least one.
    pub failed: Vec<ChannelError>,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, e) in self.failed.iter().enumerate() {
            write!(f, "{}{e}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for SendError {}

/// One way to tell someone.
#[derive(Clone, Debug)]
struct Channel {
    name: String,
    contact: String,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Mail(Arc<mail::Mailer>),
    Command(Vec<String>),
    Webhook(webhook::Webhook),
    Irc(line::Irc),
    File(PathBuf),
    Syslog,
    Munin(Arc<MuninContact>),
}

/// Tells people.
#[derive(Clone, Debug)]
pub struct Notifier {
    channels: Vec<Channel>,
    /// Who is told in whose stead.
    fallbacks: BTreeMap<String, String>,
    base_url: String,
}

/// What `[mail] to` is called in a rule's `contacts`.
const MAIL: &str = "mail";

impl Notifier {
    /// Checks the configuration; the error names the key and the remedy. No
    /// connection is made yet. `base_url` is where people find the pages.
    pub fn new(
        mail: Option<MailConfig>,
        contacts: Vec<ContactConfig>,
        base_url: &str,
    ) -> Result<Notifier, String> {
        let mut channels = Vec::new();
        if let Some(config) = mail.as_ref().filter(|m| !m.to.is_empty()) {
            let way = Way::Mail(Arc::new(mail::Mailer::new(config, &config.to)?));
            channels.push(Channel { name: MAIL.to_owned(), contact: MAIL.to_owned(), way });
        }
        let mut fallbacks = BTreeMap::new();
        for contact in contacts {
            let name = contact.name.clone();
            if name.is_empty() || name == MAIL || channels.iter().any(|c| c.contact == name) {
                return Err(format!(
                    "[[contact]] name {name:?}: give each contact a name of its own, not {MAIL:?}"
                ));
            }
            if !contact.fallback.is_empty() {
                fallbacks.insert(name.clone(), contact.fallback.clone());
            }
            let ways =
                ways(contact, mail.as_ref()).map_err(|e| format!("[[contact]] {name:?}{e}"))?;
            channels.extend(ways.into_iter().map(|(kind, way)| {
                let contact = name.clone();
                Channel { name: format!("contact {name} {kind}"), contact, way }
            }));
        }
        for (name, other) in &fallbacks {
            if name == other || !channels.iter().any(|c| c.contact == *other) {
                return Err(format!(
                    "[[contact]] {name:?}: fallback = {other:?}: name another contact, or {MAIL:?}"
                ));
            }
        }
        Ok(Notifier { channels, fallbacks, base_url: base_url.to_owned() })
    }

    /// Whether there is nobody to tell.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// The first of these contacts' names that is not known, to check the
    /// rules with.
    pub fn unknown_contact<'n>(&self, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
        let mut names = names;
        names.find(|n| !self.channels.iter().any(|c| c.contact == **n))
    }

    /// The names of the channels that a notice goes to. Where a rule names
    /// only contacts that do not exist, all are told rather than nobody.
    pub fn channels_for(&self, notice: &Notice) -> Vec<String> {
        let named: Vec<String> = self
            .channels
            .iter()
            .filter(|c| notice.contacts.contains(&c.contact))
            .map(|c| c.name.clone())
            .collect();
        if !named.is_empty() {
            return named;
        }
        if !notice.contacts.is_empty() {
            let names = notice.contacts.join(", ");
            tracing::warn!("notice {}: no contact is called {names}; all are told", notice.id);
        }
        let is_told = |c: &&Channel| match &c.way {
            Way::Munin(m) => m.routes.tells(&c.contact, &notice.node, notice.service.as_deref()),
            _ => true,
        };
        self.channels.iter().filter(is_told).map(|c| c.name.clone()).collect()
    }

    /// The channels that are told in the stead of one that fails: those of its
    /// contact's `fallback`.
    pub fn fallback_of(&self, channel: &str) -> Vec<String> {
        let contact = self.channels.iter().find(|c| c.name == channel).map(|c| &c.contact);
        let Some(other) = contact.and_then(|c| self.fallbacks.get(c)) else { return vec![] };
        let others = self.channels.iter().filter(|c| c.contact == *other);
        others.map(|c| c.name.clone()).collect()
    }

    /// Tells one channel. Trying the same notice again sends the same
    /// Message-ID, so that a repeat can be known as one.
    pub async fn send_to(
        &self,
        channel: &str,
        notice: &Notice,
        graph_png: Option<Vec<u8>>,
    ) -> Result<(), ChannelError> {
        let fail = |permanent, message| {
            Err(ChannelError { channel: channel.to_owned(), permanent, message })
        };
        let Some(found) = self.channels.iter().find(|c| c.name == channel) else {
            return fail(true, "there is no such channel any more".to_owned());
        };
        let sent = match &found.way {
            Way::Mail(mailer) => mailer.send(notice, &self.base_url, graph_png).await,
            Way::Webhook(hook) => hook.send(notice, &found.contact, &self.base_url).await,
            Way::Command(argv) => command::run(argv, notice, &found.contact, &self.base_url, None)
                .await
                .map_err(|e| (false, e)),
            Way::Munin(contact) => {
                let argv = ["/bin/sh", "-c", &contact.command(notice)].map(str::to_owned);
                let text = contact.text(&found.contact, notice);
                command::run(&argv, notice, &found.contact, &self.base_url, Some(text))
                    .await
                    .map_err(|e| (false, e))
            }
            Way::Irc(irc) => irc.send(notice, &self.base_url).await.map_err(|e| (false, e)),
            Way::File(path) => {
                line::to_file(path, notice, &self.base_url).await.map_err(|e| (false, e))
            }
            Way::Syslog => line::to_syslog(notice, &self.base_url).await.map_err(|e| (false, e)),
        };
        match sent {
            Ok(()) => Ok(()),
            Err((permanent, message)) => fail(permanent, message),
        }
    }

    /// Tells all channels of a notice, one after the other, each in spite of
    /// the failures of others.
    pub async fn send(&self, notice: &Notice, graph_png: Option<Vec<u8>>) -> Result<(), SendError> {
        let mut failed = Vec::new();
        for channel in self.channels_for(notice) {
            if let Err(e) = self.send_to(&channel, notice, graph_png.clone()).await {
                failed.push(e);
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(SendError { failed }) }
    }
}

/// The ways to tell a contact; the error goes behind its name.
fn ways(
    contact: ContactConfig,
    mail: Option<&MailConfig>,
) -> Result<Vec<(&'static str, Way)>, String> {
    let mut ways = Vec::new();
    if !contact.mail.is_empty() {
        let config = mail.ok_or(" has mail: add a [mail] table with smtp and from")?;
        // It names the address itself.
        let mailer = mail::Mailer::new(config, &contact.mail).map_err(|e| format!(": {e}"))?;
        ways.push(("mail", Way::Mail(Arc::new(mailer))));
    }
    if !contact.command.is_empty() {
        ways.push(("command", Way::Command(contact.command)));
    }
    if !contact.webhook.is_empty() {
        let hook = webhook::Webhook::new(&contact.webhook).map_err(|e| format!(": {e}"))?;
        ways.push(("webhook", Way::Webhook(hook)));
    }
    if !contact.irc.is_empty() {
        let irc = line::Irc::new(&contact.irc).map_err(|e| format!(": {e}"))?;
        ways.push(("irc", Way::Irc(irc)));
    }
    if !contact.file.as_os_str().is_empty() {
        ways.push(("file", Way::File(contact.file)));
    }
    if contact.syslog {
        ways.push(("syslog", Way::Syslog));
    }
    if let Some(munin) = contact.munin {
        ways.push(("command", Way::Munin(Arc::new(munin))));
    }
    match ways.is_empty() {
        true => Err(": give it mail, command, webhook, irc, file or syslog".to_owned()),
        false => Ok(ways),
    }
}
