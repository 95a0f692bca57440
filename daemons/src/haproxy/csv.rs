//! HAProxy's table of proxies: CSV whose first line names the columns
//! (management.txt, 9.1 "CSV format").
//!
//! Each version has more columns than the one before, and in its own order, so
//! that a column is found by its name alone.

use rookery_plugins::names::clean_field;
use rookery_plugins::probes::support::{number, unique};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// How the table begins, whatever its version.
const START: &str = "# pxname,svname,";

/// A row, by column.
pub type Row<'a> = Vec<Cow<'a, str>>;

/// The whole table, put in order by proxy.
#[derive(Debug)]
pub struct Table<'a> {
    columns: HashMap<&'a str, usize>,
    /// In the order of HAProxy's configuration.
    pub proxies: Vec<Proxy<'a>>,
}

/// A `frontend`, a `backend`, or a `listen`, which is both.
#[derive(Debug)]
pub struct Proxy<'a> {
    /// As its configuration calls it.
    pub name: Cow<'a, str>,
    /// The same as a field's name; no other proxy has it.
    pub field: String,
    /// Its FRONTEND row.
    pub front: Option<Row<'a>>,
    /// Its BACKEND row.
    pub back: Option<Row<'a>>,
    /// Its servers.
    pub servers: Vec<Server<'a>>,
}

/// A server of a backend.
#[derive(Debug)]
pub struct Server<'a> {
    /// The server's name as a field's; no other server of the backend has it.
    pub field: String,
    /// Its row.
    pub row: Row<'a>,
}

