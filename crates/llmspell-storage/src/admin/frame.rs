//! Frames: the pieces in which bytes travel over the socket.
//!
//! ```text
//! byte 0          4
//!      │ length   │ JSON …        length: u32, little-endian, of the JSON alone; JSON: UTF-8
//! ```
//!
//! A frame that is longer than the reader allows is refused by its length, before its content is read. Memory grows with the
//! bytes that have arrived, not with the length that the other side claims.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

/// Most bytes that are read or written at once.
const CHUNK_BYTES: usize = 64 << 10;
const HEADER_BYTES: usize = 4;

/// Why a frame did not come, or could not be sent.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The other side closed the connection where a frame could have begun.
    Ended,
    /// The other side closed the connection within a frame.
    Cut,
    /// The frame is longer than allowed.
    TooLong { got: u64, limit: usize },
    /// The other side takes too long.
    TooSlow { after_ms: u64 },
    /// Frames of other connections take all the memory that there is for them.
    Busy,
    /// This side is closing.
    Stopped,
    /// The system failed.
    Io(io::Error),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("the connection was closed"),
            Self::Cut => f.write_str("the connection was closed in the middle of a frame"),
            Self::TooLong { got, limit } => write!(f, "a frame has {got} bytes; at most {limit} are allowed"),
            Self::TooSlow { after_ms } => write!(f, "the other side was silent or too slow for {after_ms} ms"),
            Self::Busy => f.write_str("other connections take all the memory for frames"),
            Self::Stopped => f.write_str("the call was given up"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

/// Is asked after each piece of a frame, and whenever the stream has waited for as long as its timeout: may it go on? Gets
/// the number of bytes of the piece, 0 after a wait.
pub(super) type Pace<'a> = dyn FnMut(usize) -> Result<(), FrameError> + 'a;

/// Reads the content of the next frame.
pub(super) fn read_frame(stream: &mut impl Read, limit: usize, pace: &mut Pace<'_>) -> Result<Vec<u8>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    let mut filled = 0;
    while filled < HEADER_BYTES {
        match read_some(stream, &mut header[filled..], pace)? {
            0 if filled == 0 => return Err(FrameError::Ended),
            0 => return Err(FrameError::Cut),
            count => filled += count,
        }
    }
    let len = u32::from_le_bytes(header);
    let len = match usize::try_from(len) {
        Ok(len) if len <= limit => len,
        _ => {
            return Err(FrameError::TooLong { got: len.into(), limit });
        }
    };
    let mut content = Vec::new();
    while content.len() < len {
        let before = content.len();
        content.resize((before + CHUNK_BYTES).min(len), 0);
        let count = read_some(stream, &mut content[before..], pace)?;
        content.truncate(before + count);
        if count == 0 {
            return Err(FrameError::Cut);
        }
    }
    Ok(content)
}

/// Writes a frame.
pub(super) fn write_frame(
    stream: &mut impl Write,
    content: &[u8],
    limit: usize,
    pace: &mut Pace<'_>,
) -> Result<(), FrameError> {
    let len = match u32::try_from(content.len()) {
        Ok(len) if content.len() <= limit => len,
        _ => {
            return Err(FrameError::TooLong {
                got: content.len() as u64,
                limit,
            });
        }
    };
    for mut rest in [&len.to_le_bytes()[..], content] {
        while !rest.is_empty() {
            let piece = &rest[..rest.len().min(CHUNK_BYTES)];
            match stream.write(piece) {
                Ok(0) => return Err(FrameError::Cut),
                Ok(count) => {
                    rest = &rest[count..];
                    pace(count)?;
                }
                Err(error) => wait_or_fail(error, pace)?,
            }
        }
    }
    Ok(())
}

/// Reads at least one byte; 0 at the end.
fn read_some(stream: &mut impl Read, buffer: &mut [u8], pace: &mut Pace<'_>) -> Result<usize, FrameError> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Ok(0),
            Ok(count) => {
                pace(count)?;
                return Ok(count);
            }
            Err(error) => wait_or_fail(error, pace)?,
        }
    }
}

