//! Scoped views are isolated.

use std::sync::Arc;
use std::time::Duration;

use super::{assert_invalid, keys};
use llmspell_core::{KeyValueWrite, ScopedBackend, StateScope, StorageBackend};

/// Scopes whose texts share prefixes, or look like the inside of each other.
fn scopes() -> Vec<StateScope> {
    let ids = [
        "a",
        "ab",
        "a/",
        "a:",
        "user:a",
        "a\0",
        "..",
        "6:user:a/",
        "\u{e9}",
        "e\u{301}",
    ];
    let mut scopes = vec![StateScope::Global];
    for id in ids {
        scopes.extend([
            StateScope::User(id.into()),
            StateScope::Custom(id.into()),
            StateScope::Session(id.into()),
        ]);
    }
    scopes
}

fn views(backend: &Arc<dyn StorageBackend>) -> Vec<ScopedBackend> {
    let view = |scope| ScopedBackend::new(Arc::clone(backend), scope).unwrap();
    scopes().into_iter().map(view).collect()
}

/// The value of a scope under a key in these tests.
fn value(view: &ScopedBackend, key: &str) -> Vec<u8> {
    format!("{} {key}", view.scope()).into_bytes()
}

const KEYS: [&str; 4] = ["/", "a", "b", "user:a/a"];

async fn fill(view: &ScopedBackend) {
    for key in KEYS {
        view.set(key, value(view, key)).await.unwrap();
    }
}

/// The same keys in every scope hold each scope's own values, whatever call reads them.
pub async fn scopes_share_no_key(backend: Arc<dyn StorageBackend>) {
    let views = views(&backend);
    for view in &views {
        fill(view).await;
    }
    for view in &views {
        let scope = view.scope();
        let expected: Vec<_> = KEYS.iter().map(|key| (key.to_string(), value(view, key))).collect();
        assert_eq!(view.scan("", None, 1000).await.unwrap(), expected, "scan in {scope}");
        assert_eq!(view.count("").await.unwrap(), KEYS.len() as u64, "count in {scope}");
        assert_eq!(keys(view, "").await, KEYS, "list_keys in {scope}");
        assert_eq!(
            view.scan("a", Some("a"), 1000).await.unwrap(),
            [],
            "scan beyond the last key in {scope}"
        );
        for key in KEYS {
            assert_eq!(view.get(key).await.unwrap(), Some(value(view, key)), "get in {scope}");
        }
        let batch = view.get_batch(&KEYS.map(String::from)).await.unwrap();
        assert_eq!(batch, expected.into_iter().collect(), "get_batch in {scope}");
    }
    let hour = Duration::from_secs(3600);
    views[0].set_with_ttl("a", b"mortal".to_vec(), hour).await.unwrap();
    for view in &views {
        let is_mortal = view.expires_at("a").await.unwrap().is_some();
        assert_eq!(
            is_mortal,
            view.scope() == views[0].scope(),
            "expires_at in {}",
            view.scope()
        );
    }
}

/// No write in one scope touches another: not delete, not a prefix, not clear, not compare-and-swap.
pub async fn no_write_crosses_the_wall_of_a_scope(backend: Arc<dyn StorageBackend>) {
    let views = views(&backend);
    for view in &views {
        fill(view).await;
    }
    for (turn, view) in views.iter().enumerate() {
        let scope = view.scope();
        assert!(view.delete("a").await.unwrap());
        assert!(view.compare_and_swap("b", Some(&value(view, "b")), None).await.unwrap());
        assert!(!view.compare_and_swap("a", Some(&value(view, "a")), None).await.unwrap());
        let prefix = KeyValueWrite::DeletePrefix { prefix: "/".into() };
        assert_eq!(view.write(vec![prefix]).await.unwrap().deleted, 1);
        assert_eq!(
            view.clear().await.unwrap(),
            1,
            "clear in {scope} finds its own last key"
        );
        assert_eq!(view.count("").await.unwrap(), 0);
        for (other_turn, other) in views.iter().enumerate() {
            let expected = if other_turn <= turn { 0 } else { KEYS.len() };
            let found = other.count("").await.unwrap();
            assert_eq!(found, expected as u64, "writes in {scope} reached {}", other.scope());
        }
    }
    assert_eq!(backend.count("").await.unwrap(), 0);
}

/// A scope that is not valid has no view: an empty id never means all scopes.
pub async fn a_scope_that_is_not_valid_has_no_view(backend: Arc<dyn StorageBackend>) {
    for id in ["", &"x".repeat(10 << 10)] {
        let view = ScopedBackend::new(Arc::clone(&backend), StateScope::User(id.into()));
        assert_invalid(view.map(drop), "a scope that is not valid");
    }
}
