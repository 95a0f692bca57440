//! Built-in probes stand in for Debian's plugins of the same names: every field
//! is there, and its RRD file would be the same.

use super::support::{bin, stdout};
use rookery_plugins::munin::parse;
use rookery_plugins::{FieldSpec, ServiceSpec};
use std::process::Command;

/// Those whose fields do not depend on what is mounted or plugged in.
const SAME: [&str; 13] = [
    "cpu",
    "entropy",
    "forks",
    "interrupts",
    "load",
    "memory",
    "netstat",
    "open_files",
    "processes",
    "swap",
    "threads",
    "uptime",
    "vmstat",
];

/// What decides which RRD file a field's values go to, and what it holds.
fn kept(field: &FieldSpec) -> String {
    let FieldSpec { kind, min, max, cdef, negative, .. } = field;
    format!("{kind:?} {min:?} {max:?} {cdef:?} {negative:?}")
}

#[test]
fn probes_offer_the_fields_of_debians_plugins() {
    let dir = tempfile::tempdir().expect("a folder");
    let toml = dir.path().join("agent.toml");
    std::fs::write(&toml, "plugin_dirs = []\n").expect("writes");
    for name in SAME {
        let root = |text: String| -> ServiceSpec {
            let services = parse(name, text.as_bytes()).services;
            services.into_iter().find(|s| s.name == name).expect("the service itself")
        };
        let library = "/usr/share/munin/plugins";
        let mut munin = Command::new("munin-run");
        let theirs = root(stdout(munin.args(["--servicedir", library, name, "config"])));
        let mut agent = Command::new(bin("rookery-agent"));
        let ours = root(stdout(agent.arg("--config").arg(&toml).args(["run", name, "config"])));
        assert!(!theirs.fields.is_empty(), "{name}");
        assert_eq!(ours.category, theirs.category, "{name}");
        for field in &theirs.fields {
            let ours = ours.field(&field.name).map(kept);
            assert_eq!(ours, Some(kept(field)), "{name}.{}", field.name);
        }
    }
}
