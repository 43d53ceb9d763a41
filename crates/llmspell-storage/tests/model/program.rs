//! What can be called, and what can be seen of a call? Random programs of small numbers, so that calls meet.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use llmspell_storage::{
    Expiry, Filter, ListOrder, ListQuery, Metadata, OwnTime, Quota, QuotaStatus, StateScope, Timestamp, VectorEntry,
    VectorQuery, VectorResult,
};
use llmspell_testkit::filters as random;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::json;

pub(crate) const DIM: usize = 4;

/// Components of the one model that has no other of its dimension beside it.
pub(crate) const ALONE_DIM: usize = 3;

/// Wider than any scope, so that a walk through a graph may miss nothing.
const EF_SEARCH: usize = 1_000;

/// Everything that is there: entries and values by scope and name.
pub(crate) type Content = (
    BTreeMap<(StateScope, String), VectorEntry>,
    BTreeMap<(StateScope, String), Value>,
);

/// The value of a key, and when it ends.
pub(crate) type Value = (Vec<u8>, Option<Timestamp>);

/// What happens to a store. Scopes, ids and keys are small numbers.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Entries of any scopes.
    Write(Write),
    /// What the handle of a scope tries with models, before a router.
    Models {
        scope: u8,
        call: ModelCall,
    },
    /// A call for one scope, of the store or of the handle of the scope.
    Of {
        scope: u8,
        by_handle: bool,
        call: Call,
    },
    /// A scope is deleted, and written to before that is done.
    Rewrite {
        scope: u8,
        write: Write,
    },
    SearchScopes {
        scopes: Vec<u8>,
        search: Search,
    },
    /// Several scopes are listed together.
    ListScopes {
        scopes: Vec<u8>,
        listing: Listing,
    },
    /// Scopes are deleted together, some of them perhaps named twice.
    DropScopes(Vec<u8>),
    /// All users.
    DropUsers,
    /// A space is deleted with everything in it, and made anew.
    DropSpace,
    /// Entries of any scopes in a space beside the one that is asked.
    Beside(Write),
    /// That space is deleted with everything in it.
    DropBeside,
    Keys {
        scope: u8,
        call: KeyCall,
    },
    /// How much the scope may hold; none: as much as it likes.
    SetQuota {
        scope: u8,
        quota: Option<Quota>,
    },
    /// So many milliseconds pass.
    Pass(u16),
    Reopen,
    BuildIndex,
    OptimizeIndex,
    /// Reopening after something happened to the index files.
    DamageIndexes(Damage),
}

/// What can be asked of one scope.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// Entries that may name other scopes: a handle refuses them.
    Write(Write),
    Get(u8),
    Delete(Vec<u8>),
    Touch {
        ids: Vec<u8>,
        life: Life,
    },
    UpdateMetadata {
        id: u8,
        fields: Metadata,
    },
    Clear,
    Search(Search),
    Explain(Search),
    Page {
        after: Option<u8>,
        limit: usize,
    },
    PageBy(Listing),
    /// All that match, as a sample.
    Sample {
        filter: Option<Filter>,
        seed: u64,
    },
    Count(Filter),
    PageMatching {
        filter: Filter,
        after: Option<u8>,
        limit: usize,
    },
    DeleteMatching(Filter),
    Facet {
        field: &'static str,
        filter: Filter,
    },
    Stats,
}

/// Names and dimensions are few, so that two scopes meet where they can.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ModelCall {
    /// An entry with a description of a model of its own.
    Describe {
        name: u8,
        dim: usize,
    },
    /// An entry that names a model, known, preset or neither.
    Name {
        name: u8,
        dim: usize,
    },
    /// An entry of so many components, and nothing else.
    Insert {
        dim: usize,
    },
    Search {
        dim: usize,
    },
    Explain {
        dim: usize,
    },
}

/// Of a preset, of the router of these tests, and of nobody.
pub(crate) const MODEL_NAMES: [&str; 4] = ["all-MiniLM-L6-v2", "alone", "mine", "yours"];

#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) entries: Vec<Entry>,
    /// Whether an id that exists refuses the batch.
    pub(crate) refuses: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) scope: u8,
    pub(crate) id: u8,
    pub(crate) vector: [i8; DIM],
    pub(crate) fields: Metadata,
    pub(crate) life: Life,
}

