//! Tests of the model: it finds violations, and allows every permitted outcome.

use super::super::operation::Life;
use super::*;

const WHEN: Span = Span { from: 1_000, to: 1_010 };
const LATER: Span = Span { from: 5_000, to: 5_010 };

fn set(key: &str, seed: u64) -> KeyChange {
    KeyChange::Set(key.to_string(), Value::made(seed, 8))
}

fn scope() -> StateScope {
    StateScope::User("0/a".to_string())
}

fn upsert(ids: &[&str], life: Life) -> Operation {
    let entry = |id: &&str| NewEntry {
        scope: scope(),
        id: id.to_string(),
        vector: 7,
        metadata: 8,
        event_time: None,
        life,
    };
    Operation::Entries {
        space: 0,
        kind: EntriesKind::Upsert,
        entries: ids.iter().map(entry).collect(),
    }
}

fn territory(operations: &[Operation]) -> Territory {
    let mut territory = Territory::default();
    for operation in operations {
        territory.apply(operation, WHEN, None).unwrap();
    }
    territory
}

/// The content of a store that kept everything, read at `when`.
fn kept(territory: &Territory, when: Span) -> Found {
    let stored = |(id, entry): (&String, &Entry)| {
        let stored = StoredEntry {
            id: id.clone(),
            vector: Some(entry.vector),
            metadata: Some(entry.metadata),
            created_at: entry.created_at.from,
            updated_at: entry.updated_at.from,
            event_time: entry.event_time,
            expires_at: entry.expires_at.map(|span| span.from),
        };
        (id.clone(), stored)
    };
    let scopes = territory.scopes.iter().map(|(place, scope)| {
        let entries = scope.iter().map(stored).collect();
        (place.clone(), FoundScope { when, entries })
    });
    Found {
        pairs: territory.pairs.clone(),
        mortal: territory
            .mortal
            .iter()
            .map(|(key, (value, end))| (key.clone(), (value.clone(), end.map(|span| span.from))))
            .collect(),
        keys_read: when,
        scopes: scopes.collect(),
        quotas: territory.quotas.clone(),
        listed: BTreeMap::from([(0, when)]),
    }
}

#[test]
fn a_lost_a_changed_and_a_returned_key_are_found() {
    let owed = territory(&[Operation::Write(vec![set("0/a", 1), set("0/b", 2)])]);
    let good = kept(&owed, LATER);
    assert_eq!(owed.difference(&good), None);

    let mut lost = good.clone();
    lost.pairs.remove("0/b");
    assert!(owed.difference(&lost).unwrap().contains("`0/b`"));
    let mut changed = good.clone();
    changed.pairs.insert("0/a".to_string(), Value::made(3, 8));
    assert!(owed.difference(&changed).unwrap().contains("`0/a`"));
    let mut returned = good;
    returned.pairs.insert("0/c".to_string(), Value::made(1, 8));
    assert!(owed.difference(&returned).unwrap().contains("`0/c`"));
}

#[test]
fn a_lost_a_changed_and_a_returned_entry_are_found_and_so_is_a_dropped_scope() {
    let owed = territory(&[upsert(&["0:1", "0:2"], Life::Forever)]);
    let good = kept(&owed, LATER);
    assert_eq!(owed.difference(&good), None);
    let place = (0, scope());
    let with = |change: &dyn Fn(&mut BTreeMap<String, StoredEntry>)| {
        let mut found = good.clone();
        change(&mut found.scopes.get_mut(&place).unwrap().entries);
        owed.difference(&found).unwrap()
    };
    assert!(with(&|entries| drop(entries.remove("0:2"))).contains("it is missing"));
    assert!(with(&|entries| entries.get_mut("0:1").unwrap().vector = None).contains("owed"));
    assert!(with(&|entries| entries.get_mut("0:1").unwrap().updated_at = 1_011).contains("owed"));
    assert!(
        with(&|entries| {
            let other = entries["0:1"].clone();
            entries.insert("0:3".to_string(), other);
        })
        .contains("nobody owes it")
    );

    let dropped = territory(&[
        upsert(&["0:1"], Life::Forever),
        Operation::DropScope {
            space: 0,
            scope: scope(),
        },
    ]);
    assert!(dropped.difference(&good).unwrap().contains("there again"));
    assert!(owed.difference(&Found::default()).unwrap().contains("missing"));
    for all in [
        Operation::DropScopes {
            space: 0,
            scopes: vec![StateScope::Global, scope()],
        },
        Operation::DropSpace { space: 0 },
    ] {
        let gone = territory(&[upsert(&["0:1"], Life::Forever), all]);
        assert!(gone.difference(&good).unwrap().contains("there again"));
        assert_eq!(gone.difference(&Found::default()), None);
    }
}

