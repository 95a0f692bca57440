//! Mail: one incident is one thread.
//!
//! Plain text first, then the same as HTML with the graph in it. Each notice has the Message-ID
//! `<incident.sequence@domain>`; all but the first refer to the first. What
//! came from the network is stripped of control characters before it may
//! stand in a header.

use super::html;
use crate::digest::Digest;
use crate::message;
use crate::output::Notice;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, MessageBuilder, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The largest picture that is sent along; a larger one is left out.
pub const PNG_BYTES_MAX: usize = 200_000;
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

/// A server, a sender, and recipients.
#[derive(Debug)]
pub(super) struct Mailer {
    transport: SmtpTransport,
    server: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    text_only: bool,
}

impl Mailer {
    pub(super) fn new(config: &MailConfig, to: &[String]) -> Result<Mailer, String> {
        let mailbox = |key: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|e| format!("[mail] {key} = {text:?}: {e}"))
        };
        let from = mailbox("from", &config.from)?;
        let to = to.iter().map(|t| mailbox("to", t)).collect::<Result<_, _>>()?;
        let (host, port, tls) = server(config)?;
        let mut builder =
            SmtpTransport::builder_dangerous(&host).port(port).tls(tls).timeout(Some(SMTP_TIMEOUT));
        if let Some(user) = &config.user {
            let password = password(config)?;
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Mailer {
            transport: builder.build(),
            server: format!("{host}:{port}"),
            from,
            to,
            text_only: config.text_only,
        })
    }

    /// Sends; the error says whether it is for good.
    pub(super) async fn send(
        &self,
        notice: &Notice,
        base_url: &str,
        graph_png: Option<Vec<u8>>,
    ) -> Result<(), (bool, String)> {
        let mail = self.compose(notice, base_url, graph_png).map_err(|e| (true, e))?;
        self.hand_over(mail).await
    }

    /// Sends a digest.
    pub(super) async fn send_digest(
        &self,
        digest: &Digest,
        base_url: &str,
    ) -> Result<(), (bool, String)> {
        let mail = self.compose_digest(digest, base_url).map_err(|e| (true, e))?;
        self.hand_over(mail).await
    }

    async fn hand_over(&self, mail: Message) -> Result<(), (bool, String)> {
        let (transport, server) = (self.transport.clone(), self.server.clone());
        let sent = tokio::task::spawn_blocking(move || transport.send(&mail)).await;
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => {
                let mut text = format!("SMTP server {server}: {e}");
                let mut source = std::error::Error::source(&e);
                while let Some(cause) = source {
                    text = format!("{text}: {cause}");
                    source = cause.source();
                }
                Err((e.is_permanent(), message::line(&text)))
            }
            Err(e) => Err((false, format!("sending to {server} was broken off: {e}"))),
        }
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

/// Host, port and how to encrypt.
fn server(config: &MailConfig) -> Result<(String, u16, Tls), String> {
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
    fn servers_are_read() {
        let port = |text: &str| server(&config(text)).map(|(h, p, _)| (h, p));
        assert_eq!(port("mail:587"), Ok(("mail".to_owned(), 587)));
        assert_eq!(port("smtps://mail"), Ok(("mail".to_owned(), 465)));
        assert_eq!(port("smtp://[::1]:26/"), Ok(("::1".to_owned(), 26)));
        assert_eq!(port("::1"), Ok(("::1".to_owned(), 25)));
        for bad in ["", "http://x", "mail:port", "user@mail:25"] {
            assert!(port(bad).expect_err(bad).contains(bad), "{bad}");
        }
        let mut with_user = config("mail:587");
        with_user.user = Some("u".to_owned());
        assert!(matches!(server(&with_user), Ok((_, _, Tls::Required(_)))));
        assert!(password(&with_user).expect_err("refused").contains("password_file"));
        assert!(Mailer::new(&config("mail"), &["no address".to_owned()]).is_err());
    }

    #[test]
    fn a_thread_hangs_together_and_nothing_is_injected() {
        let config = config("localhost:25");
        let mailer = Mailer::new(&config, &config.to).expect("mailer");
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
