//! Prometheus' remote write 1.0, as far as a load generator needs it: a
//! `WriteRequest` of one sample for each of many series, in snappy's block format
//! with literals only (which is legal, and costs the sender nothing).

/// One node's series: what of a request never changes.
pub struct Writer {
    /// The labels of each series, encoded.
    labels: Vec<Vec<u8>>,
}

fn varint(mut v: u64, out: &mut Vec<u8>) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// A field of wire type 2.
fn bytes(field: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

impl Writer {
    /// For series of these names, all with the label `node`.
    pub fn new(node: &str, names: &[String]) -> Writer {
        let label = |name: &str, value: &str| {
            let mut pair = Vec::new();
            bytes(1, name.as_bytes(), &mut pair);
            bytes(2, value.as_bytes(), &mut pair);
            pair
        };
        let series = |name: &String| {
            let mut out = Vec::new();
            bytes(1, &label("__name__", name), &mut out);
            bytes(1, &label("node", node), &mut out);
            out
        };
        Writer { labels: names.iter().map(series).collect() }
    }

    /// The body of a request: a value for each series, at one time.
    pub fn body(&self, time_ms: i64, values: impl Iterator<Item = f64>) -> Vec<u8> {
        let mut plain = Vec::with_capacity(self.labels.len() * 80);
        let mut series = Vec::new();
        for (labels, value) in self.labels.iter().zip(values) {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(2 << 3);
            varint(time_ms as u64, &mut sample);
            series.clear();
            series.extend_from_slice(labels);
            bytes(2, &sample, &mut series);
            bytes(1, &series, &mut plain);
        }
        let mut out = Vec::with_capacity(plain.len() + 16);
        varint(plain.len() as u64, &mut out);
        if let Some(last) = plain.len().checked_sub(1) {
            // A literal whose length takes four bytes.
            out.push(63 << 2);
            out.extend_from_slice(&(last as u32).to_le_bytes());
        }
        out.extend_from_slice(&plain);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_the_specification_says() {
        let body = Writer::new("n", &["f".to_owned()]).body(300, [1.0].into_iter());
        let want = [
            // length of what follows unpacked, one literal of 42 bytes
            &[42, 63 << 2, 41, 0, 0, 0][..],
            &[0x0a, 40],
            &[0x0a, 13, 0x0a, 8],
            b"__name__",
            &[0x12, 1, b'f'],
            &[0x0a, 9, 0x0a, 4],
            b"node",
            &[0x12, 1, b'n'],
            &[0x12, 12, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
        ]
        .concat();
        assert_eq!(body[..want.len()], want);
        assert_eq!(body[want.len()..], [0x10, 0xac, 0x02]);
    }
}
