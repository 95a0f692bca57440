//! Tests of the table of daemons: what holds for every one of them.

use super::DAEMONS;
use crate::instance::instances;
use crate::support::testing::make;
use rookery_plugins::probe::ProbeConfig;
use rookery_plugins::{Host, ProbeError};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Modules that are no daemons.
const HELPERS: [&str; 5] = ["lib", "instance", "limits", "tests", "versions"];

#[test]
fn every_file_has_a_line_in_the_table() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .filter(|name| !HELPERS.contains(&name.as_str()))
        .collect();
    let table: BTreeSet<String> = DAEMONS.iter().map(|e| e.name.to_owned()).collect();
    assert_eq!(files, table);
    assert_eq!(table.len(), DAEMONS.len(), "a name stands twice");
    for entry in DAEMONS {
        assert!(!entry.about.is_empty() && entry.waits, "{}", entry.name);
        let wrong: ProbeConfig = "no_such_key = 1".parse().expect("TOML");
        let error = instances(entry, &wrong).err().unwrap_or_else(|| panic!("{}", entry.name));
        assert!(error.contains("no_such_key"), "{}: {error}", entry.name);
    }
}

/// Nobody runs daemons of these addresses in a test's machine; where one does,
/// it is read. Nothing may hang or be taken for another.
#[test]
fn what_is_not_here_is_said_to_be_not_here() {
    for entry in DAEMONS {
        match make(entry.name, "").discover(&Host::default()) {
            Ok(specs) => assert!(!specs.is_empty(), "{}", entry.name),
            Err(ProbeError::NotHere(why)) => assert!(!why.is_empty()),
            // It is here and refuses us: that is to be told.
            Err(ProbeError::Failed(why)) => println!("{}: {why}", entry.name),
        }
    }
}
