//! What was silenced is looked at again by itself when the silence ends: each kind of
//! problem in each kind of silence, with and without restarts, and no sample that would
//! tell of it.

use super::scenario::World;

/// A kind of problem that begins at 10:01:10 at the latest of which no more comes: how
/// it is set up, what is sent meanwhile, and whom it is of.
struct Trouble {
    name: &'static str,
    setup: &'static [&'static str],
    /// How it begins.
    begins: &'static [&'static str],
    /// What goes on, from and to filled in.
    goes_on: &'static str,
    /// Node and service, as a silence names them.
    of: (&'static str, &'static str),
    /// What a rule's silence is for.
    rule: &'static str,
}

const ALIVE: &str = "every 10 from FROM to TO n k.v 5";

const TROUBLES: [Trouble; 5] = [
    Trouble {
        name: "a sample",
        setup: &["field n s.v critical 90 step 3600000"],
        begins: &["at 10:01:10 n s.v 95 k.v 5"],
        goes_on: ALIVE,
        of: ("n", "s"),
        rule: "service = \"s\"",
    },
    Trouble {
        name: "nothing comes (absent_for)",
        setup: &["rule service = \"s\"; absent_for = \"2m\"", "field n s.v step 0"],
        begins: &[],
        goes_on: ALIVE,
        of: ("n", "s"),
        rule: "service = \"s\"",
    },
    Trouble {
        name: "a plugin hangs",
        setup: &["setting fresh_after_ms 120000", "field n s.v critical 90"],
        begins: &[],
        goes_on: ALIVE,
        of: ("n", "s"),
        rule: "service = \"s\"",
    },
    Trouble {
        name: "a node",
        setup: &["field n s.v critical 90", "field m k.v critical 90"],
        begins: &[],
        goes_on: "every 10 from FROM to TO m k.v 5",
        of: ("n", "-"),
        rule: "node = \"n\"",
    },
    Trouble {
        name: "a group with a quorum",
        setup: &[
            "rule service = \"s\"; quorum = 2",
            "field n s.v critical 90 step 3600000",
            "field m s.v critical 90 step 3600000",
            "field m k.v critical 90",
        ],
        begins: &["at 10:01:10 n s.v 95 k.v 5", "at 10:01:10 m s.v 95 k.v 5"],
        goes_on: "both 10 from FROM to TO n k.v 5 m k.v 5",
        of: ("@group", "s"),
        rule: "service = \"s\"",
    },
];

/// A kind of silence from 10:01:00 to 10:20:00.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Silence {
    Fixed,
    Repeating,
    Flexible,
    Cancelled,
    Period,
    Acknowledged,
    TakenBack,
}

const SILENCES: [Silence; 7] = [
    Silence::Fixed,
    Silence::Repeating,
    Silence::Flexible,
    Silence::Cancelled,
    Silence::Period,
    Silence::Acknowledged,
    Silence::TakenBack,
];

/// When restarts are.
const RESTARTS: [&[&str]; 3] = [&[], &["10:10:00"], &["10:10:00", "10:19:30"]];

struct Story {
    world: World,
    goes_on: &'static str,
    at: String,
}

impl Story {
    fn new(trouble: &Trouble, period: bool, window: bool) -> Story {
        let mut world = World::new();
        if period {
            let times = "[\"daily 00:00-10:01\", \"daily 10:20-24:00\"]";
            world.command(&format!("period name = \"p\"; zone = \"UTC\"; times = {times}"));
            world.command(&format!("rule {}; period = \"p\"", trouble.rule));
        }
        world.command("setting max_check_attempts 1");
        if window {
            world.command("setting group_window_ms 60000");
        }
        trouble.setup.iter().for_each(|line| world.command(line));
        world.command("field n k.v critical 90");
        world.command("start 10:00:00");
        let mut story = Story { world, goes_on: trouble.goes_on, at: "10:00:00".to_owned() };
        let second = if story.goes_on.contains(" m ") { "m all 5" } else { "n all 5" };
        for s in ["10:00:10", "10:00:20", "10:00:30", "10:00:40", "10:00:50"] {
            story.world.command(&format!("at {s} n all 5"));
            story.world.command(&format!("at {s} {second}"));
        }
        story.at = "10:01:00".to_owned();
        story
    }

