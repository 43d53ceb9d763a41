//! Sparse vectors are kept with their entries, and found by exact inner products.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::super::{DIM, assert_invalid, exact, listed, user};
use super::hybrid::{Key, key};
use super::{entries, search};
use llmspell_core::limits::{SPARSE_COMPONENTS_MAX, SPARSE_INDEX_MAX};
use llmspell_core::{
    Filter, Fusion, Metadata, SparseVector, StateScope, VectorEntry, VectorQuery, VectorResult, VectorStorage, fuse,
};

const NAMES: [&str; 2] = ["splade", "bge"];

fn scopes() -> [StateScope; 2] {
    [user("ada"), StateScope::Global]
}

/// A vector of some of 40 components, the same in every run. Low indices are frequent, and some values are equal.
fn sparse(seed: u32) -> SparseVector {
    let random = |place: u32| (seed * 31 + place * 7 + 1).wrapping_mul(2_654_435_761).rotate_left(11) >> 7;
    let mut components = BTreeMap::new();
    for place in 0..2 + random(50) % 9 {
        let index = random(place) % (1 + random(place + 20) % 40);
        components.insert(index * 1_000, 0.25 * (1 + random(place + 90) % 9) as f32);
    }
    SparseVector::new(components.keys().copied(), components.values().copied())
}

fn with(mut entry: VectorEntry, name: &str, vector: SparseVector) -> VectorEntry {
    entry.sparse.insert(name.to_string(), vector);
    entry
}

/// Entries with vectors and texts, of which most have sparse vectors of one name or both.
async fn fill(store: &dyn VectorStorage) -> Vec<Vec<VectorEntry>> {
    let mut all = Vec::new();
    for (scope, (skipped, count)) in scopes().iter().zip([(0, 150), (60, 60)]) {
        let mut batch = entries(scope, skipped, count);
        for (entry, seed) in batch.iter_mut().zip(skipped as u32..) {
            for (name, number) in NAMES.iter().zip(0..) {
                if seed % (3 + number) != 0 {
                    entry.sparse.insert((*name).to_string(), sparse(seed * 2 + number));
                }
            }
            match seed % 10 {
                3 => entry.embedding.clear(),
                4 => entry.text = None,
                5 if !entry.sparse.is_empty() => (entry.embedding, entry.text) = (Vec::new(), None),
                _ => {}
            }
        }
        store.insert(batch.clone()).await.unwrap();
        all.push(batch);
    }
    all
}

fn scored(results: &[VectorResult], query: &VectorQuery) -> Vec<(Key, f32)> {
    results
        .iter()
        .map(|result| (key(result, query), result.score))
        .collect()
}

fn query_of(name: &str, vector: &SparseVector, k: usize) -> VectorQuery {
    let (indices, values) = (vector.indices().to_vec(), vector.values().to_vec());
    VectorQuery::sparse(name, indices, values, k)
}

/// The best entries by the inner product, each computed on its own; ties by scope and id.
fn expected(
    filled: &[Vec<VectorEntry>],
    query: &VectorQuery,
    passes: impl Fn(&VectorEntry) -> bool,
) -> Vec<(Key, f32)> {
    let (name, vector) = query.sparse.first_key_value().unwrap();
    let mut found = Vec::new();
    for (place, scope) in query.searched_scopes().into_iter().enumerate() {
        let of_scope = filled
            .iter()
            .flatten()
            .filter(|entry| entry.scope == *scope && passes(entry));
        for entry in of_scope {
            if let Some(score) = entry.sparse.get(name).and_then(|own| own.dot(vector)) {
                found.push(((place, entry.id.clone()), score));
            }
        }
    }
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    found
}

