//! Written entries are there, once, with their times.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::{assert_invalid, assert_kind, entry, exact, ids, listed, user};
use llmspell_core::{ErrorKind, StateScope, Timestamp, VectorEntry, VectorStorage};

/// An entry comes back as it was inserted, bit for bit, with its times filled in.
pub async fn an_entry_comes_back_as_it_was_inserted(store: &dyn VectorStorage) {
    let given = entry("doc", [-0.0, f32::MIN_POSITIVE / 8.0, 16_777_217.0])
        .with_scope(user("ada"))
        .with_metadata(json!({"text": "é\u{0}\n", "deep": {"list": [1, 2.5, null, true]}, "n": -3}))
        .with_event_time(Timestamp::from_millis(-5));
    let before = Timestamp::from(SystemTime::now());
    assert_eq!(store.insert(vec![given.clone()]).await.unwrap(), ["doc"]);
    let after = Timestamp::from(SystemTime::now());

    let found = store
        .get(&user("ada"), "doc")
        .await
        .unwrap()
        .expect("what was inserted is there");
    let bits = |entry: &VectorEntry| {
        entry
            .embedding
            .iter()
            .map(|component| component.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&found), bits(&given), "every bit of the vector");
    assert_eq!(
        (&found.id, &found.metadata, &found.scope),
        (&given.id, &given.metadata, &given.scope)
    );
    assert_eq!((found.event_time, found.expires_at), (given.event_time, None));
    for filled in [found.created_at, found.updated_at] {
        let filled = filled.expect("the store fills in when it was stored");
        assert!(
            (before..=after).contains(&filled),
            "{filled} is between {before} and {after}"
        );
    }
}

/// Ids are returned in input order, with generated ones for empty ones.
pub async fn ids_come_back_in_input_order(store: &dyn VectorStorage) {
    let batch = ["z", "", "a", "m", ""].map(|id| entry(id, [1.0, 2.0, 3.0]));
    let returned = store.insert(batch.into()).await.unwrap();
    assert_eq!(returned.len(), 5);
    assert_eq!([&returned[0], &returned[2], &returned[3]], ["z", "a", "m"]);
    for id in &returned {
        assert!(
            store.get(&StateScope::Global, id).await.unwrap().is_some(),
            "{id} can be found"
        );
    }
}

/// An empty id becomes a UUID v7, a new one each time, by upsert too.
pub async fn an_empty_id_becomes_a_new_uuid_v7(store: &dyn VectorStorage) {
    let batch = || vec![entry("", [1.0, 2.0, 3.0]); 50];
    let mut made = store.insert(batch()).await.unwrap();
    made.extend(store.upsert(batch()).await.unwrap());
    for id in &made {
        let groups: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{id} has the form of a UUID");
        assert!(
            id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()),
            "{id} is hexadecimal"
        );
        assert_eq!(id.as_bytes()[14], b'7', "{id} has version 7");
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id} has the variant of RFC 9562");
    }
    assert_eq!(made.iter().collect::<HashSet<_>>().len(), 100, "no id is made twice");
    assert_eq!(store.count(&StateScope::Global).await.unwrap(), 100);
}

/// Any text up to the limit is an id of its own: nothing in it is interpreted, folded or normalized.
pub async fn any_text_is_an_id_of_its_own(store: &dyn VectorStorage) {
    let longest = "x".repeat(llmspell_core::limits::ID_BYTES_MAX);
    let hostile = [
        " ",
        ".",
        "..",
        "../..",
        "/",
        "a/b",
        "a:b",
        "a",
        "a\0",
        "\0",
        "%00",
        "A",
        "\u{e9}",
        "e\u{301}",
        "\u{10ffff}",
        &longest,
    ];
    let batch = hostile
        .iter()
        .zip(0_u8..)
        .map(|(id, place)| entry(id, [f32::from(place), 1.0, 1.0]));
    assert_eq!(store.insert(batch.collect()).await.unwrap(), hostile);
    for (id, place) in hostile.iter().zip(0_u8..) {
        let found = store
            .get(&StateScope::Global, id)
            .await
            .unwrap()
            .expect("every id is there");
        assert_eq!((found.id.as_str(), found.embedding[0]), (*id, f32::from(place)));
        let nearest = store.search(&exact([f32::from(place), 1.0, 1.0], 1)).await.unwrap();
        assert_eq!(ids(&nearest), [*id]);
    }
    let mut sorted = hostile.map(String::from);
    sorted.sort();
    assert_eq!(listed(store, &StateScope::Global).await, sorted, "in byte order");
}

/// An empty batch stores nothing and succeeds.
pub async fn an_empty_batch_stores_nothing(store: &dyn VectorStorage) {
    assert!(store.insert(Vec::new()).await.unwrap().is_empty());
    assert!(store.upsert(Vec::new()).await.unwrap().is_empty());
    assert_eq!(store.stats().await.unwrap().vectors, 0);
}

