//! Probes that say in one pass what they have and how much of it.
//!
//! Most probes are easier said so than by [`Probe`]'s two calls: the same code
//! describes and reads, so that the two cannot differ.

use crate::sheet::{Offered, Sheet};
use crate::{Cells, Host, Probe, ProbeError, Read, ServiceSpec};
use std::time::{Duration, Instant};

/// Values of another shape than before, or that came with a description, are
/// the reading that follows if it follows within this: nothing is asked
/// twice at once, and shares of an interval are not lost.
const FRESH: Duration = Duration::from_millis(250);

/// Something that is asked for its figures.
pub trait OnePass: Send {
    /// Asks it, and writes down all that it says. On an error what was written
    /// does not count, and which [optional](crate::sheet::Service::optional)
    /// fields it has is found out again: it may come back as another version.
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError>;

    /// The shortest step that is fit for it; `None`: any.
    fn step_min(&self) -> Option<Duration> {
        None
    }
}

/// Something asked, and what it said last.
pub struct Asked<D> {
    source: D,
    shape: Option<u64>,
    fresh: Option<Fresh>,
    offered: Offered,
}

/// Values that nobody has taken yet.
struct Fresh {
    at: Instant,
    shape: u64,
    cells: Cells,
}

/// The probe that asks it.
pub fn probe(source: impl OnePass + 'static) -> Box<dyn Probe> {
    Box::new(Asked { source, shape: None, fresh: None, offered: Offered::default() })
}

impl<D: OnePass> Probe for Asked<D> {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.shape = None;
        let before = self.fresh.take();
        let mut cells = Cells::new();
        let mut sheet = Sheet::again(&mut cells, true, std::mem::take(&mut self.offered));
        self.source.ask(host, &mut sheet)?;
        // From its end on: asking may itself take long.
        let at = Instant::now();
        let shape = sheet.shape();
        let (specs, offered) = sheet.finish();
        self.offered = offered;
        self.shape = Some(shape);
        let before = before.filter(|f| f.shape == shape && f.at.elapsed() < FRESH);
        self.fresh = before.or(Some(Fresh { at, shape, cells }));
        Ok(specs)
    }

    fn read(&mut self, host: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        if let Some(fresh) = self.fresh.take()
            && fresh.at.elapsed() < FRESH
        {
            copy(&fresh.cells, 0, out);
            return Ok(Read::Done);
        }
        let start = out.len();
        let mut sheet = Sheet::again(out, false, std::mem::take(&mut self.offered));
        self.source.ask(host, &mut sheet)?;
        let at = Instant::now();
        let shape = sheet.shape();
        (_, self.offered) = sheet.finish();
        if Some(shape) == self.shape {
            return Ok(Read::Done);
        }
        let mut cells = Cells::new();
        copy(out, start, &mut cells);
        self.fresh = Some(Fresh { at, shape, cells });
        Ok(Read::Changed)
    }

    fn step_min(&self) -> Option<Duration> {
        self.source.step_min()
    }
}

/// Pushes what is in `from` behind `start`.
fn copy(from: &Cells, start: usize, to: &mut Cells) {
    for i in start..from.len() {
        match from.get(i) {
            Some(value) => to.push(value),
            None => to.push_absent(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FieldSpec, Value};

    /// Counts how often it is asked; from the third time on it has two fields.
    struct Growing(u64);

    impl OnePass for Growing {
        fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
            self.0 += 1;
            let mut service = sheet.service("s", |n| ServiceSpec::new(n, "S", "test"));
            for name in ["a", "b"].iter().take(if self.0 < 3 { 1 } else { 2 }) {
                service.field(name, Some(self.0), |n| FieldSpec::gauge(n, "asked"));
            }
            Ok(())
        }
    }

    /// Slow, and another one at each asking.
    struct Restless(u64);

    impl OnePass for Restless {
        fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
            self.0 += 1;
            std::thread::sleep(FRESH + Duration::from_millis(20));
            let name = format!("f{}", self.0);
            sheet.service("s", |n| ServiceSpec::new(n, "S", "test")).field(
                &name,
                Some(self.0),
                |n| FieldSpec::gauge(n, "asked"),
            );
            Ok(())
        }
    }

    #[test]
    fn a_slow_and_restless_one_is_read_all_the_same() {
        let (mut probe, host) = (probe(Restless(0)), Host::default());
        let mut cells = Cells::new();
        assert_eq!(probe.read(&host, &mut cells).expect("reads"), Read::Changed);
        assert_eq!(probe.discover(&host).expect("is here")[0].fields[0].name, "f2");
        let mut cells = Cells::new();
        assert_eq!(probe.read(&host, &mut cells).expect("reads"), Read::Done);
        assert_eq!(cells.get(0), Some(Value::Int(2)));
    }

    #[test]
    fn a_reading_of_another_shape_is_kept_for_after_its_description() {
        let mut probe = probe(Growing(0));
        let host = Host::default();
        let read = |probe: &mut Box<dyn Probe>| {
            let mut cells = Cells::new();
            let read = probe.read(&host, &mut cells).expect("reads");
            (read, (0..cells.len()).filter_map(|i| cells.get(i)).collect::<Vec<_>>())
        };
        let int = Value::Int;
        assert_eq!(probe.discover(&Host::default()).expect("is here")[0].fields.len(), 1);
        assert_eq!(read(&mut probe), (Read::Done, vec![int(1)]));
        assert_eq!(read(&mut probe), (Read::Done, vec![int(2)]));
        assert_eq!(read(&mut probe).0, Read::Changed);
        assert_eq!(probe.discover(&Host::default()).expect("is here")[0].fields.len(), 2);
        assert_eq!(read(&mut probe), (Read::Done, vec![int(3), int(3)]));
        assert_eq!(read(&mut probe), (Read::Done, vec![int(5), int(5)]));
    }
}
