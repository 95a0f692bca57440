//! The services of access logs: for all requests, per virtual host, per group of
//! paths.

use super::histogram::Histogram;
use super::line::Request;
use crate::support::{Ratio, Sheet, StableName};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

const CATEGORY: &str = "web";
/// The classes of HTTP status, 1xx to 5xx, in the order in which they are drawn.
const CLASSES: [(usize, &str, &str); 5] = [
    (2, "status_2xx", "Done"),
    (3, "status_3xx", "Led elsewhere, or not changed"),
    (4, "status_4xx", "The client's fault: not there, not allowed"),
    (5, "status_5xx", "The server's fault: each is a visitor who got an error"),
    (1, "status_1xx", "Told to wait, or to speak otherwise"),
];

/// Requests that are counted together.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The name's end in services and fields; `None`: all requests.
    pub field: Option<StableName>,
    /// What they are called in titles and legends.
    pub label: String,
    by_class: [u64; 6],
    bytes: u64,
    timed: u64,
    slow: u64,
    slow_ratio: Ratio,
    times: Histogram,
}

/// How well the logs are read.
pub(super) struct State {
    /// Lines that are no requests, since the start.
    pub odd: u64,
    /// Bytes that are not read yet.
    pub behind: u64,
    /// What there is to say of their times; mostly empty.
    pub remarks: String,
}

impl Group {
    /// Without requests.
    pub fn new(field: Option<StableName>, label: String) -> Group {
        Group { field, label, ..Group::default() }
    }

    /// Counts one.
    pub fn take(&mut self, request: &Request<'_>) {
        // 0xx and 6xx to 9xx do not exist; they are counted as errors.
        let class = usize::from(request.status / 100);
        self.by_class[if (1..=5).contains(&class) { class } else { 5 }] += 1;
        self.bytes = self.bytes.saturating_add(request.bytes);
    }

    /// Counts the time of one.
    pub fn took(&mut self, us: u64, slow_us: u64) {
        self.times.add(us);
        self.timed += 1;
        self.slow += u64::from(us > slow_us);
    }

    fn service(&self, root: &str) -> String {
        match &self.field {
            None => root.to_owned(),
            Some(field) => format!("{root}.{}", field.name),
        }
    }

    fn spec(&self, name: &str, title: &str) -> ServiceSpec {
        let Some(field) = &self.field else { return ServiceSpec::new(name, title, CATEGORY) };
        let root = name.split('.').next().unwrap_or_default();
        let old = field.old.as_deref().map(|old| format!("{root}.{old}"));
        let title = format!("{title}: {}", self.label);
        ServiceSpec::new(name, &title, CATEGORY).formerly(old.as_deref())
    }
}

/// Writes all of it, and begins a new interval.
pub(super) fn write(
    all: &mut Group,
    mut vhosts: Vec<&mut Group>,
    mut paths: Vec<&mut Group>,
    state: &State,
    slow_us: u64,
    sheet: &mut Sheet<'_>,
) {
    write_requests(all, sheet);
    for group in vhosts.iter().chain(&paths) {
        write_requests(group, sheet);
    }
    write_times(all, sheet);
    for group in vhosts.iter().chain(&paths) {
        write_times(group, sheet);
    }
    let limit_ms = slow_us as f64 / 1e3;
    let mut service = sheet.service("web_slow", |n| {
        ServiceSpec::new(n, "Slow web requests", CATEGORY)
            .vlabel("% of requests")
            .args("-l 0 -u 100")
            .unscaled()
            .info(&format!(
                "Of the requests between two readings, how many took longer than {limit_ms} ms \
                 (`slow` in [probe.access_log])."
            ))
    });
    let groups = std::iter::once(all).chain(vhosts.iter_mut().map(|g| &mut **g));
    for group in groups.chain(paths.iter_mut().map(|g| &mut **g)) {
        let share = group.slow_ratio.next(Some(group.slow), Some(group.timed));
        group.times.clear();
        if group.timed == 0 {
            continue;
        }
        let (name, old, label) = match &group.field {
            None => ("all", None, "all"),
            Some(field) => (&*field.name, field.old.as_deref(), &*group.label),
        };
        service.field(name, share, |n| {
            FieldSpec::gauge(n, label).info("Unknown while nobody asks").formerly(old)
        });
    }
    sheet.note(&state.remarks);
    sheet
        .service("web_log", |n| {
            ServiceSpec::new(n, "Access logs", CATEGORY)
                .vlabel("lines per ${graph_period}")
                .args("-l 0")
                .info(&format!("How well the access logs are read.{}", state.remarks))
        })
        .field("odd", Some(state.odd), |n| {
            FieldSpec::derive(n, "lines not understood")
                .info("Neither the common nor the combined format, nor JSON that is known")
        });
    sheet
        .service("web_log_behind", |n| {
            ServiceSpec::new(n, "Access logs: not yet read", CATEGORY)
                .vlabel("bytes")
                .args("-l 0 --base 1024")
                .info("What of the access logs has not been read yet, mostly nothing.")
        })
        .field("behind", Some(state.behind), |n| {
            FieldSpec::gauge(n, "not yet read").info("More was logged than is read at a time")
        });
}

fn write_requests(group: &Group, sheet: &mut Sheet<'_>) {
    let mut service = sheet.service(&group.service("web_requests"), |n| {
        group
            .spec(n, "Web requests")
            .vlabel("requests per ${graph_period}")
            .args("-l 0 --base 1000")
            .info("Requests in the access logs, by the class of their HTTP status.")
    });
    for (class, name, info) in CLASSES {
        service.field(name, Some(group.by_class[class]), |n| {
            let colour = match class {
                2 => "2e8b57",
                3 => "4477aa",
                4 => "ddaa33",
                5 => "bb2222",
                _ => "999999",
            };
            let label = format!("{class}xx");
            FieldSpec {
                colour: Some(colour.to_owned()),
                ..FieldSpec::derive(n, &label).draw(Draw::AreaStack).info(info)
            }
        });
    }
    if group.field.is_none() {
        sheet
            .service("web_bytes", |n| {
                ServiceSpec::new(n, "Web traffic", CATEGORY)
                    .vlabel("bytes per ${graph_period}")
                    .args("-l 0 --base 1024")
                    .info("What was sent in answer to requests.")
            })
            .field("sent", Some(group.bytes), |n| {
                FieldSpec::derive(n, "sent").draw(Draw::Area).info("Bytes, as the log has them")
            });
    }
}

/// Not before the first time was logged: most formats have none, and an empty graph
/// tells nobody why.
fn write_times(group: &Group, sheet: &mut Sheet<'_>) {
    if group.timed == 0 {
        return;
    }
    let quantile = |share: f64| group.times.quantile(share).map(|us| us / 1e3);
    let max = group.times.max_us().map(|us| us as f64 / 1e3);
    sheet
        .service(&group.service("web_times"), |n| {
            group.spec(n, "Web response times").vlabel("milliseconds").args("-l 0").unscaled().info(
                "How long the requests between two readings took, as the web server logged \
                     it; to 1.6 %.",
            )
        })
        .field("p50", quantile(0.50), |n| {
            FieldSpec::gauge(n, "median").draw(Draw::Area).info("Half of them were faster")
        })
        .field("p95", quantile(0.95), |n| FieldSpec::gauge(n, "95 %").info("19 of 20 were faster"))
        .field("p99", quantile(0.99), |n| FieldSpec::gauge(n, "99 %").info("99 of 100 were faster"))
        .field("max", max, |n| FieldSpec::gauge(n, "slowest").info("The slowest of them, exactly"));
}
