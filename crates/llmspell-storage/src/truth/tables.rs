//! The tables of the truth: everything but the vectors.
//!
//! | table         | key                          | value                                             |
//! |---------------|------------------------------|---------------------------------------------------|
//! | `meta`        | name                         | `head`: see [`Head`]; `clock`: see [`ClockRow`]; `survey`: see [`SurveyRow`]; `id`: sealed, 16 bytes that tell this database from others |
//! | `spaces`      | space id                     | sealed JSON: see [`SpaceRecord`](super::SpaceRecord) |
//! | `slot_ends`   | space id                     | one past the last slot ever used                  |
//! | `free_slots`  | space id, first slot         | length of a free run of slots                     |
//! | `scopes`      | space id, bytes of the scope | scope id                                          |
//! | `scope_names` | scope id                     | sealed: space id u32, bytes of the scope; until it is purged |
//! | `dropped`     | scope id                     | space id: the rows of the scope are to be purged  |
//! | `ids`         | scope id, id                 | point                                             |
//! | `entries`     | scope id, point              | record: see `base/record.rs`                           |
//! | `texts`       | scope id, point              | text of the entry, or its terms: see `base/stored_text.rs` |
//! | `expiring`    | `expires_at`, scope id, point | space id                                          |
//! | `log`         | scope id, Lsn                | op: see `base/op.rs`                                   |
//! | `checkpoints` | scope id                     | state: see `namespace/checkpoint.rs`              |
//! | `index_files` | scope id, number of a kind   | file of an index: see `indexes/named.rs`          |
//! | `indexes`     | scope id                     | file of a graph, as earlier builds named it: see `indexes/files/layout.rs` |
//! | `kv`          | scope id, key                | value: see `base/stored_value.rs`; scope id 0 is everybody's |
//! | `expiring_keys` | `expires_at`, scope id, key | empty                                            |
//! | `quotas`      | bytes of the scope           | quota and its usage: see `quota.rs`               |
//! | `staged`      | scope id, first point        | entries that do not live yet: see `staged.rs`     |
//!
//! The last row of `log` of a scope is kept even after a checkpoint that includes it: it holds the scope's last Lsn.
//! Keys are ordered by their numbers, then by bytes, so related rows are neighbors.

use llmspell_core::StateScope;
use redb::TableDefinition;

use super::raw::AnyTable;
use crate::base::ids::{Lsn, ScopeId, SpaceId};
use llmspell_codec::{Malformed, Reader, Writer, seal, unseal};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const SPACES: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("spaces");
pub(super) const SLOT_ENDS: TableDefinition<'_, u32, u64> = TableDefinition::new("slot_ends");
pub(super) const FREE_SLOTS: TableDefinition<'_, (u32, u64), u32> = TableDefinition::new("free_slots");
pub(super) const SCOPES: TableDefinition<'_, (u32, &[u8]), u64> = TableDefinition::new("scopes");
pub(super) const SCOPE_NAMES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("scope_names");
pub(super) const DROPPED: TableDefinition<'_, u64, u32> = TableDefinition::new("dropped");
pub(super) const IDS: TableDefinition<'_, (u64, &[u8]), u32> = TableDefinition::new("ids");
pub(super) const ENTRIES: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("entries");
pub(super) const TEXTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("texts");
pub(super) const EXPIRING: TableDefinition<'_, (i64, u64, u32), u32> = TableDefinition::new("expiring");
pub(super) const LOG: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("log");
pub(super) const CHECKPOINTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("checkpoints");
pub(super) const INDEX_FILES: TableDefinition<'_, (u64, u8), &[u8]> = TableDefinition::new("index_files");
pub(super) const INDEXES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("indexes");
pub(super) const KV: TableDefinition<'_, (u64, &[u8]), &[u8]> = TableDefinition::new("kv");
pub(super) const EXPIRING_KEYS: TableDefinition<'_, (i64, u64, &[u8]), ()> = TableDefinition::new("expiring_keys");
pub(super) const QUOTAS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("quotas");
pub(super) const STAGED: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("staged");

