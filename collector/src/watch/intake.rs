//! What is left out of what nodes send ([`crate::refusals`]) is a problem like a way of
//! telling that fails: shown on `/problems`, and told when it goes on.

use super::trouble::Health;
use crate::refusals::Refusal;
use crate::store::{Shared, now_ms};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(5);

/// Runs until it is dropped.
pub async fn run(shared: Arc<Shared>, health: Arc<Health>) {
    let mut shown = BTreeSet::new();
    loop {
        show(&shared.refusals.now(now_ms()), &health, &mut shown);
        tokio::time::sleep(EVERY).await;
    }
}

/// Makes `health` say what is left out now; `shown` is what it said before.
fn show(now: &[Refusal], health: &Health, shown: &mut BTreeSet<String>) {
    let current: BTreeSet<String> = now.iter().map(|r| r.what.clone()).collect();
    for over in shown.difference(&current) {
        health.works(over);
    }
    for refusal in now {
        health.failed(&refusal.what, &refusal.text, false, refusal.since_ms);
    }
    *shown = current;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_until_it_is_over() {
        let (health, mut shown) = (Health::default(), BTreeSet::new());
        let refusal = Refusal {
            what: "intake of a: times of samples".to_owned(),
            since_ms: 7,
            text: "1 left out; too early".to_owned(),
        };
        show(std::slice::from_ref(&refusal), &health, &mut shown);
        let troubles = health.troubles();
        assert_eq!((troubles[0].what.as_str(), troubles[0].since_ms), (refusal.what.as_str(), 7));
        show(&[], &health, &mut shown);
        assert!(health.troubles().is_empty());
    }
}
