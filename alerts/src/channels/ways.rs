//! The ways to tell someone, as channels: each with a name, and tried by itself.

use super::contact::{ContactConfig, Syslog};
use super::line;
use super::mail::Mailer;
use super::munin::MuninContact;
use super::smtp::MailConfig;
use super::webhook::Webhook;
use std::path::PathBuf;
use std::sync::Arc;

/// One way to tell someone.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    /// `mail`, `contact dba command`, `contact dba mail ann@example.com`.
    pub name: String,
    /// The name without the recipient.
    way_name: String,
    /// Whose it is.
    pub contact: String,
    pub way: Way,
}

#[derive(Clone, Debug)]
pub(super) enum Way {
    Mail(Arc<Mailer>),
    Command(Vec<String>),
    Webhook(Webhook),
    Irc(line::Irc),
    File(PathBuf),
    Syslog(PathBuf),
    Munin(Arc<MuninContact>),
}

impl Channel {
    /// Whether it does now what a channel of this name did: one for all recipients of a
    /// way, or one for this recipient when there were others.
    pub fn is_heir_of(&self, name: &str) -> bool {
        match &self.way {
            Way::Mail(mailer) => {
                self.way_name == name || name == of_recipient(&self.way_name, mailer)
            }
            _ => false,
        }
    }
}

/// A way by mail: a channel for each recipient, so that each is tried until it has its
/// mail, whatever becomes of the others. The error names the address.
pub(super) fn by_mail(
    way_name: &str,
    contact: &str,
    config: &MailConfig,
    to: &[String],
) -> Result<Vec<Channel>, String> {
    let all = Mailer::all(config, to)?;
    let is_alone = all.len() == 1;
    let of = |mailer: Mailer| Channel {
        name: match is_alone {
            true => way_name.to_owned(),
            false => of_recipient(way_name, &mailer),
        },
        way_name: way_name.to_owned(),
        contact: contact.to_owned(),
        way: Way::Mail(Arc::new(mailer)),
    };
    Ok(all.into_iter().map(of).collect())
}

fn of_recipient(way_name: &str, mailer: &Mailer) -> String {
    format!("{way_name} {}", mailer.address())
}

/// The ways to tell a contact; the error goes behind its name.
pub(super) fn of_contact(
    contact: ContactConfig,
    mail: Option<&MailConfig>,
) -> Result<Vec<Channel>, String> {
    let name = contact.name.clone();
    let mut channels = Vec::new();
    if !contact.mail.is_empty() {
        let config = mail.ok_or(" has mail: add a [mail] table with smtp and from")?;
        let by_mail = by_mail(&format!("contact {name} mail"), &name, config, &contact.mail);
        // It names the address itself.
        channels.extend(by_mail.map_err(|e| format!(": {e}"))?);
    }
    let mut put = |kind: &str, way| {
        let way_name = format!("contact {name} {kind}");
        channels.push(Channel { name: way_name.clone(), way_name, contact: name.clone(), way });
    };
    if !contact.command.is_empty() {
        put("command", Way::Command(contact.command));
    }
    if !contact.webhook.is_empty() {
        let hook = Webhook::new(&contact.webhook).map_err(|e| format!(": {e}"))?;
        put("webhook", Way::Webhook(hook));
    }
    if !contact.irc.is_empty() {
        let irc = line::Irc::new(&contact.irc).map_err(|e| format!(": {e}"))?;
        put("irc", Way::Irc(irc));
    }
    if !contact.file.as_os_str().is_empty() {
        put("file", Way::File(contact.file));
    }
    match contact.syslog {
        Syslog::Is(false) => {}
        Syslog::Is(true) => put("syslog", Way::Syslog(line::SYSLOG_SOCKET.into())),
        Syslog::At(socket) => put("syslog", Way::Syslog(socket)),
    }
    if let Some(munin) = contact.munin {
        put("command", Way::Munin(Arc::new(munin)));
    }
    match channels.is_empty() {
        true => Err(": give it mail, command, webhook, irc, file or syslog".to_owned()),
        false => Ok(channels),
    }
}
