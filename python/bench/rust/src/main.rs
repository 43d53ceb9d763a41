//! What `bench/overhead.py` measures, without Python: the same rows, read from files, and the same calls.
//!
//! Arguments: a file of rows of float32, their dimension, a number of searches. Prints one JSON object: the median of a
//! search in microseconds, and the seconds of the fastest of five inserts of all rows.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use llmspell_storage::{Database, HNSWConfig, VectorEntry, VectorQuery};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, dim, searches] = &arguments[..] else {
        panic!("usage: FILE DIM SEARCHES")
    };
    let (dim, searches): (usize, usize) = (dim.parse().expect("a number"), searches.parse().expect("a number"));
    let bytes = std::fs::read(file).expect("the file of rows");
    let numbers: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let ids: Vec<String> = (0..numbers.len() / dim).map(|n| n.to_string()).collect();

    let mut insert_s = f64::INFINITY;
    let mut kept = None;
    for _ in 0..5 {
        let database = Database::in_memory();
        let space = block_on(database.vectors("rows", dim, HNSWConfig::balanced())).expect("a space");
        let start = Instant::now();
        let rows = ids.iter().zip(numbers.chunks_exact(dim));
        let entries = rows
            .map(|(id, row)| VectorEntry::new(id.as_str(), row.to_vec()))
            .collect();
        block_on(space.insert(entries)).expect("an insert");
        insert_s = insert_s.min(start.elapsed().as_secs_f64());
        kept = Some((database, space));
    }
    drop(kept);

    let database = Database::in_memory();
    let space = block_on(database.vectors("few", dim, HNSWConfig::balanced())).expect("a space");
    let few = ids.iter().zip(numbers.chunks_exact(dim)).take(100);
    let entries = few
        .map(|(id, row)| VectorEntry::new(id.as_str(), row.to_vec()))
        .collect();
    block_on(space.insert(entries)).expect("an insert");
    let mut micros: Vec<f64> = (0..searches)
        .map(|n| {
            let row = &numbers[n % 100 * dim..][..dim];
            let start = Instant::now();
            let query = VectorQuery::new(row.to_vec(), 10);
            let found = block_on(space.search(&query)).expect("a search");
            let elapsed = start.elapsed().as_secs_f64() * 1e6;
            assert_eq!(found.len(), 10);
            elapsed
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    println!(
        "{{\"search_us\": {}, \"insert_s\": {insert_s}}}",
        micros[micros.len() / 2]
    );
}
