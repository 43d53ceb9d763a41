//! Filter and threshold are applied before the best are chosen.

use serde_json::json;

use super::{entry, exact, ids, scattered};
use llmspell_core::{DateFields, ErrorKind, Filter, Scalar, StateScope, VectorEntry, VectorQuery, VectorStorage};

/// If `k` entries match, `k` are returned, even if none of the nearest matches.
pub async fn a_filter_decides_before_the_best_are_taken(store: &dyn VectorStorage) {
    let batch = (0..300_u16).map(|number| {
        let kind = if number >= 290 { "far" } else { "near" };
        entry(&format!("{number:03}"), [f32::from(number), 0.0, 0.0]).with_metadata(json!({"kind": kind}))
    });
    store.insert(batch.collect()).await.unwrap();
    let far = |k| VectorQuery::new(vec![0.0; 3], k).with_filter(Filter::eq("kind", "far"));
    for query in [far(5), far(5).with_exact(true), far(5).with_ef_search(5)] {
        let results = store.search(&query).await.unwrap();
        assert_eq!(
            ids(&results),
            ["290", "291", "292", "293", "294"],
            "the nearest of those that match"
        );
    }
    assert_eq!(store.search(&far(100)).await.unwrap().len(), 10, "all that match");
    let none = exact([0.0; 3], 5).with_filter(Filter::eq("kind", "missing"));
    assert!(store.search(&none).await.unwrap().is_empty());
}

/// A plan counts existing and matching entries, and its search gives the results of a search.
pub async fn a_plan_tells_what_is_there(store: &dyn VectorStorage) {
    let batch = (0..60_u16).map(|number| {
        entry(&format!("{number:02}"), [f32::from(number), 0.0, 0.0]).with_metadata(json!({"third": number % 3}))
    });
    store.insert(batch.collect()).await.unwrap();
    let query = VectorQuery::new(vec![0.0; 3], 50);
    for (filter, matching, results) in [(None, 60, 50), (Some(Filter::eq("third", 1)), 20, 20)] {
        let mut query = query.clone();
        query.filter = filter;
        let plan = store.explain(&query).await.unwrap();
        let counts = (plan.live, plan.matching, plan.k, plan.results);
        assert_eq!(counts, (60, matching, 50, results), "{plan}");
        assert!(
            plan.distances >= results as u64 && !plan.paths.is_empty() && !plan.stages.is_empty(),
            "{plan}"
        );
    }
    let nothing = query.with_scope(llmspell_core::StateScope::User("nobody".to_string()));
    let plan = store.explain(&nothing).await.unwrap();
    assert_eq!((plan.live, plan.matching, plan.results), (0, 0, 0), "{plan}");
}

/// Every filter matches exactly the entries that it matches by its definition.
pub async fn filters_match_like_their_definition(store: &dyn VectorStorage) {
    let values = [
        json!(null),
        json!(true),
        json!(1),
        json!(1.0),
        json!(1.5),
        json!(-1),
        json!(9_007_199_254_740_993_u64),
        json!("1"),
        json!("é"),
        json!("e\u{301}"),
        json!(""),
        json!([1]),
        json!({"b": 1}),
        json!({"b": {"c": "x"}}),
    ];
    let mut entries: Vec<VectorEntry> = Vec::new();
    for (number, (value, vector)) in values.iter().zip(scattered(values.len())).enumerate() {
        let metadata = json!({"a": value, "parity": number % 2, "a.d": "dotted"});
        entries.push(entry(&format!("v{number:02}"), vector).with_metadata(metadata));
    }
    entries.push(entry("without", [1.0, 2.0, 4.0]));
    store.insert(entries.clone()).await.unwrap();

    let scalars: Vec<Scalar> = values.iter().filter_map(|value| Scalar::try_from(value).ok()).collect();
    let mut filters: Vec<Filter> = scalars.iter().map(|value| Filter::eq("a", value.clone())).collect();
    filters.extend(scalars.iter().map(|value| Filter::ne("a", value.clone())));
    filters.extend([
        Filter::all(),
        Filter::eq("a.b", 1),
        Filter::eq("a.b.c", "x"),
        Filter::eq("\"a.d\"", "dotted"),
        Filter::eq("a.d", "dotted"),
        Filter::eq("missing", Scalar::Null),
        Filter::is_null("a"),
        Filter::exists("a.b"),
        Filter::not(Filter::exists("a")),
        Filter::is_in("a", [Scalar::from(1), "é".into(), Scalar::Null]),
        Filter::is_in("a", Vec::<i32>::new()),
        Filter::lt("a", 1.5),
        Filter::le("a", 1.5),
        Filter::gt("a", 9_007_199_254_740_992_u64),
        Filter::ge("a", ""),
        Filter::between("a", 1, 1.5),
        Filter::contains("a", 1.0),
        Filter::starts_with("a", "e"),
        Filter::matches_text("a", "É"),
        Filter::eq("parity", 1).and(Filter::is_in("a", [Scalar::from(1), true.into(), "".into()])),
        Filter::eq("parity", 0).and(Filter::eq("parity", 1)),
        Filter::eq("parity", 0).or(Filter::eq("parity", 1)),
        Filter::not(Filter::eq("parity", 0.0).and(Filter::exists("a.b"))),
    ]);
    for filter in filters {
        let compiled = filter.compile(&DateFields::none()).unwrap();
        let matches = |entry: &&VectorEntry| compiled.matches(entry.metadata.as_object().expect("all have objects"));
        let mut expected: Vec<&str> = entries.iter().filter(matches).map(|entry| entry.id.as_str()).collect();
        let results = store
            .search(&exact([0.0; 3], 100).with_filter(filter.clone()))
            .await
            .unwrap();
        let mut found = ids(&results);
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{filter:?}");
    }
}

