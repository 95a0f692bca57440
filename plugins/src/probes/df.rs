//! How full the filesystems are, by statvfs(3) on what `/proc/mounts` lists.
//!
//! Which filesystems, and the names of their fields, as Munin's `df` and
//! `df_inode` (which call `df -P -l`): local ones that have blocks; named by
//! device, or by mount point where the device says nothing (tmpfs, loops, a word that is
//! that of several).
//! Images, which are full by nature, are left out (`df/nature.rs`). `df_abs`
//! has the same in bytes. `remote = true` in `[probe.df]` adds NFS and its
//! like: a server that hangs costs [`DEADLINE`] once, and is unknown until it
//! answers (see `df/asker.rs`). Types that always answer at once are asked
//! directly, which costs a third.
//!
//! A recorded machine cannot be asked; it brings `proc/statvfs`, with lines of
//! `mount-point frsize blocks bfree bavail files ffree`.

use super::support::{lines, number, settings, words};
use crate::host::HotFile;
use crate::probe::ProbeConfig;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec, Value};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod asker;
mod mounts;
mod naming;
mod nature;
use asker::Asker;
use mounts::Mount;
use naming::Named;
use nature::Nature;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "df",
    about: "space and inodes of the filesystems (statvfs on /proc/mounts)",
    waits: false,
    new: |config| Ok(Box::new(Df::new(config)?)),
};

/// How long all filesystems together may take to answer.
const DEADLINE: Duration = Duration::from_millis(200);

/// How many filesystems that hang are found at the first look; any more are
/// found by the readings.
const ROUNDS_MAX: usize = 5;

/// After so many readings those that had no blocks, or nothing free, are looked at again:
/// one that is not ready yet (FUSE at boot) looks like a view of the kernel.
const LOOK_AGAIN_READINGS: u32 = 60;

/// `[probe.df]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Watch network filesystems too.
    remote: bool,
    /// Types (`vfat`) or mount points (`/boot`) to leave out.
    exclude: Vec<String>,
}

/// What statvfs said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    frsize: u64,
    blocks: u64,
    bfree: u64,
    bavail: u64,
    files: u64,
    ffree: u64,
}

impl Usage {
    /// As df counts: what root reserved is neither used nor available.
    fn percent(&self) -> Option<f64> {
        share(self.blocks.saturating_sub(self.bfree), self.bavail)
    }

    fn inode_percent(&self) -> Option<f64> {
        share(self.files.saturating_sub(self.ffree), self.ffree)
    }

    fn used_bytes(&self) -> u64 {
        self.blocks.saturating_sub(self.bfree).saturating_mul(self.frsize)
    }

    fn size_bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.frsize)
    }
}

/// `used` of `used + free`, in percent; `None` of nothing.
fn share(used: u64, free: u64) -> Option<f64> {
    let all = used as f64 + free as f64;
    (all > 0.0).then(|| used as f64 / all * 100.0)
}

/// A filesystem that is watched.
#[derive(Debug)]
struct Watched {
    named: Named,
    mount_point: String,
    has_inodes: bool,
    /// It can fill up: it has limits.
    is_live: bool,
    /// It has said how full it is; if not, all else is only assumed.
    has_answered: bool,
}

#[derive(Debug, Default)]
struct Df {
    settings: Settings,
    file: HotFile,
    /// The text of the last reading, to be spared parsing the same again.
    text: Vec<u8>,
    mounts: Vec<Mount>,
    watched: Vec<Watched>,
    /// Those, by device and mount point, that were seen writable or with free blocks.
    were_live: HashSet<(String, String)>,
    /// Devices that are words, and were those of several.
    shared: HashSet<String>,
    /// Some are left out that may be something else later.
    may_come: bool,
    readings: u32,
    /// The mount points that are asked, and whether they answer at once.
    targets: Vec<(PathBuf, bool)>,
    /// Asks those that do not.
    asker: Asker,
    asked: Vec<Option<Usage>>,
    /// One for each target.
    answers: Vec<Option<Usage>>,
}