#[test]
fn a_scope_may_be_missing_once_its_last_entry_may_have_ended_and_must_be_once_it_has() {
    let owed = territory(&[upsert(&["0:mortal-1"], Life::For(100))]);
    let listed = |from, to| {
        let mut there = kept(&owed, Span { from, to });
        there.scopes.get_mut(&(0, scope())).unwrap().entries.clear();
        let mut missing = there.clone();
        missing.scopes.clear();
        (owed.difference(&missing).is_none(), owed.difference(&there).is_none())
    };
    assert_eq!(listed(1_050, 1_060), (false, false), "it lives, and its entry too");
    assert_eq!(listed(1_095, 1_105), (true, true));
    assert_eq!(listed(1_110, 1_120), (true, false));
    let removed = Operation::Remove {
        space: 0,
        scope: scope(),
        ids: vec!["0:1".to_string()],
    };
    let emptied = territory(&[upsert(&["0:1"], Life::Forever), removed]);
    assert!(
        emptied
            .difference(&kept(&emptied, LATER))
            .unwrap()
            .contains("there again")
    );
    assert_eq!(emptied.difference(&Found::default()), None);
}

#[test]
fn an_entry_is_owed_until_it_may_have_expired_and_forbidden_once_it_must_have() {
    let owed = territory(&[upsert(&["0:mortal-1"], Life::For(100))]);
    let seen_at = |from, to| owed.difference(&kept(&owed, Span { from, to })).is_none();
    let missing_at = |from, to| {
        let mut found = kept(&owed, Span { from, to });
        // The list of scopes was read before.
        found.listed.insert(0, WHEN);
        found.scopes.get_mut(&(0, scope())).unwrap().entries.clear();
        owed.difference(&found).is_none()
    };
    assert!(seen_at(1_050, 1_060) && !missing_at(1_050, 1_060));
    assert!(seen_at(1_095, 1_105) && missing_at(1_095, 1_105));
    assert!(!seen_at(1_110, 1_120) && missing_at(1_110, 1_120));
}

#[test]
fn what_has_expired_is_not_forgiven_when_it_comes_back() {
    let mut owed = territory(&[upsert(&["0:mortal-1"], Life::For(100))]);
    let back = kept(&owed, LATER);
    let mut gone = back.clone();
    gone.scopes.clear();
    assert_eq!(owed.difference(&gone), None);
    owed.settle(&gone);
    assert!(owed.difference(&back).unwrap().contains("there again"));
}

#[test]
fn a_call_that_returns_what_cannot_be_is_found() {
    let mut owed = territory(&[Operation::Write(vec![set("0/a", 1)])]);
    let delete = Operation::Write(vec![KeyChange::Delete("0/a".to_string())]);
    assert!(owed.clone().apply(&delete, WHEN, Some(&Outcome::Count(0))).is_err());
    assert!(
        owed.clone()
            .apply(&delete, WHEN, Some(&Outcome::Failed("disk".to_string())))
            .is_err()
    );
    owed.apply(&delete, WHEN, Some(&Outcome::Count(1))).unwrap();
    assert_eq!(owed.len(), 0);
}

