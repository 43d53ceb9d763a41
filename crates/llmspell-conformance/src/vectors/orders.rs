//! Do listings go by their order, and are samples random?

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{DIM, assert_invalid, entry, scattered, user};
use llmspell_core::{
    Entries, Filter, ListOrder, ListQuery, OwnTime, Pages, SampleQuery, StateScope, StorageError, Timestamp,
    VectorEntry, VectorStorage,
};

/// Times with gaps and with equals, in another order than the ids.
const MILLIS: [i64; 12] = [
    50,
    -7,
    50,
    0,
    1_900_000_000_000,
    50,
    3,
    0,
    50,
    12,
    -7,
    1_900_000_000_001,
];

/// Twelve entries of two scopes, some without an event time; one of a third scope; and one that has expired.
async fn store_some(store: &dyn VectorStorage) -> Vec<VectorEntry> {
    let at = Timestamp::from_millis;
    let batch = scattered(12).zip(MILLIS).enumerate().map(|(number, (vector, millis))| {
        let mut entry = entry(&format!("e-{:02}", number * 7 % 12), vector)
            .with_scope(user(if number % 3 == 0 { "bob" } else { "ada" }))
            .with_metadata(json!({ "odd": number % 2 == 1 }));
        entry.created_at = Some(at(millis));
        entry.event_time = (number % 4 != 3).then(|| at(-millis));
        entry
    });
    let twin = entry("e-07", [1.0; DIM]).with_scope(user("bob"));
    let mut twin = twin.with_metadata(json!({ "odd": true }));
    (twin.created_at, twin.event_time) = (Some(at(-7)), Some(at(7)));
    let mut ended = entry("ended", [1.0; DIM]).with_scope(user("ada"));
    (ended.created_at, ended.event_time) = (Some(at(50)), Some(at(50)));
    let ended = ended.with_expires_at(at(1));
    let other = entry("e-00", [1.0; DIM]).with_scope(user("eve"));
    store.insert(batch.chain([twin, ended, other]).collect()).await.unwrap();
    let mut all = Vec::new();
    for name in ["ada", "bob"] {
        all.extend(store.list(&user(name), None, 100).await.unwrap());
    }
    assert_eq!(all.len(), 13);
    all
}

type Key<'a> = (i64, &'a str, &'a StateScope);

/// What is listed, by definition.
fn expected<'a>(all: &'a [VectorEntry], query: &ListQuery, scopes: &[StateScope]) -> Vec<&'a VectorEntry> {
    let key = |entry: &&'a VectorEntry| -> Option<Key<'a>> {
        let millis = match query.order {
            ListOrder::Id | ListOrder::IdDescending => 0,
            _ => entry.times().get(query.time)?.as_millis(),
        };
        Some((millis, entry.id.as_str(), &entry.scope))
    };
    let matches = |entry: &&VectorEntry| query.filter.is_none() || entry.metadata["odd"] == true;
    let mut listed: Vec<&VectorEntry> = all
        .iter()
        .filter(|entry| scopes.contains(&entry.scope) && matches(entry) && key(entry).is_some())
        .collect();
    listed.sort_by_key(key);
    if matches!(query.order, ListOrder::IdDescending | ListOrder::NewestFirst) {
        listed.reverse();
    }
    listed
}

/// Pages in each order join to everything in that order: equal times by id, and equal ids by scope; by each time, of one
/// scope and of several, with a filter and without one. A page that has no next one is the last.
pub async fn pages_join_in_every_order(store: &dyn VectorStorage) {
    let all = store_some(store).await;
    let (ada, bob) = (user("ada"), user("bob"));
    for order in ListOrder::ALL {
        for (time, is_filtered) in [
            (OwnTime::Created, false),
            (OwnTime::Created, true),
            (OwnTime::Event, false),
            (OwnTime::Updated, false),
        ] {
            for scopes in [
                vec![ada.clone()],
                vec![bob.clone(), ada.clone(), bob.clone(), user("nobody")],
            ] {
                let mut query = ListQuery::new(scopes[0].clone()).with_order(order).with_time(time);
                if scopes.len() > 1 {
                    query = query.with_scopes(scopes.clone());
                }
                if is_filtered {
                    query = query.with_filter(Filter::eq("odd", true));
                }
                let expected = expected(&all, &query, &scopes);
                for limit in [1, 2, 5, 12, 13, 100] {
                    let (mut query, mut joined) = (query.clone().with_limit(limit), Vec::new());
                    loop {
                        let page = store.list_page(&query).await.unwrap();
                        assert!(page.entries.len() <= limit && (page.next.is_none() || page.entries.len() == limit));
                        assert!(joined.is_empty() || !page.entries.is_empty(), "a page after the last");
                        joined.extend(page.entries);
                        assert!(joined.len() <= all.len(), "pages of {limit} repeat entries");
                        let Some(next) = page.next else { break };
                        // It is passed on as a text.
                        query = query.after(next.to_string().parse().unwrap());
                    }
                    let joined: Vec<&VectorEntry> = joined.iter().collect();
                    assert_eq!(
                        joined, expected,
                        "{order:?} by {time:?}, filter: {is_filtered}, pages of {limit}"
                    );
                }
            }
        }
    }
}