/// How long an entry lives, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Life {
    Forever,
    /// It had ended before it was stored.
    Ended,
    For(u16),
    Until(u16),
}

#[derive(Debug, Clone)]
pub(crate) struct Search {
    pub(crate) query: [i8; DIM],
    pub(crate) k: usize,
    pub(crate) filter: Option<Filter>,
    pub(crate) threshold: Option<u8>,
    pub(crate) exact: bool,
}

/// A page in an order, perhaps after a place: so many milliseconds after programs begin, and an id of a scope.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) order: ListOrder,
    pub(crate) time: OwnTime,
    pub(crate) filter: Option<Filter>,
    pub(crate) after: Option<(u16, u8, u8)>,
    pub(crate) limit: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum KeyCall {
    Set {
        key: u8,
        len: u8,
        life: Life,
    },
    Remove(u8),
    Swap {
        key: u8,
        expected: Option<u8>,
        len: Option<u8>,
        life: Life,
    },
    Get(u8),
    Scan,
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

/// What a call returned, as far as it must not depend on anything else.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Ids(Vec<String>),
    Count(u64),
    Hits(Vec<VectorResult>),
    Entries(Vec<VectorEntry>),
    /// Entries, and whether there are more.
    Page(Vec<VectorEntry>, bool),
    Counts(BTreeMap<String, u64>),
    /// Living, matching, results.
    Plan(u64, u64, usize),
    /// Vectors, their bytes, and the quota.
    Held(u64, u64, Option<QuotaStatus>),
    Pairs(Vec<(String, Value)>),
    Done(bool),
    /// How many models the router knows, and what came of the call.
    Models(usize, Box<Seen>),
    Refused(String),
    Both(Box<(Seen, Seen)>),
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

/// Keys inside a scope, some of which look like the way into another.
pub(crate) fn key(number: u8) -> &'static str {
    ["k", "5:user:ab/k", "../k", "/", "11:custom:user:a/k", "6:global/k"][usize::from(number) % 6]
}

pub(crate) fn value(len: u8) -> Vec<u8> {
    vec![len; usize::from(len)]
}

pub(crate) fn floats(vector: [i8; DIM]) -> Vec<f32> {
    vector.map(f32::from).to_vec()
}

impl Life {
    /// As a call says it at `now`, in milliseconds since 1970.
    pub(crate) fn expiry(self, now: i64) -> Expiry {
        match self {
            Self::Forever => Expiry::Never,
            Self::Ended => Expiry::At(Timestamp::from_millis(now)),
            Self::For(millis) => Expiry::After(Duration::from_millis(millis.into())),
            Self::Until(millis) => Expiry::At(Timestamp::from_millis(now + i64::from(millis))),
        }
    }
}

impl Listing {
    pub(crate) fn build(&self, owner: StateScope) -> ListQuery {
        let mut query = ListQuery::new(owner)
            .with_order(self.order)
            .with_time(self.time)
            .with_limit(self.limit);
        query.filter.clone_from(&self.filter);
        match self.after_entry() {
            Some(entry) => query.after_entry(&entry).unwrap(),
            None => query,
        }
    }

    /// An entry that stands where it begins.
    pub(crate) fn after_entry(&self) -> Option<VectorEntry> {
        let (millis, number, of) = self.after?;
        let moment = Some(Timestamp::from_millis(crate::store::BEGIN + i64::from(millis)));
        let mut entry = VectorEntry::new(id(number), vec![0.0; DIM]).with_scope(scope(of));
        (entry.created_at, entry.updated_at, entry.event_time) = (moment, moment, moment);
        Some(entry)
    }
}

impl Entry {
    /// As it is handed in at `now`, in milliseconds since 1970.
    pub(crate) fn build(&self, now: i64) -> VectorEntry {
        let mut entry = VectorEntry::new(id(self.id), floats(self.vector))
            .with_scope(scope(self.scope))
            .with_metadata(self.fields.clone());
        // Few different ones, and some have none.
        let event = crate::store::BEGIN + 500 * i64::from(self.vector[1] / 16);
        entry.event_time = (self.vector[1] % 4 != 3).then(|| Timestamp::from_millis(event));
        match self.life {
            Life::Forever => entry,
            Life::Ended => entry.with_expires_at(Timestamp::from_millis(now)),
            Life::For(millis) => entry.with_ttl(Duration::from_millis(millis.into())),
            Life::Until(millis) => entry.with_expires_at(Timestamp::from_millis(now + i64::from(millis))),
        }
    }
}

