//! Shares out work to threads, also where the system starts fewer than are wanted.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does all jobs at the same time, each on a thread of its own, one of them on the thread of the caller. Where the system
/// starts no more threads, the threads that were started do the other jobs too; the caller alone, if none was.
///
/// Returns when all jobs are done.
///
/// # Panics
///
/// If a job panics.
pub fn share_out<J: FnOnce() + Send>(jobs: impl IntoIterator<Item = J>) {
    let jobs: Vec<J> = jobs.into_iter().collect();
    let count = jobs.len();
    let jobs = Mutex::new(jobs.into_iter());
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(job) = next() {
            job();
        }
    };
    thread::scope(|scope| {
        for _ in 1..count {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_job_is_done_once() {
        for count in [0, 1, 2, 7, 64] {
            let mut done = vec![0; count];
            let sum = AtomicUsize::new(0);
            share_out(done.iter_mut().enumerate().map(|(place, done)| {
                let sum = &sum;
                move || {
                    *done += 1;
                    sum.fetch_add(place, Ordering::Relaxed);
                }
            }));
            assert_eq!(done, vec![1; count]);
            assert_eq!(sum.into_inner(), (0..count).sum());
        }
    }

    #[test]
    #[should_panic(expected = "job 3")]
    fn a_panic_of_a_job_is_one_of_the_caller() {
        share_out((0..5).map(|number| move || assert_ne!(number, 3, "job 3 fails")));
    }
}
