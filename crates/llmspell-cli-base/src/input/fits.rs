//! Checks that an entry fits the space that it is for.

use llmspell_storage::{
    Database, DistanceMetric, EmbeddingModel, HNSWVectorStorage, StorageError, VectorEntry, cut, validate_vectors,
};

/// What a space takes: vectors as long as those that it stores, or such as its model makes, whole or cut.
#[derive(Debug, Clone)]
pub struct Fits {
    /// The model of the space, if it has one.
    pub model: Option<EmbeddingModel>,
    /// Components that are stored.
    pub stored: usize,
    /// How the space compares vectors.
    pub metric: DistanceMetric,
}

impl Fits {
    /// What a space of the database takes: its model, its dimension and its metric.
    ///
    /// # Errors
    ///
    /// `Closed` if the database is closed; `Data` or `Io` when its spaces cannot be read.
    pub async fn of(database: &Database, store: &HNSWVectorStorage) -> Result<Self, StorageError> {
        let spaces = database.spaces().await?;
        let space = spaces.into_iter().find(|space| space.name == store.space_name());
        Ok(Self {
            model: space.and_then(|space| space.model),
            stored: store.dim(),
            metric: store.metric(),
        })
    }

    /// Why the space would refuse the entry.
    pub fn check(&self, entry: &VectorEntry) -> Result<(), StorageError> {
        let given = entry.embedding.len();
        if given == self.stored {
            return validate_vectors::entry(entry, given, self.metric, None);
        }
        let Some(model) = &self.model else {
            return validate_vectors::entry(entry, self.stored, self.metric, None);
        };
        model.check_dim(&entry.id, given)?;
        validate_vectors::entry(entry, given.max(self.stored), self.metric, None)?;
        self.kept(entry).map(drop)
    }

    /// What of its vector is stored.
    pub fn kept(&self, entry: &VectorEntry) -> Result<Vec<f32>, StorageError> {
        let mut vector = entry.embedding.clone();
        cut(&entry.id, &mut vector, self.stored, self.metric)?;
        Ok(vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(fits: &Fits, vector: &[f32]) -> Option<String> {
        let entry = VectorEntry::new("a", vector.to_vec());
        fits.check(&entry).err().map(|error| error.to_string())
    }

    #[test]
    fn a_space_of_a_model_takes_whole_vectors_and_those_that_are_cut_as_it_stores_them() {
        let fits = Fits {
            model: Some(EmbeddingModel::new("m", 4).with_matryoshka([1, 2])),
            stored: 2,
            metric: DistanceMetric::Cosine,
        };
        assert_eq!(refusal(&fits, &[1.0, 0.0, 0.0, 1.0]), None);
        assert_eq!(refusal(&fits, &[1.0, 0.0]), None);
        assert!(refusal(&fits, &[1.0]).unwrap().contains("expected 2, got 1"));
        assert!(refusal(&fits, &[1.0, 0.0, 0.0]).unwrap().contains("model `m`"));
        // Nothing is left of it that points anywhere.
        assert!(refusal(&fits, &[0.0, 0.0, 0.0, 1.0]).is_some());
    }

    #[test]
    fn a_space_of_no_model_takes_what_is_as_long_as_what_it_stores() {
        let fits = Fits {
            model: None,
            stored: 2,
            metric: DistanceMetric::Cosine,
        };
        assert_eq!(refusal(&fits, &[1.0, 0.0]), None);
        assert!(refusal(&fits, &[1.0, 0.0, 0.0]).unwrap().contains("expected 2, got 3"));
    }
}
