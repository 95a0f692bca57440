//! A probe's table of `agent.toml`, read strictly.

use crate::probe::ProbeConfig;
use serde::de::DeserializeOwned;

/// Keys of `[probe.NAME]` that the agent acts on, whichever probe it is.
const AGENT_KEYS: [&str; 3] = ["enabled", "step", "timeout"];

/// The probe's own keys as a `T` that denies unknown ones.
pub fn settings<T: DeserializeOwned>(table: &ProbeConfig) -> Result<T, String> {
    let own: ProbeConfig = table
        .iter()
        .filter(|(key, _)| !AGENT_KEYS.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    own.try_into().map_err(|e: toml::de::Error| e.to_string().trim().replace('\n', "; "))
}

/// For a probe that has no keys of its own.
pub fn no_settings(table: &ProbeConfig) -> Result<(), String> {
    match table.keys().find(|key| !AGENT_KEYS.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown key {key:?}: this probe has none of its own")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        depth: u32,
    }

    #[test]
    fn a_wrong_key_is_named() {
        let table = |text: &str| text.parse::<ProbeConfig>().unwrap();
        assert_eq!(settings::<Sample>(&table("depth = 3\nstep = \"5s\"")).unwrap().depth, 3);
        let error = settings::<Sample>(&table("depth = 3\ncolour = 1")).unwrap_err();
        assert!(error.contains("colour"), "{error}");
        assert!(settings::<Sample>(&table("depth = \"x\"")).unwrap_err().contains("depth"));
        assert!(no_settings(&table("step = \"5s\"")).is_ok());
        assert!(no_settings(&table("a = 1")).unwrap_err().contains("\"a\""));
    }
}
