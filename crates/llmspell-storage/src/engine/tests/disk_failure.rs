//! The disk fails at every operation of a workload, once or permanently.

use std::io;
use std::sync::Arc;

use llmspell_core::{ErrorKind, KeyValueWrite};

use super::workload::{Content, Step, Store, steps};
use crate::disk::sim::{Lasts, Luck, SimDisk};

fn operations_of_a_whole_run() -> usize {
    let disk = SimDisk::default();
    let store = Store::open(Arc::new(disk.clone())).unwrap();
    for step in steps() {
        store.run(&step).unwrap();
    }
    drop(store);
    disk.now()
}

#[test]
fn given_a_disk_that_fails_from_any_operation_on_then_errors_are_typed_and_nothing_acknowledged_is_lost() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        for number in (0..operations_of_a_whole_run()).step_by(3) {
            // Given: a disk on which nothing works any more from here on.
            let disk = SimDisk::default();
            disk.fail(number, kind, Lasts::ForEver);
            let Ok(store) = Store::open(Arc::new(disk.clone())) else {
                continue;
            };

            // When: a workload runs until the first error.
            let mut contents = vec![Content::default()];
            let mut failed = false;
            for step in steps() {
                let done = store.run(&step);
                if let Err(error) = &done {
                    assert!(
                        matches!(error.kind(), ErrorKind::Io | ErrorKind::Closed),
                        "operation {number}: {error}"
                    );
                }
                let next = contents.last().unwrap().after(&step);
                if done.is_err() {
                    // Whether this one is durable is unknown; later ones must not be acknowledged.
                    contents.push(next);
                    failed = true;
                    break;
                }
                contents = vec![next];
            }

            // Then: reads continue, and show acknowledged writes.
            let seen = store.content();
            assert!(
                seen == contents[0],
                "operation {number}, {kind:?}: {seen:?} instead of {:?}",
                contents[0]
            );
            if failed {
                let retried = store.run(&steps()[0]);
                let refused = retried.is_err_and(|error| matches!(error.kind(), ErrorKind::Io | ErrorKind::Closed));
                assert!(
                    refused,
                    "operation {number}, {kind:?}: a disk that fails acknowledges nothing"
                );
            }
            let now = store.now();
            drop(store);

            // And a reopened database has it, with a new disk under the same bytes.
            let image = disk.image_at(disk.now(), Luck::Everything);
            let store = Store::open_at(Arc::new(SimDisk::from_image(&image)), now).unwrap();
            let found = store.content();
            assert!(
                contents.contains(&found),
                "operation {number}, {kind:?}: {found:?} is none of {contents:?}"
            );
            store.assert_sound();
        }
    }
}

#[test]
fn given_an_operation_that_fails_once_then_writing_goes_on_only_where_nothing_is_in_doubt() {
    for number in 0..operations_of_a_whole_run() {
        // Given: a disk on which one operation fails; a second try would seem to work.
        let disk = SimDisk::default();
        disk.fail(number, io::ErrorKind::Other, Lasts::Once);
        let Ok(store) = Store::open(Arc::new(disk.clone())) else {
            continue;
        };

        // When: a step of a workload meets it.
        let mut before = Content::default();
        let mut in_doubt = None;
        for step in steps() {
            let after = before.after(&step);
            match store.run(&step) {
                Ok(()) => before = after,
                Err(error) => {
                    assert!(
                        matches!(error.kind(), ErrorKind::Io | ErrorKind::Closed),
                        "operation {number}: {error}"
                    );
                    in_doubt = Some(after);
                    break;
                }
            }
        }
        let Some(in_doubt) = in_doubt else { continue };

        // Then: either the next write works, and the failed one did not happen; or the database writes no more.
        let probe = Step::Values(vec![KeyValueWrite::Set {
            key: "probe".to_string(),
            value: vec![1],
        }]);
        let possible = match store.run(&probe) {
            Ok(()) => vec![before.after(&probe)],
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "operation {number}: {error}");
                vec![before.clone(), in_doubt]
            }
        };
        assert!(possible.contains(&store.content()), "operation {number}");
        let now = store.now();
        drop(store);
        let image = disk.image_at(disk.now(), Luck::Everything);
        let store = Store::open_at(Arc::new(SimDisk::from_image(&image)), now).unwrap();
        let found = store.content();
        assert!(
            possible.contains(&found),
            "operation {number}: {found:?} is none of {possible:?}"
        );
        store.assert_sound();
    }
}