/// A sparse vector finds what has an index in common with it, best inner product first, of its name alone: at once, in an
/// index, in several scopes, with filter, threshold and pages.
pub async fn sparse_vectors_are_found_by_exact_inner_products(store: &Arc<dyn VectorStorage>) {
    let filled = fill(&**store).await;
    let [ada, global] = scopes();
    for is_indexed in [false, true] {
        for (name, seed) in [("splade", 4), ("bge", 4), ("splade", 1_001), ("bge", 77)] {
            let of_ada = query_of(name, &sparse(seed), 10).with_scope(ada.clone());
            for query in [
                of_ada.clone(),
                of_ada.clone().with_k(1_000),
                of_ada
                    .clone()
                    .with_scopes([global.clone(), ada.clone(), user("nobody")])
                    .with_k(60),
            ] {
                let all = expected(&filled, &query, |_| true);
                assert!(all.len() > 30, "{name} {seed}: {}", all.len());
                let results = search(&**store, &query).await;
                let best = &all[..query.k.min(all.len())];
                assert_eq!(
                    scored(&results, &query),
                    best,
                    "{name} {seed}, in an index: {is_indexed}"
                );
                for result in &results {
                    assert_eq!(result.sparse_scores, BTreeMap::from([(name.to_string(), result.score)]));
                    assert_eq!(result.distance.to_bits(), (-result.score).to_bits());
                    assert_eq!((result.text_score, result.vector_score), (None, None));
                }
                let page = query.clone().with_k(7).with_offset(5);
                assert_eq!(scored(&search(&**store, &page).await, &page), all[5..12]);
                let threshold = all[9].1;
                let over = query.clone().with_k(1_000).with_threshold(threshold);
                let count = all.iter().filter(|(_, score)| *score >= threshold).count();
                assert_eq!(scored(&search(&**store, &over).await, &over), all[..count]);
                let odd = query.clone().with_k(1_000).with_filter(Filter::eq("parity", 1));
                let matching = expected(&filled, &odd, |entry| entry.metadata["parity"] == 1);
                assert_eq!(scored(&search(&**store, &odd).await, &odd), matching);
            }
        }
        let nothing = VectorQuery::sparse("splade", [SPARSE_INDEX_MAX], [1.0], 10).with_scope(ada.clone());
        assert_eq!(search(&**store, &nothing).await, []);
        let empty = VectorQuery::sparse("splade", [], [], 10).with_scope(ada.clone());
        assert_eq!(search(&**store, &empty).await, []);
        store.build_index().await.unwrap();
    }
}

async fn found_by(store: &dyn VectorStorage, name: &str, index: u32) -> Vec<String> {
    let results = search(store, &VectorQuery::sparse(name, [index], [1.0], 100)).await;
    results.into_iter().map(|result| result.id).collect()
}

/// Entries come back with their sparse vectors; upserts replace them, changes of the metadata leave them, and what is deleted
/// or has expired is found no more.
pub async fn sparse_vectors_follow_every_write(store: &Arc<dyn VectorStorage>) {
    let store = &**store;
    let entry = |id: &str| VectorEntry::new(id, [1.0; DIM]);
    let batch = vec![
        entry("a")
            .with_sparse("splade", [7, 3], [2.0, 0.5])
            .with_sparse("bge", [9], [1.5]),
        entry("b").with_text("word").with_sparse("splade", [7], [1.0]),
        VectorEntry::new("c", [0.0; 0]).with_sparse("splade", [7], [0.5]),
        entry("d"),
    ];
    store.insert(batch.clone()).await.unwrap();
    for is_indexed in [false, true] {
        assert_eq!(
            found_by(store, "splade", 7).await,
            ["a", "b", "c"],
            "in an index: {is_indexed}"
        );
        assert_eq!(found_by(store, "splade", 3).await, ["a"]);
        assert_eq!(found_by(store, "bge", 9).await, ["a"]);
        assert_eq!(found_by(store, "bge", 7).await, [""; 0], "names are apart");
        store.build_index().await.unwrap();
    }
    let stored = store.list(&StateScope::Global, None, 10).await.unwrap();
    for (stored, given) in stored.iter().zip(&batch) {
        assert_eq!((&stored.id, &stored.sparse), (&given.id, &given.sparse));
        let got = store.get(&StateScope::Global, &given.id).await.unwrap().unwrap();
        assert_eq!(
            (got.sparse, got.text, got.embedding),
            (given.sparse.clone(), given.text.clone(), given.embedding.clone())
        );
    }
    let near = search(store, &exact([1.0; DIM], 10)).await;
    assert_eq!(
        near.len(),
        3,
        "an entry of a sparse vector alone is not found by vectors"
    );

    let fields: Metadata = json!({"title": "new", "n": 1}).as_object().unwrap().clone();
    store
        .update_metadata(&StateScope::Global, "a", fields.clone())
        .await
        .unwrap();
    store.patch_metadata(&StateScope::Global, "c", fields).await.unwrap();
    assert_eq!(
        found_by(store, "splade", 7).await,
        ["a", "b", "c"],
        "metadata changes no sparse vector"
    );
    let got = store.get(&StateScope::Global, "c").await.unwrap().unwrap();
    assert_eq!(got.sparse, batch[2].sparse);

    store
        .upsert(vec![entry("a").with_sparse("splade", [8], [1.0])])
        .await
        .unwrap();
    assert_eq!(found_by(store, "splade", 7).await, ["b", "c"]);
    assert_eq!(found_by(store, "splade", 8).await, ["a"]);
    assert_eq!(found_by(store, "bge", 9).await, [""; 0]);
    store.upsert(vec![entry("b")]).await.unwrap();
    assert_eq!(
        store.get(&StateScope::Global, "b").await.unwrap().unwrap().sparse,
        BTreeMap::new()
    );
    store.delete(&StateScope::Global, &["c".to_string()]).await.unwrap();
    assert_eq!(found_by(store, "splade", 7).await, [""; 0]);
    let stats = store.stats_for_scope(&StateScope::Global).await.unwrap();
    assert_eq!((stats.texts, stats.text_bytes), (0, 8), "one component of eight bytes");
    store.delete_scope(&StateScope::Global).await.unwrap();
    assert_eq!(found_by(store, "splade", 8).await, [""; 0]);
}

