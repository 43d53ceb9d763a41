//! Measures calls of the memory backend one by one:
//! `cargo run --release -p llmspell-bench --features measure --example kv_memory_latency`.
//!
//! Keys of 24 bytes, read and written in a scattered order through `&dyn StorageBackend`, each call timed; the clock's
//! own cost (about 20 ns) is part of the figures. With many large values the figures are those of the machine's RAM.

use std::time::Instant;

use llmspell_storage::StorageBackend;
use llmspell_storage::backends::MemoryBackend;

const CALLS: usize = 500_000;
/// Coprime to the numbers of keys, so that every key is visited, far from the one before.
const STRIDE: usize = 61_803;

#[tokio::main(flavor = "current_thread")]
async fn main() -> llmspell_storage::Result<()> {
    println!(
        "{:<5} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "call", "keys", "bytes", "p50 ns", "p99 ns", "calls/s"
    );
    for key_count in [1_000, 10_000, 100_000] {
        for value_bytes in [64, 1024] {
            measure(key_count, value_bytes).await?;
        }
    }
    Ok(())
}

async fn measure(key_count: usize, value_bytes: usize) -> llmspell_storage::Result<()> {
    let memory = MemoryBackend::new();
    let backend: &dyn StorageBackend = &memory;
    let key = |call: usize| format!("session:state:{:010}", call * STRIDE % key_count);
    let mut nanos = [const { Vec::new() }; 3];

    for call in 0..key_count {
        let (key, value) = (key(call), vec![7; value_bytes]);
        let start = Instant::now();
        backend.set(&key, value).await?;
        nanos[0].push(start.elapsed().as_nanos());
    }
    for call in 0..CALLS {
        let (key, value) = (key(call), vec![8; value_bytes]);
        let start = Instant::now();
        backend.set(&key, value).await?;
        nanos[1].push(start.elapsed().as_nanos());
    }
    for call in 0..CALLS {
        let key = key(call);
        let start = Instant::now();
        let found = backend.get(&key).await?;
        nanos[2].push(start.elapsed().as_nanos());
        assert_eq!(found, Some(vec![8; value_bytes]), "a fast wrong answer is not a result");
    }
    for (call, mut nanos) in ["new", "put", "get"].into_iter().zip(nanos) {
        let throughput = nanos.len() as f64 * 1.0e9 / nanos.iter().sum::<u128>() as f64;
        nanos.sort_unstable();
        let quantile = |share: f64| nanos[(nanos.len() as f64 * share) as usize];
        let (p50, p99) = (quantile(0.50), quantile(0.99));
        println!("{call:<5} {key_count:>8} {value_bytes:>8} {p50:>8} {p99:>8} {throughput:>10.0}");
    }
    Ok(())
}