    /// Until then only what has nothing to do with it comes.
    fn run_to(&mut self, to: &str) {
        let line = self.goes_on.replace("FROM", &self.at).replace("TO", to);
        self.world.command(&line);
        self.world.command(&format!("wait {to}"));
        self.at = to.to_owned();
    }
}

fn play(trouble: &Trouble, silence: Silence, restarts: &[&str]) -> (usize, Vec<String>) {
    use Silence::{Acknowledged, Cancelled, Fixed, Flexible, Period, Repeating, TakenBack};
    let is_ack = matches!(silence, Acknowledged | TakenBack);
    let mut story = Story::new(trouble, silence == Period, is_ack);
    let (node, service) = trouble.of;
    let downtime = match silence {
        Fixed => "from 10:01:00 to 10:20:00",
        Cancelled => "from 10:01:00 to 12:00:00",
        Repeating => "from 00:00:00 to 23:59:00 repeat daily 10:01-10:20",
        // It begins with the problem, whenever that is found, or is there.
        Flexible => "from 10:03:30 to 12:00:00 flexible 990",
        Period | Acknowledged | TakenBack => "",
    };
    if silence == Flexible {
        story.world.command(&format!("downtime e {node} {service} from 10:01:00 to 10:03:40"));
    }
    if !downtime.is_empty() {
        story.world.command(&format!("downtime d {node} {service} {downtime}"));
    }
    trouble.begins.iter().for_each(|line| story.world.command(line));
    story.at = "10:01:20".to_owned();
    if is_ack {
        // Within the window: nobody knows of it yet.
        let found = if trouble.begins.is_empty() { "10:03:10" } else { "10:01:50" };
        let found = if trouble.name == "a node" { "10:01:50" } else { found };
        story.run_to(found);
        let until = if silence == Acknowledged { " until 10:20:00" } else { "" };
        story.world.command(&format!("ack {node} {service} sticky{until}"));
    }
    for at in restarts {
        story.run_to(at);
        story.world.command("restart");
    }
    story.run_to("10:19:50");
    let before = story.world.notices.len();
    match silence {
        Cancelled => story.world.command("cancel d"),
        TakenBack => story.world.command(&format!("unack {node} {service}")),
        _ => {}
    }
    story.run_to("10:24:00");
    let told =
        |n: &crate::output::Notice| format!("{} {}", n.kind.word(), crate::message::place(n));
    (before, story.world.notices.iter().map(told).collect())
}

#[test]
fn what_outlasts_its_silence_is_notified_once_by_itself() {
    for trouble in &TROUBLES {
        let is_group = trouble.of.0 == "@group";
        for silence in SILENCES {
            // A group's problem can be acknowledged when it is known: see quorum_silence.
            let is_ack = matches!(silence, Silence::Acknowledged | Silence::TakenBack);
            if is_group && is_ack {
                continue;
            }
            for restarts in RESTARTS {
                let (before, told) = play(trouble, silence, restarts);
                let place = match trouble.of {
                    ("@group", service) => format!("group group/{service}"),
                    (node, "-") => node.to_owned(),
                    (node, service) => format!("{node}/{service}"),
                };
                let case = format!("{}, {silence:?}, restarts {restarts:?}", trouble.name);
                assert_eq!(before, 0, "{case}: {told:?}");
                assert_eq!(told, [format!("PROBLEM {place}")], "{case}");
            }
        }
    }
}

#[test]
fn what_a_restart_finds_in_the_group_window_is_notified_once() {
    for trouble in &TROUBLES {
        for restarts in [&["10:01:40"][..], &["10:01:40", "10:02:40", "10:03:20"]] {
            let mut story = Story::new(trouble, false, true);
            trouble.begins.iter().for_each(|line| story.world.command(line));
            story.at = "10:01:20".to_owned();
            for at in restarts {
                story.run_to(at);
                story.world.command("restart");
            }
            story.run_to("10:08:00");
            assert_eq!(story.world.notices.len(), 1, "{}, {restarts:?}", trouble.name);
        }
    }
}