/// What comes while a reader goes from page to page is seen if its place is after the last one read, and what goes is not; an
/// entry that is written again keeps its place by creation.
pub async fn a_listing_goes_on_from_its_place_whatever_happens(store: &dyn VectorStorage) {
    let scope = user("ada");
    let message = |number: i64| {
        let mut entry = entry(&format!("m-{number}"), [1.0, 2.0, number as f32]).with_scope(user("ada"));
        entry.created_at = Some(Timestamp::from_millis(1_000 + number));
        entry
    };
    store.insert((0..9).map(message).collect()).await.unwrap();
    let page = store.list_page(&ListQuery::newest(scope.clone(), 3)).await.unwrap();
    let ids = |entries: &[VectorEntry]| entries.iter().map(|entry| entry.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&page.entries), ["m-8", "m-7", "m-6"]);

    store.insert(vec![message(9)]).await.unwrap();
    store.delete(&scope, &["m-6".into(), "m-4".into()]).await.unwrap();
    let mut again = message(7);
    again.created_at = None;
    store.upsert(vec![again]).await.unwrap();
    let next = ListQuery::newest(scope.clone(), 3).after(page.next.clone().unwrap());
    let page = store.list_page(&next).await.unwrap();
    assert_eq!(ids(&page.entries), ["m-5", "m-3", "m-2"]);
    let newest = store.list_page(&ListQuery::newest(scope.clone(), 2)).await.unwrap();
    assert_eq!(
        ids(&newest.entries),
        ["m-9", "m-8"],
        "an upsert keeps when it was created"
    );

    // What came since an entry, asked for later.
    let last = store.get(&scope, "m-8").await.unwrap().unwrap();
    let since = ListQuery::oldest(scope.clone(), 9).after_entry(&last).unwrap();
    assert_eq!(ids(&store.list_page(&since).await.unwrap().entries), ["m-9"]);
    let before = ListQuery::new(scope.clone())
        .with_order(ListOrder::IdDescending)
        .after_id("m-3x");
    assert_eq!(
        ids(&store.list_page(&before).await.unwrap().entries),
        ["m-3", "m-2", "m-1", "m-0"]
    );

    let read = async |mut entries: Entries<'_, dyn VectorStorage + '_>| {
        let mut ids = Vec::new();
        while let Some(entry) = entries.next().await? {
            ids.push(entry.id);
        }
        Ok::<_, StorageError>(ids)
    };
    let pages = |order| {
        Pages::new(store, user("ada"))
            .with_limit(2)
            .with_order(order)
            .into_entries()
    };
    let backwards = read(pages(ListOrder::NewestFirst));
    let expected = ["m-9", "m-8", "m-7", "m-5", "m-3", "m-2", "m-1", "m-0"];
    assert_eq!(backwards.await.unwrap(), expected);
    let forwards = read(pages(ListOrder::OldestFirst)).await.unwrap();
    assert!(forwards.iter().rev().eq(expected));
}

