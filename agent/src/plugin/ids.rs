//! Users and groups by name, from /etc/passwd and /etc/group.
//!
//! Read as files: the C library's look-up would bring in its name services,
//! which may ask the network. Numbers are taken as they are.

use super::conf::Settings;
use rustix::fs::{Gid, Uid};
use rustix::thread::{CapabilitySet, capabilities};

/// Munin's user for plugins that name none.
pub const USER_DEFAULT: &str = "nobody";
/// Munin's group for them, if the host has it.
pub const GROUP_DEFAULT: &str = "munin";

/// Under whom a plugin runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user's name, for `MUNIN_PLUGSTATE`.
    pub user: String,
    /// The user.
    pub uid: Uid,
    /// The first group.
    pub gid: Gid,
    /// All groups.
    pub groups: Vec<Gid>,
}

/// Whether this process may become another user: root may, and so may a service
/// with CAP_SETUID and CAP_SETGID.
pub fn may_change() -> bool {
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID;
    capabilities(None).is_ok_and(|c| c.effective.contains(needed))
}

/// The ids for a plugin's settings; the error names what is unknown.
pub fn resolve(settings: &Settings) -> Result<Ids, String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    resolve_in(settings, &passwd, &group)
}

fn resolve_in(settings: &Settings, passwd: &str, group: &str) -> Result<Ids, String> {
    let user = settings.user.as_deref().unwrap_or(USER_DEFAULT);
    let line = |l: &str| -> Option<(String, u32, u32)> {
        let mut parts = l.split(':');
        let name = parts.next()?.to_owned();
        Some((name, parts.nth(1)?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let mut users = passwd.lines().filter_map(line);
    let number = user.parse::<u32>().ok();
    let Some((name, uid, primary)) = users.find(|(n, uid, _)| n == user || Some(*uid) == number)
    else {
        return Err(format!("user {user:?} is not in /etc/passwd; see plugin-conf.d"));
    };
    let gid_of = |wanted: &str| {
        let mut groups = group.lines().filter_map(|l| {
            let mut parts = l.split(':');
            Some((parts.next()?, parts.nth(1)?.parse::<u32>().ok()?))
        });
        let number = wanted.parse::<u32>().ok();
        groups.find(|(n, gid)| *n == wanted || Some(*gid) == number).map(|(_, gid)| gid)
    };
    let mut groups = Vec::new();
    for (wanted, optional) in &settings.groups {
        match gid_of(wanted) {
            Some(gid) => groups.push(gid),
            None if *optional => {}
            None => return Err(format!("group {wanted:?} is not in /etc/group")),
        }
    }
    if groups.is_empty() {
        groups.push(gid_of(GROUP_DEFAULT).unwrap_or(primary));
    }
    let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
    Ok(Ids { user: name, uid: Uid::from_raw(uid), gid: groups[0], groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_optional_groups() {
        let passwd = "root:x:0:0:r:/root:/bin/sh\nnobody:x:65534:65534::/:/x\n";
        let group = "root:x:0:\nadm:x:4:\nmunin:x:112:\n";
        let ids = |user: Option<&str>, groups: &[(&str, bool)]| {
            let groups = groups.iter().map(|(g, o)| ((*g).to_owned(), *o)).collect();
            let settings =
                Settings { user: user.map(str::to_owned), groups, ..Settings::default() };
            resolve_in(&settings, passwd, group)
        };
        let i = ids(None, &[]).expect("nobody");
        assert_eq!((i.uid.as_raw(), i.gid.as_raw()), (65534, 112));
        let i = ids(Some("0"), &[("gone", true), ("adm", false)]).expect("root");
        assert_eq!((i.user.as_str(), i.groups.len(), i.gid.as_raw()), ("root", 1, 4));
        assert!(ids(Some("who"), &[]).expect_err("unknown").contains("who"));
        assert!(ids(None, &[("gone", false)]).is_err());
    }
}
