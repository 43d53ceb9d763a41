//! All keys are there after closing and opening.

use llmspell_core::{KeyValueWrite, StorageBackend, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values, and when they expire.
type Model = BTreeMap<String, (Vec<u8>, Option<Timestamp>)>;
/// In some far year.
const END: i64 = 9_000_000_000_000;

/// For durable backends: acknowledged writes are there after closing and opening, and nothing else is.
///
/// `open` opens the same backend with each call, empty at first. The suite drops the backend before it opens the next.
///
/// # Panics
///
/// If the promise is broken.
pub async fn what_is_acknowledged_is_there_after_reopening(open: impl AsyncFn() -> Arc<dyn StorageBackend>) {
    let mut model = Model::new();
    for round in 0..5_u8 {
        let backend = open().await;
        check(&*backend, &model, &format!("after opening {round} times before")).await;
        change(&*backend, &mut model, round).await;
        check(&*backend, &model, "before closing").await;
    }
    let backend = open().await;
    check(&*backend, &model, "after the last opening").await;
    assert_eq!(backend.clear().await.unwrap(), model.len() as u64);
    drop(backend);
    assert_eq!(
        open().await.count("").await.unwrap(),
        0,
        "what was cleared does not come back"
    );
}

async fn change(backend: &dyn StorageBackend, model: &mut Model, round: u8) {
    for number in 0..20_u8 {
        let key = format!("{}/{number}", round % 2);
        let value = vec![round; usize::from(number) * 400];
        backend.set(&key, value.clone()).await.unwrap();
        model.insert(key, (value, None));
    }
    let key = format!("batch/{round}");
    let large = vec![round; 700_000];
    let batch = vec![
        KeyValueWrite::DeletePrefix {
            prefix: format!("{}/1", round % 2),
        },
        KeyValueWrite::Set {
            key: key.clone(),
            value: large.clone(),
        },
        KeyValueWrite::Set {
            key: "\u{10ffff}".into(),
            value: Vec::new(),
        },
    ];
    backend.write(batch).await.unwrap();
    model.retain(|key, _| !key.starts_with(&format!("{}/1", round % 2)));
    model.insert(key, (large, None));
    model.insert("\u{10ffff}".into(), (Vec::new(), None));

    let key = format!("{}/2", round % 2);
    assert!(backend.delete(&key).await.unwrap());
    model.remove(&key);
    let counter = backend.get("counter").await.unwrap();
    let next = Some(vec![round; 8]);
    assert!(
        backend
            .compare_and_swap("counter", counter.as_deref(), next.clone())
            .await
            .unwrap()
    );
    model.extend(next.map(|value| ("counter".to_string(), (value, None))));

    // One key that will not expire, one that has expired, and one whose expiry a later `set` cleared.
    let end = Timestamp::from_millis(END + i64::from(round));
    let key = format!("mortal/{round}");
    let batch = vec![
        KeyValueWrite::set_expiring(key.as_str(), vec![round], end),
        KeyValueWrite::set_expiring("ended", vec![round; 5_000], Timestamp::from_millis(1)),
        KeyValueWrite::set_expiring("counter", vec![round], end),
    ];
    backend.write(batch).await.unwrap();
    model.insert(key, (vec![round], Some(end)));
    model.insert("counter".into(), (vec![round], Some(end)));
    if let Some((value, expires_at)) = model.get_mut("mortal/0").filter(|_| round == 2) {
        backend.set("mortal/0", b"immortal".to_vec()).await.unwrap();
        (*value, *expires_at) = (b"immortal".to_vec(), None);
    }
}

async fn check(backend: &dyn StorageBackend, model: &Model, moment: &str) {
    let found = backend.scan_entries("", None, 10_000).await.unwrap();
    let found_keys: Vec<_> = found.iter().map(|entry| &entry.key).collect();
    assert_eq!(found_keys, model.keys().collect::<Vec<_>>(), "the keys {moment}");
    for entry in found {
        let key = &entry.key;
        assert!(model[key].0 == entry.value, "the value of {key:?} {moment}");
        assert_eq!(model[key].1, entry.expires_at, "when {key:?} expires {moment}");
    }
    assert_eq!(
        backend.count("").await.unwrap(),
        model.len() as u64,
        "the count {moment}"
    );
}