/// A listing or a sample out of its limits is refused, and so is a cursor of another order.
pub async fn a_bad_listing_or_sample_is_refused(store: &dyn VectorStorage) {
    store_some(store).await;
    let newest = ListQuery::newest(user("ada"), 2);
    let cursor = store.list_page(&newest).await.unwrap().next.unwrap();
    let list = async |query: ListQuery| store.list_page(&query).await;
    assert!(list(newest.clone().after(cursor.clone())).await.is_ok());
    for other in [
        newest.clone().with_order(ListOrder::OldestFirst),
        newest.clone().with_order(ListOrder::Id),
        newest.clone().with_time(OwnTime::Event),
    ] {
        let refused = list(other.after(cursor.clone())).await;
        assert!(matches!(refused, Err(StorageError::CursorOrder { .. })), "{refused:?}");
    }
    for limit in [0, 10_001] {
        assert_invalid(list(newest.clone().with_limit(limit)).await, "a page out of range");
        let sample = SampleQuery::new(user("nobody"), limit, 1);
        assert_invalid(store.sample(&sample).await, "a sample out of range");
    }
    let deep = (0..40).fold(Filter::eq("a", 1), |inner, _| Filter::not(inner));
    assert_invalid(
        list(newest.clone().with_filter(deep.clone())).await,
        "a filter that is too deep",
    );
    let sample = SampleQuery::new(user("ada"), 1, 1);
    assert_invalid(
        store.sample(&sample.clone().with_filter(deep)).await,
        "a filter that is too deep",
    );
    for scopes in [vec![], vec![user("ada"), user("")]] {
        assert_invalid(list(newest.clone().with_scopes(scopes.clone())).await, "bad scopes");
        assert_invalid(store.sample(&sample.clone().with_scopes(scopes)).await, "bad scopes");
    }
    assert_invalid(list(ListQuery::newest(user(""), 1)).await, "a scope without id");
    assert_invalid(
        store.sample(&SampleQuery::new(user(""), 1, 1)).await,
        "a scope without id",
    );
    assert!(
        list(ListQuery::newest(user("nobody"), 5))
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    assert!(
        store
            .sample(&SampleQuery::new(user("nobody"), 5, 1))
            .await
            .unwrap()
            .is_empty()
    );
}

/// A sample holds entries that are there and match, each once, as many as were asked for, in random order; the seed decides,
/// and a smaller sample is the beginning of a larger one.
pub async fn a_sample_is_of_what_is_there_and_its_seed_decides(store: &dyn VectorStorage) {
    let all = store_some(store).await;
    let scopes = [user("bob"), user("ada"), user("nobody"), user("bob")];
    let all_of = SampleQuery::new(StateScope::Global, 100, 5).with_scopes(scopes);
    let whole = store.sample(&all_of).await.unwrap();
    let key = |entry: &VectorEntry| (entry.scope.clone(), entry.id.clone());
    let keys: Vec<_> = whole.iter().map(key).collect();
    assert_eq!(
        keys.iter().collect::<BTreeSet<_>>().len(),
        13,
        "each once, and all of them"
    );
    assert_eq!(whole.len(), 13);
    assert!(whole.iter().all(|entry| all.contains(entry)), "each as it is stored");
    assert!(!keys.is_sorted(), "in random order");
    for size in [1, 2, 7, 12] {
        let mut smaller = all_of.clone();
        smaller.size = size;
        assert_eq!(store.sample(&smaller).await.unwrap(), whole[..size]);
        assert_eq!(store.sample(&smaller).await.unwrap(), whole[..size], "the seed decides");
    }
    let matching: BTreeSet<_> = all
        .iter()
        .filter(|entry| entry.scope == user("ada") && entry.metadata["odd"] == true)
        .map(key)
        .collect();
    let odd = SampleQuery::new(user("ada"), matching.len(), 1).with_filter(Filter::eq("odd", true));
    let found = store.sample(&odd).await.unwrap();
    assert_eq!(found.iter().map(key).collect::<BTreeSet<_>>(), matching);
    assert_eq!(found.len(), matching.len());
}

/// Each entry is in about as many samples as any other, whatever its scope, and so is each pair.
pub async fn every_entry_is_as_likely_in_a_sample_as_any_other(store: &dyn VectorStorage) {
    const SEEDS: u64 = 1_500;
    store_some(store).await;
    for scopes in [vec![user("ada")], vec![user("ada"), user("bob")]] {
        let (mut singles, mut pairs) = (BTreeMap::new(), BTreeMap::new());
        for seed in 0..SEEDS {
            let query = SampleQuery::new(StateScope::Global, 3, seed).with_scopes(scopes.clone());
            let sample = store.sample(&query).await.unwrap();
            let mut keys: Vec<_> = sample.into_iter().map(|entry| (entry.scope, entry.id)).collect();
            keys.sort();
            for (place, key) in keys.iter().enumerate() {
                *singles.entry(key.clone()).or_insert(0_u64) += 1;
                for other in &keys[place + 1..] {
                    *pairs.entry((key.clone(), other.clone())).or_insert(0_u64) += 1;
                }
            }
        }
        let count = if scopes.len() == 1 { 8 } else { 13 };
        assert_eq!((singles.len(), pairs.len()), (count, count * (count - 1) / 2));
        // Within four and a half standard deviations and more: the variance of a count is less than its mean.
        let is_likely = |seen: u64, of: usize| {
            let mean = 3.0 * SEEDS as f64 / of as f64;
            (seen as f64 - mean).abs() < 4.5 * mean.sqrt()
        };
        assert!(singles.values().all(|seen| is_likely(*seen, count)), "{singles:?}");
        assert!(pairs.values().all(|seen| is_likely(*seen, pairs.len())), "{pairs:?}");
    }
}
