//! HAProxy's table of proxies: CSV whose first line names the columns
//! (management.txt, 9.1 "CSV format").
//!
//! Each version has more columns than the one before, and in its own order, so
//! that a column is found by its name alone.

use crate::support::{Names, Odd, StableName, number};
use rookery_plugins::names::clean_field;
use std::borrow::Cow;
use std::collections::HashMap;

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
    pub field: StableName,
    /// Its FRONTEND row.
    pub front: Option<Row<'a>>,
    /// Its BACKEND row.
    pub back: Option<Row<'a>>,
    /// Its servers.
    pub servers: Vec<Server<'a>>,
    /// HAProxy's number (`iid`) of the backend, once a row of it was seen.
    back_id: Option<String>,
}

/// A server of a backend.
#[derive(Debug)]
pub struct Server<'a> {
    /// The server's name as a field's; no other server of the backend has it.
    pub field: StableName,
    /// Its row.
    pub row: Row<'a>,
}

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Front,
    Back,
    Server,
    /// A single listener (`option socket-stats`), which is in the frontend.
    Listener,
}

impl<'a> Table<'a> {
    /// Reads it; an error says what is wrong with all of it. A row that does not
    /// fit the head is left out and counted.
    pub fn parse(text: &'a str, names: &mut Names, odd: &mut Odd) -> Result<Table<'a>, String> {
        let text = text.trim_start_matches(['\r', '\n']);
        if !text.starts_with(START) {
            return Err(format!("no table that begins with {START:?}: is it HAProxy's?"));
        }
        if !text.ends_with('\n') {
            return Err("its table is cut short".to_owned());
        }
        let (head, body) = text.split_once('\n').unwrap_or((text, ""));
        let head = head.trim_end_matches('\r').trim_start_matches(['#', ' ']);
        let columns: HashMap<&str, usize> =
            head.split(',').enumerate().map(|(i, name)| (name, i)).collect();
        let width = head.split(',').count();
        let mut table = Table { columns, proxies: vec![] };
        let mut by_name = HashMap::new();
        let before = odd.count();
        for row in rows(body, width, head.ends_with(','), odd) {
            match table.kind(&row) {
                Some(kind) => table.take(row, kind, &mut by_name),
                None => odd.left_out(&row.join(",")),
            }
        }
        if table.proxies.is_empty() && odd.count() > before {
            return Err(format!("none of its rows fits the head of {width} columns"));
        }
        table.name(names);
        Ok(table)
    }

    /// `None`: the row contradicts itself, as one does whose columns have moved.
    fn kind(&self, row: &Row<'_>) -> Option<Kind> {
        let by_name = match &*row[1] {
            "FRONTEND" => Kind::Front,
            "BACKEND" => Kind::Back,
            _ => Kind::Server,
        };
        if number(self.text(row, "status").as_bytes()).is_some() {
            return None;
        }
        if !self.has("type") {
            // Before 1.3.15 the table did not say.
            return Some(by_name);
        }
        let kind = match self.number(row, "type")? {
            0 => Kind::Front,
            1 => Kind::Back,
            2 => Kind::Server,
            // A listener, and what later versions may have.
            _ => Kind::Listener,
        };
        (kind == by_name || kind == Kind::Listener).then_some(kind)
    }

    /// Puts a row to its proxy. A frontend and a backend may have one name; of
    /// two backends of one name (old versions allow it) each is one of its own.
    fn take(&mut self, row: Row<'a>, kind: Kind, by_name: &mut HashMap<Cow<'a, str>, Vec<usize>>) {
        if kind == Kind::Listener {
            return;
        }
        let id = self.text(&row, "iid").to_owned();
        let same_name = by_name.entry(row[0].clone()).or_default();
        let is_its = |at: &&usize| {
            let proxy = &self.proxies[**at];
            match kind {
                Kind::Front => proxy.front.is_none(),
                Kind::Back => proxy.back.is_none() && proxy.is_backend(&id),
                _ => proxy.is_backend(&id),
            }
        };
        let at = same_name.iter().find(is_its).copied().unwrap_or_else(|| {
            let (name, field) = (row[0].clone(), unnamed());
            let (front, back, back_id, servers) = (None, None, None, vec![]);
            self.proxies.push(Proxy { name, field, front, back, servers, back_id });
            same_name.push(self.proxies.len() - 1);
            self.proxies.len() - 1
        });
        let proxy = &mut self.proxies[at];
        if kind != Kind::Front {
            proxy.back_id = Some(id);
        }
        match kind {
            Kind::Front => proxy.front = Some(row),
            Kind::Back => proxy.back = Some(row),
            _ => proxy.servers.push(Server { field: unnamed(), row }),
        }
    }

    /// Names the fields of all proxies, and of the servers of each.
    fn name(&mut self, names: &mut Names) {
        let proxies: Vec<(&str, &str)> =
            self.proxies.iter().map(|p| (&*p.name, p.back_id.as_deref().unwrap_or(""))).collect();
        let raws = apart(&proxies);
        let fields = names.fields("", raws.iter().map(String::as_str));
        for (i, (raw, field)) in raws.iter().zip(fields).enumerate() {
            let rows = self.proxies[i].servers.iter().map(|s| &s.row);
            let servers: Vec<(&str, &str)> =
                rows.map(|row| (&*row[1], self.text(row, "sid"))).collect();
            let wish = |name: &str| match clean_field(name) {
                // The backend's own fields stand beside its servers'.
                own if own == "backend" => "backend_2".to_owned(),
                other => other,
            };
            let servers: Vec<_> =
                apart(&servers).into_iter().map(|name| (wish(&name), name)).collect();
            let of = names.assign(&format!("servers of {raw}"), &servers);
            let proxy = &mut self.proxies[i];
            proxy.field = field;
            for (server, field) in proxy.servers.iter_mut().zip(of) {
                server.field = field;
            }
        }
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

impl Proxy<'_> {
    fn is_backend(&self, id: &str) -> bool {
        self.back_id.as_deref().is_none_or(|own| own == id)
    }
}

/// Before all are known.
fn unnamed() -> StableName {
    StableName { name: String::new(), old: None }
}

/// Full names; those that several have end in HAProxy's number of each.
fn apart(list: &[(&str, &str)]) -> Vec<String> {
    let mut uses: HashMap<&str, usize> = HashMap::new();
    list.iter().for_each(|(name, _)| *uses.entry(name).or_default() += 1);
    let full = |(name, id): &(&str, &str)| match uses.get(name) {
        Some(2..) => format!("{name} {id}"),
        _ => (*name).to_owned(),
    };
    list.iter().map(full).collect()
}

/// The rows that are as wide as the head. Old versions end the head in a comma
/// and no row in one, others do both: the table's own rows tell, so that a row
/// with a comma too few is not taken for one of the other kind.
fn rows<'a>(body: &'a str, width: usize, head_ends: bool, odd: &mut Odd) -> Vec<Row<'a>> {
    let (mut all, mut rest) = (vec![], body);
    while !rest.is_empty() {
        let line_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let line = rest[..line_end].trim_end();
        let fits = |row: &Row<'_>| row.len() == width || head_ends && row.len() + 1 == width;
        let read = row(rest).filter(|(row, _)| fits(row));
        rest = match read {
            _ if line.is_empty() => &rest[line_end..],
            Some((row, after)) => {
                all.push((row, line));
                after
            }
            None => {
                odd.left_out(line);
                &rest[line_end..]
            }
        };
    }
    let n_full = all.iter().filter(|(row, _)| row.len() == width).count();
    let wanted = if 2 * n_full >= all.len() { width } else { width - 1 };
    let keep = |(row, line): (Row<'a>, &str)| {
        let fits = row.len() == wanted;
        if !fits {
            odd.left_out(line);
        }
        fits.then_some(row)
    };
    all.into_iter().filter_map(keep).collect()
}

