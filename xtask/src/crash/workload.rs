//! The operations of a writer, and the names that they use.
//!
//! Every writer has keys, scopes and ids that only it touches, so the expected content does not depend on the order of
//! the writers; because they write at the same time, they share commits. Names are few, so that they are used again and
//! again. One scope is shared by all, with ids of each.

use clap::ValueEnum;
use llmspell_storage::StateScope;

use super::content::{TAGS, Value};
use super::operation::{EntriesKind, KeyChange, Life, NewEntry, Operation, now};
use llmspell_testkit::Random;

/// Names and dimensions of the spaces; the first compares by Euclidean distance, the second by cosine.
pub(super) const SPACES: [(&str, usize); 2] = [("small", 16), ("large", 96)];
pub(super) const WRITERS: usize = 4;
/// This writer has a space of its own, which it may drop.
const LONE_WRITER: usize = 1;

const KEY_GROUPS: usize = 4;
const KEYS_PER_GROUP: usize = 16;
const IDS: usize = 120;
const MORTAL_IDS: usize = 12;
const MORTAL_KEYS: usize = 12;
/// Less than a scope comes to hold, so that quotas refuse some writes.
const QUOTA_END: u64 = 150;

/// The kind of store that is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Subject {
    /// Key-value data on redb.
    Redb,
    /// Key-value data on sled.
    Sled,
    /// Two vector spaces and key-value data in one database.
    Vectors,
    /// A router of three models, one of which is migrated all the time.
    Router,
}

impl Subject {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::Sled => "sled",
            Self::Vectors => "vectors",
            Self::Router => "router",
        }
    }
}

/// The data that a writer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Keys,
    Space(usize),
}

/// The writer of some data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Writer(usize),
    /// The shared scope; its entries belong to the writer in their id.
    All,
    Nobody,
}

/// The owner of a key or an id.
pub(super) fn owner(name: &str) -> Owner {
    let number = name.split(['/', ':']).next().and_then(|first| first.parse().ok());
    number
        .filter(|writer| *writer < WRITERS)
        .map_or(Owner::Nobody, Owner::Writer)
}

/// Whether a key is one of those that expire. Deletions by prefix never match them, so they do not count.
pub(super) fn is_mortal(key: &str) -> bool {
    key.split('/').nth(1).is_some_and(|rest| rest.starts_with("mortal-"))
}

/// The owner of a scope.
pub(super) fn scope_owner(scope: &StateScope) -> Owner {
    scope.id().map_or(Owner::All, owner)
}

/// The scopes that only one writer writes to.
pub(super) fn private_scopes(writer: usize) -> [StateScope; 3] {
    [
        StateScope::Custom(format!("{writer}/tenant: %\u{1f980}")),
        StateScope::User(format!("{writer}/a")),
        // Differs from the scope before it by its kind only.
        StateScope::Session(format!("{writer}/a")),
    ]
}

/// A scope that no writer writes to.
fn nobodys_scope(writer: usize) -> StateScope {
    StateScope::Tool(format!("{writer}/never written"))
}

/// The space that a writer writes to; none if it writes keys.
pub(super) fn space_of(subject: Subject, writer: usize) -> Option<usize> {
    match (subject, writer) {
        (Subject::Redb | Subject::Sled, _) | (Subject::Vectors | Subject::Router, 0) => None,
        (Subject::Vectors, LONE_WRITER) => Some(1),
        (Subject::Vectors | Subject::Router, _) => Some(0),
    }
}

/// The operations of one writer.
pub(super) struct Workload {
    writer: usize,
    field: Field,
    random: Random,
    next: Option<Operation>,
    /// Whether no other writer uses its space.
    is_alone_in_space: bool,
}

impl Workload {
    pub(super) fn new(subject: Subject, writer: usize, random: Random) -> Self {
        let field = space_of(subject, writer).map_or(Field::Keys, Field::Space);
        Self {
            writer,
            field,
            random,
            next: None,
            is_alone_in_space: subject == Subject::Vectors && writer == LONE_WRITER,
        }
    }

