//! The stored form of one entry without its vector: the value of a row in table `entries`.
//!
//! ```text
//! byte 0        4       5     6      8          12         20         28
//!      │checksum│version│flags│id_len│generation│created_at│updated_at│[event_time]│[expires_at]│[text_len]│[sparse_len]│ id … │ metadata …
//!      │ u32    │ u8    │ u8  │ u16  │ u32      │ i64      │ i64      │ i64        │ i64        │ u32      │ u32        │ id_len bytes
//! ```
//!
//! * `checksum`: CRC-32C of the key of the row (scope id, point) and every byte after it. A record that turns up under
//!   another scope or point fails it, and is never handed out.
//! * `flags`: bit 0, there is an event time; bit 1, the entry expires; bit 2, its text is in the table `texts`, with
//!   `text_len` bytes; bit 3, only the terms of its text are there; bit 4, it has no vector; bit 5, its
//!   sparse vectors are in that table, too, and count `sparse_len` bytes. The others are zero and refused when set.
//! * `generation`: that of the slot which holds the vector; 0 without one.
//! * times: milliseconds since 1970.
//! * `metadata`: a JSON object, compact, to the end of the record.
//!
//! v1 (0.1.0): as above.

use llmspell_core::{EntryTimes, Metadata, Timestamp};

use crate::base::ids::{Generation, PointId, ScopeId, place};
use crate::base::stored_text::{OwnText, StoredText};
use llmspell_codec::{Malformed, Reader, Writer, seal, unseal};

const VERSION: u8 = 1;
const FLAG_EVENT: u8 = 1;
const FLAG_EXPIRES: u8 = 2;
const FLAG_TEXT: u8 = 4;
const FLAG_TERMS: u8 = 8;
const FLAG_NO_VECTOR: u8 = 16;
const FLAG_SPARSE: u8 = 32;
const FLAGS: u8 = FLAG_EVENT | FLAG_EXPIRES | FLAG_TEXT | FLAG_TERMS | FLAG_NO_VECTOR | FLAG_SPARSE;
const FIXED_BYTES: usize = 24;

/// An entry without its vector and scope.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// Of the slot of its vector; none if it has no vector.
    pub(crate) generation: Option<Generation>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) event_time: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) text: TextMark,
    pub(crate) id: String,
    /// JSON object.
    pub(crate) metadata: Vec<u8>,
}

/// How an entry counts in a quota.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntrySize {
    /// Of its metadata, of its text, if that is kept, and of its sparse vectors.
    pub(crate) bytes: usize,
    pub(crate) has_vector: bool,
}

/// What the table `texts` has of an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TextMark {
    pub(crate) own: OwnMark,
    /// Bytes of its sparse vectors, as they count; none if it has none.
    pub(crate) sparse: Option<u32>,
}

/// What that table has of its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OwnMark {
    #[default]
    Nothing,
    /// The text, of this many bytes.
    Kept(u32),
    /// Its terms.
    Terms,
}

impl TextMark {
    pub(crate) fn of(text: Option<&StoredText>) -> Self {
        let length = |len: usize| u32::try_from(len).expect("validate bounds texts and sparse vectors");
        let own = match text.and_then(|text| text.own.as_ref()) {
            None => OwnMark::Nothing,
            Some(OwnText::Text(text)) => OwnMark::Kept(length(text.len())),
            Some(OwnText::Terms(_)) => OwnMark::Terms,
        };
        let with_sparse = text.filter(|text| !text.sparse.is_empty());
        Self {
            own,
            sparse: with_sparse.map(|text| length(text.sparse_bytes())),
        }
    }

    /// Whether the table has nothing of it.
    pub(crate) fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// Whether the table has what is returned with an entry: its text or sparse vectors.
    pub(crate) fn is_returned(self) -> bool {
        self.sparse.is_some() || matches!(self.own, OwnMark::Kept(_))
    }

    /// Bytes of the text that is kept, and of sparse vectors.
    pub(crate) fn bytes(self) -> usize {
        let own = match self.own {
            OwnMark::Kept(len) => len as usize,
            OwnMark::Nothing | OwnMark::Terms => 0,
        };
        own + self.sparse.unwrap_or(0) as usize
    }
}

