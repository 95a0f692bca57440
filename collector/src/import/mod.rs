//! An existing Munin master's history: its RRD files, and what its `datafile` says of
//! them, as frames for ingest.
//!
//! What an RRD holds are averages of a period, and the least and largest value in it:
//! never the samples. They do not join the samples' series: for each service and
//! period there is a service beside it, `load@300s`, whose fields are `load`,
//! `load:min` and `load:max`, and whose description says so ([`crate::past`]). A row's
//! time is the end of its period, as in the RRD.

pub mod datafile;
pub mod machine;
pub mod rrd;

use crate::munin::conf;
use crate::past;
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec, TimeMs, Value};
use rrd::{Archive, Consolidation, FILE_BYTES_MAX, Rrd};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// A frame is sent when it has so many bytes.
const FRAME_BYTES: usize = 1 << 20;
/// Folders below this depth are not looked into.
const DEPTH_MAX: usize = 16;
/// The largest `datafile` that is read, bytes.
const DATAFILE_BYTES_MAX: u64 = 1 << 30;
/// So many rows at the end are looked at first for what is there already.
const NEAR_ROWS: i64 = 50;
/// The most notes that are kept.
const NOTES_MAX: usize = 1000;

/// A Munin master's folder.
#[derive(Debug, Default)]
pub struct Master {
    /// Its hosts, by `group;host`.
    pub hosts: Vec<Host>,
    /// How many RRD files they have.
    pub n_files: usize,
    /// What could not be taken, a line each.
    pub notes: Vec<String>,
}

/// A host with RRD files.
#[derive(Debug, Default)]
pub struct Host {
    /// `group;sub;host`.
    pub path: String,
    services: BTreeMap<String, Source>,
}

/// A service's files.
#[derive(Debug, Default)]
struct Source {
    spec: ServiceSpec,
    /// By field.
    files: BTreeMap<String, PathBuf>,
}

/// What one host's import brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// RRD files that were read.
    pub n_files: usize,
    /// Values that were sent, unknown ones too.
    pub n_values: u64,
}

/// The newest time that the history has of a field of a service with averages;
/// `None`: none.
pub type Known<'a> = &'a dyn Fn(&str, &str, TimeMs) -> Result<Option<TimeMs>, String>;

impl Master {
    /// Looks into `dir` (Munin's `dbdir`). `conf`: its `munin.conf`, for attributes that
    /// are said there over the plugins' own; without it, what stands in the datafile.
    pub fn open(dir: &Path, munin_conf: Option<&Path>) -> Result<Master, String> {
        let mut master = Master::default();
        let file = dir.join("datafile");
        let name = file.display().to_string();
        let len = std::fs::metadata(&file)
            .map_err(|e| format!("{name}: {e}: name the master's dbdir, /var/lib/munin"))?
            .len();
        if len > DATAFILE_BYTES_MAX {
            return Err(format!("{name}: {len} bytes: more than {DATAFILE_BYTES_MAX}"));
        }
        let text = std::fs::read(&file).map_err(|e| format!("{name}: {e}"))?;
        let remotes = munin_conf.map(conf::read).transpose()?.unwrap_or_default();
        let over = |host: &str| {
            let node = remotes.nodes.iter().find(|n| n.node == host);
            node.map(|n| n.overrides.clone()).unwrap_or_default()
        };
        let (hosts, n_noise) = datafile::read(&String::from_utf8_lossy(&text), &over);
        if n_noise > 0 {
            master.note(format!("{name}: {n_noise} lines are not understood"));
        }
        let mut files = BTreeSet::new();
        walk(dir, 0, &mut files, &mut master.notes);
        master.n_files = files.len();
        let mut found: BTreeMap<String, Host> = BTreeMap::new();
        for (path, services) in hosts {
            for (service, spec) in services {
                for field in &spec.fields {
                    let file = dir.join(file_of(&path, &service, field));
                    if files.remove(&file) {
                        let host = found.entry(path.clone()).or_default();
                        let source = host.services.entry(service.clone()).or_default();
                        source.spec = spec.clone();
                        source.files.insert(field.name.clone(), file);
                    }
                }
            }
        }
        for file in files {
            master.orphan(dir, &file, &mut found);
        }
        let named = found.into_iter().map(|(path, host)| Host { path, ..host });
        master.hosts = named.collect();
        Ok(master)
    }

