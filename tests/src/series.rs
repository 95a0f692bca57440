//! The recorded host series in `fixtures/series`.

use std::io;
use std::path::{Path, PathBuf};

/// One recorded series.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its metric name and labels.
    pub name: String,
    /// A counter, not a level.
    pub counter: bool,
    /// UTC, ms.
    pub times_ms: Vec<i64>,
    /// What node_exporter printed.
    pub values: Vec<f64>,
}

/// Where the fixtures are.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Reads the set of this name (`pool`, `node1s`); its README gives the format.
pub fn load(set: &str) -> io::Result<Vec<Series>> {
    let dir = fixtures().join("series");
    let index = std::fs::read_to_string(dir.join(format!("{set}.index.tsv")))?;
    let times = words(&dir.join(format!("{set}.ts.bin.zst")))?;
    let values = words(&dir.join(format!("{set}.val.bin.zst")))?;
    let bad = |line: &str| io::Error::new(io::ErrorKind::InvalidData, line.to_owned());
    index
        .lines()
        .filter(|line| !line.starts_with("name\t"))
        .map(|line| {
            let mut cols = line.split('\t');
            let mut next = || cols.next().ok_or_else(|| bad(line));
            let name = next()?.to_owned();
            let counter = next()? == "c";
            let offset: usize = next()?.parse().map_err(|_| bad(line))?;
            let count: usize = next()?.parse().map_err(|_| bad(line))?;
            let range = offset..offset + count;
            Ok(Series {
                name,
                counter,
                times_ms: times[range.clone()].iter().map(|w| *w as i64).collect(),
                values: values[range].iter().map(|w| f64::from_bits(*w)).collect(),
            })
        })
        .collect()
}

fn words(path: &Path) -> io::Result<Vec<u64>> {
    let bytes = zstd::decode_all(std::fs::File::open(path)?)?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|c| u64::from_le_bytes(*c)).collect())
}