    /// For random choices outside of the operations.
    pub(super) fn percent(&mut self, share: u64) -> bool {
        self.random.percent(share)
    }

    pub(super) fn next_operation(&mut self) -> Operation {
        if let Some(operation) = self.next.take() {
            return operation;
        }
        match self.field {
            Field::Keys => self.key_operation(),
            Field::Space(space) => self.space_operation(space),
        }
    }

    // ---- keys ----

    fn key_operation(&mut self) -> Operation {
        match self.random.below(100) {
            0..10 => Operation::Write(vec![self.set_mortal()]),
            10..35 => Operation::Write(vec![self.set()]),
            35..50 => Operation::Write(vec![KeyChange::Delete(self.key())]),
            50..72 => {
                let len = self.random.between(2, 13);
                Operation::Write((0..len).map(|_| self.key_change()).collect())
            }
            72..95 => Operation::Swap {
                key: self.key(),
                // Usually the right value, if it is known.
                expected: Some(self.value()),
                new: self.random.percent(80).then(|| self.value()),
            },
            _ => Operation::Write(vec![KeyChange::DeletePrefix(self.prefix())]),
        }
    }

    fn key_change(&mut self) -> KeyChange {
        match self.random.below(20) {
            0..11 => self.set(),
            11..14 => self.set_mortal(),
            14..19 => KeyChange::Delete(self.key()),
            _ => KeyChange::DeletePrefix(self.prefix()),
        }
    }

    fn set(&mut self) -> KeyChange {
        KeyChange::Set(self.key(), self.value())
    }

    /// Sometimes without expiry, like any other key.
    fn set_mortal(&mut self) -> KeyChange {
        let key = format!("{}/mortal-{}", self.writer, self.random.between(0, MORTAL_KEYS));
        let life = match self.random.below(10) {
            0 => Life::Forever,
            _ => self.life(),
        };
        KeyChange::SetMortal(key, self.value(), life)
    }

    /// A lifetime that ends soon, or has ended.
    fn life(&mut self) -> Life {
        let millis = u32::try_from(self.random.between(1, 1_500)).expect("it is small");
        match self.random.below(10) {
            0..6 => Life::For(millis),
            6..9 => Life::Until(now() + i64::from(millis)),
            _ => Life::Until(now() - i64::from(millis)),
        }
    }

    fn prefix(&mut self) -> String {
        format!("{}/{}/", self.writer, self.random.between(0, KEY_GROUPS))
    }

    fn key(&mut self) -> String {
        format!("{}{}", self.prefix(), self.random.between(0, KEYS_PER_GROUP))
    }

    fn value(&mut self) -> Value {
        let len = match self.random.below(100) {
            0..3 => 0,
            3..65 => self.random.between(8, 200),
            65..90 => self.random.between(200, 2_000),
            90..99 => self.random.between(2_000, 12_000),
            // sled keeps values of this size in files of their own.
            _ => self.random.between(40_000, 80_000),
        };
        Value::made(self.random.number(), len)
    }

    // ---- entries ----

