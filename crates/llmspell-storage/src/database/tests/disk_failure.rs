//! The disk fails at every operation of a workload, and for good.

use std::io;
use std::sync::Arc;

use llmspell_core::ErrorKind;

use super::workload::{Content, Store, steps};
use crate::disk::sim::{Luck, SimDisk};

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
            disk.fail_from(number, kind);
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

            // Then: reading goes on, and shows what was acknowledged.
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
            drop(store);

            // And a reopened database has it, with a new disk under the same bytes.
            let image = disk.image_at(disk.now(), Luck::Everything);
            let store = Store::open(Arc::new(SimDisk::from_image(&image))).unwrap();
            let found = store.content();
            assert!(
                contents.contains(&found),
                "operation {number}, {kind:?}: {found:?} is none of {contents:?}"
            );
            store.assert_sound();
        }
    }
}
