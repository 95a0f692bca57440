//! Check executables: programs that follow the Nagios plugin guidelines
//! (https://www.monitoring-plugins.org/doc/guidelines.html), as sources.
//!
//! A `[[check]]` of agent.toml becomes a service: its exit code the field
//! `state`, its perfdata the other fields, its first line the text that goes with
//! the state. Each has its own task, so that a slow one delays none; it runs as
//! plugins do, under a user, with a time limit, killed with its children.

mod output;

use crate::clock::now_ms;
use crate::config::Span;
use crate::event::{Event, RowOut};
use crate::plugin::conf::Settings;
use crate::plugin::exec::{Ending, Job, Ran, exec};
use crate::plugin::{Context, ids};
use crate::report::{DURATION, SUCCESS, report_fields, report_specs};
use crate::schedule::Grid;
use output::Said;
use rookery_plugins::names::{clean_field, is_valid};
use rookery_plugins::{Cells, FieldKey, Layout, ServiceSpec, TimeMs, Value};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How many items of perfdata one line of the log names.
const WRONG_NAMED_MAX: usize = 10;

/// `[[check]]` of agent.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The service's name.
    pub name: String,
    /// The executable and its arguments: a list, or a text that is split at
    /// blanks. No shell sees it.
    pub command: Words,
    /// How often; without it `plugin_step`.
    pub step: Option<Span>,
    /// Its time limit; without it `plugin_timeout`.
    pub timeout: Option<Span>,
    /// Under whom; without it as plugins that name none.
    pub user: Option<String>,
    /// The node that it tells of, if that is not the agent's own.
    pub node: Option<String>,
    /// The service's category.
    #[serde(default = "category")]
    pub category: String,
}

fn category() -> String {
    "checks".to_owned()
}

/// A command line.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a list of words, or a text without quotes")]
pub enum Words {
    /// Word by word.
    List(Vec<String>),
    /// Split at blanks.
    Text(String),
}

impl Words {
    /// The words.
    pub fn all(&self) -> Vec<String> {
        match self {
            Words::List(words) => words.clone(),
            Words::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        }
    }
}

/// Says what is wrong with checks, and how to put it right.
pub fn check(checks: &[Check]) -> Result<(), String> {
    let mut taken = HashSet::new();
    for c in checks {
        let wrong = |why: &str| Err(format!("[[check]] {:?}: {why}", c.name));
        if rookery_plugins::names::clean_service(&c.name) != c.name {
            return wrong("name: letters, digits and _ . -");
        }
        if !taken.insert((&c.node, &c.name)) {
            return wrong("another one is called so, too");
        }
        if let Words::Text(text) = &c.command
            && text.contains(['"', '\'', '\\', '$', '`', '|', ';'])
        {
            return wrong("command: no shell reads it; write a list: [\"/path\", \"an argument\"]");
        }
        if !c.command.all().first().is_some_and(|program| program.starts_with('/')) {
            return wrong("command: begin with the whole path of the executable");
        }
        if c.node.as_ref().is_some_and(|n| !is_valid(n)) {
            return wrong("node: a name of 1 to 255 bytes without /");
        }
    }
    Ok(())
}

/// Runs them all until `shutdown`.
pub async fn run(checks: Vec<Check>, context: Arc<Context>, mut shutdown: watch::Receiver<bool>) {
    let tasks: Vec<_> = checks
        .into_iter()
        .map(|check| tokio::spawn(Task::new(check, Arc::clone(&context)).run()))
        .collect();
    // An error says that who could stop us is gone: that is a stop, too.
    let _ = shutdown.wait_for(|stop| *stop).await;
    for task in tasks {
        // Dropping the task kills the process group.
        task.abort();
        let _ = task.await;
    }
}

impl Check {
    fn job(&self, context: &Context) -> Result<Job, String> {
        let mut words = self.command.all().into_iter();
        let program = words.next().ok_or("command: it is empty")?.into();
        let ids = match ids::may_change() {
            false => None,
            true => {
                let user = self.user.clone().or_else(|| context.around.user.clone());
                Some(ids::resolve(&Settings { user, ..Settings::default() })?)
            }
        };
        let env = [("LANG", "C"), ("LC_ALL", "C"), ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")];
        let limit = self.timeout.map_or(context.around.timeout, |t| Duration::from_millis(t.ms));
        Ok(Job {
            program,
            args: words.map(Into::into).collect(),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect(),
            ids,
            limit,
        })
    }

    /// Runs it once; bounded like every run.
    pub async fn run(&self, context: &Context) -> Ran {
        let failed = |why| Ran {
            stdout: vec![],
            stderr: vec![],
            ending: Ending::NotStarted(why),
            took: Duration::ZERO,
        };
        match (self.job(context), context.running.acquire().await) {
            (Ok(job), Ok(_permit)) => exec(&job).await,
            (Err(why), _) => failed(why),
            (_, Err(_)) => failed("the agent is stopping".to_owned()),
        }
    }
}

/// A check and what it said last.
struct Task {
    check: Check,
    context: Arc<Context>,
    node: Option<Arc<str>>,
    step_ms: u64,
    spec: Option<ServiceSpec>,
    layout: Arc<Layout>,
    /// The layout of what it reports of itself, on the agent's own node.
    reports: Arc<Layout>,
    announced: bool,
    /// Labels of perfdata that was not understood, which the log has.
    wrong: HashSet<String>,
}

impl Task {
    fn new(check: Check, context: Arc<Context>) -> Task {
        let own = &context.around.node;
        let node = check.node.as_deref().filter(|n| !n.eq_ignore_ascii_case(own)).map(Into::into);
        let step_ms = check.step.map_or(context.step_ms, |s| s.ms);
        let name = own_field(&check);
        let reports =
            Layout::new(vec![FieldKey::new(DURATION, &name), FieldKey::new(SUCCESS, &name)]);
        Task {
            check,
            context,
            node,
            step_ms,
            spec: None,
            layout: Arc::new(Layout::new(vec![])),
            reports: Arc::new(reports),
            announced: false,
            wrong: HashSet::new(),
        }
    }

