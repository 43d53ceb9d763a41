//! Do listings by time go by their order where many entries have one time, with an index of it and without, while large
//! batches come and go?

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;

use llmspell_storage::{
    Database, DatabaseOptions, Filter, HNSWConfig, HNSWVectorStorage, ListOrder, ListQuery, OwnTime, Pages, StateScope,
    Timestamp, VectorEntry,
};
use proptest::prelude::*;
use serde_json::json;

const SCOPE: StateScope = StateScope::Global;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap()
        .block_on(future)
}

/// Batches of 300 and more are written in steps, and filters look at their metadata until it was read.
async fn open(dir: &Path, has_index: bool) -> (Database, HNSWVectorStorage) {
    let options = DatabaseOptions::new()
        .metadata_points_min(if has_index { 1 } else { u64::MAX })
        .graph_points_min(u64::MAX)
        .large_batch_entries(300);
    let database = options.open(dir).await.unwrap();
    let vectors = database.vectors("s", 2, HNSWConfig::fast()).await.unwrap();
    (database, vectors)
}

/// How ids follow the numbers of a batch.
#[derive(Debug, Clone, Copy)]
enum Ids {
    Ascending,
    Descending,
    Scattered,
}

#[derive(Debug, Clone)]
enum Step {
    /// So many numbers from the first on, of so many to each millisecond.
    Write {
        first: u32,
        count: u32,
        to_a_millisecond: u32,
        ids: Ids,
    },
    /// Every third of them.
    Delete {
        first: u32,
        count: u32,
    },
    /// Every fifth of them expires.
    End {
        first: u32,
        count: u32,
    },
    /// A page, after the entry of a number if there is one.
    Ask {
        order: ListOrder,
        time: OwnTime,
        filter: Option<&'static str>,
        after: Option<(u32, Ids)>,
        limit: usize,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let ids = prop::sample::select(vec![Ids::Ascending, Ids::Descending, Ids::Scattered]);
    let range = || (0..900_u32, prop_oneof![3 => 1..60_u32, 2 => 60..700_u32]);
    let write = (
        range(),
        prop_oneof![Just(1), 2..9_u32, Just(200), Just(5_000)],
        ids.clone(),
    );
    let order = prop::sample::select(ListOrder::ALL.to_vec());
    let time = prop::sample::select(OwnTime::ALL.to_vec());
    let filter = prop::sample::select(vec![
        None,
        None,
        Some("odd = true"),
        Some("odd = false and n < 100"),
        Some("n < 9"),
    ]);
    let limit = prop_oneof![2 => 1..30_usize, 1 => 100..2_000_usize];
    prop_oneof![
        4 => write.prop_map(|((first, count), to_a_millisecond, ids)| Step::Write { first, count, to_a_millisecond, ids }),
        1 => range().prop_map(|(first, count)| Step::Delete { first, count }),
        1 => range().prop_map(|(first, count)| Step::End { first, count }),
        8 => (order, time, filter, prop::option::of((0..1_600_u32, ids)), limit)
            .prop_map(|(order, time, filter, after, limit)| Step::Ask { order, time, filter, after, limit }),
        1 => Just(Step::Reopen),
    ]
}

fn id_of(number: u32, ids: Ids) -> String {
    match ids {
        Ids::Ascending => format!("a{number:05}"),
        Ids::Descending => format!("b{:05}", 99_999 - number),
        Ids::Scattered => format!("c{:010}", number.wrapping_mul(2_654_435_761)),
    }
}

fn entry(number: u32, to_a_millisecond: u32, ids: Ids) -> VectorEntry {
    let millis = i64::from(number / to_a_millisecond);
    let mut entry = VectorEntry::new(id_of(number, ids), [1.0, number as f32])
        .with_metadata(json!({"n": number, "odd": number % 2 == 1}));
    entry.created_at = Some(Timestamp::from_millis(1_000 + millis));
    entry.event_time = (!number.is_multiple_of(7)).then(|| Timestamp::from_millis(1_000 - millis));
    entry
}

fn all_ids(first: u32, count: u32, every: usize) -> Vec<String> {
    let numbers = (first..first + count).step_by(every);
    let of = |number| [Ids::Ascending, Ids::Descending, Ids::Scattered].map(|ids| id_of(number, ids));
    numbers.flat_map(of).collect()
}

/// The page, by sorting everything.
async fn expected(vectors: &HNSWVectorStorage, query: &ListQuery, after: Option<&VectorEntry>) -> (Vec<String>, bool) {
    let filter = query.filter.clone().unwrap_or(Filter::all());
    let all = vectors.list_matching(&SCOPE, &filter, None, 10_000).await.unwrap();
    let key = |entry: &VectorEntry| {
        let millis = match query.order {
            ListOrder::Id | ListOrder::IdDescending => 0,
            _ => entry.times().get(query.time)?.as_millis(),
        };
        Some((millis, entry.id.clone()))
    };
    let mut keys: Vec<(i64, String)> = all.iter().filter_map(key).collect();
    keys.sort();
    let is_backward = matches!(query.order, ListOrder::IdDescending | ListOrder::NewestFirst);
    if is_backward {
        keys.reverse();
    }
    if let Some(after) = after.and_then(key) {
        keys.retain(|key| if is_backward { *key < after } else { *key > after });
    }
    let has_more = keys.len() > query.limit;
    let ids = keys.into_iter().take(query.limit).map(|(_, id)| id);
    (ids.collect(), has_more)
}

async fn run(has_index: bool, steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut database, mut vectors) = open(dir.path(), has_index).await;
    for step in steps {
        match step {
            Step::Write {
                first,
                count,
                to_a_millisecond,
                ids,
            } => {
                let batch = (first..first + count).map(|number| entry(number, to_a_millisecond, ids));
                vectors.upsert(batch.collect()).await.unwrap();
            }
            Step::Delete { first, count } => {
                vectors.delete(&SCOPE, all_ids(first, count, 3)).await.unwrap();
            }
            Step::End { first, count } => {
                let ended = llmspell_storage::Expiry::At(Timestamp::from_millis(1));
                vectors.touch(&SCOPE, all_ids(first, count, 5), ended).await.unwrap();
            }
            Step::Ask {
                order,
                time,
                filter,
                after,
                limit,
            } => {
                let mut query = ListQuery::new(SCOPE)
                    .with_order(order)
                    .with_time(time)
                    .with_limit(limit);
                query.filter = filter.map(|text| text.parse().unwrap());
                let after = match after {
                    Some((number, ids)) => vectors.get(&SCOPE, &id_of(number, ids)).await.unwrap(),
                    None => None,
                };
                let after = after.filter(|entry| !order.is_by_time() || entry.times().get(time).is_some());
                if let Some(after) = &after {
                    query = query.after_entry(after).unwrap();
                }
                let page = vectors.list_page(&query).await.unwrap();
                let ids: Vec<String> = page.entries.iter().map(|entry| entry.id.clone()).collect();
                let expected = expected(&vectors, &query, after.as_ref()).await;
                assert_eq!((ids, page.next.is_some()), expected, "{query:?}");
            }
            Step::Reopen => {
                drop(vectors);
                database.close().await.unwrap();
                (database, vectors) = open(dir.path(), has_index).await;
            }
        }
    }
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        let query = ListQuery::new(SCOPE).with_order(order).with_limit(170);
        let mut entries = Pages::of(&vectors, query.clone()).into_entries();
        let mut joined = Vec::new();
        while let Some(entry) = entries.next().await.unwrap() {
            joined.push(entry.id);
        }
        let whole = expected(&vectors, &query.with_limit(10_000), None).await;
        assert_eq!(joined, whole.0, "pages of {order:?} join");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_page_is_the_beginning_of_a_sort(has_index in prop::bool::weighted(0.75), steps in prop::collection::vec(step(), 1..24)) {
        block_on(run(has_index, steps));
    }
}

/// 3,000 entries of one time: their ids are looked for among all ids, whether they stand at the beginning or at the end.
#[test]
fn the_first_of_very_many_equal_times_come_by_id() {
    for ids in [Ids::Ascending, Ids::Descending, Ids::Scattered] {
        let write = |first, count, to_a_millisecond| Step::Write {
            first,
            count,
            to_a_millisecond,
            ids,
        };
        let ask = |order, after, filter| Step::Ask {
            order,
            time: OwnTime::Created,
            filter,
            after,
            limit: 20,
        };
        let mut steps = vec![write(0, 3_000, 5_000), write(20_000, 2_000, 1)];
        for order in ListOrder::ALL {
            for after in [None, Some((1_234, ids))] {
                steps.extend([None, Some("odd = true")].map(|filter| ask(order, after, filter)));
            }
        }
        block_on(run(true, steps));
    }
}
