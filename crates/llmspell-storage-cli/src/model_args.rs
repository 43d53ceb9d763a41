//! Embedding models on the command line.

use clap::Args;
use llmspell_storage::{DistanceMetric, EmbeddingModel, ModelSpace};

use llmspell_cli_base::errors::CliError;
use llmspell_cli_base::output::counted;

/// What is known of a model, and what of its vectors is stored.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// Components of a whole vector [default: those of the preset]
    #[arg(long, value_name = "COUNT")]
    dim: Option<usize>,

    /// How vectors are compared: cosine, euclidean, dot, manhattan [default: that of the preset, else cosine]
    #[arg(long)]
    metric: Option<DistanceMetric>,

    /// Lengths at which vectors may be cut, because the model was trained for it, such as 256,512 [default: those of the
    /// preset, else none]
    #[arg(long, value_name = "COMPONENTS", value_delimiter = ',')]
    cut: Option<Vec<usize>>,

    /// Number of leading components to store and search with [default: all]
    #[arg(long, value_name = "COMPONENTS")]
    store_dim: Option<usize>,

    /// Cut also where the model was not trained for it; `model check-matryoshka` measures what that costs
    #[arg(long, requires = "store_dim")]
    force: bool,
}

impl ModelArgs {
    /// The model of a name: what the arguments say, and else what is `known` of it, by the database or by a preset.
    pub(crate) fn model(&self, name: &str, known: Option<EmbeddingModel>) -> Result<EmbeddingModel, CliError> {
        let mut model = match (known.or_else(|| EmbeddingModel::preset(name)), self.dim) {
            (Some(known), _) => known,
            (None, Some(dim)) => EmbeddingModel::new(name, dim),
            (None, None) => {
                return Err(CliError::usage(
                    format!("how many components has a vector of `{name}`? It is no preset"),
                    "say it with --dim; `model ls --presets` lists the presets",
                ));
            }
        };
        model.dim = self.dim.unwrap_or(model.dim);
        model.metric = self.metric.unwrap_or(model.metric);
        match &self.cut {
            Some(cut_points) => model.matryoshka = Some(cut_points.clone()),
            // Those of the preset, as far as vectors of another length have them.
            None => {
                if let Some(cut_points) = &mut model.matryoshka {
                    cut_points.retain(|cut| *cut < model.dim);
                }
            }
        }
        Ok(model)
    }

    /// A model and how it is stored; `stored` components if the arguments do not say.
    pub(crate) fn space(&self, model: EmbeddingModel, stored: Option<usize>) -> ModelSpace {
        let mut space = ModelSpace::new(model);
        if let Some(dim) = self.store_dim.or(stored) {
            space = space.with_store_dim(dim);
        }
        // What is stored already was allowed when it was made.
        let is_stored_so = stored.is_some() && self.store_dim.is_none_or(|dim| Some(dim) == stored);
        if self.force || is_stored_so {
            space.forced()
        } else {
            space
        }
    }

    /// Whether the arguments say how the vectors are stored.
    pub(crate) fn names_store_dim(&self) -> bool {
        self.store_dim.is_some()
    }
}

/// `1536 components, 512 of them stored, cosine; may be cut at 512`.
pub(crate) fn model_sentence(model: &EmbeddingModel, store_dim: usize) -> String {
    let components = counted(model.dim as u64, "component", "components");
    let stored = if store_dim == model.dim {
        String::new()
    } else {
        format!(", {store_dim} of them stored")
    };
    let cut_points = match model.cut_points() {
        [] => "not made to be cut".to_string(),
        cut_points => format!("may be cut at {}", listed(cut_points)),
    };
    format!("{components}{stored}, {}; {cut_points}", model.metric)
}

/// `64, 128`.
pub(crate) fn listed(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(", ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Call {
        #[command(flatten)]
        model: ModelArgs,
    }

    fn args(words: &[&str]) -> ModelArgs {
        Call::parse_from(["x"].iter().chain(words)).model
    }

    #[test]
    fn what_is_said_comes_before_what_is_known() {
        let preset = EmbeddingModel::preset("text-embedding-3-large").unwrap();
        let model = |words: &[&str]| args(words).model("text-embedding-3-large", None).unwrap();
        assert_eq!(model(&[]), preset);
        let shorter = model(&["--dim", "1024", "--metric", "dot"]);
        assert_eq!((shorter.dim, shorter.cut_points()), (1024, &[256][..]));
        assert_eq!(shorter.metric, DistanceMetric::InnerProduct);
        assert_eq!(model(&["--cut", "64,128"]).cut_points(), [64, 128]);
        assert!(args(&[]).model("ours", None).is_err());
        let ours = args(&["--dim", "3"]).model("ours", None).unwrap();
        assert_eq!(ours, EmbeddingModel::new("ours", 3));
    }

    #[test]
    fn what_is_stored_may_be_stored_so_again() {
        let model = EmbeddingModel::new("ours", 4);
        let is_allowed = |words: &[&str], stored| args(words).space(model.clone(), stored).validate().is_ok();
        assert!(is_allowed(&[], Some(2)) && is_allowed(&["--store-dim", "2"], Some(2)));
        assert!(!is_allowed(&["--store-dim", "2"], None) && !is_allowed(&["--store-dim", "3"], Some(2)));
        assert!(is_allowed(&["--store-dim", "2", "--force"], None));
    }
}
