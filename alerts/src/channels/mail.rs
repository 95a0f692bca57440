//! Mail: one incident is one thread.
//!
//! Plain text first, then the same as HTML with the graph in it. Each notice has the Message-ID
//! `<incident.sequence@domain>`; all but the first refer to the first. What
//! came from the network is stripped of control characters before it may
//! stand in a header.

use super::html;
use super::smtp::{MailConfig, Refusal, Server};
use crate::digest::Digest;
use crate::message;
use crate::output::Notice;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MessageBuilder, MultiPart, SinglePart};
use lettre::{Address, Message};
use std::collections::BTreeSet;

/// The largest picture that is sent along; a larger one is left out.
pub const PNG_BYTES_MAX: usize = 200_000;

/// A server, a sender, and one of the recipients.
#[derive(Clone, Debug)]
pub(super) struct Mailer {
    server: Server,
    from: Mailbox,
    /// Who stands in the mail: everybody it goes to can see who else has it.
    to: Vec<Mailbox>,
    /// Whom this hands it to.
    recipient: Address,
    text_only: bool,
}

impl Mailer {
    /// One for each of these recipients.
    pub(super) fn all(config: &MailConfig, to: &[String]) -> Result<Vec<Mailer>, String> {
        let mailbox = |key: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|e| format!("[mail] {key} = {text:?}: {e}"))
        };
        let from = mailbox("from", &config.from)?;
        let to: Vec<Mailbox> = to.iter().map(|t| mailbox("to", t)).collect::<Result<_, _>>()?;
        let server = Server::new(config)?;
        let mut seen = BTreeSet::new();
        let recipients = to.iter().map(|t| t.email.clone()).filter(|a| seen.insert(a.to_string()));
        let of = |recipient| Mailer {
            server: server.clone(),
            from: from.clone(),
            to: to.clone(),
            recipient,
            text_only: config.text_only,
        };
        Ok(recipients.map(of).collect())
    }

    /// Whom it goes to.
    pub(super) fn address(&self) -> String {
        self.recipient.to_string()
    }

    /// Sends; the error says whether it is for good. A mail that the server does not
    /// take (too large, or a picture that a filter dislikes) is sent as plain text.
    pub(super) async fn send(
        &self,
        notice: &Notice,
        base_url: &str,
        graph_png: Option<Vec<u8>>,
    ) -> Result<(), (bool, String)> {
        let mail = self.compose(notice, base_url, graph_png).map_err(|e| (true, e))?;
        match self.hand_over(mail).await {
            Err(Refusal { permanent: true, is_of_content: true, message }) if !self.text_only => {
                let bare = Mailer { text_only: true, ..self.clone() };
                let mail = bare.compose(notice, base_url, None).map_err(|e| (true, e))?;
                bare.hand_over(mail).await.map_err(|r| (r.permanent, r.message))?;
                tracing::warn!(to = self.address(), "sent as plain text, as {message}");
                Ok(())
            }
            sent => sent.map_err(|r| (r.permanent, r.message)),
        }
    }

    /// Sends a digest.
    pub(super) async fn send_digest(
        &self,
        digest: &Digest,
        base_url: &str,
    ) -> Result<(), (bool, String)> {
        let mail = self.compose_digest(digest, base_url).map_err(|e| (true, e))?;
        self.hand_over(mail).await.map_err(|r| (r.permanent, r.message))
    }

    async fn hand_over(&self, mail: Message) -> Result<(), Refusal> {
        let (server, from) = (self.server.clone(), self.from.email.clone());
        let (to, mail) = (self.recipient.clone(), mail.formatted());
        let sent = tokio::task::spawn_blocking(move || server.hand_over(&from, &to, &mail)).await;
        sent.unwrap_or_else(|e| {
            let message = format!("sending to {} was broken off: {e}", self.recipient);
            Err(Refusal { permanent: false, is_of_content: false, message })
        })
    }

    fn compose(
        &self,
        notice: &Notice,
        base_url: &str,
        graph_png: Option<Vec<u8>>,
    ) -> Result<Message, String> {
        let domain = self.from.email.domain();
        let id = |sequence: u32| format!("<{}.{sequence}@{domain}>", notice.incident);
        let mut builder = self.begin(&message::subject(notice), &id(notice.sequence))?;
        if notice.sequence > 0 {
            builder = builder.in_reply_to(id(0)).references(id(0));
        }
        for (name, value) in [
            ("X-Rookery-State", notice.state.to_string()),
            ("X-Rookery-Incident", message::line(&notice.incident)),
        ] {
            builder = builder.raw_header(header(name, value)?);
        }
        let text = message::body(notice, base_url);
        let png = graph_png.filter(|png| png.len() <= PNG_BYTES_MAX);
        let page = html::notice(notice, base_url, png.is_some());
        self.finish(builder, text, page, png)
    }

    fn compose_digest(&self, digest: &Digest, base_url: &str) -> Result<Message, String> {
        // Each list of people gets its own.
        let to: Vec<String> = self.to.iter().map(Mailbox::to_string).collect();
        let list = crc32fast::hash(to.join(",").as_bytes());
        let id = format!("<{}.{list:08x}@{}>", digest.id(), self.from.email.domain());
        let builder = self.begin(&digest.subject(), &id)?;
        let (text, page) = (digest.text(base_url), html::digest(digest, base_url));
        self.finish(builder, text, page, None)
    }

    /// What all mails have: so that no robot answers, and rules can sort them.
    fn begin(&self, subject: &str, id: &str) -> Result<MessageBuilder, String> {
        let domain = self.from.email.domain();
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .date_now()
            .message_id(Some(id.to_owned()));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        for (name, value) in [
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("List-Id", format!("Rookery <rookery.{domain}>")),
        ] {
            builder = builder.raw_header(header(name, value)?);
        }
        Ok(builder)
    }

    fn finish(
        &self,
        builder: MessageBuilder,
        text: String,
        page: String,
        png: Option<Vec<u8>>,
    ) -> Result<Message, String> {
        if self.text_only {
            let mail = builder.singlepart(SinglePart::plain(text));
            return mail.map_err(|e| format!("the mail cannot be made: {e}"));
        }
        let (plain, page) = (SinglePart::plain(text), SinglePart::html(page));
        let parts = MultiPart::alternative().singlepart(plain);
        let parts = match png {
            None => parts.singlepart(page),
            Some(png) => {
                let kind = ContentType::parse("image/png").map_err(|e| e.to_string())?;
                let name = "graph.png".to_owned();
                let picture = Attachment::new_inline_with_name("graph".to_owned(), name);
                let picture = picture.body(png, kind);
                parts.multipart(MultiPart::related().singlepart(page).singlepart(picture))
            }
        };
        builder.multipart(parts).map_err(|e| format!("the mail cannot be made: {e}"))
    }
}

