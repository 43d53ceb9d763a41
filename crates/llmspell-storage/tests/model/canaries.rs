//! Does anything that a handle for one scope returns hold a word of another scope?
//!
//! Whoever holds A's handles (vectors and keys) tries ids, scopes, filters and keys of B, and input that is refused. Each
//! of B's records has a canary: in its id, its metadata, its vector, its keys and values, and in the name of a scope that
//! A does not know. No answer to A has one: no result, plan, count, statistic, error or `{:?}`.
//! `LLMSPELL_CANARY_CASES` programs; `cargo xtask soak` runs more.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use llmspell_storage::{
    Database, DatabaseOptions, DistanceMetric, Expiry, FieldPath, Filter, HNSWConfig, HNSWVectorStorage, ListQuery,
    Quota, Result, SampleQuery, ScopedBackend, ScopedVectors, StateScope, Timestamp, VectorEntry, VectorQuery,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use crate::block_on;
use crate::program::{DIM, id, key, runner, scope, setting};
use crate::store::directory;

/// In every text of B.
const CANARY: &str = "canary-5f1e";
/// In every vector of B. No vector of A has it, and no distance to one comes out as it.
const CANARY_COMPONENT: f32 = 31337.25;

/// What A tries; numbers are small, so that it meets what B has.
#[derive(Debug, Clone)]
enum Try {
    Write {
        id: u8,
        of: u8,
        width: usize,
        replace: bool,
    },
    Search {
        of: Vec<u8>,
        is_list: bool,
        k: usize,
        near_b: bool,
        filter: Option<u8>,
    },
    Matching {
        verb: u8,
        filter: u8,
    },
    /// It may hold no more than this.
    Limited(u8),
    Get(u8),
    Update(u8),
    Delete(u8),
    /// To end at once, or never.
    Touch {
        id: u8,
        ends: bool,
    },
    Page(usize),
    Counts,
    Clear,
    Key {
        key: u8,
        verb: u8,
    },
    Text,
}

/// What B does meanwhile, in any scope but A's; the last one has a canary for its name.
#[derive(Debug, Clone)]
struct Deed {
    of: u8,
    id: u8,
    verb: u8,
}

fn attempts() -> impl Strategy<Value = Try> {
    prop_oneof![
        4 => (0..12_u8, 0..4_u8, 3..6_usize, any::<bool>())
            .prop_map(|(id, of, width, replace)| Try::Write { id, of, width, replace }),
        6 => (vec(0..4_u8, 0..4), any::<bool>(), 0..20_usize, any::<bool>(), prop::option::of(0..4_u8))
            .prop_map(|(of, is_list, k, near_b, filter)| Try::Search { of, is_list, k, near_b, filter }),
        4 => (0..5_u8, 0..6_u8).prop_map(|(verb, filter)| Try::Matching { verb, filter }),
        1 => (0..9_u8).prop_map(Try::Limited),
        2 => (0..12_u8).prop_map(Try::Get),
        2 => (0..12_u8).prop_map(Try::Update),
        2 => (0..12_u8).prop_map(Try::Delete),
        2 => (0..12_u8, any::<bool>()).prop_map(|(id, ends)| Try::Touch { id, ends }),
        2 => (0..12_usize).prop_map(Try::Page),
        2 => Just(Try::Counts),
        1 => Just(Try::Clear),
        4 => (0..6_u8, 0..10_u8).prop_map(|(key, verb)| Try::Key { key, verb }),
        1 => Just(Try::Text),
    ]
}

fn deeds() -> impl Strategy<Value = Deed> {
    let of = prop_oneof![Just(0_u8), 2..5_u8];
    (of, 0..12_u8, 0..14_u8).prop_map(|(of, id, verb)| Deed { of, id, verb })
}

fn scope_of_b(number: u8) -> StateScope {
    match number {
        4 => StateScope::Custom(format!("{CANARY}-tenant")),
        number => scope(number),
    }
}

fn filter(kind: u8) -> Filter {
    match kind {
        0 => Filter::eq("color", 1),
        1 => Filter::exists("note"),
        2 => Filter::starts_with("note", "can"),
        3 => Filter::matches_text("note", "5f1e"),
        // Refused.
        4 => Filter::any_of([]),
        _ => Filter::not(Filter::eq("color", 7)),
    }
}

struct Place {
    database: Database,
    vectors: HNSWVectorStorage,
    handle: ScopedVectors,
    keys: ScopedBackend,
}

impl Place {
    async fn new(dir: &std::path::Path) -> Self {
        let database = DatabaseOptions::new()
            .graph_points_min(3)
            .metadata_points_min(2)
            .open(dir)
            .await
            .unwrap();
        let config = HNSWConfig::fast().with_metric(DistanceMetric::Euclidean);
        let vectors = database.vectors("model", DIM, config).await.unwrap();
        Self {
            handle: vectors.scoped(scope(1)).unwrap(),
            keys: keys_of(&database, scope(1)),
            database,
            vectors,
        }
    }

