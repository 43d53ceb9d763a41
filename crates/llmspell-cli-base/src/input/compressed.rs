//! Files that are compressed, or begin with a byte-order mark: what is read is what they hold.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What the bytes stand for, and whether they were compressed.
pub(super) fn plain(reader: Box<dyn Read>) -> io::Result<(Box<dyn Read>, bool)> {
    let (begin, reader) = peeked(reader)?;
    let unpacked: Box<dyn Read> = if begin.starts_with(GZIP) {
        Box::new(MultiGzDecoder::new(reader))
    } else if begin.starts_with(ZSTD) {
        Box::new(ZstdFrames::new(reader))
    } else {
        return Ok((without_mark(&begin, reader)?, false));
    };
    let (begin, unpacked) = peeked(unpacked)?;
    Ok((without_mark(&begin, unpacked)?, true))
}

/// The name without the ending that says how the file is compressed.
#[must_use]
pub fn plain_name(name: &str) -> &str {
    let ending = [".gz", ".zst"].into_iter().find_map(|ending| name.strip_suffix(ending));
    ending.unwrap_or(name)
}

/// Bytes that are looked at, if one reading gives them.
const PEEKED_BYTES: usize = 64;

/// The first bytes, at least as many as tell what they are, and a reader that has them still. A pipe is not waited for longer.
fn peeked(mut reader: Box<dyn Read>) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let mut begin = vec![0; PEEKED_BYTES];
    let mut count = 0;
    while count < ZSTD.len() {
        match reader.read(&mut begin[count..]) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    begin.truncate(count);
    let whole = Cursor::new(begin.clone()).chain(reader);
    Ok((begin, Box::new(whole)))
}

fn without_mark(begin: &[u8], mut reader: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    if begin.starts_with(BYTE_ORDER_MARK) {
        reader.read_exact(&mut [0; BYTE_ORDER_MARK.len()])?;
    }
    Ok(reader)
}

/// The frames of a Zstandard file, one after the other.
struct ZstdFrames {
    packed: BufReader<Box<dyn Read>>,
    decoder: FrameDecoder,
    /// Whether the decoder is within a frame.
    has_frame: bool,
}

impl ZstdFrames {
    fn new(reader: Box<dyn Read>) -> Self {
        Self {
            packed: BufReader::new(reader),
            decoder: FrameDecoder::new(),
            has_frame: false,
        }
    }

    /// Begins the next frame, or passes over one that is to be skipped; false at the end of the file.
    fn begin_frame(&mut self) -> io::Result<bool> {
        if self.packed.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.decoder.init(&mut self.packed) {
            Ok(()) => self.has_frame = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                io::copy(&mut (&mut self.packed).take(u64::from(length)), &mut io::sink())?;
            }
            Err(error) => return Err(io::Error::other(error)),
        }
        Ok(true)
    }

    fn read_frame(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() < bytes.len() && !self.decoder.is_finished() {
            let blocks = BlockDecodingStrategy::UptoBytes(bytes.len() - self.decoder.can_collect());
            self.decoder
                .decode_blocks(&mut self.packed, blocks)
                .map_err(io::Error::other)?;
        }
        self.decoder.read(bytes)
    }
}

impl Read for ZstdFrames {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.has_frame {
                let count = self.read_frame(bytes)?;
                if count > 0 || bytes.is_empty() {
                    return Ok(count);
                }
                self.has_frame = false;
            }
            if !self.begin_frame()? {
                return Ok(0);
            }
        }
    }
}
