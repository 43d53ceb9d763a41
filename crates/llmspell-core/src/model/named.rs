//! [`ModelRef`]: the model that an entry names.

use serde::{Deserialize, Serialize};

use super::EmbeddingModel;

/// The model of an entry: its name, or its full description, so that a store can register it.
///
/// ```
/// # use llmspell_core::{EmbeddingModel, ModelRef};
/// assert_eq!(ModelRef::from("bge-m3").name(), "bge-m3");
/// assert_eq!(ModelRef::from(EmbeddingModel::new("ours", 512)).name(), "ours");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ModelRef {
    /// A model that the store knows, or that is a [preset](EmbeddingModel::preset).
    Name(String),
    /// A model that the store may not know yet.
    Model(Box<EmbeddingModel>),
}

impl ModelRef {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Model(model) => &model.name,
        }
    }
}

impl From<&str> for ModelRef {
    fn from(name: &str) -> Self {
        Self::Name(name.to_string())
    }
}

impl From<String> for ModelRef {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<EmbeddingModel> for ModelRef {
    fn from(model: EmbeddingModel) -> Self {
        Self::Model(Box::new(model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_string_in_json_and_a_model_an_object() {
        let name = ModelRef::from("m");
        assert_eq!(serde_json::to_string(&name).unwrap(), r#""m""#);
        let model = ModelRef::from(EmbeddingModel::new("m", 4).with_matryoshka([2]));
        for reference in [name, model] {
            let json = serde_json::to_string(&reference).unwrap();
            assert_eq!(serde_json::from_str::<ModelRef>(&json).unwrap(), reference);
        }
    }
}