    async fn happen(&self, deed: &Deed) {
        let Deed { of, id: number, verb } = deed;
        let owner = scope_of_b(*of);
        let text = format!("{CANARY} {number}");
        let names = [id(*number), format!("{CANARY}-{number}")];
        let entries = names.iter().map(|name| {
            VectorEntry::new(name, vec![CANARY_COMPONENT, f32::from(*number), 1.0, 1.0])
                .with_scope(owner.clone())
                .with_metadata(json!({ "color": number % 3, "note": text, CANARY: text }))
        });
        let keys = keys_of(&self.database, owner.clone());
        match verb {
            // Refused where the scope is full.
            0..4 => drop(self.vectors.upsert(entries.collect()).await),
            4 => drop(self.vectors.delete(&owner, &names).await.unwrap()),
            5 => self.vectors.build_index().await.unwrap(),
            8 => drop(self.vectors.delete_scope(&owner).await.unwrap()),
            9 => drop(self.vectors.delete_matching(&owner, &filter(0)).await.unwrap()),
            10 => {
                let brief = entries.map(|entry| entry.with_ttl(Duration::from_millis(1)));
                drop(self.vectors.upsert(brief.collect()).await);
            }
            12 => {
                let expiry = Expiry::After(Duration::from_millis(u64::from(*number) + 1));
                drop(self.vectors.touch(&owner, &names, expiry).await.unwrap());
            }
            13 => {
                let ttl = Duration::from_millis(u64::from(*number) + 1);
                drop(keys.set_with_ttl(key(*number), text.into_bytes(), ttl).await);
            }
            11 => {
                let quota = Quota::new().with_vectors(u64::from(*number)).with_kv_bytes(60);
                self.database.set_quota(&owner, quota).await.unwrap();
            }
            _ => {
                drop(keys.set(key(*number), text.clone().into_bytes()).await);
                drop(keys.set(&format!("{CANARY}/{number}"), text.into_bytes()).await);
            }
        }
    }

    /// Everything that A can see of what it tries.
    async fn answer(&self, attempt: &Try) -> String {
        let mut seen = String::new();
        match attempt {
            Try::Write {
                id: number,
                of,
                width,
                replace,
            } => {
                let entry = VectorEntry::new(id(*number), vec![f32::from(*number); *width]).with_scope(scope(*of));
                let result = if *replace {
                    self.handle.upsert(vec![entry]).await
                } else {
                    self.handle.insert(vec![entry]).await
                };
                if let Ok(ids) = &result {
                    assert_eq!(self.handle.get(&ids[0]).await.unwrap().unwrap().scope, scope(1));
                }
                note(&mut seen, result);
            }
            Try::Search {
                of,
                is_list,
                k,
                near_b,
                filter: kind,
            } => {
                let first = if *near_b { CANARY_COMPONENT - 1.0 } else { 1.0 };
                let mut query = VectorQuery::new(vec![first, 1.0, 1.0, 1.0], *k).with_vectors(true);
                query.filter = kind.map(filter);
                query = match of.first() {
                    Some(first) if !is_list => query.with_scope(scope(*first)),
                    _ => query.with_scopes(of.iter().map(|number| scope(*number))),
                };
                note(&mut seen, self.handle.search(&query).await);
                let plan = self.handle.explain(&query).await;
                if let Ok(plan) = &plan {
                    write!(seen, "{plan}").unwrap();
                }
                note(&mut seen, plan);
                note(&mut seen, self.handle.search_batch(&[query]).await);
            }
            Try::Matching { verb, filter: kind } => {
                let (handle, filter) = (&self.handle, &filter(*kind));
                match verb {
                    0 => note(&mut seen, handle.count_matching(filter).await),
                    1 => note(&mut seen, handle.list_matching(filter, None, 5).await),
                    2 => note(&mut seen, handle.delete_matching(filter).await),
                    _ => {
                        let field = FieldPath::from(if *verb == 3 { "note" } else { CANARY });
                        note(&mut seen, handle.facet(&field, filter, 5).await);
                    }
                }
            }
            Try::Limited(count) => {
                let quota = Quota::new().with_vectors(u64::from(*count)).with_kv_bytes(2);
                self.database.set_quota(self.handle.scope(), quota).await.unwrap();
            }
            Try::Get(number) => note(&mut seen, self.handle.get(&id(*number)).await),
            Try::Update(number) => {
                let fields = json!({"color": 1}).as_object().cloned().unwrap();
                note(&mut seen, self.handle.update_metadata(&id(*number), fields).await);
            }
            Try::Delete(number) => note(&mut seen, self.handle.delete(&[id(*number), String::from("c")]).await),
            Try::Touch { id: number, ends } => {
                let expiry = match ends {
                    true => Expiry::At(Timestamp::from_millis(1)),
                    false => Expiry::Never,
                };
                let ids = [id(*number), String::from("c")];
                note(&mut seen, self.handle.touch(&ids, expiry).await);
            }
            Try::Page(limit) => {
                note(&mut seen, self.handle.list(None, *limit).await);
                let newest = ListQuery::newest(StateScope::Global, *limit);
                note(&mut seen, self.handle.list_page(&newest).await);
                let sample = SampleQuery::new(StateScope::Global, *limit, 1);
                note(&mut seen, self.handle.sample(&sample).await);
            }
            Try::Counts => {
                note(&mut seen, self.handle.count().await);
                note(&mut seen, self.handle.stats().await);
            }
            Try::Clear => note(&mut seen, self.handle.clear().await),
            Try::Key { key: number, verb } => match verb {
                0 => note(&mut seen, self.keys.set(key(*number), vec![*number]).await),
                1 => note(&mut seen, self.keys.get(key(*number)).await),
                2 => note(&mut seen, self.keys.delete(key(*number)).await),
                3 => note(&mut seen, self.keys.list_keys("").await),
                4 => note(&mut seen, self.keys.scan(key(*number), None, 10).await),
                5 => note(
                    &mut seen,
                    self.keys.compare_and_swap(key(*number), None, Some(vec![1])).await,
                ),
                6 => note(&mut seen, self.keys.expires_at(key(*number)).await),
                7 => {
                    let ttl = Duration::from_millis(u64::from(*number) + 1);
                    note(&mut seen, self.keys.set_with_ttl(key(*number), vec![2], ttl).await);
                }
                8 => note(&mut seen, self.keys.scan_entries("", None, 10).await),
                _ => note(&mut seen, self.keys.clear().await),
            },
            Try::Text => write!(seen, "{:?} {:?}", self.handle, self.keys).unwrap(),
        }
        seen
    }
}

