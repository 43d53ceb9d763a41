//! Vectors.
use std::sync::Arc;
use llmspell_core::{HNSWConfig, Result};
use crate::database::Inner;
/// x
#[derive(Debug)]
pub struct PostgresVectors;
impl PostgresVectors {
    pub(crate) async fn open(_: Arc<Inner>, _: &str, _: usize, _: HNSWConfig) -> Result<Self> { Ok(Self) }
}
