//! The channels that tell people: mail, commands, webhooks, IRC, files, syslog.
//! The only I/O besides the check.
//!
//! A notice goes to the contacts that its rules name, or, when they name none,
//! to `[mail] to` and to every `[[contact]]`. Each way is a channel with a
//! name (`mail`, `contact dba mail`, `contact dba command`), so that one that
//! fails can be tried again without telling the others twice. Where mail goes to
//! several, each recipient is a channel (`contact dba mail ann@example.com`).

mod command;
mod contact;
mod html;
mod line;
mod mail;
mod munin;
mod smtp;
mod stand_in;
mod ways;
mod webhook;

#[cfg(test)]
mod tests;

use crate::digest::{Digest, DigestConfig, Schedule};
use crate::output::Notice;
use crate::period::Periods;
use contact::{Book, Taste};
use rookery_plugins::TimeMs;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use ways::{Channel, Way};

pub use command::{COMMAND_SECONDS_MAX, For, STDERR_BYTES_MAX, environment};
pub use contact::{ContactConfig, GroupConfig, Syslog, Verdict, WORDS, word};
pub use line::{IRC_BYTES_MAX, IRC_SECONDS_MAX, SYSLOG_SOCKET};
pub use mail::PNG_BYTES_MAX;
pub use munin::{MuninContact, Routes, severities};
pub use smtp::MailConfig;
pub use stand_in::{StandIn, Taken};
pub use webhook::WEBHOOK_SECONDS_MAX;

/// Who is told of what, as it is configured.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// `[mail]`.
    pub mail: Option<MailConfig>,
    /// `[[contact]]`.
    pub contacts: Vec<ContactConfig>,
    /// `[[contact_group]]`.
    pub groups: Vec<GroupConfig>,
    /// `[[period]]` of `alerts.d`.
    pub periods: Periods,
    /// `[digest]`.
    pub digest: DigestConfig,
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

/// Tells people.
#[derive(Clone, Debug)]
pub struct Notifier {
    channels: Vec<Channel>,
    /// What each contact wants.
    tastes: BTreeMap<String, Taste>,
    /// Contacts and groups by name.
    book: Book,
    /// Who is told in whose stead.
    fallbacks: BTreeMap<String, String>,
    schedule: Schedule,
    /// Contacts that get what was told to nobody in their digest.
    digest_to: BTreeSet<String>,
    base_url: String,
    /// Takes everything instead of the ways, in tests of what sends.
    stand_in: Option<Arc<dyn StandIn>>,
}

/// How many notices a channel takes at once …
const BATCH: usize = 32;
/// … and at most, where one run of a command gets them all.
const RUN_MAX: usize = 1000;

/// What `[mail] to` is called in a rule's `contacts`.
const MAIL: &str = "mail";

impl Notifier {
    /// Contacts without groups and periods.
    pub fn new(
        mail: Option<MailConfig>,
        contacts: Vec<ContactConfig>,
        base_url: &str,
    ) -> Result<Notifier, String> {
        Notifier::of(Setup { mail, contacts, ..Setup::default() }, base_url)
    }