fn keys_of(database: &Database, scope: StateScope) -> ScopedBackend {
    ScopedBackend::new(Arc::new(database.kv()), scope).unwrap()
}

/// Every form in which somebody could read a result. Bytes as text, too.
fn note<T: std::fmt::Debug>(seen: &mut String, result: Result<T>) {
    match result {
        Ok(value) => {
            let text = format!("{value:?}");
            let bytes: Vec<u8> = text
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|n| n.parse().ok())
                .collect();
            write!(seen, "{text} {}", String::from_utf8_lossy(&bytes)).unwrap();
        }
        Err(error) => {
            write!(seen, "{error} {error:?}").unwrap();
            let mut cause = std::error::Error::source(&error);
            while let Some(source) = cause {
                write!(seen, " {source}").unwrap();
                cause = source.source();
            }
        }
    }
}

fn has_canary(seen: &str) -> bool {
    seen.contains("canary") || seen.contains("31337.25")
}

#[test]
fn nothing_that_one_scope_is_told_holds_a_word_of_another() {
    let cases = setting("LLMSPELL_CANARY_CASES", 64);
    let programs = vec((deeds(), attempts()), 1..60);
    let result = runner(cases).run(&programs, |steps| {
        block_on(async {
            let dir = directory();
            let place = Place::new(&dir.path().join("db")).await;
            for (deed, attempt) in &steps {
                place.happen(deed).await;
                let seen = place.answer(attempt).await;
                prop_assert!(!has_canary(&seen), "{attempt:?} was told {seen}");
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// The canaries are there and would be seen: whoever is given B's handles, or the store, meets them.
#[test]
fn a_canary_is_seen_by_whoever_is_given_the_other_scope() {
    block_on(async {
        let dir = directory();
        let mut place = Place::new(&dir.path().join("db")).await;
        place.happen(&Deed { of: 2, id: 0, verb: 0 }).await;
        place.happen(&Deed { of: 2, id: 0, verb: 7 }).await;
        (place.handle, place.keys) = (
            place.vectors.scoped(scope(2)).unwrap(),
            keys_of(&place.database, scope(2)),
        );
        let search = Try::Search {
            of: vec![2],
            is_list: false,
            k: 1,
            near_b: true,
            filter: None,
        };
        let list_keys = Try::Key { key: 0, verb: 3 };
        let get_value = Try::Key { key: 0, verb: 1 };
        let page = Try::Matching { verb: 1, filter: 3 };
        let facet = Try::Matching { verb: 3, filter: 1 };
        for attempt in [search, Try::Get(0), Try::Page(5), page, facet, list_keys, get_value] {
            let seen = place.answer(&attempt).await;
            assert!(has_canary(&seen), "{attempt:?} was told {seen}");
        }
    });
}
