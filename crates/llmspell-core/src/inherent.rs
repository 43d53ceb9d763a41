//! What do `inherent_vectors!` and `inherent_key_value!` need in the crates that use them?

pub use crate::vector::metadata::fields;
pub use serde::Serialize;
pub use serde::de::DeserializeOwned;

/// Ids or keys as the traits take them.
pub fn names(names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    names.into_iter().map(|name| name.as_ref().to_string()).collect()
}