fn wait_or_fail(error: io::Error, pace: &mut Pace<'_>) -> Result<(), FrameError> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        // What a socket says when its timeout is over.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => pace(0),
        _ => Err(FrameError::Io(error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Gives its bytes in pieces of the given sizes, then one by one, and says now and then that it has to wait.
    struct Pieces<'a> {
        bytes: &'a [u8],
        sizes: std::vec::IntoIter<usize>,
    }

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = match self.sizes.next() {
                Some(0) => return Err(ErrorKind::WouldBlock.into()),
                Some(size) => size,
                None => 1,
            };
            let count = size.min(buffer.len()).min(self.bytes.len());
            buffer[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes = &self.bytes[count..];
            Ok(count)
        }
    }

    fn frame(content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, content, usize::MAX, &mut |_| Ok(())).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn a_frame_is_read_as_it_was_written_however_it_is_cut_into_pieces(
            content in vec(any::<u8>(), 0..300),
            sizes in vec(0..50_usize, 0..40),
        ) {
            let bytes = frame(&content);
            let mut pieces = Pieces { bytes: &bytes, sizes: sizes.into_iter() };
            let mut seen = 0;
            let read = read_frame(&mut pieces, 300, &mut |count| { seen += count; Ok(()) }).unwrap();
            prop_assert_eq!(&read, &content);
            prop_assert_eq!(seen, bytes.len());
        }

        #[test]
        fn any_bytes_are_a_frame_within_the_limit_or_an_error(
            bytes in vec(any::<u8>(), 0..400),
            limit in 0..300_usize,
        ) {
            let claimed = bytes.first_chunk::<4>().map(|header| u32::from_le_bytes(*header) as usize);
            match (claimed, read_frame(&mut &*bytes, limit, &mut |_| Ok(()))) {
                (None, Err(FrameError::Ended)) => prop_assert!(bytes.is_empty()),
                (None, read) => prop_assert!(matches!(read, Err(FrameError::Cut)), "{read:?}"),
                (Some(len), read) if len > limit => prop_assert!(matches!(read, Err(FrameError::TooLong { .. })), "{read:?}"),
                (Some(len), Ok(content)) => prop_assert_eq!(&content[..], &bytes[4..4 + len]),
                (Some(len), read) => {
                    prop_assert!(matches!(read, Err(FrameError::Cut)), "{read:?}");
                    prop_assert!(bytes.len() < 4 + len);
                }
            }
        }

        #[test]
        fn a_short_frame_of_any_claimed_length_within_the_limit_takes_little_memory(len in 0..=u32::MAX) {
            // If the claimed length were allocated first, most of these runs would need gigabytes.
            let read = read_frame(&mut &len.to_le_bytes()[..], usize::MAX, &mut |_| Ok(()));
            let is_right = match len { 0 => read.is_ok(), _ => matches!(read, Err(FrameError::Cut)) };
            prop_assert!(is_right);
        }
    }

    #[test]
    fn the_bytes_of_a_frame_never_change() {
        assert_eq!(frame(b"{}"), [2, 0, 0, 0, b'{', b'}']);
    }

    #[test]
    fn reading_stops_when_the_pace_says_so() {
        let bytes = frame(&[7; 100]);
        let mut pieces = Pieces {
            bytes: &bytes,
            sizes: vec![10, 0, 10].into_iter(),
        };
        let mut waits = 0;
        let read = read_frame(&mut pieces, 100, &mut |count| match count {
            0 => {
                waits += 1;
                Err(FrameError::TooSlow { after_ms: 5 })
            }
            _ => Ok(()),
        });
        assert!(matches!(read, Err(FrameError::TooSlow { after_ms: 5 })), "{read:?}");
        assert_eq!(waits, 1);
    }

    #[test]
    fn a_frame_that_is_too_long_is_not_sent() {
        let mut sent = Vec::new();
        let written = write_frame(&mut sent, &[0; 11], 10, &mut |_| Ok(()));
        assert!(matches!(written, Err(FrameError::TooLong { got: 11, limit: 10 })));
        assert!(sent.is_empty());
    }
}
