//! What takes messages instead of the real ways: for tests of what sends them, on a
//! simulated clock and without I/O.

use super::ChannelError;
use crate::digest::Digest;
use crate::output::Notice;
use std::fmt::Debug;
use std::pin::Pin;

/// What became of a message, when that is known. One that never is stands for a way
/// that hangs, or for a process that is killed after the hand-over.
pub type Taken = Pin<Box<dyn Future<Output = Result<(), ChannelError>> + Send>>;

/// Takes what a [`super::Notifier`] would send.
pub trait StandIn: Debug + Send + Sync {
    /// Notices for one channel, in order: one, or the several of one run of a command.
    fn take(&self, channel: &str, notices: &[&Notice]) -> Taken;

    /// A digest for one channel.
    fn take_digest(&self, channel: &str, digest: &Digest) -> Taken;
}