    fn note(&mut self, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(text);
        }
    }

    /// A file that the datafile does not tell of (any more): its name is all there is.
    fn orphan(&mut self, dir: &Path, file: &Path, found: &mut BTreeMap<String, Host>) {
        let below = file.strip_prefix(dir).unwrap_or(file);
        let groups: Vec<String> = below
            .parent()
            .into_iter()
            .flat_map(Path::components)
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .collect();
        let group = groups.join(";");
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let known = found.keys().filter_map(|path| {
            let host = path.strip_prefix(&group)?.strip_prefix(';')?;
            stem.strip_prefix(host)?.strip_prefix('-').map(|rest| (host.to_owned(), rest))
        });
        let longest = known.max_by_key(|(host, _)| host.len());
        let parts = longest.or_else(|| {
            let (host, rest) = stem.split_once('-')?;
            Some((host.to_owned(), rest))
        });
        let name = file.display();
        let parts = parts.and_then(|(host, rest)| {
            let (rest, _kind) = rest.rsplit_once('-')?;
            let (service, field) = rest.rsplit_once('-')?;
            (!group.is_empty() && !service.is_empty()).then_some((host, service, field))
        });
        let Some((host, service, field)) = parts else {
            self.note(format!("{name}: not named as Munin names its files: left out"));
            return;
        };
        let (service, field) = (service.to_owned(), field.to_owned());
        self.note(format!(
            "{name}: not in the datafile: taken as field {field} of service {service} of {host}"
        ));
        let host = found.entry(format!("{group};{host}")).or_default();
        let source = host.services.entry(service.clone()).or_default();
        if source.spec.name.is_empty() {
            source.spec = ServiceSpec::new(&service, &service, "other");
        }
        if source.spec.field(&field).is_none() {
            source.spec.fields.push(FieldSpec::gauge(&field, &field));
        }
        source.files.insert(field, file.to_path_buf());
    }
}

/// Where Munin keeps a field: `group/sub/host-service-field-g.rrd`.
fn file_of(path: &str, service: &str, field: &FieldSpec) -> PathBuf {
    let kind = field.kind.word().chars().next().unwrap_or('G').to_ascii_lowercase();
    let service = service.replace('.', "-");
    let (group, host) = path.rsplit_once(';').unwrap_or(("", path));
    let mut file: PathBuf = group.split(';').filter(|g| *g != "..").collect();
    file.push(format!("{host}-{service}-{}-{kind}.rrd", field.name).replace('/', "_"));
    file
}

fn walk(dir: &Path, depth: usize, files: &mut BTreeSet<PathBuf>, notes: &mut Vec<String>) {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => return notes.push(format!("{}: {e}", dir.display())),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => walk(&path, depth + 1, files, notes),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|e| e == "rrd") => {
                files.insert(path);
            }
            _ => {}
        }
    }
}

/// A field's file, read.
struct Column {
    service: String,
    field: String,
    rrd: Rrd,
}

impl Host {
    /// How many RRD files it has.
    pub fn n_files(&self) -> usize {
        self.services.values().map(|s| s.files.len()).sum()
    }

    /// Sends all of its history that is not `known` yet, as the node `name`, in frames to
    /// `send`. What cannot be read is added to `notes`.
    pub fn send(
        &self,
        name: &str,
        known: Known<'_>,
        send: &mut dyn FnMut(&[u8]) -> Result<(), String>,
        notes: &mut Vec<String>,
    ) -> Result<Done, String> {
        let mut columns = Vec::new();
        for (service, source) in &self.services {
            for (field, file) in &source.files {
                match read(file) {
                    Ok(rrd) => {
                        let (service, field) = (service.clone(), field.clone());
                        columns.push(Column { service, field, rrd });
                    }
                    Err(e) => notes.push(format!("{}: {e}: left out", file.display())),
                }
            }
        }
        let mut done = Done { n_files: columns.len(), n_values: 0 };
        let steps: BTreeSet<i64> =
            columns.iter().flat_map(|c| c.rrd.archives.iter().map(|a| a.step_s)).collect();
        for step_s in steps {
            let mut part = Part::new(self, &columns, step_s, known)?;
            done.n_values += part.send(name, send)?;
        }
        Ok(done)
    }
}

fn read(file: &Path) -> Result<Rrd, String> {
    let len = std::fs::metadata(file).map_err(|e| e.to_string())?.len();
    if len > FILE_BYTES_MAX {
        return Err(format!("{len} bytes: more than {FILE_BYTES_MAX}"));
    }
    let bytes = std::fs::read(file).map_err(|e| e.to_string())?;
    Rrd::parse(bytes).map_err(|e| e.to_string())
}

/// One cell of a row: an archive of a file.
struct Cell<'a> {
    rrd: &'a Rrd,
    archive: &'a rrd::Archive,
    /// Before it there is nothing to send: never known, or sent already.
    from_s: i64,
}