/// What `query` should find: the fused answers to its sides, each searched on its own.
async fn fused(store: &dyn VectorStorage, query: &VectorQuery) -> Vec<(Key, f32)> {
    let count = query.candidates();
    let mut sides = Vec::new();
    if !query.vector.is_empty() {
        sides.push(query.vector_side(count));
    }
    if query.text.is_some() {
        sides.push(query.text_side(count));
    }
    sides.extend(query.sparse.keys().map(|name| query.sparse_side(name, count)));
    let mut lists = Vec::new();
    for side in sides {
        lists.push(scored(&search(store, &side).await, query));
    }
    let mut fused = fuse(query.fusion(), &lists).unwrap();
    fused.truncate(query.k);
    fused
}

/// A vector, words and sparse vectors are the sides of one search, whose results have the exact scores of all.
pub async fn all_sides_become_one_ranking(store: &Arc<dyn VectorStorage>) {
    let filled = fill(&**store).await;
    let [ada, global] = scopes();
    let add = |query: VectorQuery, name: &str, seed| {
        let vector = sparse(seed);
        query.with_sparse(name, vector.indices().to_vec(), vector.values().to_vec())
    };
    let by_vector = || exact([2.0, -3.0, 1.0], 12);
    let linear = Fusion::Linear { alpha: 0.3 };
    for is_indexed in [false, true] {
        for query in [
            add(by_vector(), "splade", 4),
            add(by_vector().with_fusion(linear), "bge", 9),
            add(VectorQuery::text("wf wj", 12).with_fusion(linear), "splade", 4),
            add(add(by_vector().with_text("wf wj"), "splade", 4), "bge", 9),
            add(
                add(by_vector().with_text("absent").with_fusion(Fusion::Dbsf), "splade", 4),
                "bge",
                9,
            ),
            add(query_of("bge", &sparse(3), 12), "splade", 4).with_fusion(Fusion::Rrf { k: 60.0 }),
        ] {
            for query in [
                query.clone().with_scope(ada.clone()),
                query.with_scopes([global.clone(), ada.clone()]).with_k(150),
            ] {
                let results = search(&**store, &query).await;
                assert_eq!(
                    scored(&results, &query),
                    fused(&**store, &query).await,
                    "{query:?}, in an index: {is_indexed}"
                );
                for result in &results {
                    let scope = result.scope.as_ref().unwrap_or(&query.scope);
                    let is_it = |entry: &&VectorEntry| entry.id == result.id && entry.scope == *scope;
                    let entry = filled.iter().flatten().find(is_it).unwrap();
                    let of_name = |(name, asked): (&String, &SparseVector)| {
                        Some((name.clone(), entry.sparse.get(name)?.dot(asked)?))
                    };
                    let exact: BTreeMap<String, f32> = query.sparse.iter().filter_map(of_name).collect();
                    assert_eq!(result.sparse_scores, exact, "{}", result.id);
                }
            }
        }
        store.build_index().await.unwrap();
    }
    let query = add(by_vector().with_text("wf"), "splade", 4).with_scope(ada);
    let plan = store.explain(&query).await.unwrap().text.unwrap();
    let found = search(&**store, &query.sparse_side("splade", query.candidates()))
        .await
        .len();
    assert_eq!(
        plan.sparse_candidates,
        BTreeMap::from([("splade".to_string(), found as u64)])
    );
    assert!(plan.candidates > 0 && plan.vector_candidates > 0 && plan.fusion.is_some());
    // Each side has 100 candidates of these 120, the vectors in one order, the sparse vectors in the other.
    let value = |number: usize| 1.0 + number as f32;
    let batch = (0..120).map(|number| {
        VectorEntry::new(format!("e{number:03}"), [number as f32, 0.0, 0.0])
            .with_scope(user("carl"))
            .with_sparse("splade", [1], [value(number)])
    });
    store.insert(batch.collect()).await.unwrap();
    let query = exact([0.0; DIM], 20)
        .with_sparse("splade", [1], [1.0])
        .with_scope(user("carl"));
    let results = search(&**store, &query).await;
    assert!(
        results.iter().any(|result| result.id == "e000"),
        "it is first by its vector"
    );
    for result in results {
        let number: usize = result.id[1..].parse().unwrap();
        let exact = BTreeMap::from([("splade".to_string(), value(number))]);
        assert_eq!(result.sparse_scores, exact, "{}", result.id);
    }
}

