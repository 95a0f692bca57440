//! The house rules that a program can check.

use std::path::{Path, PathBuf};

/// Crates, and those that each may use.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("plugins", &[]),
    ("daemons", &["plugins"]),
    ("agent", &["plugins", "daemons"]),
    ("promise", &[]),
    ("alerts", &["plugins", "promise"]),
    ("collector", &["plugins", "alerts", "promise"]),
    ("extension", &["collector"]),
    ("web", &["plugins", "alerts", "collector"]),
    ("rookery", &["plugins", "agent", "alerts", "collector", "web"]),
    ("tests", &["plugins", "daemons", "agent", "alerts", "collector", "web", "rookery"]),
];

const LINE_CHARS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn rust_files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn crates_use_only_those_below() {
    for (name, allowed) in MAY_USE {
        let manifest =
            std::fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a manifest");
        for line in manifest.lines() {
            let Some(rest) = line.strip_prefix("rookery-") else { continue };
            let used = rest.split(['.', ' ', '=']).next().expect("a name");
            assert!(allowed.contains(&used), "{name} must not use {used}");
        }
    }
}

#[test]
fn files_are_small_and_say_what_they_are_for() {
    let mut files = Vec::new();
    for (name, _) in MAY_USE {
        rust_files(&root().join(name), &mut files);
    }
    assert!(files.len() > 100, "only {} files were found", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("UTF-8");
        let name = file.display();
        if !text.starts_with("//!") {
            wrong.push(format!("{name}: the first line must say what the file is for (//!)"));
        }
        if text.lines().count() > FILE_LINES_MAX {
            wrong.push(format!("{name}: more than {FILE_LINES_MAX} lines"));
        }
        for (i, line) in text.lines().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX && !line.contains('"') {
                wrong.push(format!("{name}:{}: longer than {LINE_CHARS_MAX}", i + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn cargo_run_is_rookery() {
    // The README's first command; with several programs cargo must be told.
    let manifest = std::fs::read_to_string(root().join("rookery/Cargo.toml")).expect("reads");
    assert!(manifest.contains("default-run = \"rookery\""));
    let readme = std::fs::read_to_string(root().join("README.md")).expect("reads");
    assert!(readme.contains("cargo run --release -- up") && readme.contains("tests/run"));
}
