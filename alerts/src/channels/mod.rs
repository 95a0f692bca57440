//! The channels that tell people: mail and commands. The only I/O besides the
//! check.
//!
//! A notice goes to the contacts that its rules name, or, when they name none,
//! to `[mail] to` and to every `[[contact]]`. Each way is a channel with a
//! name (`mail`, `contact dba mail`, `contact dba command`), so that one that
//! fails can be tried again without telling the others twice.

mod command;
mod mail;

#[cfg(test)]
mod tests;

use crate::output::Notice;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;

pub use command::{COMMAND_SECONDS_MAX, STDERR_BYTES_MAX, environment};
pub use mail::{MailConfig, PNG_BYTES_MAX};

/// A `[[contact]]`: someone to tell, by mail, by a command, or both.
///
/// ```toml
/// [[contact]]
/// name = "dba"
/// mail = ["dba@example.com"]            # sent as [mail] says
/// command = ["/usr/local/bin/page", "dba"]  # no shell; NAGIOS_* in the
///                                       # environment, the text on stdin
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
}

/// Tells people.
#[derive(Clone, Debug)]
pub struct Notifier {
    channels: Vec<Channel>,
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
        for contact in contacts {
            let name = contact.name.clone();
            if name.is_empty() || name == MAIL || channels.iter().any(|c| c.contact == name) {
                return Err(format!(
                    "[[contact]] name {name:?}: give each contact a name of its own, not {MAIL:?}"
                ));
            }
            if contact.mail.is_empty() && contact.command.is_empty() {
                return Err(format!("[[contact]] {name:?}: give it mail or command"));
            }
            if !contact.mail.is_empty() {
                let config = mail.as_ref().ok_or_else(|| {
                    format!("[[contact]] {name:?} has mail: add a [mail] table with smtp and from")
                })?;
                let way = Way::Mail(Arc::new(mail::Mailer::new(config, &contact.mail)?));
                let contact = name.clone();
                channels.push(Channel { name: format!("contact {name} mail"), contact, way });
            }
            if !contact.command.is_empty() {
                let way = Way::Command(contact.command);
                let contact = name.clone();
                channels.push(Channel { name: format!("contact {name} command"), contact, way });
            }
        }
        Ok(Notifier { channels, base_url: base_url.to_owned() })
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
        self.channels.iter().map(|c| c.name.clone()).collect()
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
            Way::Command(argv) => command::run(argv, notice, &found.contact, &self.base_url)
                .await
                .map_err(|e| (false, e)),
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
