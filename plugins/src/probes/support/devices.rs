//! What block devices are, behind the numbers that the kernel gives them in the order
//! of their appearance.

use crate::Host;
use std::path::PathBuf;

/// A file of a block device, by the kernel's name of it (`dm-0`, `sda1`), as one clean
/// line; `None`: it is not there, or empty.
pub fn device_file(host: &Host, device: &str, file: &str) -> Option<String> {
    // A slash of a name (`cciss/c0d0`) is a `!` there.
    let device = device.replace('/', "!");
    if device.is_empty() || device.starts_with('.') {
        return None;
    }
    let paths =
        ["block", "class/block"].map(|root| -> PathBuf { host.sys(root).join(&device).join(file) });
    let text = paths.iter().find_map(|path| std::fs::read(path).ok())?;
    let text = String::from_utf8_lossy(&text);
    let clean: String = text.trim().chars().filter(|c| !c.is_control()).take(200).collect();
    (!clean.is_empty()).then_some(clean)
}

/// A volume of the device mapper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// As below `/dev/mapper`: `vg0-mysql`, `luks-3f2a…`.
    pub mapper: String,
    /// What Munin's `diskstats` calls it: `vg0/mysql` if it is LVM's, else `mapper/luks-3f2a…`.
    pub munin: String,
}

/// The volume that `dm-N` is; `None`: it is none, or nothing says which.
pub fn volume(host: &Host, device: &str) -> Option<Volume> {
    let number = device.strip_prefix("dm-")?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mapper = device_file(host, device, "dm/name")?;
    let uuid = device_file(host, device, "dm/uuid");
    // LVM says so; where nobody says anything, its way of writing does.
    let is_lvm = uuid.is_none_or(|uuid| uuid.starts_with("LVM-"));
    let munin = match logical(&mapper).filter(|_| is_lvm) {
        Some(name) => name,
        None => format!("mapper/{mapper}"),
    };
    Some(Volume { mapper, munin })
}

/// LVM joins group and volume by one dash and doubles those inside: `my--vg-root` is
/// `my-vg/root`.
fn logical(mapper: &str) -> Option<String> {
    let bytes = mapper.as_bytes();
    let is_dash = |i: usize| bytes.get(i) == Some(&b'-');
    let single = |i: &usize| is_dash(*i) && !is_dash(i + 1) && (*i == 0 || !is_dash(i - 1));
    let at = (0..bytes.len()).find(single)?;
    let (group, name) = (mapper.get(..at)?, mapper.get(at + 1..)?);
    let whole = !group.is_empty() && !name.is_empty();
    whole.then(|| format!("{}/{}", group.replace("--", "-"), name.replace("--", "-")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::testing::TestHost;

    #[test]
    fn volumes_have_munins_names() {
        let host = TestHost::new(&[
            ("sys/block/dm-0/dm/name", "vg0-root\n"),
            ("sys/block/dm-1/dm/name", "my--vg-swap--2\n"),
            ("sys/block/dm-1/dm/uuid", "LVM-abc\n"),
            ("sys/block/dm-2/dm/name", "luks-3f2a\n"),
            ("sys/block/dm-2/dm/uuid", "CRYPT-LUKS2-3f2a\n"),
            ("sys/class/block/dm-3/dm/name", "mpatha\n"),
        ]);
        let munin = |device: &str| volume(&host.host, device).map(|v| v.munin);
        for (device, want) in [
            ("dm-0", "vg0/root"),
            ("dm-1", "my-vg/swap-2"),
            ("dm-2", "mapper/luks-3f2a"),
            ("dm-3", "mapper/mpatha"),
        ] {
            assert_eq!(munin(device).as_deref(), Some(want), "{device}");
        }
        for none in ["dm-4", "dm-", "dm-x", "sda", "dm-0/..", ""] {
            assert_eq!(munin(none), None, "{none}");
        }
        assert_eq!(volume(&host.host, "dm-1").unwrap().mapper, "my--vg-swap--2");
    }

    #[test]
    fn names_without_a_single_dash_are_no_logical_volumes() {
        for none in ["", "-", "a", "a--b", "-a", "a-", "--"] {
            assert_eq!(logical(none), None, "{none:?}");
        }
        assert_eq!(logical("a---b").as_deref(), None, "ambiguous: three dashes");
        assert_eq!(logical("é-b-c").as_deref(), Some("é/b-c"));
    }
}
