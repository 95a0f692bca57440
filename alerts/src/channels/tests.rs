//! The notifier against a small SMTP server on loopback.

use super::*;
use crate::message::tests::sample;
use crate::output::NoticeKind;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;

/// Takes mails one after the other and hands them over; `answer` may say something else
/// to a line, and to a mail (which begins with a `.`).
fn smtp_sink(
    answer: impl Fn(&str) -> Option<&'static str> + Send + 'static,
) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("stream");
            let mut lines = BufReader::new(stream.try_clone().expect("clone")).lines();
            let _ = stream.write_all(answer("HELLO").unwrap_or("220 sink").as_bytes());
            let _ = stream.write_all(b"\r\n");
            let mut mail = String::new();
            while let Some(Ok(line)) = lines.next() {
                let word = line.get(..4).unwrap_or("").to_ascii_uppercase();
                let answer = match (answer(&line), word.as_str()) {
                    (_, "QUIT") => break,
                    (Some(answer), _) => answer,
                    (None, "DATA") => {
                        let _ = stream.write_all(b"354 go\r\n");
                        for line in lines.by_ref().map_while(Result::ok) {
                            if line == "." {
                                break;
                            }
                            mail.push_str(&line);
                            mail.push('\n');
                        }
                        match answer(&format!(".{mail}")) {
                            Some(refusal) => refusal,
                            None => {
                                let _ = tx.send(std::mem::take(&mut mail));
                                "250 kept"
                            }
                        }
                    }
                    _ => {
                        mail.push_str(&format!("<<{line}>>\n"));
                        "250 ok"
                    }
                };
                let _ = stream.write_all(format!("{answer}\r\n").as_bytes());
            }
        }
    });
    (address, rx)
}

fn mail(smtp: &str) -> Option<MailConfig> {
    Some(MailConfig {
        smtp: smtp.to_owned(),
        from: "Rookery <rookery@example.com>".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        ..MailConfig::default()
    })
}

fn contact(name: &str, mail: &[&str], command: &[&str]) -> ContactConfig {
    let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect();
    ContactConfig {
        name: name.to_owned(),
        mail: texts(mail),
        command: texts(command),
        ..ContactConfig::default()
    }
}

#[tokio::test]
async fn a_notice_goes_to_the_contacts_of_its_rules() {
    let (smtp, mails) = smtp_sink(|_| None);
    let contacts =
        vec![contact("dba", &["dba@example.com"], &[]), contact("net", &[], &["/bin/false"])];
    let notifier = Notifier::new(mail(&smtp), contacts, "http://c").expect("notifier");
    let mut notice = sample(NoticeKind::Problem, 0);
    notice.contacts = vec!["dba".to_owned()];
    notifier.send(&notice, Some(vec![1; 10])).await.expect("sent");
    let text = mails.recv().expect("a mail");
    assert!(text.contains("<<RCPT TO:<dba@example.com>>>"), "{text}");
    assert!(!text.contains("ops@"), "{text}");
    assert!(text.contains("Subject: CRITICAL db1/my sql"), "{text}");
    // Nobody named: all, and the one that fails does not keep the others.
    notice.contacts.clear();
    let e = notifier.send(&notice, None).await.expect_err("false fails");
    assert_eq!(e.to_string(), "contact net command: command /bin/false: exit status: 1");
    assert!(!e.failed[0].permanent);
    assert!(mails.recv().expect("a mail").contains("<<RCPT TO:<ops@example.com>>>"));
    assert!(mails.recv().expect("a mail").contains("<<RCPT TO:<dba@example.com>>>"));
    assert!(mails.try_recv().is_err());
    let names = ["mail", "dba", "dbb"];
    assert_eq!(notifier.unknown_contact(names.into_iter()), Some("dbb"));
    notice.contacts = vec!["dbb".to_owned()];
    assert_eq!(notifier.channels_for(&notice).len(), 3);
}