impl Record {
    /// The bytes of the row for `point` of `scope`.
    pub(crate) fn encode(&self, scope: ScopeId, point: PointId) -> Vec<u8> {
        let id_len = u16::try_from(self.id.len()).expect("validate bounds the id");
        let mut flags = 0;
        if self.event_time.is_some() {
            flags |= FLAG_EVENT;
        }
        if self.expires_at.is_some() {
            flags |= FLAG_EXPIRES;
        }
        if self.generation.is_none() {
            flags |= FLAG_NO_VECTOR;
        }
        flags |= match self.text.own {
            OwnMark::Nothing => 0,
            OwnMark::Kept(_) => FLAG_TEXT,
            OwnMark::Terms => FLAG_TERMS,
        };
        if self.text.sparse.is_some() {
            flags |= FLAG_SPARSE;
        }
        let mut body = Writer::with_capacity(FIXED_BYTES + 20 + self.id.len() + self.metadata.len());
        let generation = self.generation.map_or(0, |generation| generation.0);
        body.u8(VERSION).u8(flags).u16(id_len).u32(generation);
        body.i64(self.created_at.as_millis()).i64(self.updated_at.as_millis());
        for time in [self.event_time, self.expires_at].into_iter().flatten() {
            body.i64(time.as_millis());
        }
        if let OwnMark::Kept(len) = self.text.own {
            body.u32(len);
        }
        if let Some(len) = self.text.sparse {
            body.u32(len);
        }
        body.bytes(self.id.as_bytes()).bytes(&self.metadata);
        seal(&place(scope, point), &body.finish())
    }

    /// Reads what [`encode`](Self::encode) wrote for the same point of the same scope.
    pub(crate) fn decode(scope: ScopeId, point: PointId, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(unseal(&place(scope, point), bytes)?);
        if body.u8()? != VERSION {
            return Err(Malformed("its version is unknown"));
        }
        let flags = body.u8()?;
        if flags & !FLAGS != 0 {
            return Err(Malformed("it has unknown flags"));
        }
        let id_len = body.u16()?;
        let generation = Some(Generation(body.u32()?)).filter(|_| flags & FLAG_NO_VECTOR == 0);
        let created_at = Timestamp::from_millis(body.i64()?);
        let updated_at = Timestamp::from_millis(body.i64()?);
        let mut optional = |flag| {
            if flags & flag == 0 {
                Ok(None)
            } else {
                body.i64().map(|time| Some(Timestamp::from_millis(time)))
            }
        };
        let event_time = optional(FLAG_EVENT)?;
        let expires_at = optional(FLAG_EXPIRES)?;
        let own = match flags & (FLAG_TEXT | FLAG_TERMS) {
            0 => OwnMark::Nothing,
            FLAG_TEXT => OwnMark::Kept(body.u32()?),
            FLAG_TERMS => OwnMark::Terms,
            _ => return Err(Malformed("it has its text and only its terms")),
        };
        let has_sparse = flags & FLAG_SPARSE != 0;
        let sparse = has_sparse.then(|| body.u32()).transpose()?;
        let text = TextMark { own, sparse };
        let id = std::str::from_utf8(body.bytes(id_len.into())?).map_err(|_| Malformed("its id is not UTF-8"))?;
        Ok(Self {
            generation,
            created_at,
            updated_at,
            event_time,
            expires_at,
            text,
            id: id.to_string(),
            metadata: body.rest().to_vec(),
        })
    }

    /// The metadata as an object.
    pub(crate) fn metadata(&self) -> Result<Metadata, Malformed> {
        serde_json::from_slice(&self.metadata).map_err(|_| Malformed("its metadata is no JSON object"))
    }

    /// Bytes that count in a quota: of its metadata, of its text, if that is kept, and of its sparse vectors.
    pub(crate) fn counted_bytes(&self) -> usize {
        self.metadata.len() + self.text.bytes()
    }

    /// How it counts in a quota.
    pub(crate) fn size(&self) -> EntrySize {
        EntrySize {
            bytes: self.counted_bytes(),
            has_vector: self.generation.is_some(),
        }
    }