/// An id that exists is refused, and no entry of its batch is stored, in other scopes neither.
pub async fn an_id_that_exists_is_refused_with_its_whole_batch(store: &dyn VectorStorage) {
    let old = entry("old", [1.0, 1.0, 1.0])
        .with_scope(user("a"))
        .with_metadata(json!({"v": 1}));
    store.insert(vec![old]).await.unwrap();
    for place in 0..3 {
        let mut batch = vec![
            entry("new", [2.0, 2.0, 2.0]).with_scope(user("a")),
            entry("old", [2.0, 2.0, 2.0]).with_scope(user("b")),
        ];
        batch.insert(place, entry("old", [3.0, 3.0, 3.0]).with_scope(user("a")));
        assert_kind(ErrorKind::Conflict, store.insert(batch).await, "an id that exists");
        assert_eq!(
            listed(store, &user("a")).await,
            ["old"],
            "nothing of the batch is stored"
        );
        assert_eq!(store.count(&user("b")).await.unwrap(), 0, "in another scope neither");
    }
    let found = store.get(&user("a"), "old").await.unwrap().unwrap();
    assert_eq!(
        (found.embedding, found.metadata),
        (vec![1.0; 3], json!({"v": 1})),
        "the old entry is as it was"
    );
}

/// An id that occurs twice in one batch and scope is refused by insert and upsert; in two scopes it is allowed.
pub async fn an_id_twice_in_a_batch_is_refused(store: &dyn VectorStorage) {
    let twin = |scope: &str| entry("twin", [1.0, 2.0, 3.0]).with_scope(user(scope));
    let batch = vec![twin("a"), entry("other", [1.0; 3]), twin("a")];
    assert_invalid(store.insert(batch.clone()).await, "an id twice in a batch");
    assert_invalid(store.upsert(batch).await, "an id twice in a batch");
    assert_eq!(store.stats().await.unwrap().vectors, 0);
    store.insert(vec![twin("a"), twin("b")]).await.unwrap();
    assert_eq!(store.stats().await.unwrap().vectors, 2);
}

/// An upsert replaces vector, metadata and times; only the time of creation stays.
pub async fn an_upsert_takes_the_place_and_keeps_when_it_was_created(store: &dyn VectorStorage) {
    let hour = Duration::from_secs(3600);
    let old = entry("doc", [1.0, 1.0, 1.0])
        .with_metadata(json!({"old": true}))
        .with_event_time(Timestamp::from_millis(7))
        .with_ttl(hour);
    store.insert(vec![old]).await.unwrap();
    let before = store.get(&StateScope::Global, "doc").await.unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(5));
    let batch = vec![
        entry("doc", [5.0, 5.0, 5.0]).with_metadata(json!({"new": 1})),
        entry("more", [9.0; 3]),
    ];
    assert_eq!(store.upsert(batch).await.unwrap(), ["doc", "more"]);

    let after = store.get(&StateScope::Global, "doc").await.unwrap().unwrap();
    assert_eq!((after.embedding, after.metadata), (vec![5.0; 3], json!({"new": 1})));
    assert_eq!((after.event_time, after.expires_at), (None, None), "times are replaced");
    assert_eq!(
        after.created_at, before.created_at,
        "it was created when it was created"
    );
    assert!(after.updated_at > before.updated_at, "and updated now");
    assert_eq!(store.count(&StateScope::Global).await.unwrap(), 2);
    let results = store.search(&exact([1.0, 1.0, 1.0], 10)).await.unwrap();
    assert_eq!(
        ids(&results),
        ["doc", "more"],
        "the old vector is not found beside the new one"
    );
    assert!(results[0].distance > 6.0, "and the new one is what is compared");
}

/// `update_metadata` replaces all fields, and changes nothing else but the time of the last update.
pub async fn updated_metadata_is_all_that_changes(store: &dyn VectorStorage) {
    let given = entry("doc", [1.0, 2.0, 3.0])
        .with_metadata(json!({"lang": "en", "year": 2025}))
        .with_event_time(Timestamp::from_millis(7))
        .with_ttl(Duration::from_secs(3600));
    store.insert(vec![given]).await.unwrap();
    let before = store.get(&StateScope::Global, "doc").await.unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(5));
    let fields = json!({"lang": "de"}).as_object().cloned().unwrap();
    store.update_metadata(&StateScope::Global, "doc", fields).await.unwrap();

    let after = store.get(&StateScope::Global, "doc").await.unwrap().unwrap();
    assert!(after.updated_at > before.updated_at, "it was updated now");
    let mut expected = before;
    expected.metadata = json!({"lang": "de"});
    expected.updated_at = after.updated_at;
    assert_eq!(after, expected);
    let filtered = |lang: &str| exact([1.0; 3], 5).with_filter(llmspell_core::Filter::eq("lang", lang));
    assert_eq!(
        ids(&store.search(&filtered("de")).await.unwrap()),
        ["doc"],
        "the new fields are found"
    );
    assert!(
        store.search(&filtered("en")).await.unwrap().is_empty(),
        "the old ones are not"
    );
}

/// Given times are kept, for entries from another store.
pub async fn times_that_are_given_are_kept(store: &dyn VectorStorage) {
    let far = Timestamp::from_millis(95_617_584_000_000);
    let given = entry("doc", [1.0; 3])
        .with_created_at(Timestamp::from_millis(1_000))
        .with_updated_at(Timestamp::from_millis(2_000))
        .with_event_time(Timestamp::from_millis(-3_000))
        .with_expires_at(far);
    store.insert(vec![given.clone()]).await.unwrap();
    assert_eq!(store.get(&StateScope::Global, "doc").await.unwrap(), Some(given));
}