impl Df {
    fn new(config: &ProbeConfig) -> Result<Df, String> {
        Ok(Df { settings: settings(config)?, ..Df::default() })
    }

    fn select(&self, text: &[u8]) -> Vec<Mount> {
        let mut mounts = mounts::select(text, self.settings.remote);
        let out = |m: &Mount| self.settings.exclude.iter().any(|e| m.is(e));
        mounts.retain(|m| !out(m));
        mounts
    }

    /// Whether and how it is watched. One that did not answer is: that it hangs is worth
    /// knowing.
    fn watch(
        &mut self,
        host: &Host,
        mount: &Mount,
        usage: Option<Usage>,
        named: Named,
    ) -> Option<Watched> {
        let has_inodes = usage.is_some_and(|u| u.files > 0);
        let mount_point = mount.mount_point.clone();
        let watched = |is_live: bool| Watched {
            named,
            mount_point,
            has_inodes,
            is_live,
            has_answered: usage.is_some(),
        };
        let Some(usage) = usage else { return Some(watched(true)) };
        // No blocks: a view of the kernel, not a filesystem.
        if usage.blocks == 0 {
            self.may_come = true;
            return None;
        }
        let key = (mount.device.clone(), mount.mount_point.clone());
        let nature = match self.were_live.contains(&key) {
            true => Nature::Live,
            false => nature::nature(host, mount, &usage),
        };
        match nature {
            Nature::Live => {
                self.were_live.insert(key);
                Some(watched(true))
            }
            Nature::Fixed => Some(watched(false)),
            Nature::Image => {
                self.may_come |= !mount.read_only;
                None
            }
        }
    }

    /// Whether what was found at the last look is to be looked at again.
    fn is_outdated(&mut self) -> bool {
        self.readings += 1;
        let comes = self.may_come && self.readings >= LOOK_AGAIN_READINGS;
        let mut both = self.watched.iter().zip(&self.answers);
        // Not at the first reading: it follows a look that was in vain.
        let answers = self.readings > 1
            && both.any(|(watched, usage)| !watched.has_answered && usage.is_some());
        comes || answers
    }

    /// From now on these are asked.
    fn aim(&mut self, targets: Vec<(PathBuf, bool)>) {
        let slow = targets.iter().filter(|(_, quick)| !quick);
        self.asker.watch(slow.map(|(path, _)| path.clone()));
        self.targets = targets;
    }

    /// Fills `answers`; whether all were asked in time.
    fn ask(&mut self, host: &Host) -> Result<bool, ProbeError> {
        if host.is_live() {
            let in_time = self.asker.ask(DEADLINE, &mut self.asked);
            let mut asked = self.asked.iter();
            self.answers.clear();
            self.answers.extend(self.targets.iter().map(|(path, quick)| match quick {
                true => asker::statvfs(path),
                false => asked.next().copied().flatten(),
            }));
            return Ok(in_time);
        }
        let path = host.proc("statvfs");
        let text = std::fs::read(&path).map_err(|e| ProbeError::file(&path, &e))?;
        self.answers.clear();
        self.answers.extend(self.targets.iter().map(|(path, _)| recorded(&text, path)));
        Ok(true)
    }
}