/// All tables. Each is created with the file, verified, copied by a backup and looked at by a check.
pub(super) const ALL: [&dyn AnyTable; 19] = [
    &META,
    &SPACES,
    &SLOT_ENDS,
    &FREE_SLOTS,
    &SCOPES,
    &SCOPE_NAMES,
    &DROPPED,
    &IDS,
    &ENTRIES,
    &TEXTS,
    &EXPIRING,
    &LOG,
    &CHECKPOINTS,
    &INDEX_FILES,
    &INDEXES,
    &KV,
    &EXPIRING_KEYS,
    &QUOTAS,
    &STAGED,
];

/// Of these, the ones that databases of earlier builds get when they first need them.
pub(super) const LATER: [&str; 5] = ["texts", "index_files", "expiring_keys", "quotas", "staged"];

pub(super) const HEAD: &str = "head";
pub(super) const ID: &str = "id";
pub(super) const CLOCK: &str = "clock";
pub(super) const SURVEY: &str = "survey";

/// The numbers that the next mutation starts from.
///
/// `{checksum u32, next_scope_id u64, next_space_id u32, lsn u64, clock_ms i64}`. The clock is the latest confirmed
/// time of a mutation; the database's time never goes back before it, so expired entries stay expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) next_scope_id: u64,
    pub(crate) next_space_id: u32,
    pub(crate) lsn: Lsn,
    pub(crate) clock_ms: i64,
}

impl Head {
    /// Of a database without anything in it. Scope 0 and space 0 are the key-value data.
    pub(super) const NEW: Self = Self {
        next_scope_id: 1,
        next_space_id: super::FIRST_SPACE.0,
        lsn: Lsn(0),
        clock_ms: i64::MIN,
    };

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        body.u64(self.next_scope_id)
            .u32(self.next_space_id)
            .u64(self.lsn.0)
            .i64(self.clock_ms);
        seal(HEAD.as_bytes(), &body.finish())
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(unseal(HEAD.as_bytes(), bytes)?);
        let head = Self {
            next_scope_id: body.u64()?,
            next_space_id: body.u32()?,
            lsn: Lsn(body.u64()?),
            clock_ms: body.i64()?,
        };
        body.end()?;
        Ok(head)
    }
}

/// How the clock of the system and that of the machine go together, as last seen.
///
/// `{checksum u32, boot_id 16 bytes, offset i64}`, and where the system's is ahead without being confirmed also `{offset
/// i64, since i64, wall i64}`. All times in milliseconds. A row that is missing says that nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockRow {
    /// Which start of the machine; zero if that was not known.
    pub(crate) boot_id: [u8; 16],
    /// Confirmed time when the machine was started, since 1970.
    pub(crate) offset: i64,
    pub(crate) jump: Option<ClockJump>,
}

/// A jump of the clock that is not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockJump {
    /// What the system says minus the time since the start of the machine.
    pub(crate) offset: i64,
    /// Time since that start when it was first seen.
    pub(crate) since: i64,
    /// What the system said then, since 1970.
    pub(crate) wall: i64,
}

impl ClockRow {
    /// As the bytes of a row that is stored at `place`.
    pub(crate) fn encode(&self, place: &[u8]) -> Vec<u8> {
        let mut body = Writer::default();
        body.bytes(&self.boot_id).i64(self.offset);
        if let Some(jump) = self.jump {
            body.i64(jump.offset).i64(jump.since).i64(jump.wall);
        }
        seal(place, &body.finish())
    }

    /// Reads what [`encode`](Self::encode) made for that place.
    pub(crate) fn decode(place: &[u8], bytes: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(unseal(place, bytes)?);
        let mut boot_id = [0; 16];
        for half in boot_id.as_chunks_mut::<8>().0 {
            *half = body.u64()?.to_le_bytes();
        }
        let offset = body.i64()?;
        let jump = match body.rest() {
            [] => None,
            rest => {
                let mut body = Reader::new(rest);
                let jump = ClockJump {
                    offset: body.i64()?,
                    since: body.i64()?,
                    wall: body.i64()?,
                };
                body.end()?;
                Some(jump)
            }
        };
        Ok(Self { boot_id, offset, jump })
    }
}

