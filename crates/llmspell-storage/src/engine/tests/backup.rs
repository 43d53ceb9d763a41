//! Backups on disks that fail or lose power: the database is unharmed, and there is always a backup that can be restored.

use std::io;
use std::sync::Arc;

use llmspell_core::{ErrorKind, Result};

use super::workload::{Content, Step, Store, block_on, steps, steps_with_a_dropped_space};
use crate::backup;
use crate::disk::Disk;
use crate::disk::sim::{Lasts, Luck, SimDisk};
use crate::engine::backup::BackupOptions;
use crate::engine::open::write_format;

fn back_up(store: &Store, target: &SimDisk, options: BackupOptions) -> Result<crate::engine::BackupReceipt> {
    block_on(store.database.backup_on(Arc::new(target.clone()), options))
}

/// The content of a database that is made of a backup.
fn restored(backup: &SimDisk, now: i64) -> Content {
    let backup: Arc<dyn Disk> = Arc::new(backup.clone());
    backup::verify(&backup, &mut |_| Ok(())).unwrap();
    let target: Arc<dyn Disk> = Arc::new(SimDisk::default());
    backup::restore(&backup, &target, &mut |_| Ok(())).unwrap();
    write_format(&target).unwrap();
    let store = Store::open_at(target, now).unwrap();
    store.assert_sound();
    let content = store.content();
    // It is a database like any other.
    store.run(&Step::BuildIndex).unwrap();
    store.assert_sound();
    assert_eq!(store.content(), content);
    content
}

#[test]
fn given_any_step_of_a_workload_when_it_is_backed_up_then_the_whole_and_what_has_changed_restore_to_the_same() {
    let store = Store::open(Arc::new(SimDisk::default())).unwrap();
    let always = SimDisk::default();
    let mut content = Content::default();
    let (mut reused, mut sequence) = (0, 0);
    for step in steps_with_a_dropped_space() {
        store.run(&step).unwrap();
        content = content.after(&step);
        let with_indexes = BackupOptions::new().with_indexes(sequence % 2 == 1);
        let receipt = back_up(&store, &always, with_indexes.clone()).unwrap();
        sequence += 1;
        assert_eq!((receipt.sequence, receipt.is_incremental), (sequence, sequence > 1));
        reused += receipt.reused_bytes;
        assert_eq!(
            restored(&always, store.now()),
            content,
            "after {step:?}, what has changed"
        );
        let once = SimDisk::default();
        back_up(&store, &once, with_indexes).unwrap();
        assert_eq!(restored(&once, store.now()), content, "after {step:?}, all of it");
    }
    assert!(reused > 0, "what has not changed is not written again");
    store.assert_sound();
}

#[test]
fn given_a_disk_of_backups_that_fails_at_any_operation_then_the_database_is_unharmed_and_the_backup_before_is_there() {
    let mut failed = 0;
    for lasts in [Lasts::Once, Lasts::ForEver] {
        let mut number = 0;
        loop {
            // Given: a backup, and a database that has changed since.
            let store = Store::open(Arc::new(SimDisk::default())).unwrap();
            let target = SimDisk::default();
            let steps = steps();
            let (before, after) = steps.split_at(10);
            let mut contents = vec![Content::default()];
            let run = |steps: &[Step], contents: &mut Vec<Content>| {
                for step in steps {
                    store.run(step).unwrap();
                    let next = contents.last().unwrap().after(step);
                    contents.push(next);
                }
            };
            run(before, &mut contents);
            back_up(&store, &target, BackupOptions::new()).unwrap();
            let old = contents.last().unwrap().clone();
            run(&after[..4], &mut contents);

            // When: its disk fails at an operation of the next one.
            target.fail(target.now() + number, io::ErrorKind::StorageFull, lasts);
            let done = back_up(&store, &target, BackupOptions::new());

            // Then: the database goes on, and the directory has the old backup or the new one.
            run(&after[4..6], &mut contents);
            assert_eq!(store.content(), *contents.last().unwrap(), "operation {number}");
            store.assert_sound();
            let image = target.image_at(target.now(), Luck::Everything);
            let found = restored(&SimDisk::from_image(&image), store.now());
            let new = &contents[contents.len() - 3];
            match done {
                Ok(_) => assert_eq!(found, *new, "operation {number}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Io, "operation {number}: {error}");
                    assert!(found == old || found == *new, "operation {number}");
                    failed += 1;
                    number += 1;
                    continue;
                }
            }
            break;
        }
    }
    assert!(failed > 8, "{failed} backups failed");
}

#[test]
fn given_a_loss_of_power_at_any_sync_of_a_backup_then_the_old_one_or_the_new_one_can_be_restored() {
    let store = Store::open(Arc::new(SimDisk::default())).unwrap();
    let target = SimDisk::default();
    let (mut contents, mut ends) = (vec![], vec![]);
    let mut content = Content::default();
    for (number, step) in steps().iter().enumerate() {
        store.run(step).unwrap();
        content = content.after(step);
        if number % 8 == 7 {
            back_up(&store, &target, BackupOptions::new()).unwrap();
            contents.push(content.clone());
            ends.push(target.now());
        }
    }
    let now = store.now();
    for time in target.sync_boundaries() {
        let done = ends.iter().filter(|end| **end <= time).count();
        for luck in [Luck::Nothing, Luck::Everything, Luck::Some(1), Luck::Some(2)] {
            let image = SimDisk::from_image(&target.image_at(time, luck));
            let disk: Arc<dyn Disk> = Arc::new(image.clone());
            if done == 0 && backup::verify(&disk, &mut |_| Ok(())).is_err() {
                continue;
            }
            let found = restored(&image, now);
            let possible = &contents[done.saturating_sub(1)..contents.len().min(done + 1)];
            assert!(possible.contains(&found), "at {time}, {luck:?}: {found:?}");
            // The next one overcomes what was left.
            back_up(&store, &image, BackupOptions::new()).unwrap();
            assert_eq!(restored(&image, now), content);
        }
    }
}