/// The cells of the first row, and what follows it. A cell with a comma, a quote
/// or a line break stands in quotes, a quote in it twice; `None`: a quote is left
/// open, or something follows one.
fn row(text: &str) -> Option<(Row<'_>, &str)> {
    let (mut cells, mut rest) = (vec![], text);
    loop {
        let (cell, after) = cell(rest)?;
        cells.push(cell);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some((cells, after)),
            None => {
                let after = after.strip_prefix('\r').unwrap_or(after);
                return after.strip_prefix('\n').map(|after| (cells, after));
            }
        }
    }
}

/// The first cell, and what follows it.
fn cell(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(mut inside) = text.strip_prefix('"') else {
        let end = text.find([',', '\n']).unwrap_or(text.len());
        return Some((Cow::Borrowed(text[..end].trim_end_matches('\r')), &text[end..]));
    };
    let mut cell = String::new();
    loop {
        let (part, after) = inside.split_once('"')?;
        cell.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                cell.push('"');
                inside = more;
            }
            None => return Some((Cow::Owned(cell), after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::reply;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Table<'_>, String> {
        Table::parse(text, &mut Names::default(), &mut Odd::default())
    }

    /// The table, and how many rows were left out.
    fn read_some(text: &str) -> (Table<'_>, u64) {
        let mut odd = Odd::default();
        let table = Table::parse(text, &mut Names::default(), &mut odd).expect("reads");
        (table, odd.count())
    }

    #[test]
    fn a_recorded_table_is_read() {
        let text = reply("haproxy/queue_now.show_stat.txt");
        let table = read(&text).expect("reads");
        let names: Vec<&str> = table.proxies.iter().map(|p| &*p.name).collect();
        assert_eq!(names, ["fe", "be", "stats"]);
        let be = &table.proxies[1];
        let back = be.back.as_ref().expect("a backend");
        assert!(be.front.is_none());
        assert_eq!(table.number(back, "qcur"), Some(36));
        let servers: Vec<&str> = be.servers.iter().map(|s| s.field.name.as_str()).collect();
        assert_eq!(servers, ["s1", "s2", "dead"]);
        assert_eq!(table.text(&be.servers[2].row, "status"), "DOWN");
        assert_eq!(table.number(&be.servers[2].row, "slim"), None, "no limit");
    }

    #[test]
    fn other_versions_have_other_columns() {
        // 1.3: fewer columns, no type, and rows that end in a comma, too.
        let text = "# pxname,svname,qcur,qmax,scur,\nwww,FRONTEND,,,3,\nwww,a,1,2,3,\n\
                    www,BACKEND,4,5,6,\n\n";
        let table = read(text).expect("reads");
        let www = &table.proxies[0];
        assert_eq!(www.servers.len(), 1);
        assert_eq!(table.number(www.back.as_ref().expect("a row"), "qmax"), Some(5));
        assert!(!table.has("rtime"));
        // More columns, in another order, with texts in quotes.
        let text = "# pxname,svname,new,last_chk,type,qcur\n\
                    b,s,9,\"L7OK, \"\"fine\"\"\",2,7\n";
        let table = read(text).expect("reads");
        let row = &table.proxies[0].servers[0].row;
        assert_eq!(table.text(row, "last_chk"), "L7OK, \"fine\"");
        assert_eq!(table.number(row, "qcur"), Some(7));
    }

    #[test]
    fn names_stay_apart_and_listeners_out() {
        let text = "# pxname,svname,type,qcur\na-b,BACKEND,1,1\na_b,BACKEND,1,2\n\
                    a-b,backend,2,3\na-b,9.x,2,4\na-b,_.x,2,5\na-b,sock-1,3,6\n";
        let table = read(text).expect("reads");
        let fields = |table: &Table<'_>| -> Vec<(String, String)> {
            let field = |raw: &str, field: &StableName| (raw.to_owned(), field.name.clone());
            let proxies = table.proxies.iter().map(|p| field(&p.name, &p.field));
            let servers = table.proxies.iter().flat_map(|p| &p.servers);
            proxies.chain(servers.map(|s| field(&s.row[1], &s.field))).collect()
        };
        let names = fields(&table);
        let backend = ("backend".to_owned(), "backend_2".to_owned());
        assert!(names.contains(&backend), "{names:?}");
        let all: std::collections::HashSet<&String> = names.iter().map(|(_, f)| f).collect();
        assert_eq!(all.len(), 5, "{names:?}");
        assert!(
            all.iter().all(|f| f.starts_with("a_b_") || f.starts_with("__x_") || *f == "backend_2")
        );
        // In another order each keeps its name.
        let text = "# pxname,svname,type,qcur\na_b,BACKEND,1,2\na-b,_.x,2,5\na-b,9.x,2,4\n\
                    a-b,BACKEND,1,1\n";
        for name in fields(&read(text).expect("reads")) {
            assert!(names.contains(&name), "{name:?} is not of {names:?}");
        }
    }

    #[test]
    fn two_of_one_name_are_both_read() {
        let text = "# pxname,svname,type,qcur,iid,sid\nx,FRONTEND,0,1,2,0\nx,s,2,2,3,1\n\
                    x,s,2,3,3,2\nx,BACKEND,1,4,3,0\nx,s,2,5,4,1\nx,BACKEND,1,6,4,0\n";
        let table = read(text).expect("reads");
        let number = |row: &Option<Row<'_>>| row.as_ref().and_then(|r| table.number(r, "qcur"));
        let [one, two] = &table.proxies[..] else { panic!("{table:?}") };
        let of = |p: &Proxy<'_>| (p.field.name.clone(), number(&p.front), number(&p.back));
        assert_eq!(of(one), ("x_3".to_owned(), Some(1), Some(4)));
        assert_eq!(of(two), ("x_4".to_owned(), None, Some(6)));
        let servers: Vec<&str> = one.servers.iter().map(|s| &*s.field.name).collect();
        assert_eq!(servers, ["s_1", "s_2"]);
        assert_eq!(two.servers[0].field.name, "s");
    }

    #[test]
    fn an_odd_row_costs_no_other_and_no_column_moves() {
        let head = "# pxname,svname,qcur,last_chk,type,status\n";
        for (rows, n_odd) in [
            // A line break, and an empty line, in a quoted cell.
            ("b,s1,7,\"L7RSP\n\n\"\"x\"\",\",2,UP\n", 0),
            ("b,s1,7,ok,2,UP\r\n", 0),
            ("b,s1,7,2,UP\nb,s1,7,ok,2,UP\n", 1),
            ("b,s1,7,o,k,2,UP\nb,s1,7,ok,2,UP\n", 1),
            // A quote that is left open, or closed too early.
            ("b,s1,9,\"ok,2,UP\nb,s1,7,ok,2,UP\n", 1),
            ("b,s1,9,\"o\"k,2,UP\nb,s1,7,ok,2,UP\n", 1),
            ("b,s1,9,\"ok,2,UP\nb,s1,7,\"ok\",2,UP\n", 1),
            // As many columns as there should be, but moved.
            ("b,s1,ok,2,UP,\nb,s1,7,ok,2,UP\n", 1),
            ("b,FRONTEND,9,,2,OPEN\nb,s1,7,ok,2,UP\n", 1),
            ("b,s1,9,,,7\nb,s1,7,ok,2,UP\n", 1),
        ] {
            let text = format!("{head}{rows}b,BACKEND,5,,1,UP\n\n");
            let (table, odd) = read_some(&text);
            assert_eq!(odd, n_odd, "{rows}");
            let [proxy] = &table.proxies[..] else { panic!("{rows}: {table:?}") };
            assert_eq!(proxy.servers.len(), 1, "{rows}");
            let row = &proxy.servers[0].row;
            assert_eq!((table.number(row, "qcur"), table.text(row, "status")), (Some(7), "UP"));
            assert_eq!(
                table.number(proxy.back.as_ref().expect("a row"), "qcur"),
                Some(5),
                "{rows}"
            );
        }
        // A head that ends in a comma over rows that do: one comma too few is odd.
        let text = "# pxname,svname,qcur,scur,\nb,s1,1,2,\nb,s2,1,\nb,BACKEND,1,2,\n";
        let (table, odd) = read_some(text);
        assert_eq!((odd, table.proxies[0].servers.len()), (1, 1));
    }

    #[test]
    fn what_is_no_whole_table_is_refused() {
        for (text, want) in [
            ("", "is it HAProxy's?"),
            ("<html>\n", "is it HAProxy's?"),
            ("# pxname,svname,qcur\nbe,BACK", "cut short"),
            ("# pxname,svname,qcur\nbe,BACKEND\n", "fits the head of 3 columns"),
            ("# pxname,svname,qcur\nbe,BACKEND,\"1\n", "fits the head of 3 columns"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(want), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn tables_never_panic(body in "[ -~\n\"]{0,300}") {
            let _ = read(&body);
            let _ = read(&format!("# pxname,svname,type,qcur\n{body}\n"));
        }
    }
}
