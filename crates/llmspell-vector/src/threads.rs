//! Shares out work to threads, also where the system starts fewer than are wanted.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does all jobs at the same time, each on a thread of its own, one of them on the thread of the caller. Where the system
/// starts no more threads, the threads that were started do the other jobs too; the caller alone, if none was.
///
/// Returns when all jobs are done.
///
/// # Panics
///
/// If a job panics, with what it panicked with.
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
        let started = (1..count).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok());
        let started: Vec<_> = started.collect();
        work();
        for thread in started {
            if let Err(panic) = thread.join() {
                // With the words of the job, not those of the scope.
                resume_unwind(panic);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
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
    fn a_panic_of_a_job_is_one_of_the_caller_whichever_thread_does_it() {
        for _ in 0..100 {
            let shared = catch_unwind(|| {
                share_out((0..5).map(|number| move || assert_ne!(number, 3, "job 3 fails")));
            });
            let panic = shared.unwrap_err();
            let text = panic.downcast_ref::<String>().expect("the text of an assertion");
            assert!(text.contains("job 3 fails"), "{text}");
        }
    }
}
