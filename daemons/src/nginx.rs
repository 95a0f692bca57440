//! nginx, by the page of its module `stub_status`
//! (nginx.org/en/docs/http/ngx_http_stub_status_module.html).

use crate::support::http::Page;
use crate::support::{Daemon, Odd, Sheet, number, probe, settings};
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "nginx",
    about: "requests, connections by what they do, refused ones (http://127.0.0.1/nginx_status)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let usual = [
            "http://127.0.0.1/nginx_status",
            "http://localhost/nginx_status",
            "http://127.0.0.1/stub_status",
            "http://127.0.0.1:8080/nginx_status",
        ];
        let page = Page::new("nginx", table, own.url.as_deref(), &usual)?;
        Ok(probe(Nginx { page, odd: Odd::default() }))
    },
};

const CATEGORY: &str = "nginx";
const REMEDY: &str = "a server block of nginx needs \"location = /nginx_status { stub_status; \
                      access_log off; allow 127.0.0.1; allow ::1; deny all; }\", and `url` in \
                      [probe.nginx] says where else it is";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: Option<String>,
}

struct Nginx {
    page: Page,
    odd: Odd,
}

impl Daemon for Nginx {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let ((status, odd), _) = self.page.find(REMEDY, parse)?;
        self.odd.begin();
        odd.iter().for_each(|line| self.odd.left_out(line));
        write(&status, sheet);
        self.odd.write("nginx", CATEGORY, sheet);
        Ok(())
    }
}

/// All that the page says. Totals are `None` where their line is odd.
#[derive(Debug, PartialEq)]
struct Status {
    active: u64,
    accepts: Option<u64>,
    handled: Option<u64>,
    requests: Option<u64>,
    reading: u64,
    writing: u64,
    waiting: u64,
}

/// The status, and the lines that are left out; `None`: it is another page, or
/// not whole.
fn parse(text: &str) -> Option<(Status, Vec<String>)> {
    // The last line's end is that of the page.
    let lines = text.strip_suffix('\n')?.lines().filter(|line| !line.trim().is_empty());
    let mut all: Vec<&str> = lines.collect();
    let mut take =
        |is: &dyn Fn(&str) -> bool| all.iter().position(|line| is(line)).map(|at| all.remove(at));
    let active = take(&|line| line.starts_with("Active connections:"))?;
    // Tengine has more columns.
    let names: Vec<&str> = take(&|line| line.starts_with("server "))?.split_whitespace().collect();
    let last = take(&|line| line.trim_start().starts_with("Reading:"))?;
    let names = &names[1..];
    let numbers = take(&|line| {
        let mut words = line.split_whitespace();
        line.split_whitespace().count() == names.len()
            && words.all(|word| number(word.as_bytes()).is_some())
    });
    let totals = |name: &str| {
        let at = names.iter().position(|n| *n == name)?;
        number(numbers?.split_whitespace().nth(at)?.as_bytes())
    };
    let now = |name: &str| {
        let mut words = last.split_whitespace();
        words.find(|word| word.strip_suffix(':') == Some(name))?;
        number(words.next()?.as_bytes())
    };
    let status = Status {
        active: number(active.split_once(':')?.1.trim().as_bytes())?,
        accepts: totals("accepts"),
        handled: totals("handled"),
        requests: totals("requests"),
        reading: now("Reading")?,
        writing: now("Writing")?,
        waiting: now("Waiting")?,
    };
    Some((status, all.into_iter().map(str::to_owned).collect()))
}

