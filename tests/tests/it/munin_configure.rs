//! `rookery-agent configure` beside Debian's `munin-node-configure`, on the same
//! library and the same folder of links.

use super::support::{bin, run};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const LIBRARY: &str = "/usr/share/munin/plugins";

/// Output, and the plugins that are said to have caused errors.
fn said(command: &mut Command) -> (String, Vec<String>) {
    let out = run(command);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    let broken = err.lines().filter_map(|l| l.strip_prefix("# ")?.strip_suffix(':'));
    let broken = broken.filter(|l| !l.contains(' ')).map(str::to_owned).collect();
    (String::from_utf8(out.stdout).expect("UTF-8"), broken)
}

fn munins(links: &Path, args: &[&str]) -> (String, Vec<String>) {
    said(Command::new("munin-node-configure").arg("--servicedir").arg(links).args(args))
}

fn ours(links: &Path, args: &[&str]) -> (String, Vec<String>) {
    let toml = links.with_extension("toml");
    std::fs::write(&toml, format!("plugin_dirs = [{links:?}]\n")).expect("writes");
    let mut command = Command::new(bin("rookery-agent"));
    said(command.arg("--config").arg(toml).arg("configure").args(args))
}

/// Both say the same; asked again where interfaces came or went in between.
fn same(links: &Path, munin_args: &[&str], our_args: &[&str]) -> String {
    for _ in 0..3 {
        let (before, got) = (munins(links, munin_args), ours(links, our_args));
        let after = munins(links, munin_args);
        if before == after {
            assert_eq!(got, before);
            return got.0;
        }
    }
    panic!("munin-node-configure says something else each time");
}

#[test]
fn suggestions_commands_and_links_are_munin_node_configures() {
    let dir = tempfile::tempdir().expect("a folder");
    let links = dir.path().join("links");
    std::fs::create_dir(&links).expect("a folder");
    let library = Path::new(LIBRARY);
    for (link, plugin) in
        [("load", "load"), ("if_gone0", "if_"), ("if_lo", "if_"), ("fw_packets", "fw_packets")]
    {
        symlink(library.join(plugin), links.join(link)).expect("links");
    }
    let table = same(&links, &["--suggest"], &[]);
    assert!(table.lines().count() > 50, "{table}");
    assert!(table.contains("\nif_                        | yes  | yes ("), "{table}");
    let all = ["--families", "auto,manual,contrib"];
    same(&links, &[&["--suggest"], &all[..]].concat(), &all);
    let shell = same(&links, &["--shell"], &["--shell"]);
    assert!(shell.contains(&format!("ln -s '{LIBRARY}/uptime' '{}/uptime'", links.display())));
    let both = ["--shell", "--remove-also"];
    let shell = same(&links, &both, &both);
    assert!(shell.contains(&format!("rm -f '{}/if_gone0'", links.display())), "{shell}");

    let (done, _) = ours(&links, &["--apply", "--remove-also"]);
    assert_eq!(done, shell);
    assert_eq!(std::fs::read_link(links.join("uptime")).expect("made"), library.join("uptime"));
    assert!(!links.join("if_gone0").exists());
    let (left, _) = munins(&links, &both);
    assert_eq!(left, "", "munin-node-configure has nothing to add");
}
