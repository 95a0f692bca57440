//! Lines of a reply that are not what they should be: left out, counted, shown.

use super::Sheet;
use rookery_plugins::{FieldSpec, ServiceSpec};

/// The longest text of a line that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// How many lines of a daemon's last reply were left out. One line that is not
/// understood never costs the others.
#[derive(Debug, Default)]
pub struct Odd {
    lines: u64,
    /// The beginning of the first one ever; empty: there was none.
    example: String,
}

impl Odd {
    /// Begins a new reading.
    pub fn begin(&mut self) {
        self.lines = 0;
    }

    /// Counts a line that is left out.
    pub fn left_out(&mut self, line: &str) {
        self.lines = self.lines.saturating_add(1);
        if self.example.is_empty() {
            self.example = format!("{:?}", line.chars().take(SHOWN_CHARS_MAX).collect::<String>());
        }
    }

    /// How many were left out of this reading.
    pub fn count(&self) -> u64 {
        self.lines
    }

    /// The service `DAEMON_odd` with the count; nothing before the first one.
    pub fn write(&self, daemon: &str, category: &str, sheet: &mut Sheet<'_>) {
        if self.example.is_empty() {
            return;
        }
        sheet.note(&self.example);
        sheet
            .service(&format!("{daemon}_odd"), |n| {
                ServiceSpec::new(n, &format!("{daemon}: lines not understood"), category)
                    .vlabel("lines")
                    .args("-l 0")
                    .unscaled()
                    .info(&format!(
                        "Lines of the last reply that were left out, because they are not what \
                         they should be. The first one began with {}.",
                        self.example
                    ))
            })
            .field("odd", Some(self.lines), |n| {
                FieldSpec::gauge(n, "left out").info("All other lines are read")
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_plugins::{Cells, Value};

    #[test]
    fn left_out_lines_are_counted_from_the_first_one_on() {
        let mut odd = Odd::default();
        let read = |odd: &Odd| {
            let mut cells = Cells::new();
            let mut sheet = Sheet::new(&mut cells, true);
            odd.write("test", "test", &mut sheet);
            let specs = sheet.into_specs();
            (specs.first().map(|s| s.info.clone()), cells.get(0))
        };
        assert_eq!(read(&odd), (None, None));
        odd.left_out(&"a\tb".repeat(90));
        odd.left_out("c");
        let (info, value) = read(&odd);
        assert_eq!(value, Some(Value::Int(2)));
        let info = info.expect("a service");
        assert!(info.contains("began with \"a\\tba\\tb") && info.len() < 300, "{info}");
        odd.begin();
        assert_eq!(read(&odd).1, Some(Value::Int(0)), "it stays, at zero");
    }
}
