//! The metadata of an entry.

use serde_json::{Map, Value};

/// Fields of an entry: a JSON object.
pub type Metadata = Map<String, Value>;