    /// Checks the configuration; the error names the key and the remedy. No
    /// connection is made yet. `base_url` is where people find the pages.
    pub fn of(setup: Setup, base_url: &str) -> Result<Notifier, String> {
        let Setup { mail, contacts, groups, periods, digest } = setup;
        let mut channels = Vec::new();
        if let Some(config) = mail.as_ref().filter(|m| !m.to.is_empty()) {
            channels.extend(ways::by_mail(MAIL, MAIL, config, &config.to)?);
        }
        let (mut fallbacks, mut tastes) = (BTreeMap::new(), BTreeMap::new());
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
            let wrong = |e: String| format!("[[contact]] {name:?}{e}");
            tastes.insert(name.clone(), Taste::new(&contact, &periods).map_err(wrong)?);
            channels.extend(ways::of_contact(contact, mail.as_ref()).map_err(wrong)?);
        }
        let names: BTreeSet<String> = channels.iter().map(|c| c.contact.clone()).collect();
        let book = Book::new(names, &groups)?;
        for (name, other) in &fallbacks {
            if name == other || !book.knows(other) {
                return Err(format!(
                    "[[contact]] {name:?}: fallback = {other:?}: name another contact, or {MAIL:?}"
                ));
            }
        }
        if let Some(name) = digest.to.iter().find(|n| !book.knows(n)) {
            return Err(format!("[digest] to = [{name:?}]: no [[contact]] or group is called so"));
        }
        let default = [MAIL.to_owned()];
        let to = if digest.to.is_empty() { &default[..] } else { &digest.to };
        let digest_to = book.contacts(to.iter()).into_iter().map(str::to_owned).collect();
        let (schedule, base_url) = (Schedule::new(&digest)?, base_url.to_owned());
        let stand_in = None;
        Ok(Notifier { channels, tastes, book, fallbacks, schedule, digest_to, base_url, stand_in })
    }

    /// Has this take everything instead of the ways: for tests of what sends.
    pub fn with_stand_in(self, stand_in: Arc<dyn StandIn>) -> Notifier {
        Notifier { stand_in: Some(stand_in), ..self }
    }

    /// Whether there is a channel of this name.
    pub fn knows(&self, channel: &str) -> bool {
        self.channels.iter().any(|c| c.name == channel)
    }

    /// The channels that do now what one of this name did: a way by mail is one
    /// channel for each recipient where it has several, and they may come and go.
    pub fn heirs(&self, channel: &str) -> Vec<String> {
        let heirs = self.channels.iter().filter(|c| c.is_heir_of(channel));
        heirs.map(|c| c.name.clone()).collect()
    }

    /// Whether there is nobody to tell.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// The first of these contacts' names that is not known, to check the
    /// rules with.
    pub fn unknown_contact<'n>(&self, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
        let mut names = names;
        names.find(|n| !self.book.knows(n))
    }

    /// Whether this channel's contact wants to hear of a notice, and when.
    pub fn verdict(&self, channel: &str, notice: &Notice, now_ms: TimeMs) -> Verdict {
        match self.taste(channel) {
            Some(taste) => taste.verdict(notice, now_ms),
            None => Verdict::Now,
        }
    }

    /// The channels that can have a digest: mails. With each, whether it also gets what
    /// was told to nobody.
    pub fn digests(&self) -> Vec<(String, bool)> {
        let mails = self.channels.iter().filter(|c| matches!(c.way, Way::Mail(_)));
        mails.map(|c| (c.name.clone(), self.digest_to.contains(&c.contact))).collect()
    }

    /// When they are due.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Whether what this channel does not tell at once goes to a digest.
    pub fn has_digest(&self, channel: &str) -> bool {
        self.digests().iter().any(|(name, _)| name == channel)
    }

    /// Whether what waits for this channel's contact's period can be told now.
    pub fn is_open(&self, channel: &str, now_ms: TimeMs) -> bool {
        self.taste(channel).is_none_or(|t| t.is_open(now_ms))
    }

    fn taste(&self, channel: &str) -> Option<&Taste> {
        let channel = self.channels.iter().find(|c| c.name == channel)?;
        self.tastes.get(&channel.contact)
    }

    /// The names of the channels that a notice goes to. Where a rule names
    /// only contacts that do not exist, all are told rather than nobody.
    pub fn channels_for(&self, notice: &Notice) -> Vec<String> {
        let contacts = self.book.contacts(notice.contacts.iter());
        let named: Vec<String> = self
            .channels
            .iter()
            .filter(|c| contacts.contains(c.contact.as_str()))
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
        let contacts = self.book.contacts(std::iter::once(other));
        let others = self.channels.iter().filter(|c| contacts.contains(c.contact.as_str()));
        others.filter(|c| c.name != channel).map(|c| c.name.clone()).collect()
    }

    /// The channels that are told again and again how all stands, and how often, ms.
    pub fn repeated(&self) -> Vec<(String, u64)> {
        let of = |c: &Channel| match &c.way {
            Way::Munin(m) if !m.always_send.is_empty() && m.every_ms > 0 => {
                Some((c.name.clone(), m.every_ms))
            }
            _ => None,
        };
        self.channels.iter().filter_map(of).collect()
    }

    /// Whether this channel is told again how a service stands.
    pub fn repeats(&self, channel: &str, notice: &Notice) -> bool {
        self.channels.iter().any(|c| match &c.way {
            Way::Munin(m) => c.name == channel && m.repeats(notice),
            _ => false,
        }) && self.channels_for(notice).iter().any(|c| c == channel)
    }

    /// How many notices this channel takes at once.
    pub fn batch(&self, channel: &str) -> usize {
        match self.munin(channel).map(|m| m.max_messages) {
            Some(0) => RUN_MAX,
            Some(n) => n.clamp(BATCH, RUN_MAX),
            None => BATCH,
        }
    }

    /// How many of these, from the first, one run of the channel's command gets; at
    /// least one.
    pub fn run_len(&self, channel: &str, notices: &[&Notice]) -> usize {
        let (Some(munin), Some(first)) = (self.munin(channel), notices.first()) else { return 1 };
        let most = if munin.max_messages == 0 { RUN_MAX } else { munin.max_messages };
        let command = munin.command(first);
        let same = notices.iter().take(most).take_while(|n| munin.command(n) == command);
        same.count().max(1)
    }

    fn munin(&self, channel: &str) -> Option<&MuninContact> {
        self.channels.iter().find(|c| c.name == channel).and_then(|c| match &c.way {
            Way::Munin(m) => Some(&**m),
            _ => None,
        })
    }

    /// Tells a channel of several by one run of its command: see [`Self::run_len`].
    pub async fn send_run(&self, channel: &str, notices: &[&Notice]) -> Result<(), ChannelError> {
        if let Some(stand_in) = &self.stand_in {
            return stand_in.take(channel, notices).await;
        }
        let found = self.channels.iter().find(|c| c.name == channel);
        let (Some(found), Some(munin), Some(first)) = (found, self.munin(channel), notices.first())
        else {
            let message = "there is no such channel any more".to_owned();
            return Err(ChannelError { channel: channel.to_owned(), permanent: true, message });
        };
        let argv = ["/bin/sh", "-c", &munin.command(first)].map(str::to_owned);
        let text: String = notices.iter().map(|n| munin.text(&found.contact, n)).collect();
        let ran = command::run(&argv, first, self.whom(found), Some(text)).await;
        ran.map_err(|message| ChannelError {
            channel: channel.to_owned(),
            permanent: false,
            message,
        })
    }

    /// Tells one channel. Trying the same notice again sends the same
    /// Message-ID, so that a repeat can be known as one.
    pub async fn send_to(
        &self,
        channel: &str,
        notice: &Notice,
        graph_png: Option<Vec<u8>>,
    ) -> Result<(), ChannelError> {
        if let Some(stand_in) = &self.stand_in {
            return stand_in.take(channel, &[notice]).await;
        }
        let fail = |permanent, message| {
            Err(ChannelError { channel: channel.to_owned(), permanent, message })
        };
        let Some(found) = self.channels.iter().find(|c| c.name == channel) else {
            return fail(true, "there is no such channel any more".to_owned());
        };
        let sent = match &found.way {
            Way::Mail(mailer) => mailer.send(notice, &self.base_url, graph_png).await,
            Way::Webhook(hook) => hook.send(notice, &found.contact, &self.base_url).await,
            Way::Command(argv) => {
                command::run(argv, notice, self.whom(found), None).await.map_err(|e| (false, e))
            }
            Way::Munin(_) => return self.send_run(channel, &[notice]).await,
            Way::Irc(irc) => irc.send(notice, &self.base_url).await.map_err(|e| (false, e)),
            Way::File(path) => {
                line::to_file(path, notice, &self.base_url).await.map_err(|e| (false, e))
            }
            Way::Syslog(socket) => {
                line::to_syslog(socket, notice, &self.base_url).await.map_err(|e| (false, e))
            }
        };
        match sent {
            Ok(()) => Ok(()),
            Err((permanent, message)) => fail(permanent, message),
        }
    }

    fn whom<'c>(&'c self, channel: &'c Channel) -> command::For<'c> {
        let mail = self.tastes.get(&channel.contact).map_or("", |t| &t.mail);
        command::For { contact: &channel.contact, mail, base_url: &self.base_url }
    }

    /// Sends a digest by one channel.
    pub async fn send_digest(&self, channel: &str, digest: &Digest) -> Result<(), ChannelError> {
        if let Some(stand_in) = &self.stand_in {
            return stand_in.take_digest(channel, digest).await;
        }
        let fail = |permanent, message| {
            Err(ChannelError { channel: channel.to_owned(), permanent, message })
        };
        let found = self.channels.iter().find(|c| c.name == channel).map(|c| &c.way);
        let Some(Way::Mail(mailer)) = found else {
            return fail(true, "there is no such channel any more".to_owned());
        };
        match mailer.send_digest(digest, &self.base_url).await {
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