    /// The times that filters and ages look at.
    pub(crate) fn times(&self) -> EntryTimes {
        EntryTimes {
            event_time: self.event_time,
            created_at: Some(self.created_at),
            updated_at: Some(self.updated_at),
        }
    }

    /// Whether the entry does not exist any more at `now`.
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|moment| moment <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            generation: Some(Generation(3)),
            created_at: Timestamp::from_millis(1),
            updated_at: Timestamp::from_millis(2),
            event_time: None,
            expires_at: Some(Timestamp::from_millis(5)),
            text: TextMark::default(),
            id: "a".to_string(),
            metadata: b"{}".to_vec(),
        }
    }

    #[test]
    fn the_bytes_of_a_record_never_change() {
        #[rustfmt::skip]
        let body = [
            1, 2, 1, 0,                 // version, flags, id_len
            3, 0, 0, 0,                 // generation
            1, 0, 0, 0, 0, 0, 0, 0,     // created_at
            2, 0, 0, 0, 0, 0, 0, 0,     // updated_at
            5, 0, 0, 0, 0, 0, 0, 0,     // expires_at
            b'a', b'{', b'}',
        ];
        let bytes = record().encode(ScopeId(7), PointId(9));
        assert_eq!(bytes[4..], body);
        let mut keyed = vec![7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0];
        keyed.extend_from_slice(&body);
        assert_eq!(bytes[..4], crc32c::crc32c(&keyed).to_le_bytes());
    }

    #[test]
    fn the_bytes_of_a_record_with_a_text_never_change() {
        let of = |own, sparse| {
            let text = TextMark { own, sparse };
            let bytes = Record { text, ..record() }.encode(ScopeId(7), PointId(9));
            assert_eq!(Record::decode(ScopeId(7), PointId(9), &bytes).unwrap().text, text);
            bytes
        };
        let plain = of(OwnMark::Nothing, None);
        let kept = of(OwnMark::Kept(258), None);
        assert_eq!(
            (kept[5], &kept[36..40], &kept[40..]),
            (6, &[2, 1, 0, 0][..], &plain[36..])
        );
        let terms = of(OwnMark::Terms, None);
        assert_eq!((terms[5], &terms[6..]), (10, &plain[6..]));
        let sparse = of(OwnMark::Terms, Some(16));
        assert_eq!(
            (sparse[5], &sparse[36..40], &sparse[40..]),
            (42, &[16, 0, 0, 0][..], &plain[36..])
        );
        let both = of(OwnMark::Kept(1), Some(2));
        assert_eq!((both[5], &both[36..44]), (38, &[1, 0, 0, 0, 2, 0, 0, 0][..]));
        let bare = Record {
            generation: None,
            ..record()
        };
        let bytes = bare.encode(ScopeId(7), PointId(9));
        assert_eq!((bytes[5], &bytes[8..12]), (18, &[0; 4][..]));
        assert_eq!(Record::decode(ScopeId(7), PointId(9), &bytes), Ok(bare));
        let mut both = plain[4..].to_vec();
        both[1] |= FLAG_TEXT | FLAG_TERMS;
        assert!(Record::decode(ScopeId(7), PointId(9), &seal(&place(ScopeId(7), PointId(9)), &both)).is_err());
    }

    #[test]
    fn a_record_reads_back_in_its_place_and_nowhere_else() {
        let bytes = record().encode(ScopeId(7), PointId(9));
        assert_eq!(Record::decode(ScopeId(7), PointId(9), &bytes), Ok(record()));
        assert!(Record::decode(ScopeId(8), PointId(9), &bytes).is_err());
        assert!(Record::decode(ScopeId(7), PointId(8), &bytes).is_err());
        for len in 0..bytes.len() {
            assert!(Record::decode(ScopeId(7), PointId(9), &bytes[..len]).is_err());
        }
    }

    #[test]
    fn an_entry_ends_at_the_moment_it_expires() {
        assert!(!record().is_expired(Timestamp::from_millis(4)));
        assert!(record().is_expired(Timestamp::from_millis(5)));
    }
}