/// A threshold admits scores that equal it, and none below.
pub async fn a_threshold_is_an_inclusive_lower_bound(store: &dyn VectorStorage) {
    let batch = scattered(50)
        .enumerate()
        .map(|(number, vector)| entry(&format!("v{number:02}"), vector));
    store.insert(batch.collect()).await.unwrap();
    let all = store.search(&exact([0.5; 3], 50)).await.unwrap();
    for place in [0, 1, 20, 49] {
        let threshold = all[place].score;
        let expected: Vec<_> = all.iter().filter(|result| result.score >= threshold).cloned().collect();
        let found = store
            .search(&exact([0.5; 3], 50).with_threshold(threshold))
            .await
            .unwrap();
        assert_eq!(found, expected, "at least the score of place {place}");
        let first = store
            .search(&exact([0.5; 3], 1).with_threshold(threshold))
            .await
            .unwrap();
        assert_eq!(first, all[..1], "the best is the best with a threshold too");
    }
    let best = all[0].score;
    assert!(
        store
            .search(&exact([0.5; 3], 50).with_threshold(best.next_up()))
            .await
            .unwrap()
            .is_empty()
    );
    for (threshold, count) in [(f32::NEG_INFINITY, 50), (0.0, 50), (f32::INFINITY, 0), (2.0, 0)] {
        let found = store
            .search(&exact([0.5; 3], 50).with_threshold(threshold))
            .await
            .unwrap();
        assert_eq!(found.len(), count, "threshold {threshold}");
    }
}

/// Counts, lists, facets and deletions see the entries that a search with the same filter sees.
pub async fn what_matches_is_counted_listed_and_deleted_alike(store: &dyn VectorStorage) {
    let scope = StateScope::Global;
    let color = |number: usize| ["red", "green", "blue"][number % 3];
    let batch = scattered(60).enumerate().map(|(number, vector)| {
        let tags = json!([number % 2, number % 5, number % 2]);
        entry(&format!("{number:02}"), vector).with_metadata(json!({"color": color(number), "tags": tags, "n": number}))
    });
    store.insert(batch.collect()).await.unwrap();
    let fields = json!({"color": "red"}).as_object().unwrap().clone();
    store.update_metadata(&scope, "01", fields).await.unwrap();

    let red = Filter::eq("color", "red");
    assert_eq!(store.count_matching(&scope, &red).await.unwrap(), 21);
    assert_eq!(
        store.count_matching(&scope, &Filter::not(red.clone())).await.unwrap(),
        39
    );
    let found = store
        .search(&exact([0.0; 3], 100).with_filter(red.clone()))
        .await
        .unwrap();
    let mut found = ids(&found);
    found.sort_unstable();
    let listed = store.list_matching(&scope, &red, None, 10).await.unwrap();
    let after = listed[9].id.clone();
    let rest = store.list_matching(&scope, &red, Some(&after), 100).await.unwrap();
    let listed: Vec<&str> = listed.iter().chain(&rest).map(|entry| entry.id.as_str()).collect();
    assert_eq!(listed, found, "in the order of their ids");

    let counts = async |field: &str, filter: &Filter, limit| {
        let facet = store.facet(&scope, &field.into(), filter, limit).await.unwrap();
        let counts = facet.into_iter().map(|facet| (facet.value.to_string(), facet.count));
        counts.collect::<Vec<_>>()
    };
    let of = |value: &str, count| (value.to_string(), count);
    assert_eq!(
        counts("color", &Filter::all(), 1).await,
        [of("\"red\"", 21)],
        "the most frequent"
    );
    assert_eq!(counts("color", &Filter::lt("n", 2), 9).await, [of("\"red\"", 1)]);
    let mut tags = counts("tags", &Filter::all(), 9).await;
    tags.sort_unstable();
    // Entry 01 has no tags any more; an element counts once per entry.
    assert_eq!(tags, [of("0", 36), of("1", 35), of("2", 12), of("3", 12), of("4", 12)]);
    assert!(counts("missing", &Filter::all(), 9).await.is_empty());

    assert_eq!(store.delete_matching(&scope, &red).await.unwrap(), 21);
    assert_eq!(store.delete_matching(&scope, &red).await.unwrap(), 0);
    assert_eq!(store.count(&scope).await.unwrap(), 39);
    let other = StateScope::User("other".to_string());
    assert_eq!(store.delete_matching(&other, &Filter::all()).await.unwrap(), 0);
    let nothing_said = store.delete_matching(&scope, &Filter::all_of([])).await;
    assert_eq!(nothing_said.unwrap_err().kind(), ErrorKind::Invalid, "an empty filter");
    assert_eq!(store.delete_matching(&scope, &Filter::all()).await.unwrap(), 39);
    assert_eq!(store.count(&scope).await.unwrap(), 0);
}