impl Search {
    pub(crate) fn build(&self) -> VectorQuery {
        let mut query = VectorQuery::new(floats(self.query), self.k)
            .with_exact(self.exact)
            .with_ef_search(EF_SEARCH);
        query.filter.clone_from(&self.filter);
        query.threshold = self.threshold.map(score);
        query
    }
}

/// Thresholds between the scores of near and far vectors.
pub(crate) fn score(threshold: u8) -> f32 {
    1.0 / (1.0 + f32::from(threshold))
}

// ---- chance ----

/// Anything that can happen to a store with these scopes.
pub(crate) fn step(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Step> {
    prop_oneof![6 => call(scopes), 1 => event()]
}

/// What whoever runs the store does, and time.
pub(crate) fn event() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..2_500_u16).prop_map(Step::Pass),
        1 => Just(Step::Reopen),
        2 => Just(Step::BuildIndex),
        1 => Just(Step::OptimizeIndex),
        1 => damage().prop_map(Step::DamageIndexes),
    ]
}

/// What takes much at once, of these scopes and of others.
pub(crate) fn removal(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec(scopes, 0..4).prop_map(Step::DropScopes),
        1 => Just(Step::DropUsers),
        1 => Just(Step::DropSpace),
    ]
}

/// Scopes are deleted together.
pub(crate) fn dropped_scopes(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Step> {
    vec(scopes, 1..4).prop_map(Step::DropScopes)
}

/// A space beside comes to hold entries of these scopes, and goes.
pub(crate) fn beside(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => write(scopes, 1..6).prop_map(Step::Beside),
        1 => Just(Step::DropBeside),
    ]
}

