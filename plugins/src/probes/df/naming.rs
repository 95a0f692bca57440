//! The names of filesystems' fields: Munin's where they say what is mounted.

use super::mounts::Mount;
use crate::Host;
use crate::names::clean_field;
use crate::probes::support::{stable_names, unique, volume};
use std::collections::HashSet;

/// What a filesystem's field is called, and was by order of appearance.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) old: Option<String>,
}

/// The field of `df_abs` with the size of the one of this name.
pub(super) fn size_of(field: &str) -> String {
    format!("{field}_size")
}

/// For each mount its name. A word that was the device of several (`shm` of containers)
/// once is kept in `shared`: from then on all of them are named by their mount points,
/// the last one that is left too.
pub(super) fn names(host: &Host, mounts: &[Mount], shared: &mut HashSet<String>) -> Vec<Named> {
    let mut seen = HashSet::new();
    for mount in mounts.iter().filter(|m| m.is_word()) {
        if !seen.insert(&mount.device) {
            shared.insert(mount.device.clone());
        }
    }
    let raw: Vec<String> = mounts.iter().map(|m| naming(host, m, shared)).collect();
    let cleaned: HashSet<String> = raw.iter().map(|raw| clean_field(raw)).collect();
    let wish = |raw: &String| {
        let name = clean_field(raw);
        // It would be taken for the size of another.
        let stem = name.strip_suffix("_size").filter(|stem| cleaned.contains(*stem));
        if stem.is_some() { format!("{name}_") } else { name }
    };
    // A device that is mounted here and there stands in the list once; a dataset may not.
    let what = |(raw, mount): (&String, &Mount)| match raw.starts_with('/') {
        true => raw.clone(),
        false => format!("{raw} {}", mount.mount_point),
    };
    let wishes = raw.iter().zip(mounts).map(|both| (wish(both.0), what(both)));
    let wishes: Vec<(String, String)> = wishes.collect();
    let mut before = HashSet::new();
    let old = mounts.iter().map(|m| unique(clean_field(m.munins_naming()), &mut before));
    let named = stable_names(&wishes).into_iter().zip(old);
    named
        .map(|(new, old)| Named { old: (old != new.name).then_some(old), name: new.name })
        .collect()
}

/// What the name is made of: as in Munin, unless the device says nothing of what is
/// mounted, or is a number by order of appearance; of a volume's number, its name.
fn naming(host: &Host, mount: &Mount, shared: &HashSet<String>) -> String {
    if mount.is_loop() || mount.is_word() && shared.contains(&mount.device) {
        return mount.mount_point.clone();
    }
    let naming = mount.munins_naming();
    let volume = naming.strip_prefix("/dev/").and_then(|device| volume(host, device));
    volume.map_or_else(|| naming.to_owned(), |volume| format!("/dev/mapper/{}", volume.mapper))
}
