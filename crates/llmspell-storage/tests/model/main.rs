//! Random programs: the store answers like a model, and scopes are isolated.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod answers;
mod canaries;
mod drops;
mod isolation;
mod plain;
mod program;
mod store;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}