#[tokio::test]
async fn a_recipient_that_is_refused_does_not_cost_the_others_theirs() {
    for (answer, permanent) in [("550 no such user", true), ("452 mailbox full", false)] {
        let (smtp, mails) = smtp_sink(move |l| l.contains("RCPT TO:<gone@").then_some(answer));
        let to = ["gone@x.org", "Ops <ops@x.org>", "dba@x.org"].map(str::to_owned).to_vec();
        let config = mail(&smtp).map(|m| MailConfig { to, ..m });
        let notifier = Notifier::new(config, vec![], "").expect("notifier");
        let notice = sample(NoticeKind::Problem, 0);
        let channels = ["mail gone@x.org", "mail ops@x.org", "mail dba@x.org"];
        assert_eq!(notifier.channels_for(&notice), channels);
        assert_eq!(notifier.digests().len(), 3);
        let e = notifier.send(&notice, None).await.expect_err("one is refused");
        assert_eq!(e.failed.len(), 1);
        assert_eq!((e.failed[0].channel.as_str(), e.failed[0].permanent), (channels[0], permanent));
        for whom in ["ops", "dba"] {
            let text = mails.try_recv().expect(whom);
            assert_eq!(text.matches("<<RCPT").count(), 1);
            assert!(text.contains(&format!("<<RCPT TO:<{whom}@x.org>>>")), "{text}");
            // All stand in it: each sees who else has it.
            assert!(text.contains("To: gone@x.org, Ops <ops@x.org>, dba@x.org"), "{text}");
        }
        assert!(mails.try_recv().is_err());
        // What was a channel when there was one recipient, and the other way round.
        assert_eq!(notifier.heirs("mail"), channels);
        let alone = Notifier::new(mail(&smtp), vec![], "").expect("notifier");
        assert_eq!(alone.heirs("mail ops@example.com"), ["mail"]);
        assert!(alone.heirs("mail gone@x.org").is_empty());
    }
}

#[tokio::test]
async fn only_what_is_of_a_recipient_or_a_mail_is_refused_for_good() {
    for (at, answer, permanent) in [
        ("HELLO", "554 go away", false),
        ("EHLO", "550 who?", false),
        ("MAIL", "550 not from there", false),
        ("RCPT", "550 no such user", true),
        ("RCPT", "451 later", false),
        ("DATA", "554 none of you", true),
        (".", "451 later", false),
        (".", "554 spam", true),
    ] {
        let (smtp, mails) = smtp_sink(move |l| l.starts_with(at).then_some(answer));
        let notifier = Notifier::new(mail(&smtp), vec![], "").expect("notifier");
        let e = notifier.send(&sample(NoticeKind::Problem, 0), None).await.expect_err("refused");
        assert_eq!(e.failed[0].permanent, permanent, "{at}: {e}");
        assert!(e.to_string().contains(&smtp) && e.to_string().contains(&answer[4..]), "{e}");
        assert!(mails.try_recv().is_err());
    }
    // One that takes no pictures gets the text.
    let (smtp, mails) = smtp_sink(|l| {
        let is_large = l.starts_with('.') && l.contains("image/png");
        is_large.then_some("552 too large")
    });
    let notifier = Notifier::new(mail(&smtp), vec![], "").expect("notifier");
    notifier.send(&sample(NoticeKind::Problem, 0), Some(vec![1; 10])).await.expect("sent");
    let text = mails.try_recv().expect("a mail");
    assert!(text.contains("CRITICAL: c is 93.10") && !text.contains("text/html"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = free.local_addr().expect("address").to_string();
    drop(free);
    let notifier = Notifier::new(mail(&address), vec![], "").expect("notifier");
    let e = notifier.send(&sample(NoticeKind::Problem, 0), None).await.expect_err("refused");
    assert!(!e.failed[0].permanent && e.to_string().contains(&address), "{e}");
}

#[test]
fn slips_in_the_configuration_are_named() {
    for (mail, contact, want) in [
        (None, contact("a", &["x@y"], &[]), "add a [mail] table"),
        (None, contact("a", &[], &[]), "give it mail, command, webhook"),
        (None, contact("", &[], &["x"]), "a name of its own"),
        (mail("localhost"), contact("mail", &[], &["x"]), "a name of its own"),
        (mail("localhost"), contact("a", &["nobody"], &[]), "\"nobody\""),
        (mail("ftp://x"), contact("a", &[], &["x"]), "ftp"),
    ] {
        let e = Notifier::new(mail, vec![contact], "").expect_err(want);
        assert!(e.contains(want), "{e}");
    }
}

#[test]
fn who_is_told_in_whose_stead() {
    let with = |name: &str, fallback: &str| ContactConfig {
        fallback: fallback.to_owned(),
        ..contact(name, &[], &["/bin/true"])
    };
    let notifier = Notifier::new(None, vec![with("a", "b"), with("b", "")], "").expect("right");
    assert_eq!(notifier.fallback_of("contact a command"), ["contact b command"]);
    assert!(notifier.fallback_of("contact b command").is_empty());
    for fallback in ["a", "c"] {
        let e = Notifier::new(None, vec![with("a", fallback)], "").expect_err("nobody");
        assert!(e.contains("name another contact"), "{e}");
    }
}