fn header(name: &str, value: String) -> Result<HeaderValue, String> {
    let name = HeaderName::new_from_ascii(name.to_owned());
    Ok(HeaderValue::new(name.map_err(|e| format!("a header's name: {e}"))?, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::sample;
    use crate::output::NoticeKind;

    fn config(smtp: &str) -> MailConfig {
        MailConfig {
            smtp: smtp.to_owned(),
            from: "Rookery <rookery@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned()],
            ..MailConfig::default()
        }
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        let config = config("mail");
        assert!(Mailer::all(&config, &["no address".to_owned()]).is_err());
        let twice = ["a@x.org", "Ann <a@x.org>", "b@x.org"].map(str::to_owned);
        let all = Mailer::all(&config, &twice).expect("right");
        let to: Vec<String> = all.iter().map(Mailer::address).collect();
        assert_eq!(to, ["a@x.org", "b@x.org"], "nobody is notified twice");
    }

    #[test]
    fn a_thread_hangs_together_and_nothing_is_injected() {
        let config = config("localhost:25");
        let mailer = Mailer::all(&config, &config.to).expect("mailer").remove(0);
        let compose = |kind, sequence, png| {
            let mut notice = sample(kind, sequence);
            notice.node = "db1\r\nBcc: evil@example.com".to_owned();
            let mail = mailer.compose(&notice, "http://c", png).expect("composes");
            String::from_utf8(mail.formatted()).expect("text")
        };
        let first = compose(NoticeKind::Problem, 0, None);
        assert!(first.contains("Message-ID: <19a-0f.0@example.com>\r\n"), "{first}");
        assert!(!first.contains("In-Reply-To"));
        assert!(
            first.contains("Subject: CRITICAL db1  Bcc: evil@example.com/my sql\r\n"),
            "{first}"
        );
        assert!(first.lines().all(|l| !l.starts_with("Bcc")), "{first}");
        assert!(first.contains("Auto-Submitted: auto-generated\r\n"));
        assert!(first.contains("X-Rookery-State: CRITICAL\r\n"));
        assert!(first.contains("Content-Type: text/plain; charset=utf-8"));
        let second = compose(NoticeKind::Recovery, 1, Some(vec![1, 2, 3]));
        assert!(second.contains("Message-ID: <19a-0f.1@example.com>\r\n"), "{second}");
        assert!(second.contains("In-Reply-To: <19a-0f.0@example.com>\r\n"));
        assert!(second.contains("References: <19a-0f.0@example.com>\r\n"));
        assert!(second.contains("Content-Type: image/png"));
        let huge = compose(NoticeKind::Recovery, 1, Some(vec![0; PNG_BYTES_MAX + 1]));
        assert!(!huge.contains("image/png"));
    }
}