    /// Logs what of its perfdata is not understood, each label once until it has passed.
    fn note_wrong(&mut self, said: &Said) {
        let label = |item: &str| item.split('=').next().unwrap_or_default().to_owned();
        let new = said.wrong.iter().filter(|item| !self.wrong.contains(&label(item)));
        let new: Vec<&str> = new.take(WRONG_NAMED_MAX).map(String::as_str).collect();
        if !new.is_empty() {
            tracing::warn!(
                check = %self.check.name,
                "perfdata that is not understood ({} in this output): {}",
                said.wrong.len(),
                new.join(" ")
            );
        }
        self.wrong = said.wrong.iter().map(|item| label(item)).collect();
    }

    async fn run(mut self) {
        let place = format!("{}/{}", self.context.around.node, self.check.name);
        let grid = Grid::spread(self.step_ms, &place);
        loop {
            let time_ms = now_ms();
            let ran = self.check.run(&self.context).await;
            self.take(time_ms, &ran);
            let now = now_ms();
            let wait = (grid.next(now) - now).max(1) as u64;
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    fn take(&mut self, time_ms: TimeMs, ran: &Ran) {
        let said = Said::of(ran);
        self.note_wrong(&said);
        let mut spec = said.spec(&self.check);
        spec.step_ms = self.step_ms;
        spec.host_name = self.node.as_deref().map(str::to_owned);
        // The text of one that is well changes with every reading, and nobody
        // needs it; a new one is told with a new state.
        if let Some(before) = &self.spec
            && said.is_ok()
            && before.said.starts_with(said.word())
        {
            spec.said.clone_from(&before.said);
        }
        if self.spec.as_ref() != Some(&spec) {
            self.announce(spec);
        }
        let cells = said.cells();
        self.send(self.node.clone(), &self.layout, time_ms, cells);
        let seconds = Value::Float(ran.took.as_micros() as f64 / 1e6);
        let worked = Value::Int(i64::from(matches!(ran.ending, Ending::Exit(0..=3))));
        self.send(None, &self.reports, time_ms, [seconds, worked].into_iter());
    }

    fn announce(&mut self, spec: ServiceSpec) {
        let keys = spec.fields.iter().map(|f| FieldKey::new(&spec.name, &f.name));
        self.layout = Arc::new(Layout::new(keys.collect()));
        let source = format!("check:{}", self.check.name);
        self.spec = Some(spec.clone());
        self.context.outlet.send(Event::Services { source, specs: vec![spec] });
        if !std::mem::replace(&mut self.announced, true) {
            let (mut durations, mut successes) = report_specs();
            let (duration, success) = report_fields(&own_field(&self.check), &self.check.name);
            durations.fields.push(duration);
            successes.fields.push(success);
            for spec in [&mut durations, &mut successes] {
                spec.step_ms = self.step_ms;
            }
            let source = format!("check:{} itself", self.check.name);
            let event = Event::Services { source, specs: vec![durations, successes] };
            self.context.outlet.send(event);
        }
    }

    fn send(
        &self,
        node: Option<Arc<str>>,
        layout: &Arc<Layout>,
        time_ms: TimeMs,
        values: impl Iterator<Item = Value>,
    ) {
        let mut cells = Cells::new();
        values.for_each(|v| cells.push(v));
        let row = RowOut { node, layout: Arc::clone(layout), time_ms, cells: Arc::new(cells) };
        self.context.outlet.send(Event::Row(row));
    }
}

/// The field of what a check reports of itself.
fn own_field(check: &Check) -> String {
    let node = check.node.as_deref().map(|n| format!("{n}_")).unwrap_or_default();
    clean_field(&format!("check_{node}{}", check.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(), String> {
        #[derive(Deserialize)]
        struct File {
            check: Vec<Check>,
        }
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        check(&file.check)
    }

    #[test]
    fn mistakes_are_named() {
        let good = "[[check]]\nname = \"http\"\ncommand = \"/usr/lib/x -H a\"\n";
        assert_eq!(parsed(good), Ok(()));
        assert_eq!(parsed("[[check]]\nname = \"a\"\ncommand = [\"/x\", \"$; '\"]\n"), Ok(()));
        for (text, want) in [
            ("[[check]]\nname = \"a b\"\ncommand = \"/x\"", "name: letters, digits"),
            ("[[check]]\nname = \"a\"\ncommand = \"x\"", "begin with the whole path"),
            ("[[check]]\nname = \"a\"\ncommand = []", "begin with the whole path"),
            ("[[check]]\nname = \"a\"\ncommand = \"/x 'a b'\"", "no shell reads it"),
            ("[[check]]\nname = \"a\"\ncommand = \"/x\"\nnode = \"a/b\"", "node: a name"),
            ("[[check]]\nname = \"a\"\ncommand = \"/x\"\nuzer = \"y\"", "uzer"),
            ("[[check]]\nname = \"a\"\n", "command"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.contains(want), "{text}: {error}");
        }
        assert!(parsed(&good.repeat(2)).is_err_and(|e| e.contains("another one is called so")));
    }
}