impl Probe for Df {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("mounts");
        let text = self.file.text()?.to_owned();
        self.mounts = self.select(&text);
        self.text = text;
        let target = |m: &Mount| (PathBuf::from(&m.mount_point), m.quick);
        self.aim(self.mounts.iter().map(target).collect());
        // Each round finds at most one path that hangs.
        for _ in 0..ROUNDS_MAX {
            if self.ask(host)? {
                break;
            }
        }
        let mut targets = Vec::new();
        self.watched.clear();
        (self.may_come, self.readings) = (false, 0);
        let mounts = std::mem::take(&mut self.mounts);
        let named = naming::names(host, &mounts, &mut self.shared);
        for ((mount, usage), named) in mounts.iter().zip(self.answers.clone()).zip(named) {
            if let Some(watched) = self.watch(host, mount, usage, named) {
                self.watched.push(watched);
                targets.push(target(mount));
            }
        }
        self.mounts = mounts;
        self.aim(targets);
        if self.watched.is_empty() {
            return Err(ProbeError::NotHere(format!(
                "{}: lists no filesystem that has blocks",
                self.file.path().display()
            )));
        }
        let mut services = services(&self.watched);
        services.retain(|service| !service.fields.is_empty());
        Ok(services)
    }

    fn read(&mut self, host: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let text = self.file.text()?;
        if text != self.text {
            let text = text.to_owned();
            if self.select(&text) != self.mounts {
                return Ok(Read::Changed);
            }
            self.text = text;
        }
        self.ask(host)?;
        if self.is_outdated() {
            return Ok(Read::Changed);
        }
        let float = |v: Option<f64>| v.map_or(Value::Unknown, Value::Float);
        let int = |v: Option<u64>| v.map_or(Value::Unknown, Value::from);
        for usage in &self.answers {
            out.push(float(usage.and_then(|u| u.percent())));
        }
        for (watched, usage) in self.watched.iter().zip(&self.answers) {
            if watched.has_inodes {
                out.push(float(usage.and_then(|u| u.inode_percent())));
            }
        }
        for usage in &self.answers {
            out.push(int(usage.map(|u| u.used_bytes())));
            out.push(int(usage.map(|u| u.size_bytes())));
        }
        Ok(Read::Done)
    }
}

fn services(watched: &[Watched]) -> Vec<ServiceSpec> {
    let field = |w: &Watched, what: &str| {
        FieldSpec::gauge(&w.named.name, &w.mount_point)
            .info(&format!("{what} of the filesystem on {}", w.mount_point))
            .formerly(w.named.old.as_deref())
    };
    let limited = |field: FieldSpec, w: &Watched| match w.is_live {
        true => field.limits("92", "98"),
        false => field,
    };
    let percent = |name: &str, title: &str| {
        ServiceSpec::new(name, title, "disk").vlabel("%").args("--upper-limit 100 -l 0").unscaled()
    };
    let space = |w: &Watched| {
        let what = "Space used, in percent of what users other than root can have,";
        limited(field(w, what), w)
    };
    let inodes = |w: &Watched| limited(field(w, "Inodes used, in percent,"), w);
    let bytes = |w: &Watched| {
        let old = w.named.old.as_ref().map(|old| naming::size_of(old));
        let size = FieldSpec::gauge(&naming::size_of(&w.named.name), &w.mount_point)
            .info(&format!("Size in bytes of the filesystem on {}", w.mount_point))
            .formerly(old.as_deref());
        [field(w, "Bytes used"), size.hidden()]
    };
    vec![
        percent("df", "Disk usage in percent")
            .info("How full the filesystems are. A filesystem that does not answer is unknown.")
            .fields(watched.iter().map(space).collect()),
        percent("df_inode", "Inode usage in percent")
            .info(
                "How many of the inodes, one for each file, are used. Without a free one no \
                   file can be made, however much space there is.",
            )
            .fields(watched.iter().filter(|w| w.has_inodes).map(inodes).collect()),
        ServiceSpec::new("df_abs", "Disk usage in bytes", "disk")
            .vlabel("Bytes")
            .args("--base 1024 -l 0")
            .info("How many bytes of the filesystems are used.")
            .fields(watched.iter().flat_map(bytes).collect()),
    ]
}

/// A recorded machine's answer.
fn recorded(text: &[u8], path: &Path) -> Option<Usage> {
    let of_path = |line: &&[u8]| words(line).next() == Some(path.as_os_str().as_encoded_bytes());
    let line = lines(text).find(of_path)?;
    let mut numbers = words(line).skip(1).map(number);
    let mut next = || numbers.next().flatten();
    Some(Usage {
        frsize: next()?,
        blocks: next()?,
        bfree: next()?,
        bavail: next()?,
        files: next()?,
        ffree: next()?,
    })
}

#[cfg(test)]
mod tests;
