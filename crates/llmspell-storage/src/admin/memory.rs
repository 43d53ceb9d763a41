//! The memory that the frames of all connections of a server may take together.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::frame::FrameError;

/// Bytes that are in use, and their limit.
#[derive(Debug)]
pub(super) struct Memory {
    used: AtomicU64,
    max: u64,
}

/// Bytes of one frame; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    pub(super) fn new(max: u64) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            max,
        })
    }

    pub(super) fn hold(self: &Arc<Self>) -> Held {
        Held {
            memory: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl Held {
    /// Adds bytes; an error if there is no room for them.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), FrameError> {
        let bytes = bytes as u64;
        let before = self.memory.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > self.memory.max {
            return Err(FrameError::Busy);
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A frame that is written into memory, within a limit.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    held: Held,
    limit: usize,
    /// Why it took no more.
    full: Option<FrameError>,
}

impl Buffer {
    pub(super) fn new(held: Held, limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            held,
            limit,
            full: None,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Why it took no more, if it was full.
    pub(super) fn take_full(&mut self) -> Option<FrameError> {
        self.full.take()
    }
}

impl Write for Buffer {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        let got = self.bytes.len() + more.len();
        let room = match got <= self.limit {
            true => self.held.add(more.len()),
            false => Err(FrameError::TooLong {
                got: got as u64,
                limit: self.limit,
            }),
        };
        if let Err(full) = room {
            self.full = Some(full);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_share_their_memory_and_give_it_back() {
        let memory = Memory::new(100);
        let (mut one, mut other) = (memory.hold(), memory.hold());
        one.add(60).unwrap();
        assert!(matches!(other.add(60), Err(FrameError::Busy)));
        drop(other);
        let mut other = memory.hold();
        other.add(40).unwrap();
        drop((one, other));
        memory.hold().add(100).unwrap();
    }

    #[test]
    fn a_buffer_takes_no_more_than_its_limit() {
        let mut buffer = Buffer::new(Memory::new(1_000).hold(), 10);
        buffer.write_all(b"0123456789").unwrap();
        buffer.write_all(b"x").unwrap_err();
        assert!(matches!(
            buffer.take_full(),
            Some(FrameError::TooLong { got: 11, limit: 10 })
        ));
    }
}
