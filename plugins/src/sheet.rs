//! The sheet that a reading fills: values always, their descriptions only when
//! they are wanted.
//!
//! A source says what it has in one pass: service, field, number, field,
//! number. When it is only read, nothing is described and nothing allocated;
//! the names are hashed on the way, so that a reading of another shape (a
//! backend came, a queue went) is noticed.

use crate::{Cells, FieldSpec, ServiceSpec, Value};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Which [optional](Service::optional) fields a source has given a value for
/// since it was last out of reach: hashes of service and field.
#[derive(Debug, Default)]
pub struct Offered(HashSet<u64>);

/// What a source says at one reading.
#[derive(Debug)]
pub struct Sheet<'a> {
    cells: &'a mut Cells,
    specs: Option<Vec<ServiceSpec>>,
    shape: DefaultHasher,
    offered: Offered,
}

impl<'a> Sheet<'a> {
    /// An empty sheet; `describing`: it is to hold descriptions too.
    pub fn new(cells: &'a mut Cells, describing: bool) -> Sheet<'a> {
        Sheet::again(cells, describing, Offered::default())
    }

    /// An empty sheet for a source that was read before; `offered` is what
    /// [`Sheet::finish`] gave then.
    pub fn again(cells: &'a mut Cells, describing: bool, offered: Offered) -> Sheet<'a> {
        let (specs, shape) = (describing.then(Vec::new), DefaultHasher::new());
        Sheet { cells, specs, shape, offered }
    }

    /// The fields that follow are of this service.
    pub fn service(
        &mut self,
        name: &str,
        describe: impl FnOnce(&str) -> ServiceSpec,
    ) -> Service<'_, 'a> {
        (0u8, name).hash(&mut self.shape);
        if let Some(specs) = &mut self.specs {
            specs.push(describe(name));
        }
        let mut id = DefaultHasher::new();
        name.hash(&mut id);
        Service { sheet: self, id }
    }

    /// Something else that descriptions tell, such as a version: when it
    /// changes, they are made anew.
    pub fn note(&mut self, text: &str) {
        (2u8, text).hash(&mut self.shape);
    }

    /// The hash of all names and notes so far.
    pub fn shape(&self) -> u64 {
        self.shape.finish()
    }

    /// The descriptions; none if they were not wanted. Services without fields
    /// are left out.
    pub fn into_specs(self) -> Vec<ServiceSpec> {
        self.finish().0
    }

    /// The descriptions as [`Sheet::into_specs`] gives them, and what the next
    /// reading of this source has to know of this one.
    pub fn finish(self) -> (Vec<ServiceSpec>, Offered) {
        let mut specs = self.specs.unwrap_or_default();
        specs.retain(|s| !s.fields.is_empty());
        (specs, self.offered)
    }
}

/// A service of a sheet.
#[derive(Debug)]
pub struct Service<'s, 'a> {
    sheet: &'s mut Sheet<'a>,
    /// Has hashed the service's name.
    id: DefaultHasher,
}

impl Service<'_, '_> {
    /// A field and its value; `None`: the source did not give it, unknown.
    pub fn field<V: Into<Value>>(
        &mut self,
        name: &str,
        value: Option<V>,
        describe: impl FnOnce(&str) -> FieldSpec,
    ) -> &mut Self {
        (1u8, name).hash(&mut self.sheet.shape);
        match value {
            Some(value) => self.sheet.cells.push(value),
            None => self.sheet.cells.push(Value::Unknown),
        }
        if let Some(spec) = self.sheet.specs.as_mut().and_then(|s| s.last_mut()) {
            spec.fields.push(describe(name));
        }
        self
    }

    /// A field that this source may not have at all (an old version, another
    /// kind of hardware): left out until it has given a value once. After that
    /// it is unknown while there is none, so that what falls silent is seen.
    ///
    /// Every field with limits that not all sources have is one of these: an
    /// unknown value under a limit becomes UNKNOWN, and would stay so.
    pub fn optional<V: Into<Value>>(
        &mut self,
        name: &str,
        value: Option<V>,
        describe: impl FnOnce(&str) -> FieldSpec,
    ) -> &mut Self {
        let mut id = self.id.clone();
        name.hash(&mut id);
        let offered = &mut self.sheet.offered.0;
        let is_offered = match value {
            Some(_) => {
                offered.insert(id.finish());
                true
            }
            None => offered.contains(&id.finish()),
        };
        if is_offered { self.field(name, value, describe) } else { self }
    }
}

impl Service<'_, '_> {
    /// A field of which nothing is said this time, on purpose (it sleeps): a gap, not an
    /// unknown value. Its last word holds.
    pub fn silent(&mut self, name: &str, describe: impl FnOnce(&str) -> FieldSpec) -> &mut Self {
        (1u8, name).hash(&mut self.sheet.shape);
        self.sheet.cells.push_absent();
        if let Some(spec) = self.sheet.specs.as_mut().and_then(|s| s.last_mut()) {
            spec.fields.push(describe(name));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(sheet: &mut Sheet<'_>, name: &str) {
        sheet
            .service("s", |n| ServiceSpec::new(n, "S", "test"))
            .field(name, Some(5u64), |n| FieldSpec::gauge(n, "five"))
            .field("b", None::<u64>, |n| FieldSpec::gauge(n, "unknown"));
        sheet.service("empty", |n| ServiceSpec::new(n, "E", "test"));
    }

    #[test]
    fn names_make_the_shape_and_values_do_not() {
        let mut cells = Cells::new();
        let mut sheet = Sheet::new(&mut cells, true);
        fill(&mut sheet, "a");
        let shape = sheet.shape();
        let specs = sheet.into_specs();
        assert_eq!(specs.len(), 1);
        assert_eq!(specs[0].fields.len(), 2);
        assert_eq!((cells.get(0), cells.get(1)), (Some(Value::Int(5)), Some(Value::Unknown)));
        let mut cells = Cells::new();
        let mut sheet = Sheet::new(&mut cells, false);
        fill(&mut sheet, "a");
        assert_eq!(sheet.shape(), shape);
        let mut sheet = Sheet::new(&mut cells, false);
        fill(&mut sheet, "c");
        assert_ne!(sheet.shape(), shape);
        assert!(sheet.into_specs().is_empty());
    }

    #[test]
    fn an_optional_field_is_left_out_until_it_was_given_once() {
        let read = |offered: Offered, value: Option<u64>| {
            let mut cells = Cells::new();
            let mut sheet = Sheet::again(&mut cells, true, offered);
            for service in ["s", "other"] {
                let value = value.filter(|_| service == "s");
                sheet.service(service, |n| ServiceSpec::new(n, "S", "test")).optional(
                    "f",
                    value,
                    |n| FieldSpec::gauge(n, "f"),
                );
            }
            let (specs, offered) = sheet.finish();
            let names: Vec<String> = specs.into_iter().map(|s| s.name).collect();
            (names, cells.get(0), cells.len(), offered)
        };
        let (names, _, n, offered) = read(Offered::default(), None);
        assert_eq!((names.len(), n), (0, 0));
        let (names, value, n, offered) = read(offered, Some(7));
        assert_eq!((&*names, value, n), (&["s".to_owned()][..], Some(Value::Int(7)), 1));
        let (names, value, n, _) = read(offered, None);
        assert_eq!((&*names, value, n), (&["s".to_owned()][..], Some(Value::Unknown), 1));
    }
}
