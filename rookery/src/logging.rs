//! Where log lines go: standard error, as `ROOKERY_LOG` says.
//!
//! A source that misbehaves must not fill the disk with what is said of it: of each place
//! in the program that warns, [`LINES_MAX`] lines go out in [`SPAN`]; the rest is counted, and
//! the count said. Errors, and what tells of states and notices, are not held back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Most lines of one place …
const LINES_MAX: u32 = 100;
/// … in so long a time.
const SPAN: Duration = Duration::from_secs(60);

/// Starts logging; `level` holds where `ROOKERY_LOG` says nothing.
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_env("ROOKERY_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_filter(Few::default());
    tracing_subscriber::registry().with(filter).with(lines).init();
}

/// Lets so many lines of a place pass.
#[derive(Default)]
struct Few(Mutex<HashMap<Identifier, Count>>);

struct Count {
    since: Instant,
    lines: u32,
}

impl Few {
    /// Whether one more line of this place goes out, and how many before it did not.
    fn pass(&self, place: Identifier, now: Instant) -> (bool, u32) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(place).or_insert(Count { since: now, lines: 0 });
        let mut left_out = 0;
        if now.duration_since(count.since) >= SPAN {
            left_out = count.lines.saturating_sub(LINES_MAX);
            *count = Count { since: now, lines: 0 };
        }
        count.lines = count.lines.saturating_add(1);
        (count.lines <= LINES_MAX, left_out)
    }
}

impl<S: Subscriber> Filter<S> for Few {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let place = event.metadata();
        if *place.level() != Level::WARN {
            return true;
        }
        let (passes, left_out) = self.pass(place.callsite(), Instant::now());
        if left_out > 0 {
            // Not by tracing: this is in the middle of it.
            eprintln!(
                "{} {}: {left_out} more lines of this kind were left out within {} s",
                place.level(),
                place.target(),
                SPAN.as_secs()
            );
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::callsite::Callsite;
    use tracing::subscriber::Interest;

    struct Place;

    impl Callsite for Place {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("nobody asks")
        }
    }

    static NOISY: Place = Place;

    #[test]
    fn a_flood_is_cut_and_counted_and_is_over_a_minute_later() {
        let few = Few::default();
        let began = Instant::now();
        let place = || Identifier(&NOISY);
        let passed = (0..250).filter(|_| few.pass(place(), began).0).count();
        assert_eq!(passed, 100);
        assert_eq!(few.pass(place(), began + SPAN), (true, 150));
        assert_eq!(few.pass(place(), began + SPAN), (true, 0));
    }
}
