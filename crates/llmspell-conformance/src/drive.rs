//! A small executor that drives futures without a runtime.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// A future behind a pointer.
pub type BoxFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Runs a future to its end on a thread of the suite: [`block_on`], or the store's runtime.
pub type BlockOn<'a> = &'a (dyn for<'f> Fn(BoxFuture<'f>) + Sync);

/// Runs a future on this thread, which sleeps while the future waits.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future once and drops it.
pub(super) async fn start_and_drop<T>(future: impl Future<Output = T>) {
    let mut future = pin!(future);
    poll_fn(|context| {
        drop(future.as_mut().poll(context));
        Poll::Ready(())
    })
    .await;
}

/// Prints the name of a promise if it is broken.
pub(super) struct Promise(pub(super) &'static str);

impl Drop for Promise {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("broken promise: {}", self.0.replace('_', " "));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_future_that_another_thread_wakes_is_driven_to_its_end() {
        let (sender, receiver) = mpsc::channel();
        let mut is_started = false;
        block_on(poll_fn(move |context| {
            if is_started {
                sender.send(7).unwrap();
                return Poll::Ready(());
            }
            is_started = true;
            let waker = context.waker().clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10));
                waker.wake();
            });
            Poll::Pending
        }));
        assert_eq!(receiver.recv().unwrap(), 7);
    }
}
