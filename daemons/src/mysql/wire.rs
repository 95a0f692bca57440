//! Packets of the client/server protocol, and the text results in them.
//!
//! A packet is three bytes of length, one of sequence, then its content. A
//! result is taken whole: a count of columns, their names, an end, rows, an
//! end. Whatever does not fit is an error, and no more is waited for.

use crate::support::REPLY_BYTES_MAX;

/// What precedes each packet, bytes.
pub const HEAD: usize = 4;
/// More columns than any statement here gives.
const COLUMNS_MAX: u64 = 4096;

/// The content of the packet at `at` and where the next one begins.
fn packet(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let head = bytes.get(at..at + HEAD)?;
    let n = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
    let start = at + HEAD;
    Some((bytes.get(start..start + n)?, start + n))
}

/// Whether the packet at `at` can be none of this protocol: longer than any
/// reply, or not the `seq`th.
fn is_foreign(bytes: &[u8], at: usize, seq: u8) -> bool {
    let too_long = |head: &[u8]| {
        let n = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        n == 0 || n > REPLY_BYTES_MAX
    };
    let head = bytes.get(at..).unwrap_or_default();
    (head.len() >= 3 && too_long(head)) || head.get(3).is_some_and(|s| *s != seq)
}

/// Where the first packet ends, or all there is if it is none.
pub fn one_packet(bytes: &[u8], seq: u8) -> Option<usize> {
    if is_foreign(bytes, 0, seq) {
        return Some(bytes.len());
    }
    packet(bytes, 0).map(|(_, end)| end)
}

/// The content of what [`one_packet`] found; `None`: it is none.
pub fn content(bytes: &[u8], seq: u8) -> Option<&[u8]> {
    (!is_foreign(bytes, 0, seq)).then(|| packet(bytes, 0))?.map(|(content, _)| content)
}

/// A packet, ready to be sent; `content` is shorter than 16 MiB.
pub fn packed(seq: u8, content: &[u8]) -> Vec<u8> {
    let n = content.len();
    let mut bytes = vec![n as u8, (n >> 8) as u8, (n >> 16) as u8, seq];
    bytes.extend_from_slice(content);
    bytes
}

/// An error packet's number and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `1045` is "access denied", and so on.
    pub code: u16,
    /// As the server words it.
    pub text: String,
}

impl Refusal {
    /// From the content of a packet; `None` if that is no error.
    pub fn parse(content: &[u8]) -> Option<Refusal> {
        let [0xff, low, high, text @ ..] = content else { return None };
        // Before the login there is no SQLSTATE.
        let text = match text {
            [b'#', _, _, _, _, _, text @ ..] => text,
            text => text,
        };
        let text = String::from_utf8_lossy(text).into_owned();
        Some(Refusal { code: u16::from_le_bytes([*low, *high]), text })
    }
}

/// Reads the fields of a packet one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// So many bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    /// What stands before the next zero byte, which is skipped; all of it if
    /// there is none.
    pub fn zeroed(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        let (head, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        head
    }

    /// A number whose first byte tells its length.
    fn count(&mut self) -> Option<u64> {
        let n = match self.take(1)? {
            [n @ 0..=0xfa] => return Some(u64::from(*n)),
            [0xfc] => 2,
            [0xfd] => 3,
            [0xfe] => 8,
            _ => return None,
        };
        let mut bytes = [0; 8];
        bytes[..n].copy_from_slice(self.take(n)?);
        Some(u64::from_le_bytes(bytes))
    }

    /// A text with its length before it.
    fn text(&mut self) -> Option<&'a [u8]> {
        let n = self.count()?;
        self.take(usize::try_from(n).ok()?)
    }

    /// A value of a row; `Some(None)`: NULL.
    fn value(&mut self) -> Option<Option<&'a [u8]>> {
        if let [0xfb, rest @ ..] = self.0 {
            self.0 = rest;
            return Some(None);
        }
        self.text().map(Some)
    }
}

/// What a statement gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Rows.
    Table(Table<'a>),
    /// An error.
    Refused(Refusal),
}

/// Columns and rows; a value of `None` is NULL.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table<'a> {
    /// Names of columns.
    pub columns: Vec<&'a str>,
    /// Values, one row after the other.
    values: Vec<Option<&'a str>>,
}

