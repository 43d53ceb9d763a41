//! Pages of a search join without gaps, and many entries are read at once.

use llmspell_core::limits::K_MAX;
use llmspell_core::{Filter, Pages, StorageError, VectorStorage};
use serde_json::json;

use super::{entry, exact, ids, scattered, user};

/// Pages of a search, by offset, join to the answer of one search, in one scope and in several, and end where it ends.
pub async fn pages_of_a_search_join_to_one_answer(store: &dyn VectorStorage) {
    let scopes = [user("ada"), user("bob")];
    let place = |number: usize| scopes[number % 2].clone();
    let batch = scattered(17).enumerate();
    let batch = batch.map(|(number, vector)| entry(&format!("e-{number:02}"), vector).with_scope(place(number)));
    store.insert(batch.collect()).await.unwrap();
    let one = exact([1.0, 2.0, 3.0], 100).with_scope(scopes[0].clone());
    let both = one.clone().with_scopes(scopes.clone());
    for (query, count) in [(one, 9), (both, 17)] {
        let whole = store.search(&query).await.unwrap();
        assert_eq!(whole.len(), count);
        for k in [1, 4, 9, 100] {
            let mut joined = Vec::new();
            for page in 0..=count.div_ceil(k) {
                let page = query.clone().with_k(k).with_offset(page * k);
                joined.extend(store.search(&page).await.unwrap());
            }
            assert_eq!(ids(&joined), ids(&whole), "pages of {k}");
        }
        assert!(store.search(&query.clone().with_offset(K_MAX)).await.is_err());
    }
}

/// Entries are read a page at a time, all of them or those that match a filter, until there are no more.
pub async fn a_scope_is_read_a_page_at_a_time(store: &dyn VectorStorage) {
    let batch = scattered(20).zip(0..).map(|(vector, number)| {
        let fields = json!({ "odd": number % 2 == 1 });
        entry(&format!("e-{number:02}"), vector)
            .with_scope(user("ada"))
            .with_metadata(fields)
    });
    store.insert(batch.collect()).await.unwrap();
    let read = async |mut pages: Pages<'_, dyn VectorStorage + '_>| {
        let mut sizes = Vec::new();
        let mut last = String::new();
        while let Some(page) = pages.next().await? {
            sizes.push(page.len());
            assert!(page.iter().map(|entry| &entry.id).is_sorted() && page[0].id > last);
            last = page.last().map(|entry| entry.id.clone()).unwrap_or_default();
        }
        Ok::<_, StorageError>(sizes)
    };
    let pages = |owner: &str| Pages::new(store, user(owner)).with_limit(8);
    assert_eq!(read(pages("ada")).await.unwrap(), [8, 8, 4]);
    assert_eq!(read(pages("ada").with_limit(10)).await.unwrap(), [10, 10]);
    assert_eq!(
        read(pages("ada").with_filter(Filter::eq("odd", true))).await.unwrap(),
        [8, 2]
    );
    assert_eq!(read(pages("ada").after("e-11")).await.unwrap(), [8]);
    assert!(read(pages("bob")).await.unwrap().is_empty());
    assert!(read(pages("ada").with_limit(0)).await.is_err());
}

/// Many entries are read in the order of their ids, each as `get` returns it, none for a missing one, and twice for an
/// id that is named twice.
pub async fn many_entries_are_read_in_the_order_of_their_ids(store: &dyn VectorStorage) {
    let scope = user("ada");
    let batch = ["a", "b", "c"].into_iter().zip(scattered(3));
    let batch = batch.map(|(id, vector)| entry(id, vector).with_scope(scope.clone()));
    let other = entry("elsewhere", [1.0; 3]).with_scope(user("bob"));
    store.insert(batch.chain([other]).collect()).await.unwrap();
    let asked = ["c", "missing", "a", "elsewhere", "c"].map(String::from);
    let found = store.get_many(&scope, &asked).await.unwrap();
    let mut expected = Vec::new();
    for id in &asked {
        expected.push(store.get(&scope, id).await.unwrap());
    }
    assert_eq!(found, expected);
    let is_there: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(is_there, [true, false, true, false, true]);
    assert_eq!(store.get_many(&user("nobody"), &asked).await.unwrap(), vec![None; 5]);
    assert!(store.get_many(&scope, &[]).await.unwrap().is_empty());
    assert!(
        store.get_many(&scope, &["a".into(), String::new()]).await.is_err(),
        "an empty id"
    );
    assert!(store.get_many(&user(""), &[]).await.is_err(), "a scope without id");
}
