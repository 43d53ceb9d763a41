//! The memory backend keeps the contract.

use std::sync::Arc;

use llmspell_conformance::key_value;
use llmspell_storage::backends::MemoryBackend;

#[tokio::test]
async fn memory_keeps_the_contract() {
    key_value::check_all(async || Arc::new(MemoryBackend::new()) as _).await;
}
