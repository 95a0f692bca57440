//! The chips below `/sys/class/hwmon`, and what each of them is: their numbers are given
//! in the order in which drivers find them.

use crate::Host;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A chip, or a disk or card with sensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chip {
    /// `class/hwmon/hwmon2`, at its full path.
    pub(super) folder: PathBuf,
    /// What it calls itself: `nvme`.
    pub(super) name: String,
    /// What tells it from others of its name; its name where there are none.
    pub(super) identity: String,
    /// The same for people, if there are others: a serial number, a PCI address.
    pub(super) place: Option<String>,
}

impl Chip {
    /// The folders that its files are in: old kernels have them in `device`.
    pub(super) fn folders(&self) -> [PathBuf; 2] {
        [self.folder.clone(), self.folder.join("device")]
    }

    /// Whether it sleeps: to read it would wake it up, or fail.
    pub(super) fn is_asleep(&self) -> bool {
        let status = text(&self.folder.join("device/power/runtime_status"));
        status.is_some_and(|status| status == "suspended")
    }
}

/// One line of a file, cleaned.
pub(super) fn text(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let clean: String = text.trim().chars().filter(|c| !c.is_control()).take(60).collect();
    (!clean.is_empty()).then_some(clean)
}

/// All chips, by name and what they are.
pub(super) fn chips(host: &Host, root: &Path) -> std::io::Result<Vec<Chip>> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root)?.flatten().map(|e| e.path()).collect();
    folders.sort();
    let name = |folder: &PathBuf| {
        let own = text(&folder.join("name")).or_else(|| text(&folder.join("device/name")));
        own.unwrap_or_else(|| "chip".to_owned())
    };
    let names: Vec<String> = folders.iter().map(name).collect();
    let count = |name: &String| names.iter().filter(|n| *n == name).count();
    let mut chips: Vec<Chip> = folders
        .into_iter()
        .zip(&names)
        .map(|(folder, name)| Chip {
            folder,
            name: name.clone(),
            identity: String::new(),
            place: None,
        })
        .collect();
    let (mut seen, mut same) = (HashMap::<String, usize>::new(), Vec::new());
    for chip in &mut chips {
        if count(&chip.name) < 2 {
            chip.identity.clone_from(&chip.name);
            same.push(String::new());
            continue;
        }
        let raw = address(host, &chip.folder);
        let identity = serial(&chip.folder).unwrap_or_else(|| without_numbers(&raw));
        chip.place =
            identity.rsplit('/').find(|part| part.contains([':', '.', '-'])).map(str::to_owned);
        chip.identity = format!("{} {identity}", chip.name);
        *seen.entry(chip.identity.clone()).or_default() += 1;
        same.push(raw);
    }
    // Two that differ in numbers alone are told apart by those, then.
    for (chip, raw) in chips.iter_mut().zip(same) {
        if seen.get(&chip.identity).is_some_and(|n| *n > 1) {
            chip.identity = format!("{} {raw}", chip.name);
            chip.place = raw.rsplit('/').find(|part| *part != "device").map(str::to_owned);
        }
    }
    chips.sort_by(|a, b| a.identity.cmp(&b.identity));
    Ok(chips)
}

/// What a disk says of itself.
fn serial(folder: &Path) -> Option<String> {
    ["wwid", "serial"].iter().find_map(|file| text(&folder.join("device").join(file)))
}

/// Where it is attached, below /sys: `devices/pci0000:00/0000:01:00.0/nvme/nvme0`.
fn address(host: &Host, folder: &Path) -> String {
    let device = folder.join("device");
    let path = device.canonicalize().or_else(|_| std::fs::read_link(&device));
    let path = path.or_else(|_| folder.canonicalize()).unwrap_or_else(|_| folder.to_owned());
    let sys = host.sys.canonicalize().unwrap_or_else(|_| host.sys.clone());
    path.strip_prefix(sys).unwrap_or(&path).to_string_lossy().into_owned()
}

/// The same without what is numbered by order of appearance.
fn without_numbers(address: &str) -> String {
    const COUNTED: [&str; 9] =
        ["ata", "hidraw", "host", "hwmon", "i2c-", "nvme", "phy", "usb", "mmc"];
    let part = |part: &str| -> String {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        if COUNTED.contains(&word) {
            return word.to_owned();
        }
        // A SCSI address begins with its host (`target2:0:0`, `2:0:0:0`), an I2C address
        // with its bus (`0-0018`).
        match part.find([':', '-']) {
            Some(at) if part.contains('-') && number(&part[..at]) => part[at..].to_owned(),
            Some(at) if number(&part[..at]) && part.matches(':').count() == 3 => {
                part[at..].to_owned()
            }
            Some(at) if word_then_number(&part[..at]) => part[at..].to_owned(),
            _ => part.to_owned(),
        }
    };
    address.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn word_then_number(text: &str) -> bool {
    text.strip_prefix("target").is_some_and(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_without_what_is_counted() {
        let pci = "devices/pci0000:00/0000:01:00.0";
        for (raw, want) in [
            (format!("{pci}/nvme/nvme1"), format!("{pci}/nvme/nvme")),
            (
                format!("{pci}/ata3/host2/target2:0:0/2:0:0:0"),
                format!("{pci}/ata/host/:0:0/:0:0:0"),
            ),
            (format!("{pci}/i2c-1/1-0018"), format!("{pci}/i2c-/-0018")),
            ("devices/platform/coretemp.0".to_owned(), "devices/platform/coretemp.0".to_owned()),
            ("class/hwmon/hwmon10".to_owned(), "class/hwmon/hwmon".to_owned()),
        ] {
            assert_eq!(without_numbers(&raw), want);
        }
    }
}
