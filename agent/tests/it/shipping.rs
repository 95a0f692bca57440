//! Every value arrives once, in order, whatever the collector does.

use crate::collector::{Collector, Kept, Mode};
use crate::support::{Agent, COUNTING, Home, until_true};
use rookery_plugins::Value;

const BASE: i64 = 1 << 53;

fn numbers(kept: &Kept) -> Vec<i64> {
    let number = |v: Value| match v {
        Value::Int(v) => v - BASE,
        other => panic!("{other:?} is no integer"),
    };
    kept.values("counting", "n").into_iter().map(number).collect()
}

fn assert_exact(kept: &Kept) {
    let got = numbers(kept);
    let want: Vec<i64> = (1..=got.len() as i64).collect();
    assert_eq!(got, want, "each value once, in order");
    let times = kept.times("counting", "n");
    assert!(times.is_sorted_by(|a, b| a < b), "times grow: {times:?}");
    assert!(kept.order.is_sorted(), "batches in order: {:?}", kept.order);
}

#[tokio::test]
async fn an_outage_loses_and_doubles_nothing() {
    let (home, mut collector) = (Home::new(), Collector::start().await);
    let agent = Agent::start(home.config(&collector), COUNTING);
    collector.until("first values", |k| numbers(k).len() >= 5).await;
    assert_eq!(home.n_segments(), 0, "no write to disk while the collector answers");
    assert_eq!(collector.with(|k| k.authorization.clone()).as_deref(), Some("Bearer secret"));

    collector.go_away().await;
    until_true("a spool", || home.n_segments() > 0).await;
    let before = collector.with(|k| numbers(k).len());
    tokio::time::sleep(std::time::Duration::from_millis(800)).await;
    collector.come_back().await;
    collector.until("the outage's values", |k| numbers(k).len() >= before + 25).await;
    agent.stop().await.expect("stops");
    collector.with(|k| assert_exact(k));
    assert_eq!(home.n_segments(), 0, "the spool was emptied");
}

#[tokio::test]
async fn a_restart_ships_what_the_spool_holds_first() {
    let (home, mut collector) = (Home::new(), Collector::start().await);
    collector.go_away().await;
    let agent = Agent::start(home.config(&collector), COUNTING);
    until_true("a spool", || home.n_segments() > 0).await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    agent.stop().await.expect("stops");

    collector.come_back().await;
    let agent = Agent::start(home.config(&collector), COUNTING);
    let second = |k: &Kept| numbers(k).iter().filter(|n| **n == 1).count() == 2;
    collector.until("the second life", second).await;
    agent.stop().await.expect("stops");
    collector.with(|k| {
        let got = numbers(k);
        let again = 1 + got[1..].iter().position(|n| *n == 1).expect("second life");
        assert!(again >= 10, "{got:?}");
        assert!(got[..again].iter().copied().eq(1..=again as i64), "{got:?}");
        assert!(got[again..].iter().copied().eq(1..=(got.len() - again) as i64), "{got:?}");
        assert!(k.order.is_sorted(), "{:?}", k.order);
        assert_eq!(k.n_conflicts, 0, "segments explain themselves");
    });
}

#[tokio::test]
async fn a_lost_answer_is_resent_and_a_forgetful_collector_is_told_again() {
    let (home, collector) = (Home::new(), Collector::start().await);
    let agent = Agent::start(home.config(&collector), COUNTING);
    collector.until("first values", |k| numbers(k).len() >= 3).await;

    collector.with(|k| k.mode = Mode::LoseAnswer);
    let before = collector.with(|k| k.n_posts);
    collector.until("a lost answer", |k| k.n_posts > before + 1).await;
    collector.with(|k| k.mode = Mode::Right);
    collector.until("a resend", |k| k.n_resent > 0).await;

    // More than once: the next frame may happen to bring a new layout.
    for _ in 0..10 {
        collector.with(|k| k.layouts.clear());
        let before = collector.with(|k| numbers(k).len());
        collector.until("more", |k| numbers(k).len() > before + 2).await;
    }
    assert!(collector.with(|k| k.n_conflicts) > 0);
    agent.stop().await.expect("stops");
    collector.with(|k| assert_exact(k));
}

