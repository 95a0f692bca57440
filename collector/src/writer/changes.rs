//! Renaming, retiring and removing nodes, between two commits.

use super::Writer;
use crate::catalog::{NodeEntry, tombstone_pattern};
use crate::retain::Keep;
use crate::seal::SealJob;
use crate::store::{StoreError, now_ms};
use rookery_plugins::TimeMs;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What may be done to a node, or a service of it, beside sending samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// It is called `to`; what it was called stays reserved for it.
    Rename {
        /// What it is called, or was.
        node: String,
        /// What it is to be called.
        to: String,
    },
    /// It is not expected any more.
    Retire {
        /// Which.
        node: String,
        /// Only this service of it.
        service: Option<String>,
    },
    /// It goes, with its history; a former name of a node: only that.
    Remove {
        /// Which.
        node: String,
    },
}

impl Writer {
    pub(super) fn bring_back(&mut self, node: &Arc<NodeEntry>) -> Result<(), StoreError> {
        tracing::warn!(node = node.name, "a retired node sends again: it is expected again");
        self.catalog.bring_back(node)?;
        self.observer.described(node);
        Ok(())
    }

    /// Renames, retires or removes; on disk when it returns.
    pub(super) fn change(&mut self, what: &NodeChange) -> Result<(), StoreError> {
        self.is_ready()?;
        match what {
            NodeChange::Rename { node, to } => {
                let from = self.shared.nodes.get(node).map_or_else(String::new, |n| n.name.clone());
                let renamed = self.catalog.rename(node, to)?;
                tracing::info!(from, to, "a node is renamed");
                self.observer.renamed(&from, &renamed);
            }
            NodeChange::Retire { node, service: None } => {
                let node = self.catalog.retire(node, now_ms())?;
                tracing::info!(node = node.name, "a node is retired");
                self.observer.retired(&node.name);
            }
            NodeChange::Retire { node, service: Some(service) } => {
                let node = self.catalog.retire_service(node, service, now_ms())?;
                tracing::info!(node = node.name, service, "a service is retired");
                self.observer.described(&node);
            }
            NodeChange::Remove { node } => self.remove(node)?,
        }
        self.observer.settle(now_ms());
        Ok(())
    }

    /// Takes a node away. Its head goes into blocks first, so that no journal brings it
    /// back; its blocks go with the next retention, which is asked for here.
    fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        self.seal_all()?;
        let Some(left) = self.catalog.remove(name, now_ms())? else { return Ok(()) };
        tracing::info!(node = name, "a node is removed, with its history");
        self.observer.retired(name);
        let all = Keep {
            node: tombstone_pattern(left.id),
            service: "*".to_owned(),
            // Also what came with a time in the future.
            for_ms: Some(TimeMs::MIN / 4),
        };
        let (reply, _) = oneshot::channel();
        self.seal_later(SealJob::Retain { rules: vec![all], now_ms: now_ms(), reply });
        Ok(())
    }
}
