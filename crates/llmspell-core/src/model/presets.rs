//! Presets: the dimensions and cut lengths of common models.
//!
//! Dimensions and cut points are those that the makers document; see [`EmbeddingModel::preset`] for the sources.

use super::EmbeddingModel;

/// Name, other names, components, cut points (none: not Matryoshka).
type Preset = (&'static str, &'static [&'static str], usize, Option<&'static [usize]>);

const PRESETS: &[Preset] = &[
    (
        "text-embedding-3-small",
        &["openai/text-embedding-3-small"],
        1536,
        Some(&[512]),
    ),
    (
        "text-embedding-3-large",
        &["openai/text-embedding-3-large"],
        3072,
        Some(&[256, 1024]),
    ),
    ("text-embedding-ada-002", &["openai/text-embedding-ada-002"], 1536, None),
    ("embed-english-v3.0", &["cohere/embed-english-v3.0"], 1024, None),
    (
        "embed-multilingual-v3.0",
        &["cohere/embed-multilingual-v3.0"],
        1024,
        None,
    ),
    (
        "embed-english-light-v3.0",
        &["cohere/embed-english-light-v3.0"],
        384,
        None,
    ),
    (
        "embed-multilingual-light-v3.0",
        &["cohere/embed-multilingual-light-v3.0"],
        384,
        None,
    ),
    ("embed-v4.0", &["cohere/embed-v4.0"], 1536, Some(&[256, 512, 1024])),
    ("voyage-3", &["voyage/voyage-3"], 1024, None),
    ("voyage-3-lite", &["voyage/voyage-3-lite"], 512, None),
    (
        "voyage-3-large",
        &["voyage/voyage-3-large"],
        2048,
        Some(&[256, 512, 1024]),
    ),
    ("voyage-3.5", &["voyage/voyage-3.5"], 2048, Some(&[256, 512, 1024])),
    (
        "voyage-3.5-lite",
        &["voyage/voyage-3.5-lite"],
        2048,
        Some(&[256, 512, 1024]),
    ),
    (
        "gemini-embedding-001",
        &["google/gemini-embedding-001"],
        3072,
        Some(&[768, 1536]),
    ),
    (
        "nomic-embed-text-v1.5",
        &["nomic-ai/nomic-embed-text-v1.5"],
        768,
        Some(&[64, 128, 256, 512]),
    ),
    (
        "mxbai-embed-large-v1",
        &["mixedbread-ai/mxbai-embed-large-v1"],
        1024,
        Some(&[512]),
    ),
    ("bge-m3", &["BAAI/bge-m3"], 1024, None),
    (
        "Qwen3-Embedding-0.6B",
        &["Qwen/Qwen3-Embedding-0.6B"],
        1024,
        Some(&[32, 64, 128, 256, 512, 768]),
    ),
    (
        "Qwen3-Embedding-4B",
        &["Qwen/Qwen3-Embedding-4B"],
        2560,
        Some(&[32, 64, 128, 256, 512, 768, 1024, 2048]),
    ),
    (
        "Qwen3-Embedding-8B",
        &["Qwen/Qwen3-Embedding-8B"],
        4096,
        Some(&[32, 64, 128, 256, 512, 768, 1024, 2048]),
    ),
    (
        "all-MiniLM-L6-v2",
        &["sentence-transformers/all-MiniLM-L6-v2"],
        384,
        None,
    ),
];

impl EmbeddingModel {
    /// The preset of a common model, by its maker's name for it (with or without the name of the maker), in upper or
    /// lower case. None for any other.
    ///
    /// All are compared by cosine. `whole` is the number of components of a whole vector: if an API returns fewer by
    /// default (Voyage 3 and 3.5: 1024), those are the leading ones.
    ///
    /// | name | whole | may be cut at | source |
    /// |---|--:|---|---|
    /// | `text-embedding-3-small` | 1536 | 512 | OpenAI, "New embedding models and API updates", and the embeddings guide (`dimensions`) |
    /// | `text-embedding-3-large` | 3072 | 256, 1024 | the same |
    /// | `text-embedding-ada-002` | 1536 | – | the same |
    /// | `embed-english-v3.0`, `embed-multilingual-v3.0` | 1024 | – | Cohere, "Embed models" |
    /// | `embed-english-light-v3.0`, `embed-multilingual-light-v3.0` | 384 | – | the same |
    /// | `embed-v4.0` | 1536 | 256, 512, 1024 | the same (`output_dimension`) |
    /// | `voyage-3` | 1024 | – | Voyage AI, "Text embeddings" |
    /// | `voyage-3-lite` | 512 | – | the same |
    /// | `voyage-3-large`, `voyage-3.5`, `voyage-3.5-lite` | 2048 | 256, 512, 1024 | the same (`output_dimension`) |
    /// | `gemini-embedding-001` | 3072 | 768, 1536 | Google, Gemini API, "Embeddings" (`output_dimensionality`) |
    /// | `nomic-embed-text-v1.5` | 768 | 64, 128, 256, 512 | model card of nomic-ai/nomic-embed-text-v1.5 |
    /// | `mxbai-embed-large-v1` | 1024 | 512 | model card of mixedbread-ai/mxbai-embed-large-v1 |
    /// | `bge-m3` | 1024 | – | model card of BAAI/bge-m3 |
    /// | `Qwen3-Embedding-0.6B` | 1024 | 32, 64, 128, 256, 512, 768 | model cards of Qwen/Qwen3-Embedding-*: any length from 32 on |
    /// | `Qwen3-Embedding-4B` | 2560 | the same, 1024, 2048 | the same |
    /// | `Qwen3-Embedding-8B` | 4096 | the same, 1024, 2048 | the same |
    /// | `all-MiniLM-L6-v2` | 384 | – | model card of sentence-transformers/all-MiniLM-L6-v2 |
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let is_named = |preset: &&Preset| {
            let mut names = preset.1.iter().chain([&preset.0]);
            names.any(|known| known.eq_ignore_ascii_case(name))
        };
        PRESETS.iter().find(is_named).map(Self::of)
    }

    /// Every [`preset`](Self::preset).
    pub fn presets() -> impl Iterator<Item = Self> {
        PRESETS.iter().map(Self::of)
    }

    fn of(preset: &Preset) -> Self {
        let (name, _, dim, cut_points) = preset;
        let model = Self::new(*name, *dim);
        match cut_points {
            Some(cut_points) => model.with_matryoshka(cut_points.iter().copied()),
            None => model,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_preset_is_valid_and_found_by_each_of_its_names() {
        let mut names = HashSet::new();
        for (model, preset) in EmbeddingModel::presets().zip(PRESETS) {
            model.validate().unwrap();
            for name in preset.1.iter().chain([&preset.0]) {
                assert!(names.insert(name.to_lowercase()), "{name} names two models");
                assert_eq!(EmbeddingModel::preset(&name.to_uppercase()).as_ref(), Some(&model));
            }
        }
        assert_eq!(EmbeddingModel::preset("text-embedding-4"), None);
    }
}
