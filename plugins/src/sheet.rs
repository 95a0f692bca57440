//! The sheet that a reading fills: values always, their descriptions only when
//! they are wanted.
//!
//! A source says what it has in one pass: service, field, number, field,
//! number. When it is only read, nothing is described and nothing allocated;
//! the names are hashed on the way, so that a reading of another shape (a
//! backend came, a queue went) is noticed.

use crate::{Cells, FieldSpec, ServiceSpec, Value};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a source says at one reading.
#[derive(Debug)]
pub struct Sheet<'a> {
    cells: &'a mut Cells,
    specs: Option<Vec<ServiceSpec>>,
    shape: DefaultHasher,
}

impl<'a> Sheet<'a> {
    /// An empty sheet; `describing`: it is to hold descriptions too.
    pub fn new(cells: &'a mut Cells, describing: bool) -> Sheet<'a> {
        Sheet { cells, specs: describing.then(Vec::new), shape: DefaultHasher::new() }
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
        Service { sheet: self }
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
        let mut specs = self.specs.unwrap_or_default();
        specs.retain(|s| !s.fields.is_empty());
        specs
    }
}

/// A service of a sheet.
#[derive(Debug)]
pub struct Service<'s, 'a> {
    sheet: &'s mut Sheet<'a>,
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
}