impl<'a> Table<'a> {
    /// Reads it; an error says what is wrong.
    pub fn parse(text: &'a str) -> Result<Table<'a>, String> {
        let text = text.trim_start_matches(['\r', '\n']);
        if !text.starts_with(START) {
            return Err(format!("no table that begins with {START:?}: is it HAProxy's?"));
        }
        if !text.ends_with('\n') {
            return Err("its table is cut short".to_owned());
        }
        let mut lines = text.lines().filter(|line| !line.is_empty());
        let head = lines.next().unwrap_or_default().trim_start_matches(['#', ' ']);
        let columns: HashMap<&str, usize> =
            head.split(',').enumerate().map(|(i, name)| (name, i)).collect();
        let width = head.split(',').count();
        let mut table = Table { columns, proxies: vec![] };
        let (mut known, mut taken) = (HashMap::new(), HashSet::new());
        let mut servers: Vec<HashSet<String>> = vec![];
        for line in lines {
            let row = split(line).ok_or_else(|| "a row with a quote left open".to_owned())?;
            // Old versions end the head in a comma, and not all of them the rows.
            if row.len() != width && !(head.ends_with(',') && row.len() + 1 == width) {
                let n = row.len();
                return Err(format!("a row of {n} columns under a head of {width}"));
            }
            let at = *known.entry(row[0].clone()).or_insert_with(|| {
                let name = row[0].clone();
                let field = unique(clean_field(&name), &mut taken);
                let (front, back) = (None, None);
                table.proxies.push(Proxy { name, field, front, back, servers: vec![] });
                // The backend's own fields stand beside its servers'.
                servers.push(HashSet::from(["backend".to_owned()]));
                table.proxies.len() - 1
            });
            let kind = match (table.number(&row, "type"), &*row[1]) {
                (Some(kind), _) => kind,
                // Before 1.3.15 the table did not say.
                (None, "FRONTEND") => 0,
                (None, "BACKEND") => 1,
                (None, _) => 2,
            };
            match kind {
                0 => table.proxies[at].front = Some(row),
                1 => table.proxies[at].back = Some(row),
                2 => {
                    let field = unique(clean_field(&row[1]), &mut servers[at]);
                    table.proxies[at].servers.push(Server { field, row });
                }
                // Single listeners (`option socket-stats`) are in the frontend.
                _ => {}
            }
        }
        Ok(table)
    }

    /// Whether this version has the column.
    pub fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// A number; `None` where there is none, which often means "no limit".
    pub fn number(&self, row: &Row<'_>, column: &str) -> Option<u64> {
        number(self.text(row, column).as_bytes())
    }

    /// A text; empty where there is none.
    pub fn text<'r>(&self, row: &'r Row<'_>, column: &str) -> &'r str {
        self.columns.get(column).and_then(|at| row.get(*at)).map_or("", |text| text)
    }
}

/// The cells of a line. A cell with a comma stands in quotes, a quote in it
/// twice; `None`: quotes are left open.
fn split(line: &str) -> Option<Row<'_>> {
    let mut cells = vec![];
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            match rest.split_once(',') {
                Some((cell, after)) => {
                    cells.push(Cow::Borrowed(cell));
                    rest = after;
                    continue;
                }
                None => {
                    cells.push(Cow::Borrowed(rest));
                    return Some(cells);
                }
            }
        };
        let mut cell = String::new();
        let mut inside = quoted;
        loop {
            let (part, after) = inside.split_once('"')?;
            cell.push_str(part);
            match after.strip_prefix('"') {
                Some(more) => {
                    cell.push('"');
                    inside = more;
                }
                None => {
                    rest = after;
                    break;
                }
            }
        }
        cells.push(Cow::Owned(cell));
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return rest.is_empty().then_some(cells),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::reply;
    use proptest::prelude::*;

    #[test]
    fn a_recorded_table_is_read() {
        let text = reply("haproxy/queue_now.show_stat.txt");
        let table = Table::parse(&text).expect("reads");
        let names: Vec<&str> = table.proxies.iter().map(|p| &*p.name).collect();
        assert_eq!(names, ["fe", "be", "stats"]);
        let be = &table.proxies[1];
        let back = be.back.as_ref().expect("a backend");
        assert!(be.front.is_none());
        assert_eq!(table.number(back, "qcur"), Some(36));
        let servers: Vec<&str> = be.servers.iter().map(|s| s.field.as_str()).collect();
        assert_eq!(servers, ["s1", "s2", "dead"]);
        assert_eq!(table.text(&be.servers[2].row, "status"), "DOWN");
        assert_eq!(table.number(&be.servers[2].row, "slim"), None, "no limit");
    }

    #[test]
    fn other_versions_have_other_columns() {
        // 1.3: fewer columns, no type, and rows that end in a comma, too.
        let text = "# pxname,svname,qcur,qmax,scur,\nwww,FRONTEND,,,3,\nwww,a,1,2,3,\n\
                    www,BACKEND,4,5,6,\n\n";
        let table = Table::parse(text).expect("reads");
        let www = &table.proxies[0];
        assert_eq!(www.servers.len(), 1);
        assert_eq!(table.number(www.back.as_ref().expect("a row"), "qmax"), Some(5));
        assert!(!table.has("rtime"));
        // More columns, in another order, with texts in quotes.
        let text = "# pxname,svname,new,last_chk,type,qcur\n\
                    b,s,9,\"L7OK, \"\"fine\"\"\",2,7\n";
        let table = Table::parse(text).expect("reads");
        let row = &table.proxies[0].servers[0].row;
        assert_eq!(table.text(row, "last_chk"), "L7OK, \"fine\"");
        assert_eq!(table.number(row, "qcur"), Some(7));
    }

    #[test]
    fn names_stay_apart_and_listeners_out() {
        let text = "# pxname,svname,type,qcur\na-b,BACKEND,1,1\na_b,BACKEND,1,2\n\
                    a-b,backend,2,3\na-b,9.x,2,4\na-b,_.x,2,5\na-b,sock-1,3,6\n";
        let table = Table::parse(text).expect("reads");
        let names: Vec<&str> = table.proxies.iter().map(|p| p.field.as_str()).collect();
        assert_eq!(names, ["a_b", "a_b_2"]);
        let servers: Vec<&str> =
            table.proxies[0].servers.iter().map(|s| s.field.as_str()).collect();
        assert_eq!(servers, ["backend_2", "__x", "__x_2"]);
    }

    #[test]
    fn what_is_no_whole_table_is_refused() {
        for (text, want) in [
            ("", "is it HAProxy's?"),
            ("<html>\n", "is it HAProxy's?"),
            ("# pxname,svname,qcur\nbe,BACK", "cut short"),
            ("# pxname,svname,qcur\nbe,BACKEND\n", "a row of 2 columns under a head of 3"),
            ("# pxname,svname,qcur\nbe,BACKEND,\"1\n", "a quote left open"),
        ] {
            let error = Table::parse(text).expect_err(text);
            assert!(error.contains(want), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn tables_never_panic(body in "[ -~\n\"]{0,300}") {
            let _ = Table::parse(&body);
            let _ = Table::parse(&format!("# pxname,svname,type,qcur\n{body}\n"));
        }
    }
}
