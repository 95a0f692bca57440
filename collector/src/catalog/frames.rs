//! Which frames were taken: told apart by what is in them, not by their numbers alone.
//!
//! A frame that is sent again is the same to the byte. One whose number is not above
//! those before it, but which is another one, comes from a copy of the machine, of a
//! snapshot that was restored, or was forged: it is taken like any other, and its rows
//! tell what is doubled.

use rookery_plugins::wire::Frame;
use std::collections::{HashMap, VecDeque};

/// A life's frames that are remembered.
const FRAMES_MAX: usize = 16;
/// Lives of a node that are remembered: those that sent last.
const LIVES_MAX: usize = 32;
/// A number that is so far above the last one is told in the log.
const JUMP_MIN: u64 = 1 << 20;
/// Bytes of a frame's number, checksum and length in the catalog.
const STORED_BYTES: usize = 16;

/// A frame: its number in a life of its sender, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameId {
    /// The life of its sender.
    pub boot: u64,
    /// Its number in it.
    pub sequence: u64,
    crc: u32,
    len: u32,
}

impl FrameId {
    /// Of this frame, which lies in these bytes.
    pub fn of(frame: &Frame<'_>, bytes: &[u8]) -> FrameId {
        // The checksum in its header, which was checked.
        let crc = bytes.get(4..8).map_or([0; 4], |b| [b[0], b[1], b[2], b[3]]);
        let (crc, len) = (u32::from_le_bytes(crc), bytes.len() as u32);
        FrameId { boot: frame.boot, sequence: frame.sequence, crc, len }
    }
}

/// How a frame's number stands to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As it should.
    Next,
    /// Far above this one; said once in a life.
    Jump(u64),
    /// Not above this one, although it is another frame; said once in a life.
    Back(u64),
}

/// One life of a sender.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) highest: u64,
    recent: VecDeque<(u64, u32, u32)>,
    /// When it was used last, by a count.
    used: u64,
    is_told: bool,
}

/// The lives of a node's senders.
#[derive(Debug, Default)]
pub(super) struct Lives {
    by_boot: HashMap<u64, Life>,
    n_used: u64,
}

impl Lives {
    /// Whether this very frame was taken.
    pub(super) fn has(&self, id: FrameId) -> bool {
        let frame = (id.sequence, id.crc, id.len);
        self.by_boot.get(&id.boot).is_some_and(|life| life.recent.contains(&frame))
    }

    /// Notes that this frame is taken.
    pub(super) fn note(&mut self, id: FrameId) -> Order {
        self.n_used += 1;
        let n_used = self.n_used;
        let life = self.by_boot.entry(id.boot).or_default();
        let is_first = life.highest == 0;
        let order = match id.sequence {
            _ if is_first => Order::Next,
            n if n <= life.highest => Order::Back(life.highest),
            n if n - life.highest >= JUMP_MIN => Order::Jump(life.highest),
            _ => Order::Next,
        };
        life.used = n_used;
        life.highest = life.highest.max(id.sequence);
        life.recent.push_back((id.sequence, id.crc, id.len));
        if life.recent.len() > FRAMES_MAX {
            life.recent.pop_front();
        }
        let is_told = order == Order::Next || std::mem::replace(&mut life.is_told, true);
        if self.by_boot.len() > LIVES_MAX {
            let oldest = self.by_boot.iter().min_by_key(|(_, l)| l.used).map(|(boot, _)| *boot);
            oldest.map(|boot| self.by_boot.remove(&boot));
        }
        if is_told { Order::Next } else { order }
    }

    /// Forgets that this frame was taken: its commit failed.
    pub(super) fn forget(&mut self, id: FrameId) {
        if let Some(life) = self.by_boot.get_mut(&id.boot) {
            life.recent.retain(|frame| *frame != (id.sequence, id.crc, id.len));
        }
    }

    /// All of them, with their frames as they are stored.
    pub(super) fn stored(&self) -> impl Iterator<Item = (u64, u64, Vec<u8>)> {
        self.by_boot.iter().map(|(boot, life)| {
            let mut bytes = Vec::with_capacity(life.recent.len() * STORED_BYTES);
            for (sequence, crc, len) in &life.recent {
                bytes.extend(sequence.to_le_bytes());
                bytes.extend(crc.to_le_bytes());
                bytes.extend(len.to_le_bytes());
            }
            (*boot, life.highest, bytes)
        })
    }

    /// Takes in a life as it was stored.
    pub(super) fn restore(&mut self, boot: u64, highest: u64, frames: &[u8]) {
        self.n_used += 1;
        let frames = frames.as_chunks::<STORED_BYTES>().0.iter().map(|b| {
            let (sequence, rest) = b.split_at(8);
            let (crc, len) = rest.split_at(4);
            let u32_of = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            let sequence = sequence.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
            (sequence, u32_of(crc), u32_of(len))
        });
        let recent = frames.collect();
        let life = Life { highest, recent, used: self.n_used, is_told: false };
        self.by_boot.insert(boot, life);
        if self.by_boot.len() > LIVES_MAX {
            let oldest = self.by_boot.iter().min_by_key(|(_, l)| l.used).map(|(boot, _)| *boot);
            oldest.map(|boot| self.by_boot.remove(&boot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(boot: u64, sequence: u64, crc: u32) -> FrameId {
        FrameId { boot, sequence, crc, len: 7 }
    }

    #[test]
    fn frames_are_told_apart_by_what_is_in_them() {
        let mut lives = Lives::default();
        assert_eq!(lives.note(id(1, 1, 10)), Order::Next);
        assert!(lives.has(id(1, 1, 10)) && !lives.has(id(1, 1, 11)) && !lives.has(id(2, 1, 10)));
        // Forged: far above; what the real one sends then is below, and is no doubled frame.
        assert_eq!(lives.note(id(1, 1 << 63, 666)), Order::Jump(1));
        assert!(!lives.has(id(1, 2, 20)));
        assert_eq!(lives.note(id(1, 2, 20)), Order::Next, "said once");
        let mut clone = Lives::default();
        clone.note(id(1, 5, 1));
        assert_eq!(clone.note(id(1, 5, 2)), Order::Back(5));
        lives.forget(id(1, 2, 20));
        assert!(!lives.has(id(1, 2, 20)));
    }

    #[test]
    fn many_lives_and_frames_do_not_grow_it() {
        let mut lives = Lives::default();
        for boot in 0..1000 {
            for sequence in 1..30 {
                lives.note(id(boot, sequence, 1));
            }
        }
        assert_eq!(lives.by_boot.len(), LIVES_MAX);
        let stored: Vec<_> = lives.stored().collect();
        assert!(stored.iter().all(|(_, highest, b)| (*highest, b.len()) == (29, 16 * 16)));
        let mut again = Lives::default();
        for (boot, highest, frames) in &stored {
            again.restore(*boot, *highest, frames);
        }
        assert!(again.has(id(999, 29, 1)) && !again.has(id(0, 29, 1)));
    }
}