/// Calls that concern the scopes in `scopes`.
pub(crate) fn call(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Step> {
    let calls = (scopes.clone(), any::<bool>()).prop_flat_map({
        let scopes = scopes.clone();
        move |(scope, by_handle)| {
            call_of(scope, scopes.clone()).prop_map(move |call| Step::Of { scope, by_handle, call })
        }
    });
    prop_oneof![
        6 => write(scopes.clone(), 1..6).prop_map(Step::Write),
        1 => many(scopes.clone(), 20..60).prop_map(Step::Write),
        20 => calls,
        1 => scopes.clone().prop_flat_map(|scope| {
            write(scope..scope + 1, 1..5).prop_map(move |write| Step::Rewrite { scope, write })
        }),
        3 => (vec(scopes.clone(), 1..6), search()).prop_map(|(scopes, search)| Step::SearchScopes { scopes, search }),
        3 => (vec(scopes.clone(), 1..6), listing(scopes.clone()))
            .prop_map(|(scopes, listing)| Step::ListScopes { scopes, listing }),
        3 => (scopes.clone(), key_call()).prop_map(|(scope, call)| Step::Keys { scope, call }),
        2 => (scopes, option::weighted(0.7, quota())).prop_map(|(scope, quota)| Step::SetQuota { scope, quota }),
    ]
}

/// What a handle for one of the scopes tries with models.
pub(crate) fn model_call(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Step> {
    let name = || 0..MODEL_NAMES.len() as u8;
    let dim = || select(vec![ALONE_DIM, DIM, 5, 384]);
    let call = prop_oneof![
        3 => (name(), dim()).prop_map(|(name, dim)| ModelCall::Describe { name, dim }),
        1 => (name(), dim()).prop_map(|(name, dim)| ModelCall::Name { name, dim }),
        2 => dim().prop_map(|dim| ModelCall::Insert { dim }),
        2 => dim().prop_map(|dim| ModelCall::Search { dim }),
        1 => dim().prop_map(|dim| ModelCall::Explain { dim }),
    ];
    (scopes, call).prop_map(|(scope, call)| Step::Models { scope, call })
}

fn call_of(scope: u8, scopes: std::ops::Range<u8>) -> impl Strategy<Value = Call> {
    let batch = prop_oneof![3 => write(scope..scope + 1, 1..6), 1 => write(scopes.clone(), 1..3)];
    let after = || option::of(0..12_u8);
    prop_oneof![
        6 => batch.prop_map(Call::Write),
        1 => (0..12_u8).prop_map(Call::Get),
        3 => vec(0..12_u8, 1..5).prop_map(Call::Delete),
        3 => (vec(0..12_u8, 1..5), life()).prop_map(|(ids, life)| Call::Touch { ids, life }),
        4 => (0..12_u8, fields()).prop_map(|(id, fields)| Call::UpdateMetadata { id, fields }),
        1 => Just(Call::Clear),
        5 => search().prop_map(Call::Search),
        2 => search().prop_map(Call::Explain),
        1 => (after(), 1..8_usize).prop_map(|(after, limit)| Call::Page { after, limit }),
        4 => listing(scopes).prop_map(Call::PageBy),
        1 => (option::of(filter()), any::<u64>()).prop_map(|(filter, seed)| Call::Sample { filter, seed }),
        2 => filter().prop_map(Call::Count),
        2 => (filter(), after(), 1..8_usize)
            .prop_map(|(filter, after, limit)| Call::PageMatching { filter, after, limit }),
        1 => filter().prop_map(Call::DeleteMatching),
        2 => (select(vec!["color", "tags"]), filter()).prop_map(|(field, filter)| Call::Facet { field, filter }),
        2 => Just(Call::Stats),
    ]
}

/// Anywhere, or where many are, at equal distances.
fn vector() -> impl Strategy<Value = [i8; DIM]> {
    prop_oneof![3 => any::<[i8; DIM]>(), 2 => prop::array::uniform4(0..2_i8)]
}

fn entry(scopes: std::ops::Range<u8>, vectors: impl Strategy<Value = [i8; DIM]>) -> impl Strategy<Value = Entry> {
    let life = prop_oneof![2 => Just(Life::Forever), 1 => life()];
    (scopes, 0..12_u8, vectors, fields(), life).prop_map(|(scope, id, vector, fields, life)| Entry {
        scope,
        id,
        vector,
        fields,
        life,
    })
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        2 => Just(Life::Forever),
        1 => Just(Life::Ended),
        3 => (1..3_000_u16).prop_map(Life::For),
        2 => (1..3_000_u16).prop_map(Life::Until),
    ]
}

fn write(scopes: std::ops::Range<u8>, len: std::ops::Range<usize>) -> impl Strategy<Value = Write> {
    let refuses = prop::bool::weighted(0.35);
    (vec(entry(scopes, vector()), len), refuses).prop_map(|(entries, refuses)| Write { entries, refuses })
}

/// A larger batch of one scope, so that there is a graph.
pub(crate) fn many(scopes: std::ops::Range<u8>, len: std::ops::Range<usize>) -> impl Strategy<Value = Write> {
    scopes.prop_flat_map(move |scope| {
        vec(entry(scope..scope + 1, any::<[i8; DIM]>()), len.clone()).prop_map(|mut entries| {
            for (number, entry) in (12..).zip(&mut entries) {
                entry.id = number;
            }
            Write {
                entries,
                refuses: false,
            }
        })
    })
}

fn search() -> impl Strategy<Value = Search> {
    let threshold = option::weighted(0.3, any::<u8>());
    let parts = (vector(), 1..15_usize, option::of(filter()), threshold, any::<bool>());
    parts.prop_map(|(query, k, filter, threshold, exact)| Search {
        query,
        k,
        filter,
        threshold,
        exact,
    })
}

fn listing(scopes: std::ops::Range<u8>) -> impl Strategy<Value = Listing> {
    let time = select(OwnTime::ALL.to_vec());
    // The moments of events are whole half seconds.
    let millis = prop_oneof![(0..5_000_u16), (0..8_u16).prop_map(|halves| 500 * halves)];
    let after = option::of((millis, 0..40_u8, scopes));
    let parts = (
        select(ListOrder::ALL.to_vec()),
        time,
        option::of(filter()),
        after,
        1..12_usize,
    );
    parts.prop_map(|(order, time, filter, after, limit)| Listing {
        order,
        time,
        filter,
        after,
        limit,
    })
}

/// Fields that filters often meet, and any that there can be.
fn fields() -> impl Strategy<Value = Metadata> {
    let words = vec(select(vec!["red", "green", "blue"]), 0..3);
    let few = (0..3_u8, words).prop_map(|(color, words)| {
        let fields = json!({ "color": color, "tags": words, "note": words.join(" ") });
        fields.as_object().cloned().unwrap()
    });
    let long = (long_text(), 0..3_u8).prop_map(|(text, color)| {
        let fields = json!({ "color": color, "note": text });
        fields.as_object().cloned().unwrap()
    });
    prop_oneof![4 => few, 1 => long, 1 => random::metadata()]
}

/// Texts that differ only where an index may not look any more.
fn long_text() -> impl Strategy<Value = String> {
    (60..68_usize, select(vec!["x", "y", ""])).prop_map(|(len, end)| format!("{}{end}", "a".repeat(len)))
}

fn filter() -> impl Strategy<Value = Filter> {
    let few = (0..3_u8, 0..9_u8, select(vec!["red", "green", "blue"])).prop_map(|(color, form, word)| match form {
        0 | 1 => Filter::eq("color", color),
        2 => Filter::ne("color", color),
        3 => Filter::ge("color", color),
        4 => Filter::is_in("color", [color, 0]),
        5 => Filter::contains("tags", word),
        6 => Filter::matches_text("note", word),
        7 => Filter::starts_with("note", word),
        _ => Filter::all(),
    });
    let long = (long_text(), 0..4_u8).prop_map(|(text, form)| match form {
        0 => Filter::eq("note", text),
        1 => Filter::ne("note", text),
        2 => Filter::starts_with("note", text),
        _ => Filter::lt("note", text),
    });
    let leaf = prop_oneof![6 => few, 1 => long, 2 => random::filter()];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(Filter::all_of),
            vec(inner.clone(), 1..3).prop_map(Filter::any_of),
            inner.prop_map(Filter::not),
        ]
    })
}