fn write(status: &Status, sheet: &mut Sheet<'_>) {
    sheet
        .service("nginx_request", |n| {
            ServiceSpec::new(n, "nginx requests", CATEGORY)
                .vlabel("requests per ${graph_period}")
                .args("-l 0 --base 1000")
                .info(
                    "Requests of clients. Reading this number is one itself: it stands for one \
                     request at each reading.",
                )
        })
        .optional("request", status.requests, |n| {
            FieldSpec::derive(n, "requests").draw(Draw::Area).info("Requests of clients")
        });
    sheet
        .service("nginx_status", |n| {
            ServiceSpec::new(n, "nginx connections", CATEGORY)
                .vlabel("connections")
                .args("-l 0")
                .unscaled()
                .info(
                    "What open connections do. Many that write: clients or the servers behind \
                     are slow. One is the agent's, which reads this number.",
                )
        })
        .field("total", Some(status.active), |n| {
            FieldSpec::gauge(n, "open").info("Open connections of clients")
        })
        .field("reading", Some(status.reading), |n| {
            FieldSpec::gauge(n, "reading").info("nginx reads their request's head")
        })
        .field("writing", Some(status.writing), |n| {
            FieldSpec::gauge(n, "writing")
                .info("nginx works on their request, waits for a server behind, or answers")
        })
        .field("waiting", Some(status.waiting), |n| {
            FieldSpec::gauge(n, "waiting").info("Kept alive, without a request now")
        });
    let dropped = status.accepts.zip(status.handled).and_then(|(all, done)| all.checked_sub(done));
    sheet
        .service("nginx_connections", |n| {
            ServiceSpec::new(n, "nginx new connections", CATEGORY)
                .vlabel("connections per ${graph_period}")
                .args("-l 0 --base 1000")
                .info(
                    "Connections that clients opened, the agent's own among them, and those \
                     that nginx had to close at once because worker_connections were in use.",
                )
        })
        .optional("accepts", status.accepts, |n| {
            FieldSpec::derive(n, "new").draw(Draw::Area).info("Connections that were opened")
        })
        .optional("dropped", dropped, |n| {
            FieldSpec::derive(n, "dropped")
                .limits("0", "")
                .info("Closed at once: more worker_connections would have served them")
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{Said, ask, make, reply, serve};
    use proptest::prelude::*;
    use rookery_plugins::Value;
    use std::io::{Read, Write};

    fn answered(head: &'static str, body: String) -> Result<Said, ProbeError> {
        let at = serve(move |mut s| {
            let _ = s.read(&mut [0; 512]);
            let _ = write!(s, "HTTP/1.1 {head}\r\n\r\n{body}");
        });
        ask(make("nginx", &format!("url = \"http://{at}/nginx_status\"")).as_mut())
    }

    #[test]
    fn a_recorded_one_is_read() {
        let (_, values) = answered("200 OK", reply("nginx/2.stub_status.txt")).expect("answers");
        for (name, want) in [
            ("nginx_request.request", 4002),
            ("nginx_status.total", 1),
            ("nginx_status.writing", 1),
            ("nginx_connections.accepts", 2031),
            ("nginx_connections.dropped", 0),
        ] {
            assert_eq!(values[name], Value::Int(want), "{name}");
        }
    }

    #[test]
    fn more_columns_are_no_other_numbers() {
        let text = "Active connections: 7 \nserver accepts handled requests request_time\n \
                    30 28 99 1234\nReading: 1 Writing: 2 Waiting: 4 \n";
        let (status, odd) = parse(text).expect("Tengine's");
        let totals = |status: &Status| (status.accepts, status.handled, status.requests);
        assert_eq!(totals(&status), (Some(30), Some(28), Some(99)));
        assert_eq!((status.reading, status.writing, status.waiting), (1, 2, 4));
        assert_eq!(odd, [""; 0]);
        // A line that is none of the page's, before and between; a number too few.
        let more = format!("\nX: y\n{}", text.replace("requests", "requests\n<!-- z -->"));
        let more = more.replace(" request_time", "").replace("<!-- z -->", "<!-- z -->\n<hr>");
        let (again, odd) = parse(&more.replace("99 1234", "99")).expect("a page");
        assert_eq!((totals(&again), odd.len()), (totals(&status), 3), "{odd:?}");
        let (few, odd) = parse(&text.replace("30 28", "30")).expect("a page");
        assert_eq!((totals(&few), few.waiting, odd.len()), ((None, None, None), 4, 1));
    }

    #[test]
    fn others_and_refusals_are_told() {
        let good = reply("nginx/1.stub_status.txt");
        for (head, body, want) in [
            ("403 Forbidden", "", "HTTP 403; a server block of nginx needs \"location"),
            ("404 Not Found", "", "HTTP 404; a server block"),
            ("200 OK", "<h1>Welcome to nginx!</h1>\n", "is not its status page"),
            ("200 OK", "", "is not its status page"),
            ("200 OK", &good[..good.len() - 4], "or not all of it"),
            ("200 OK", &good[..70], "or not all of it"),
        ] {
            let error = answered(head, body.to_owned()).expect_err(want).to_string();
            assert!(error.starts_with("nginx at 127.0.0.1:") && error.contains(want), "{error}");
        }
    }

    proptest! {
        #[test]
        fn pages_never_panic(text: String) {
            let _ = parse(&text);
            let _ = parse(&format!("Active connections: 1\nserver {text}\n1 2 3\n{text}\n"));
        }
    }
}