#[test]
fn a_quota_refuses_what_is_too_much_and_what_expires_about_now_may_count_or_not() {
    let quota = Operation::Quota {
        scope: scope(),
        vectors: Some(2),
    };
    let mut owed = territory(&[
        quota,
        upsert(&["0:1"], Life::Forever),
        upsert(&["0:m"], Life::For(3_995)),
    ]);
    let possible = |ids: &[&str], when| {
        let Operation::Entries { entries, .. } = upsert(ids, Life::Forever) else {
            unreachable!()
        };
        owed.admissions(0, &entries, when)
    };
    let early = Span { from: 2_000, to: 2_001 };
    assert_eq!(possible(&["0:1"], early), [Outcome::Done]);
    assert_eq!(possible(&["0:2"], early), [Outcome::Exceeded]);
    let about = Span { from: 4_999, to: 5_001 };
    assert_eq!(possible(&["0:2"], about), [Outcome::Done, Outcome::Exceeded]);
    let late = Span { from: 6_000, to: 6_001 };
    assert_eq!(possible(&["0:2"], late), [Outcome::Done]);
    assert_eq!(possible(&["0:2", "0:3"], late), [Outcome::Exceeded]);

    let new = upsert(&["0:2"], Life::Forever);
    assert!(owed.clone().apply(&new, early, Some(&Outcome::Done)).is_err());
    owed.apply(&new, early, Some(&Outcome::Exceeded)).unwrap();
    assert!(owed.clone().apply(&new, late, Some(&Outcome::Exceeded)).is_err());
    assert_eq!(owed.len(), 2, "what was refused is not owed");
    let lost = Found {
        quotas: BTreeMap::new(),
        ..kept(&owed, early)
    };
    assert!(owed.difference(&lost).unwrap().contains("quotas"));
}

#[test]
fn a_key_is_owed_until_it_may_have_expired_and_forbidden_once_it_must_have() {
    let mortal = |life| KeyChange::SetMortal("0/mortal-1".to_string(), Value::made(1, 8), life);
    let owed = territory(&[Operation::Write(vec![mortal(Life::For(100))])]);
    let difference = |from, to, is_there: bool| {
        let mut found = kept(&owed, Span { from, to });
        found.mortal.retain(|_, _| is_there);
        owed.difference(&found)
    };
    assert!(difference(1_050, 1_060, true).is_none() && difference(1_050, 1_060, false).is_some());
    assert!(difference(1_095, 1_105, true).is_none() && difference(1_095, 1_105, false).is_none());
    assert!(difference(1_110, 1_120, true).is_some() && difference(1_110, 1_120, false).is_none());
    let cleared = territory(&[Operation::Write(vec![mortal(Life::For(100)), mortal(Life::Forever)])]);
    assert!(cleared.difference(&kept(&owed, WHEN)).is_some(), "its end was cleared");
    assert!(cleared.difference(&kept(&cleared, LATER)).is_none());
}

#[test]
fn a_touch_moves_the_end_and_names_what_is_not_there() {
    let touch = |life| Operation::Touch {
        space: 0,
        scope: scope(),
        ids: ["0:mortal-1", "0:mortal-2", "0:mortal-1"].map(String::from).into(),
        life,
    };
    let mut owed = territory(&[upsert(&["0:mortal-1"], Life::For(100))]);
    let missing = |ids: &[&str]| Outcome::Missing(ids.iter().map(ToString::to_string).collect());
    let later = touch(Life::For(10_000));
    assert!(owed.clone().apply(&later, WHEN, Some(&missing(&[]))).is_err());
    assert!(
        owed.clone()
            .apply(&later, WHEN, Some(&missing(&["0:mortal-1", "0:mortal-2"])))
            .is_err()
    );
    let about = Span { from: 1_095, to: 1_105 };
    owed.clone()
        .apply(&later, about, Some(&missing(&["0:mortal-1", "0:mortal-2"])))
        .unwrap();
    let before = kept(&owed, LATER);
    owed.apply(&later, WHEN, Some(&missing(&["0:mortal-2"]))).unwrap();
    assert!(owed.difference(&before).is_some(), "it has another end");
    assert!(owed.difference(&kept(&owed, LATER)).is_none(), "it lives on");
}

#[test]
fn half_a_batch_is_neither_before_nor_after() {
    let before = Territory::default();
    let mut after = before.clone();
    after
        .apply(&upsert(&["0:1", "0:2"], Life::Forever), WHEN, None)
        .unwrap();
    let mut half = kept(&after, LATER);
    half.scopes.get_mut(&(0, scope())).unwrap().entries.remove("0:2");
    assert!(before.difference(&half).is_some() && after.difference(&half).is_some());
}