fn key_call() -> impl Strategy<Value = KeyCall> {
    prop_oneof![
        4 => (0..6_u8, 0..40_u8, life()).prop_map(|(key, len, life)| KeyCall::Set { key, len, life }),
        1 => (0..6_u8).prop_map(KeyCall::Remove),
        2 => (0..6_u8, option::of(0..3_u8), option::of(0..3_u8), life())
            .prop_map(|(key, expected, len, life)| KeyCall::Swap { key, expected, len, life }),
        1 => (0..6_u8).prop_map(KeyCall::Get),
        1 => Just(KeyCall::Scan),
    ]
}

fn quota() -> impl Strategy<Value = Quota> {
    let limits = (
        option::of(0..12_u64),
        option::of(0..200_u64),
        option::weighted(0.3, 0..600_u64),
        option::of(0..90_u64),
    );
    limits.prop_map(|(vectors, bytes, metadata_bytes, kv_bytes)| {
        let mut quota = Quota::new();
        (quota.vectors, quota.vector_bytes) = (vectors, bytes);
        (quota.metadata_bytes, quota.kv_bytes) = (metadata_bytes, kv_bytes);
        quota
    })
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::Lost),
        (0..1000_u16).prop_map(Damage::Cut),
        (0..1000_u16).prop_map(Damage::Flipped),
    ]
}

/// Runs `cases` programs from the seed that `PROPTEST_RNG_SEED` gives: a commit has one, in `.cargo/config.toml`, so it
/// always runs the same programs. The seed is printed, which shows it where a test fails.
pub(crate) fn runner(cases: usize) -> TestRunner {
    let mut config = Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    if matches!(config.rng_seed, RngSeed::Random) {
        config.rng_seed = RngSeed::Fixed(any_seed());
    }
    println!("PROPTEST_RNG_SEED={}", config.rng_seed);
    TestRunner::new(config)
}

/// Another number each time, where the binary of the tests runs without cargo.
fn any_seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// A number from the environment, for longer runs.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |number| number.parse().expect("a number"))
}
