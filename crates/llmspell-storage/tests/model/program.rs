//! What can be called, and what can be seen of a call? Random programs of small numbers, so that calls meet.

use std::collections::BTreeMap;

use llmspell_storage::{Filter, StateScope};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) const DIM: usize = 4;

/// Everything that is there: vectors by scope and id, and values by key.
pub(crate) type Content = (BTreeMap<(StateScope, String), Vec<f32>>, BTreeMap<String, Vec<u8>>);

/// One call. Scopes, ids and keys are small numbers.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Insert(Vec<Entry>),
    Upsert(Vec<Entry>),
    Delete {
        scope: u8,
        ids: Vec<u8>,
    },
    UpdateMetadata {
        scope: u8,
        id: u8,
        color: u8,
    },
    DropScope {
        scope: u8,
    },
    Search {
        scope: u8,
        query: [i8; DIM],
        k: usize,
        color: Option<u8>,
        threshold: Option<u8>,
    },
    SearchScopes {
        scopes: Vec<u8>,
        query: [i8; DIM],
        k: usize,
    },
    Count {
        scope: u8,
        colors: Colors,
    },
    PageMatching {
        scope: u8,
        colors: Colors,
        after: Option<u8>,
        limit: usize,
    },
    DeleteMatching {
        scope: u8,
        colors: Colors,
    },
    Facet {
        scope: u8,
        colors: Colors,
    },
    Page {
        scope: u8,
        after: Option<u8>,
        limit: usize,
    },
    Set {
        key: u8,
        value: u8,
    },
    Remove {
        key: u8,
    },
    Swap {
        key: u8,
        expected: Option<u8>,
        new: Option<u8>,
    },
    /// How many entries the scope may hold; none: as many as it likes.
    SetQuota {
        scope: u8,
        vectors: Option<u8>,
    },
    Reopen,
    BuildIndex,
    OptimizeIndex,
    /// Reopening after something happened to the index files.
    DamageIndexes(Damage),
}

/// Which entries a filter lets through.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colors {
    Only(u8),
    Not(u8),
    From(u8),
    Any,
}

impl Colors {
    pub(crate) fn filter(self) -> Filter {
        match self {
            Self::Only(color) => Filter::eq("color", color),
            Self::Not(color) => Filter::ne("color", color),
            Self::From(color) => Filter::ge("color", color),
            Self::Any => Filter::all(),
        }
    }

    pub(crate) fn pass(self, color: u8) -> bool {
        match self {
            Self::Only(only) => color == only,
            Self::Not(not) => color != not,
            Self::From(first) => color >= first,
            Self::Any => true,
        }
    }
}

/// What can happen to every index file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Lost,
    /// So many thousandths of the length are left.
    Cut(u16),
    /// The bit at so many thousandths of the length.
    Flipped(u16),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) scope: u8,
    pub(crate) id: u8,
    pub(crate) vector: [i8; DIM],
    pub(crate) color: u8,
    /// Expired before it is stored, or not for a long time, or never.
    pub(crate) expires: Option<bool>,
}

/// What a call returned, as far as it must not depend on anything else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Ids(Vec<String>),
    Count(u64),
    Hits(Vec<(String, f32, f32, u64)>),
    HitsOfScopes(Vec<(StateScope, String, f32)>),
    Entries(Vec<(String, Vec<f32>, u64)>),
    Counts(BTreeMap<String, u64>),
    Done(bool),
    Refused(String),
}

pub(crate) fn scope(number: u8) -> StateScope {
    match number {
        0 => StateScope::Global,
        1 => StateScope::User("a".to_string()),
        2 => StateScope::User("ab".to_string()),
        _ => StateScope::Custom("user:a".to_string()),
    }
}

pub(crate) fn id(number: u8) -> String {
    format!("id-{number:02}")
}

pub(crate) fn floats(vector: [i8; DIM]) -> Vec<f32> {
    vector.map(f32::from).to_vec()
}

/// Calls that concern the scopes in `scopes`.
pub(crate) fn step(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Step> {
    let entry = (
        scopes.clone(),
        0..12_u8,
        any::<[i8; DIM]>(),
        0..3_u8,
        prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)],
    )
        .prop_map(|(scope, id, vector, color, expires)| Entry {
            scope,
            id,
            vector,
            color,
            expires,
        });
    let any_scope = scopes.clone();
    let quota_scopes = scopes.clone();
    prop_oneof![
        3 => vec(entry.clone(), 1..4).prop_map(Step::Insert),
        5 => vec(entry, 1..6).prop_map(Step::Upsert),
        3 => (scopes.clone(), vec(0..12_u8, 1..5)).prop_map(|(scope, ids)| Step::Delete { scope, ids }),
        3 => (scopes.clone(), 0..12_u8, 0..3_u8)
            .prop_map(|(scope, id, color)| Step::UpdateMetadata { scope, id, color }),
        1 => scopes.clone().prop_map(|scope| Step::DropScope { scope }),
        4 => (any_scope, any::<[i8; DIM]>(), 1..15_usize, prop::option::of(0..3_u8), prop::option::of(any::<u8>()))
            .prop_map(|(scope, query, k, color, threshold)| Step::Search { scope, query, k, color, threshold }),
        3 => (vec(scopes.clone(), 1..6), any::<[i8; DIM]>(), 1..15_usize)
            .prop_map(|(scopes, query, k)| Step::SearchScopes { scopes, query, k }),
        2 => (scopes.clone(), prop::option::of(0..12_u8), 1..8_usize)
            .prop_map(|(scope, after, limit)| Step::Page { scope, after, limit }),
        2 => (scopes.clone(), colors()).prop_map(|(scope, colors)| Step::Count { scope, colors }),
        1 => (scopes.clone(), colors(), prop::option::of(0..12_u8), 1..8_usize)
            .prop_map(|(scope, colors, after, limit)| Step::PageMatching { scope, colors, after, limit }),
        1 => (scopes.clone(), colors()).prop_map(|(scope, colors)| Step::DeleteMatching { scope, colors }),
        1 => (scopes, colors()).prop_map(|(scope, colors)| Step::Facet { scope, colors }),
        1 => (0..6_u8, any::<u8>()).prop_map(|(key, value)| Step::Set { key, value }),
        1 => (0..6_u8).prop_map(|key| Step::Remove { key }),
        1 => (0..6_u8, prop::option::of(0..2_u8), prop::option::of(0..2_u8))
            .prop_map(|(key, expected, new)| Step::Swap { key, expected, new }),
        1 => (quota_scopes, prop::option::of(0..9_u8))
            .prop_map(|(scope, vectors)| Step::SetQuota { scope, vectors }),
        1 => Just(Step::Reopen),
        2 => Just(Step::BuildIndex),
        1 => Just(Step::OptimizeIndex),
        1 => damage().prop_map(Step::DamageIndexes),
    ]
}

fn colors() -> impl Strategy<Value = Colors> {
    prop_oneof![
        3 => (0..3_u8).prop_map(Colors::Only),
        2 => (0..3_u8).prop_map(Colors::Not),
        2 => (0..3_u8).prop_map(Colors::From),
        1 => Just(Colors::Any),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::Lost),
        (0..1000_u16).prop_map(Damage::Cut),
        (0..1000_u16).prop_map(Damage::Flipped),
    ]
}

/// A number from the environment, for longer runs.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |number| number.parse().expect("a number"))
}