/// Sparse vectors that cannot be, or of names that the space does not index, are refused with their batch; so are queries of
/// them, and settings that such a query cannot have.
pub async fn bad_sparse_vectors_are_refused(store: &Arc<dyn VectorStorage>) {
    let entry = || VectorEntry::new("bad", [1.0; DIM]);
    let many = SPARSE_COMPONENTS_MAX as u32;
    let bad = |query: VectorQuery| {
        vec![
            (
                "more indices than values",
                query.clone().with_sparse("splade", [1, 2], [1.0]),
            ),
            (
                "an index that stands twice",
                query.clone().with_sparse("splade", [5, 1, 5], [1.0; 3]),
            ),
            ("a value of 0", query.clone().with_sparse("splade", [1], [0.0])),
            ("a negative value", query.clone().with_sparse("splade", [1], [-1.0])),
            (
                "a value that is no number",
                query.clone().with_sparse("splade", [1], [f32::NAN]),
            ),
            (
                "an infinite value",
                query.clone().with_sparse("splade", [1], [f32::INFINITY]),
            ),
            (
                "an index above the largest",
                query.clone().with_sparse("splade", [SPARSE_INDEX_MAX + 1], [1.0]),
            ),
            (
                "too many components",
                query
                    .clone()
                    .with_sparse("splade", 0..=many, vec![1.0; 1 + SPARSE_COMPONENTS_MAX]),
            ),
            ("a name that is not declared", query.with_sparse("other", [1], [1.0])),
        ]
    };
    for (what, query) in bad(VectorQuery::new([1.0; DIM], 5))
        .into_iter()
        .chain(bad(VectorQuery::text("word", 5)))
    {
        let mut entry = entry();
        entry.sparse.clone_from(&query.sparse);
        let first = VectorEntry::new("first", [1.0; DIM]).with_sparse("splade", [1], [1.0]);
        assert_invalid(store.insert(vec![first, entry]).await, what);
        assert_eq!(listed(&**store, &StateScope::Global).await, [""; 0], "{what}");
        assert_invalid(store.search(&query).await, what);
        assert_invalid(store.explain(&query).await, what);
    }
    let nothing = VectorEntry::new("a", [0.0; 0]).with_sparse("splade", [], []);
    assert_invalid(store.insert(vec![nothing]).await, "nothing but an empty sparse vector");
    let largest = entry().with_sparse("splade", 0..many, vec![1.0; SPARSE_COMPONENTS_MAX]);
    let largest = with(
        largest,
        "bge",
        SparseVector::new([SPARSE_INDEX_MAX], [f32::MIN_POSITIVE]),
    );
    store.insert(vec![largest]).await.unwrap();
    assert_eq!(found_by(&**store, "bge", SPARSE_INDEX_MAX).await, ["bad"]);

    let alone = || VectorQuery::sparse("splade", [1], [1.0], 5);
    let both = || alone().with_sparse("bge", [1], [1.0]);
    for (what, query) in [
        ("a fusion of one side", alone().with_fusion(Fusion::Dbsf)),
        (
            "a linear fusion of three sides",
            both().with_text("word").with_fusion(Fusion::Linear { alpha: 0.5 }),
        ),
        ("a threshold without the side that it is of", both().with_threshold(1.0)),
        ("snippets without words", alone().with_snippets(100)),
    ] {
        assert_invalid(store.search(&query).await, what);
    }
}

/// Where no names are declared, sparse vectors are refused, and nothing of their batch is stored.
pub async fn sparse_vectors_are_refused_where_none_are_indexed(store: &Arc<dyn VectorStorage>) {
    let first = VectorEntry::new("first", [1.0; DIM]);
    let bad = VectorEntry::new("a", [1.0; DIM]).with_sparse("splade", [1], [1.0]);
    assert_invalid(
        store.insert(vec![first, bad]).await,
        "a sparse vector in a space without",
    );
    assert_eq!(listed(&**store, &StateScope::Global).await, [""; 0]);
    for query in [
        VectorQuery::sparse("splade", [1], [1.0], 5),
        exact([1.0; DIM], 5).with_sparse("splade", [1], [1.0]),
    ] {
        assert_invalid(store.search(&query).await, "a query of a sparse vector");
    }
}
