//! Random programs against the store: does it answer like a model, and is a scope a wall?

mod answers;
mod isolation;
mod program;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}
