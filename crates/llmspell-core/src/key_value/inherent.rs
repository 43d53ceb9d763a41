//! The macro `inherent_key_value!`: the calls of a backend without importing a trait.

/// Gives a type that implements [`StorageBackend`](crate::StorageBackend) the calls of the trait, and of
/// [`StorageBackendExt`](crate::StorageBackendExt), as inherent methods, so that users import no trait. Keys of a batch
/// may be any iterator of strings.
///
/// `tests/forwarding.rs` compares its list with those of the traits.
#[macro_export]
#[doc(hidden)]
macro_rules! inherent_key_value {
    ($backend:ty) => {
        /// The calls of [`StorageBackend`](crate::StorageBackend) and [`StorageBackendExt`](crate::StorageBackendExt),
        /// without importing them.
        impl $backend {
            /// The value of a key; see [`StorageBackend::get`](crate::StorageBackend::get).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn get(&self, key: &str) -> $crate::Result<Option<Vec<u8>>> {
                $crate::StorageBackend::get(self, key).await
            }

            /// The values of the keys that exist; see [`StorageBackend::get_batch`](crate::StorageBackend::get_batch).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn get_batch(
                &self,
                keys: impl IntoIterator<Item = impl AsRef<str>>,
            ) -> $crate::Result<std::collections::HashMap<String, Vec<u8>>> {
                let keys = $crate::inherent::names(keys);
                $crate::StorageBackend::get_batch(self, &keys).await
            }

            /// Applies all changes atomically, in order; see [`StorageBackend::write`](crate::StorageBackend::write).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn write(&self, batch: Vec<$crate::KeyValueWrite>) -> $crate::Result<$crate::WriteSummary> {
                $crate::StorageBackend::write(self, batch).await
            }

            /// A page of the entries whose key starts with a prefix, in byte order; see
            /// [`StorageBackend::scan_entries`](crate::StorageBackend::scan_entries).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn scan_entries(
                &self,
                prefix: &str,
                after: Option<&str>,
                limit: usize,
            ) -> $crate::Result<Vec<$crate::KeyValueEntry>> {
                $crate::StorageBackend::scan_entries(self, prefix, after, limit).await
            }

            /// When a key expires; see [`StorageBackend::expires_at`](crate::StorageBackend::expires_at).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn expires_at(&self, key: &str) -> $crate::Result<Option<$crate::Timestamp>> {
                $crate::StorageBackend::expires_at(self, key).await
            }

            /// Stores `new` if the current value is `expected`; see
            /// [`StorageBackend::swap`](crate::StorageBackend::swap).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn swap(
                &self,
                key: &str,
                expected: Option<&[u8]>,
                new: Option<Vec<u8>>,
                expiry: $crate::Expiry,
            ) -> $crate::Result<bool> {
                $crate::StorageBackend::swap(self, key, expected, new, expiry).await
            }

            /// The engine of this backend; see [`StorageBackend::backend_type`](crate::StorageBackend::backend_type).
            #[must_use]
            pub fn backend_type(&self) -> $crate::BackendType {
                $crate::StorageBackend::backend_type(self)
            }

            /// The properties of this engine; see
            /// [`StorageBackend::characteristics`](crate::StorageBackend::characteristics).
            #[must_use]
            pub fn characteristics(&self) -> $crate::BackendCharacteristics {
                $crate::StorageBackend::characteristics(self)
            }

            /// [`swap`](Self::swap) to a value that does not expire; see
            /// [`StorageBackend::compare_and_swap`](crate::StorageBackend::compare_and_swap).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn compare_and_swap(
                &self,
                key: &str,
                expected: Option<&[u8]>,
                new: Option<Vec<u8>>,
            ) -> $crate::Result<bool> {
                $crate::StorageBackend::compare_and_swap(self, key, expected, new).await
            }

            /// A page of the keys that start with a prefix, with their values; see
            /// [`StorageBackend::scan`](crate::StorageBackend::scan).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn scan(
                &self,
                prefix: &str,
                after: Option<&str>,
                limit: usize,
            ) -> $crate::Result<Vec<(String, Vec<u8>)>> {
                $crate::StorageBackend::scan(self, prefix, after, limit).await
            }

            /// Stores a value that expires; see
            /// [`StorageBackend::set_with_ttl`](crate::StorageBackend::set_with_ttl).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn set_with_ttl(
                &self,
                key: &str,
                value: Vec<u8>,
                ttl: std::time::Duration,
            ) -> $crate::Result<()> {
                $crate::StorageBackend::set_with_ttl(self, key, value, ttl).await
            }

            /// Stores a value that does not expire; see [`StorageBackend::set`](crate::StorageBackend::set).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn set(&self, key: &str, value: Vec<u8>) -> $crate::Result<()> {
                $crate::StorageBackend::set(self, key, value).await
            }

            /// Removes a key, and returns whether it existed; see
            /// [`StorageBackend::delete`](crate::StorageBackend::delete).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn delete(&self, key: &str) -> $crate::Result<bool> {
                $crate::StorageBackend::delete(self, key).await
            }

            /// Whether a key exists; see [`StorageBackend::exists`](crate::StorageBackend::exists).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn exists(&self, key: &str) -> $crate::Result<bool> {
                $crate::StorageBackend::exists(self, key).await
            }

            /// Stores all pairs atomically; see [`StorageBackend::set_batch`](crate::StorageBackend::set_batch).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn set_batch(&self, items: std::collections::HashMap<String, Vec<u8>>) -> $crate::Result<()> {
                $crate::StorageBackend::set_batch(self, items).await
            }

            /// Removes all keys atomically, and returns how many existed; see
            /// [`StorageBackend::delete_batch`](crate::StorageBackend::delete_batch).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn delete_batch(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) -> $crate::Result<u64> {
                let keys = $crate::inherent::names(keys);
                $crate::StorageBackend::delete_batch(self, &keys).await
            }

            /// Removes every key; see [`StorageBackend::clear`](crate::StorageBackend::clear).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn clear(&self) -> $crate::Result<u64> {
                $crate::StorageBackend::clear(self).await
            }

            /// Every key with a prefix, in byte order; see
            /// [`StorageBackend::list_keys`](crate::StorageBackend::list_keys).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn list_keys(&self, prefix: &str) -> $crate::Result<Vec<String>> {
                $crate::StorageBackend::list_keys(self, prefix).await
            }

            /// Number of keys with a prefix; see [`StorageBackend::count`](crate::StorageBackend::count).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn count(&self, prefix: &str) -> $crate::Result<u64> {
                $crate::StorageBackend::count(self, prefix).await
            }

            /// Stores a value as JSON; see [`StorageBackendExt::store`](crate::StorageBackendExt::store).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn store<T: $crate::inherent::Serialize + Sync + ?Sized>(
                &self,
                key: &str,
                value: &T,
            ) -> $crate::Result<()> {
                $crate::StorageBackendExt::store(self, key, value).await
            }

            /// Stores a value as JSON that expires; see
            /// [`StorageBackendExt::store_with_ttl`](crate::StorageBackendExt::store_with_ttl).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn store_with_ttl<T: $crate::inherent::Serialize + Sync + ?Sized>(
                &self,
                key: &str,
                value: &T,
                ttl: std::time::Duration,
            ) -> $crate::Result<()> {
                $crate::StorageBackendExt::store_with_ttl(self, key, value, ttl).await
            }

            /// Loads a value stored by [`store`](Self::store); see
            /// [`StorageBackendExt::load`](crate::StorageBackendExt::load).
            ///
            /// # Errors
            ///
            /// As there.
            pub async fn load<T: $crate::inherent::DeserializeOwned>(&self, key: &str) -> $crate::Result<Option<T>> {
                $crate::StorageBackendExt::load(self, key).await
            }
        }
    };
}