impl<'a> Table<'a> {
    /// Its rows.
    pub fn rows(&self) -> impl Iterator<Item = &[Option<&'a str>]> {
        self.values.chunks_exact(self.columns.len().max(1))
    }
}

/// A result's packets, told one by one.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    seq: u8,
}

impl<'a> Walk<'a> {
    /// After the question, which is packet 0.
    fn new(bytes: &'a [u8]) -> Walk<'a> {
        Walk { bytes, at: 0, seq: 1 }
    }

    fn next(&mut self) -> Result<&'a [u8], Stop> {
        if is_foreign(self.bytes, self.at, self.seq) {
            return Err(Stop::Foreign);
        }
        let (content, end) = packet(self.bytes, self.at).ok_or(Stop::Short)?;
        self.at = end;
        self.seq = self.seq.wrapping_add(1);
        Ok(content)
    }

    /// Skips to the end of the table; where its columns and its rows are.
    fn table(&mut self) -> Result<Shape, Stop> {
        let first = self.next()?;
        if matches!(first.first(), Some(0xff | 0x00)) {
            return Ok(Shape { columns: 0, refused: first[0] == 0xff });
        }
        let mut head = Cursor(first);
        let columns = head.count().filter(|n| *n <= COLUMNS_MAX && head.0.is_empty());
        let columns = columns.ok_or(Stop::Foreign)? as usize;
        for _ in 0..columns {
            self.next()?;
        }
        if !is_end(self.next()?) {
            return Err(Stop::Foreign);
        }
        loop {
            let row = self.next()?;
            if row.first() == Some(&0xff) {
                return Ok(Shape { columns, refused: true });
            }
            if is_end(row) {
                return Ok(Shape { columns, refused: false });
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// There is more to come.
    Short,
    /// It is not of this protocol.
    Foreign,
}

struct Shape {
    columns: usize,
    refused: bool,
}

/// The packet after the last column, and after the last row. A row that begins
/// so has a value of more than 16 MiB.
fn is_end(content: &[u8]) -> bool {
    content.first() == Some(&0xfe) && content.len() < 9
}

/// Where a whole result ends; all there is if it is none.
pub fn one_result(bytes: &[u8]) -> Option<usize> {
    let mut walk = Walk::new(bytes);
    match walk.table() {
        Ok(_) => Some(walk.at),
        Err(Stop::Foreign) => Some(bytes.len()),
        Err(Stop::Short) => None,
    }
}

/// What [`one_result`] found; `None`: it is no result.
pub fn reply(bytes: &[u8]) -> Option<Reply<'_>> {
    let mut whole = Walk::new(bytes);
    let shape = whole.table().ok()?;
    let mut walk = Walk::new(bytes);
    if shape.refused {
        // The error is the last packet.
        let mut last = walk.next().ok()?;
        while walk.at < whole.at {
            last = walk.next().ok()?;
        }
        return Refusal::parse(last).map(Reply::Refused);
    }
    walk.next().ok()?;
    let mut table = Table::default();
    if shape.columns == 0 {
        return Some(Reply::Table(table));
    }
    for _ in 0..shape.columns {
        let mut column = Cursor(walk.next().ok()?);
        for _ in 0..4 {
            column.text()?;
        }
        table.columns.push(std::str::from_utf8(column.text()?).ok()?);
    }
    walk.next().ok()?;
    loop {
        let row = walk.next().ok()?;
        if is_end(row) {
            return Some(Reply::Table(table));
        }
        let mut row = Cursor(row);
        for _ in 0..shape.columns {
            // A text in another character set is of no use here, and no reason
            // to lose the others.
            let value = row.value()?.map(|v| std::str::from_utf8(v).unwrap_or(""));
            table.values.push(value);
        }
        if !row.0.is_empty() {
            return None;
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push_text(to: &mut Vec<u8>, text: &[u8]) {
        match text.len() {
            n @ 0..=0xfa => to.push(n as u8),
            n => to.extend_from_slice(&[0xfd, n as u8, (n >> 8) as u8, (n >> 16) as u8]),
        }
        to.extend_from_slice(text);
    }

    /// A result as a server sends it.
    pub fn encoded(columns: &[&str], rows: &[Vec<Option<&str>>]) -> Vec<u8> {
        let mut packets = vec![vec![columns.len() as u8]];
        for name in columns {
            let mut column = vec![];
            for text in ["def", "", "", "", name, ""] {
                push_text(&mut column, text.as_bytes());
            }
            column.extend_from_slice(&[0x0c, 45, 0, 0, 1, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
            packets.push(column);
        }
        packets.push(vec![0xfe, 0, 0, 2, 0]);
        for row in rows {
            let mut packet = vec![];
            for value in row {
                match value {
                    None => packet.push(0xfb),
                    Some(text) => push_text(&mut packet, text.as_bytes()),
                }
            }
            packets.push(packet);
        }
        packets.push(vec![0xfe, 0, 0, 2, 0]);
        let numbered = packets.iter().enumerate();
        numbered.flat_map(|(i, content)| packed((i + 1) as u8, content)).collect()
    }

    /// An error as a server sends it.
    pub fn refused(seq: u8, code: u16, text: &str) -> Vec<u8> {
        let mut content = vec![0xff];
        content.extend_from_slice(&code.to_le_bytes());
        content.extend_from_slice(b"#28000");
        content.extend_from_slice(text.as_bytes());
        packed(seq, &content)
    }

    #[test]
    fn a_result_is_read_whole_and_cut_ones_are_waited_for() {
        let long = "x".repeat(70_000);
        let bytes = encoded(&["a", "b"], &[vec![Some("1"), None], vec![Some(&long), Some("")]]);
        for end in 0..bytes.len() {
            assert_eq!(one_result(&bytes[..end]), None, "{end}");
            assert_eq!(reply(&bytes[..end]), None, "{end}");
        }
        assert_eq!(one_result(&bytes), Some(bytes.len()));
        let Some(Reply::Table(table)) = reply(&bytes) else { panic!("no table") };
        let rows: Vec<_> = table.rows().collect();
        assert_eq!(table.columns, ["a", "b"]);
        assert_eq!(rows, [&[Some("1"), None][..], &[Some(&long[..]), Some("")]]);
    }

    #[test]
    fn errors_are_told_apart() {
        let want = Refusal { code: 1227, text: "you need PROCESS".to_owned() };
        let bytes = refused(1, 1227, "you need PROCESS");
        assert_eq!(reply(&bytes), Some(Reply::Refused(want.clone())));
        // An error in the middle of the rows.
        let mut bytes = encoded(&["a"], &[vec![Some("1")]]);
        bytes.truncate(bytes.len() - 9);
        bytes.extend(refused(5, 1227, "you need PROCESS"));
        assert_eq!(one_result(&bytes), Some(bytes.len()));
        assert_eq!(reply(&bytes), Some(Reply::Refused(want)));
    }

    #[test]
    fn foreign_ones_are_not_waited_for() {
        for text in [&b"SSH-2.0-OpenSSH\r\n"[..], b"HTTP/1.1 400\r\n", b"\0\0\0\x01", b"+OK redis"]
        {
            assert_eq!(one_packet(text, 0), Some(text.len()), "{text:?}");
            assert_eq!(content(text, 0), None, "{text:?}");
            assert_eq!(one_result(text), Some(text.len()), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            cut in 0..60usize,
        ) {
            let _ = (reply(&bytes), one_result(&bytes), one_packet(&bytes, 0));
            let mut whole = encoded(&["a", "b"], &[vec![Some("1"), None], vec![None, Some("x")]]);
            whole.truncate(whole.len().saturating_sub(cut));
            whole.append(&mut bytes);
            let _ = (reply(&whole), one_result(&whole));
        }

        #[test]
        fn what_was_sent_is_read(rows in prop::collection::vec(
            (prop::option::of("[a-z]{0,300}"), prop::option::of("\\PC{0,9}")), 0..300)) {
            let rows: Vec<Vec<Option<&str>>> =
                rows.iter().map(|(a, b)| vec![a.as_deref(), b.as_deref()]).collect();
            let bytes = encoded(&["a", "b"], &rows);
            let Some(Reply::Table(table)) = reply(&bytes) else { panic!("no table") };
            prop_assert_eq!(table.rows().map(<[_]>::to_vec).collect::<Vec<_>>(), rows);
        }
    }
}