/// All archives of one period.
struct Part<'a> {
    step_s: i64,
    specs: Vec<ServiceSpec>,
    layout: Layout,
    cells: Vec<Cell<'a>>,
}

impl<'a> Part<'a> {
    fn new(
        host: &Host,
        columns: &'a [Column],
        step_s: i64,
        known: Known<'_>,
    ) -> Result<Part<'a>, String> {
        let mut specs: BTreeMap<&str, ServiceSpec> = BTreeMap::new();
        let (mut keys, mut cells) = (Vec::new(), Vec::new());
        for column in columns {
            let mut archives: HashMap<Consolidation, &rrd::Archive> = HashMap::new();
            for archive in column.rrd.archives.iter().filter(|a| a.step_s == step_s) {
                if let Some(what) = archive.what {
                    archives.entry(what).or_insert(archive);
                }
            }
            let average = archives.get(&Consolidation::Average);
            let Some(oldest_s) = average.and_then(|a| column.rrd.oldest_s(a)) else { continue };
            let Some(source) = host.services.get(&column.service) else { continue };
            let shadow = past::service_name(&column.service, step_s);
            // Who asks again and again has nearly all: its end is read first.
            let end_s = average.map_or(oldest_s, |a| a.newest_s);
            let near_s = oldest_s.max(end_s.saturating_sub(NEAR_ROWS * step_s));
            let newest = match known(&shadow, &column.field, Archive::time_ms(near_s))? {
                None if near_s > oldest_s => {
                    known(&shadow, &column.field, Archive::time_ms(oldest_s))?
                }
                newest => newest,
            };
            let after_s = newest.map_or(i64::MIN, |t| t / 1000);
            let spec = specs
                .entry(column.service.as_str())
                .or_insert_with(|| past::describe(&source.spec, step_s));
            for what in [Consolidation::Average, Consolidation::Min, Consolidation::Max] {
                let Some(archive) = archives.get(&what) else { continue };
                let field = match what {
                    Consolidation::Average => column.field.clone(),
                    Consolidation::Min => past::min_of(&column.field),
                    Consolidation::Max => past::max_of(&column.field),
                };
                past::add_field(spec, &source.spec, &column.field, &field);
                keys.push(FieldKey::new(&shadow, &field));
                let from_s = oldest_s.max(after_s.saturating_add(1));
                cells.push(Cell { rrd: &column.rrd, archive, from_s });
            }
        }
        let specs = specs.into_values().collect();
        Ok(Part { step_s, specs, layout: Layout::new(keys), cells })
    }

    /// How many values were sent.
    fn send(
        &mut self,
        node: &str,
        send: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<u64, String> {
        let newest = self.cells.iter().map(|c| c.archive.newest_s).max();
        let oldest = self.cells.iter().map(|c| c.from_s).min();
        let (Some(newest), Some(oldest)) = (newest, oldest) else { return Ok(0) };
        let mut frame = FrameWriter::default();
        let (mut cells, mut row) = (Cells::new(), Cells::new());
        let (mut n_values, mut n_rows) = (0, 0);
        let services = std::mem::take(&mut self.specs);
        let mut announce = Some(Announce { services, ..Announce::default() });
        let mut end_s = oldest + (self.step_s - oldest.rem_euclid(self.step_s)) % self.step_s;
        while end_s <= newest {
            row.clear();
            let n = self.row(end_s, &mut row);
            if n > 0 {
                if n_rows == 0 {
                    // No number of its own: sent twice, its rows are known.
                    frame.start(node, 0, 0);
                    if let Some(announce) = announce.take() {
                        frame.announce(&announce);
                    }
                    frame.layout(&self.layout);
                }
                std::mem::swap(&mut cells, &mut row);
                frame.row(self.layout.id(), Archive::time_ms(end_s), &cells);
                (n_values, n_rows) = (n_values + n, n_rows + 1);
                if frame.len() > FRAME_BYTES {
                    send(frame.finish())?;
                    n_rows = 0;
                }
            }
            end_s += self.step_s;
        }
        if n_rows > 0 {
            send(frame.finish())?;
        }
        Ok(n_values)
    }

    /// Fills in what the archives have of a period; how many values that are.
    fn row(&self, end_s: i64, row: &mut Cells) -> u64 {
        let mut n = 0;
        for cell in &self.cells {
            let value = Some(end_s).filter(|end| *end >= cell.from_s);
            match value.and_then(|end| cell.rrd.row(cell.archive, end)) {
                None => row.push_absent(),
                Some(v) => {
                    n += 1;
                    row.push(if v.is_nan() { Value::Unknown } else { Value::Float(v) });
                }
            }
        }
        n
    }
}
