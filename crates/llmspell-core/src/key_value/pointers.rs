//! [`StorageBackend`] for references, `Box` and `Arc`: they forward every call.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::backend::{BackendCharacteristics, BackendType, StorageBackend};
use super::write::{KeyValueEntry, KeyValueWrite, WriteSummary};
use crate::error::Result;
use crate::expiry::Expiry;
use crate::timestamp::Timestamp;

/// Every call is forwarded to the pointee, including those with a default, which the pointee may override.
/// `tests/forwarding.rs` compares the list with that of the trait.
macro_rules! storage_backend_through {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<T: StorageBackend + ?Sized> StorageBackend for $pointer {
            async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
                (**self).get(key).await
            }

            async fn get_batch(&self, keys: &[String]) -> Result<HashMap<String, Vec<u8>>> {
                (**self).get_batch(keys).await
            }

            async fn write(&self, batch: Vec<KeyValueWrite>) -> Result<WriteSummary> {
                (**self).write(batch).await
            }

            async fn scan_entries(
                &self,
                prefix: &str,
                after: Option<&str>,
                limit: usize,
            ) -> Result<Vec<KeyValueEntry>> {
                (**self).scan_entries(prefix, after, limit).await
            }

            async fn expires_at(&self, key: &str) -> Result<Option<Timestamp>> {
                (**self).expires_at(key).await
            }

            async fn swap(
                &self,
                key: &str,
                expected: Option<&[u8]>,
                new: Option<Vec<u8>>,
                expiry: Expiry,
            ) -> Result<bool> {
                (**self).swap(key, expected, new, expiry).await
            }

            fn backend_type(&self) -> BackendType {
                (**self).backend_type()
            }

            fn characteristics(&self) -> BackendCharacteristics {
                (**self).characteristics()
            }

            async fn compare_and_swap(
                &self,
                key: &str,
                expected: Option<&[u8]>,
                new: Option<Vec<u8>>,
            ) -> Result<bool> {
                (**self).compare_and_swap(key, expected, new).await
            }

            async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Vec<u8>)>> {
                (**self).scan(prefix, after, limit).await
            }

            async fn set_with_ttl(&self, key: &str, value: Vec<u8>, ttl: Duration) -> Result<()> {
                (**self).set_with_ttl(key, value, ttl).await
            }

            async fn set(&self, key: &str, value: Vec<u8>) -> Result<()> {
                (**self).set(key, value).await
            }

            async fn delete(&self, key: &str) -> Result<bool> {
                (**self).delete(key).await
            }

            async fn exists(&self, key: &str) -> Result<bool> {
                (**self).exists(key).await
            }

            async fn set_batch(&self, items: HashMap<String, Vec<u8>>) -> Result<()> {
                (**self).set_batch(items).await
            }

            async fn delete_batch(&self, keys: &[String]) -> Result<u64> {
                (**self).delete_batch(keys).await
            }

            async fn clear(&self) -> Result<u64> {
                (**self).clear().await
            }

            async fn list_keys(&self, prefix: &str) -> Result<Vec<String>> {
                (**self).list_keys(prefix).await
            }

            async fn count(&self, prefix: &str) -> Result<u64> {
                (**self).count(prefix).await
            }
        }
    )*};
}

storage_backend_through!(&T, Box<T>, Arc<T>);
