//! [`Steps`]: a stream of what a reader returns, one call after the other.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::error::Result;

/// One call of a reader, which gives the reader back with its answer.
pub(super) type Step<'s, R, T> = Pin<Box<dyn Future<Output = (Result<Option<T>>, R)> + Send + 's>>;

/// A stream of the answers of a reader, until it answers none or an error.
pub(super) struct Steps<'s, R, T> {
    /// The call under way; none after the last one.
    current: Option<Step<'s, R, T>>,
    step: fn(R) -> Step<'s, R, T>,
}

impl<'s, R, T> Steps<'s, R, T> {
    /// Calls nothing before the stream is polled.
    pub(super) fn new(reader: R, step: fn(R) -> Step<'s, R, T>) -> Self {
        Self {
            current: Some(step(reader)),
            step,
        }
    }
}

impl<R, T> Stream for Steps<'_, R, T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let steps = self.get_mut();
        let Some(current) = &mut steps.current else {
            return Poll::Ready(None);
        };
        let Poll::Ready((answer, reader)) = current.as_mut().poll(context) else {
            return Poll::Pending;
        };
        steps.current = matches!(answer, Ok(Some(_))).then(|| (steps.step)(reader));
        Poll::Ready(answer.transpose())
    }
}

impl<R, T> fmt::Debug for Steps<'_, R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps")
            .field("has_ended", &self.current.is_none())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;
    use crate::error::StorageError;

    /// Answers from the last to the first.
    type Answers = Vec<Result<Option<u32>>>;

    fn streamed(mut answers: Answers) -> Vec<std::result::Result<u32, String>> {
        answers.reverse();
        let steps = Steps::new(answers, |mut answers: Answers| {
            Box::pin(async move {
                let answer = answers.pop().expect("a stream that has ended calls nothing");
                (answer, answers)
            })
        });
        let items = steps.map(|item| item.map_err(|error| error.to_string()));
        items.collect().now_or_never().expect("each answer is there at once")
    }

    #[test]
    fn a_stream_has_each_answer_in_order_and_ends_with_none() {
        assert_eq!(
            streamed(vec![Ok(Some(1)), Ok(Some(2)), Ok(None), Ok(Some(3))]),
            [Ok(1), Ok(2)]
        );
        assert!(streamed(vec![Ok(None)]).is_empty());
    }

    #[test]
    fn a_stream_ends_after_an_error() {
        let text = StorageError::Closed.to_string();
        let items = streamed(vec![Ok(Some(1)), Err(StorageError::Closed), Ok(Some(2))]);
        assert_eq!(items, [Ok(1), Err(text)]);
    }
}