#[tokio::test]
async fn a_wrong_token_keeps_and_a_bad_frame_is_dropped() {
    let (home, collector) = (Home::new(), Collector::start().await);
    collector.with(|k| k.mode = Mode::Status(401));
    let agent = Agent::start(home.config(&collector), COUNTING);
    until_true("a spool", || home.n_segments() > 0).await;
    agent.stop().await.expect("stops");
    assert_eq!(collector.with(|k| k.n_posts), 1, "it does not insist");

    collector.with(|k| k.mode = Mode::Status(400));
    let agent = Agent::start(home.config(&collector), COUNTING);
    collector.until("refusals", |k| k.n_posts > 10).await;
    collector.with(|k| k.mode = Mode::Right);
    collector.until("the rest", |k| numbers(k).len() >= 5).await;
    collector
        .until("its own count of them", |k| {
            k.values("rookery_agent", "batches_dropped")
                .iter()
                .any(|v| matches!(v, Value::Int(n) if *n > 5))
        })
        .await;
    agent.stop().await.expect("stops");
}

#[tokio::test]
async fn what_another_server_answers_for_the_collector_loses_nothing() {
    for is_old in [false, true] {
        let (home, collector) = (Home::new(), Collector::start().await);
        collector.with(|k| k.is_old = is_old);
        let agent = Agent::start(home.config(&collector), COUNTING);
        collector.until("first values", |k| numbers(k).len() >= 3).await;
        for status in [200, 204, 302, 400, 404, 413, 409, 502] {
            collector.with(|k| k.mode = Mode::Portal(status));
            let before = collector.with(|k| k.n_posts);
            collector.until("answers of a portal", |k| k.n_posts > before + 1).await;
            collector.with(|k| k.mode = Mode::Right);
            let before = collector.with(|k| numbers(k).len());
            collector.until("values again", |k| numbers(k).len() > before).await;
        }
        agent.stop().await.expect("stops");
        collector.with(|k| assert_exact(k));
        if is_old {
            continue;
        }
        // It has sent checksums: one without is not believed any more, here one that
        // answers 200 and keeps nothing.
        collector.with(|k| (k.is_old, k.mode) = (true, Mode::Status(200)));
        let agent = Agent::start(home.config(&collector), COUNTING);
        until_true("a spool", || home.n_segments() > 0).await;
        agent.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn services_are_announced_when_they_change() {
    let (home, collector) = (Home::new(), Collector::start().await);
    let agent = Agent::start(home.config(&collector), COUNTING);
    collector
        .until("the third name", |k| {
            k.services.get("counting").is_some_and(|s| s.field("odd_2").is_some())
        })
        .await;
    agent.stop().await.expect("stops");
    collector.with(|k| {
        assert_exact(k);
        assert_eq!(k.values("counting", "odd_0").len(), 10);
        assert_eq!(k.values("counting", "odd_1").len(), 10);
        assert_eq!(k.services["counting"].step_ms, 50);
        assert_eq!(k.services["counting"].source, "probe:counting");
        // A probe that fails leaves a gap and says so; its neighbour is whole.
        let (a, ok) = (k.values("failing", "a"), k.values("rookery_success", "probe_failing"));
        assert!(a.iter().all(|v| !matches!(v, Value::Int(n) if n % 3 == 0)), "{a:?}");
        let failures = ok.iter().filter(|v| **v == Value::Int(0)).count();
        assert_eq!(failures, ok.len() / 3, "{ok:?}");
        assert_eq!(k.times("counting", "n").len(), ok.len(), "one row holds them all");
    });
}

#[tokio::test]
async fn ticks_stand_on_the_grid() {
    let (home, collector) = (Home::new(), Collector::start().await);
    let agent = Agent::start(home.config(&collector), COUNTING);
    collector.until("60 values", |k| numbers(k).len() >= 60).await;
    agent.stop().await.expect("stops");
    let times = collector.with(|k| k.times("counting", "n"));
    // The first reading is at the start, not on the grid.
    let offset = times[1..].iter().map(|t| t.rem_euclid(50)).min().expect("some");
    let late = |t: &&i64| (**t - offset).rem_euclid(50) > 20;
    let n_late = times[1..].iter().filter(late).count();
    assert!(n_late <= 6, "{n_late} of {} are late: {times:?}", times.len());
}