    fn space_operation(&mut self, space: usize) -> Operation {
        match self.random.below(100) {
            0..33 => {
                let len = self.random.between(1, 5);
                self.entries(space, EntriesKind::Insert, len)
            }
            33..58 => {
                let len = self.random.between(1, 8);
                self.entries(space, EntriesKind::Upsert, len)
            }
            58..60 => self.entries(space, EntriesKind::Upsert, 250),
            60..67 => self.mortal_entries(space),
            67..70 => Operation::Touch {
                space,
                scope: self.scope(),
                ids: (0..self.random.between(1, 4)).map(|_| self.mortal_id()).collect(),
                life: self.life(),
            },
            70..79 => Operation::Metadata {
                space,
                scope: self.scope(),
                id: self.id(),
                metadata: self.random.u32(),
            },
            79..89 => Operation::Remove {
                space,
                scope: self.scope(),
                ids: (0..self.random.between(1, 6)).map(|_| self.any_id()).collect(),
            },
            89..92 => Operation::RemoveMatching {
                space,
                scope: self.private_scope(),
                tag: self.random.u32() % TAGS,
            },
            92..94 => Operation::Quota {
                scope: self.private_scope(),
                vectors: self.random.percent(60).then(|| self.random.below(QUOTA_END)),
            },
            94 => {
                let scopes = [self.private_scope(), self.private_scope(), nobodys_scope(self.writer)];
                Operation::DropScopes {
                    space,
                    scopes: scopes.to_vec(),
                }
            }
            95 if self.is_alone_in_space => Operation::DropSpace { space },
            // All entries of a scope expire.
            96 => self.mortal_scope(space),
            _ => {
                let scope = self.private_scope();
                if self.random.percent(70) {
                    // The same name again at once, while its old entries are still to be purged.
                    let mut entries = self.new_entries(3);
                    for entry in &mut entries {
                        entry.scope = scope.clone();
                    }
                    self.next = Some(Operation::Entries {
                        space,
                        kind: EntriesKind::Upsert,
                        entries: unique(entries),
                    });
                }
                Operation::DropScope { space, scope }
            }
        }
    }

    fn entries(&mut self, space: usize, kind: EntriesKind, len: usize) -> Operation {
        Operation::Entries {
            space,
            kind,
            entries: unique(self.new_entries(len)),
        }
    }

    fn new_entries(&mut self, len: usize) -> Vec<NewEntry> {
        (0..len)
            .map(|_| NewEntry {
                scope: self.scope(),
                id: self.id(),
                vector: self.random.u32(),
                metadata: self.random.u32(),
                event_time: self
                    .random
                    .percent(30)
                    .then(|| i64::from(self.random.u32()) - (1 << 31)),
                life: Life::Forever,
            })
            .collect()
    }

    /// Entries that expire, with ids of their own: whether one of them exists depends on the clock.
    fn mortal_entries(&mut self, space: usize) -> Operation {
        let len = self.random.between(1, 4);
        let mut entries = self.new_entries(len);
        for entry in &mut entries {
            entry.id = self.mortal_id();
            entry.life = self.life();
        }
        Operation::Entries {
            space,
            kind: EntriesKind::Upsert,
            entries: unique(entries),
        }
    }

    /// A scope of entries that expire; replaces its content.
    fn mortal_scope(&mut self, space: usize) -> Operation {
        let scope = self.private_scope();
        let Operation::Entries { kind, mut entries, .. } = self.mortal_entries(space) else {
            unreachable!("these are entries");
        };
        for entry in &mut entries {
            entry.scope = scope.clone();
        }
        self.next = Some(Operation::Entries {
            space,
            kind,
            entries: unique(entries),
        });
        Operation::DropScope { space, scope }
    }

    fn scope(&mut self) -> StateScope {
        match self.random.below(4) {
            0 => StateScope::Global,
            _ => self.private_scope(),
        }
    }

    fn private_scope(&mut self) -> StateScope {
        let [first, second, third] = private_scopes(self.writer);
        match self.random.below(3) {
            0 => first,
            1 => second,
            _ => third,
        }
    }

    fn id(&mut self) -> String {
        format!("{}:{}", self.writer, self.random.between(0, IDS))
    }

    fn mortal_id(&mut self) -> String {
        format!("{}:mortal-{}", self.writer, self.random.between(0, MORTAL_IDS))
    }

    fn any_id(&mut self) -> String {
        if self.random.percent(20) {
            self.mortal_id()
        } else {
            self.id()
        }
    }
}

/// Without those whose scope and id occur earlier.
fn unique(mut entries: Vec<NewEntry>) -> Vec<NewEntry> {
    let mut seen = std::collections::HashSet::new();
    entries.retain(|entry| seen.insert((entry.scope.clone(), entry.id.clone())));
    entries
}
