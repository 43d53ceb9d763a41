//! Power is lost at every sync of a workload, and the disk keeps an arbitrary part of the unsynced bytes.

use std::ops::Range;
use std::sync::Arc;

use super::workload::{Content, Store, steps_with_a_dropped_space};
use crate::disk::sim::{Image, Luck, SimDisk};

/// The ways in which a disk is unlucky at each point: `LLMSPELL_POWER_LOSS_SEEDS` of them, 3 by default, from
/// `LLMSPELL_POWER_LOSS_FIRST_SEED` on, 0 by default.
fn seeds() -> Range<u64> {
    let setting = |name: &str, default| std::env::var(name).map_or(default, |number| number.parse().expect("a number"));
    let first = setting("LLMSPELL_POWER_LOSS_FIRST_SEED", 0);
    first..first + setting("LLMSPELL_POWER_LOSS_SEEDS", 3)
}

fn lucks() -> impl Iterator<Item = Luck> {
    [Luck::Nothing, Luck::Everything]
        .into_iter()
        .chain(seeds().map(Luck::Some))
}

/// A workload on a disk that remembers everything, and when each step was begun and acknowledged.
struct Run {
    disk: SimDisk,
    /// Content before the first step, and after each of them.
    contents: Vec<Content>,
    begun: Vec<usize>,
    acknowledged: Vec<usize>,
    /// What the clock said before the first step, and after each of them.
    times: Vec<i64>,
}

fn run() -> Run {
    let disk = SimDisk::default();
    let store = Store::open(Arc::new(disk.clone())).unwrap();
    let mut run = Run {
        disk,
        contents: vec![Content::default()],
        begun: Vec::new(),
        acknowledged: Vec::new(),
        times: vec![store.now()],
    };
    for step in steps_with_a_dropped_space() {
        run.begun.push(run.disk.now());
        store.run(&step).unwrap();
        run.acknowledged.push(run.disk.now());
        run.contents.push(run.contents.last().unwrap().after(&step));
        run.times.push(store.now());
    }
    assert_eq!(&store.content(), run.contents.last().unwrap(), "without any loss");
    drop(store);
    run
}

impl Run {
    /// What may be found after a loss of power at `time`.
    fn possible(&self, time: usize) -> &[Content] {
        let done = self.acknowledged.iter().filter(|moment| **moment <= time).count();
        let begun = self.begun.iter().filter(|moment| **moment <= time).count();
        &self.contents[done..=begun]
    }

    /// What the clock of the machine that comes back says: as early as can be. It may have gone back behind a write that
    /// was acknowledged, and no entry that had expired then may return.
    fn clock_after(&self, time: usize) -> i64 {
        let done = self.acknowledged.iter().filter(|moment| **moment <= time).count();
        match done {
            0 => self.times[0],
            // Time that passed without a write is not known to the disk.
            done if self.times[done] != self.times[done - 1] => self.times[done],
            _ => self.times[0],
        }
    }
}

fn assert_recovers(image: &Image, (possible, now): (&[Content], i64), place: &str) -> SimDisk {
    let disk = SimDisk::from_image(image);
    let store = Store::open_at(Arc::new(disk.clone()), now).unwrap_or_else(|error| panic!("{place}: {error}"));
    let found = store.content();
    assert!(
        possible.contains(&found),
        "{place}: found {found:?}, which is none of {possible:?}"
    );
    store.assert_sound();
    disk
}

#[test]
fn given_power_lost_at_any_sync_when_reopened_then_everything_acknowledged_is_there_and_nothing_half() {
    // Given: a workload of every kind of write.
    let run = run();
    let points = run.disk.sync_boundaries();
    assert!(points.len() > 40, "each step syncs");

    for time in points {
        for luck in lucks() {
            // When: the machine comes back with only these bytes.
            let image = run.disk.image_at(time, luck);

            // Then: the content is that after all acknowledged steps, and perhaps the one that was under way.
            assert_recovers(
                &image,
                (run.possible(time), run.clock_after(time)),
                &format!("power lost at operation {time}, {luck:?}"),
            );
        }
    }
}

#[test]
fn given_power_lost_again_during_recovery_when_reopened_then_nothing_is_lost() {
    let run = run();
    for (number, time) in run.disk.sync_boundaries().into_iter().enumerate() {
        let seed = number as u64;
        let image = run.disk.image_at(time, Luck::Some(seed));
        let place = format!("power lost at operation {time}, seed {seed}");
        let recovered = assert_recovers(&image, (run.possible(time), run.clock_after(time)), &place);

        // Losing it once more, anywhere in what recovery wrote.
        for again in recovered.sync_boundaries() {
            let image = recovered.image_at(again, Luck::Some(seed));
            let possible = (run.possible(time), run.clock_after(time));
            assert_recovers(&image, possible, &format!("{place}, and again at {again}"));
        }
    }
}
