//! Names that `inherent_vectors!` and `inherent_key_value!` need in the crates that use them.

pub use crate::text::names;
pub use crate::vector::metadata::fields;
pub use serde::Serialize;
pub use serde::de::DeserializeOwned;