/// Which scopes may be without entries, or have slots to give back.
///
/// `{checksum u32, lsn u64, scope ids u64 …}`: as of that mutation, these and no others. A row that is missing, or of another
/// mutation than the last, says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SurveyRow {
    pub(crate) lsn: Lsn,
    pub(crate) scopes: Vec<ScopeId>,
}

impl SurveyRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        body.u64(self.lsn.0);
        for scope in &self.scopes {
            body.u64(scope.0);
        }
        seal(SURVEY.as_bytes(), &body.finish())
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut body = Reader::new(unseal(SURVEY.as_bytes(), bytes)?);
        let lsn = Lsn(body.u64()?);
        let (scopes, rest) = body.rest().as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Malformed("it ends early"));
        }
        let scopes = scopes.iter().map(|scope| ScopeId(u64::from_le_bytes(*scope)));
        Ok(Self {
            lsn,
            scopes: scopes.collect(),
        })
    }
}

/// The row that tells a database from others.
pub(super) fn encode_id(id: &[u8; 16]) -> Vec<u8> {
    seal(ID.as_bytes(), id)
}

/// Reads what [`encode_id`] wrote.
pub(super) fn decode_id(bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    let id = unseal(ID.as_bytes(), bytes)?;
    id.try_into().map_err(|_| Malformed("it has another length"))
}

/// What `scope_names` says of a scope.
pub(super) fn encode_scope_name(id: ScopeId, space: SpaceId, scope: &StateScope) -> Vec<u8> {
    let mut body = Writer::default();
    body.u32(space.0).bytes(&scope.to_bytes());
    seal(&id.0.to_le_bytes(), &body.finish())
}

/// Reads what [`encode_scope_name`] wrote.
pub(super) fn decode_scope_name(id: ScopeId, bytes: &[u8]) -> Result<(SpaceId, StateScope), Malformed> {
    let mut body = Reader::new(unseal(&id.0.to_le_bytes(), bytes)?);
    let space = SpaceId(body.u32()?);
    let scope = StateScope::from_bytes(body.rest()).map_err(|_| Malformed("it holds no scope"))?;
    Ok((space, scope))
}

/// The place of a key-value pair, for its checksum.
pub(super) fn kv_place(scope: u64, key: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(8 + key.len());
    place.extend_from_slice(&scope.to_le_bytes());
    place.extend_from_slice(key);
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_survey_never_change() {
        let row = SurveyRow {
            lsn: Lsn(258),
            scopes: vec![ScopeId(7), ScopeId(1 << 40)],
        };
        let body = [2, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(row.encode(), seal(b"survey", &body));
        assert_eq!(SurveyRow::decode(&row.encode()).unwrap(), row);
        assert!(SurveyRow::decode(&seal(b"survey", &body[..23])).is_err());
    }

    #[test]
    fn the_bytes_of_the_clock_never_change() {
        let mut row = ClockRow {
            boot_id: [7; 16],
            offset: 2,
            jump: None,
        };
        let mut body = vec![7; 16];
        body.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(row.encode(b"clock"), seal(b"clock", &body));
        assert_eq!(ClockRow::decode(b"clock", &row.encode(b"clock")).unwrap(), row);
        row.jump = Some(ClockJump {
            offset: -1,
            since: 3,
            wall: 4,
        });
        body.extend_from_slice(&[0xff; 8]);
        body.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(row.encode(b"clock"), seal(b"clock", &body));
        assert_eq!(ClockRow::decode(b"clock", &row.encode(b"clock")).unwrap(), row);
        for len in 0..row.encode(b"clock").len() {
            assert!(
                ClockRow::decode(b"clock", &row.encode(b"clock")[..len]).is_err(),
                "cut to {len} bytes"
            );
        }
    }
}
