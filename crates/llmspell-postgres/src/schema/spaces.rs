//! The table of a vector space, and the index of a large scope.

use llmspell_core::DistanceMetric;

use super::names::Names;
use crate::sql::hex;

/// pgvector indexes `vector` up to this many dimensions,
const VECTOR_INDEX_DIM_MAX: usize = 2_000;
/// and `halfvec` up to this many.
const HALF_INDEX_DIM_MAX: usize = 4_000;

/// What an index of a scope holds of each vector. Whatever it is, the distances of an answer are those of whole vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexKind {
    /// The vector.
    Whole,
    /// Its components as halves.
    Half,
    /// Its first components.
    Leading(usize),
    /// The signs of its components.
    Signs,
}

impl IndexKind {
    /// The kind for vectors of this many components; `leading` is the number of leading components that the configuration names.
    pub(crate) fn of(dim: usize, leading: Option<usize>) -> Self {
        match leading {
            Some(leading) if leading < dim && leading <= VECTOR_INDEX_DIM_MAX => Self::Leading(leading),
            _ if dim <= VECTOR_INDEX_DIM_MAX => Self::Whole,
            _ if dim <= HALF_INDEX_DIM_MAX => Self::Half,
            _ => Self::Signs,
        }
    }

    /// As it is stored.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Whole => "whole".to_string(),
            Self::Half => "half".to_string(),
            Self::Leading(dim) => format!("leading {dim}"),
            Self::Signs => "signs".to_string(),
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "whole" => Some(Self::Whole),
            "half" => Some(Self::Half),
            "signs" => Some(Self::Signs),
            other => other.strip_prefix("leading ")?.parse().ok().map(Self::Leading),
        }
    }

    /// What is indexed of an expression of type `vector` with this many components.
    fn expression(self, vector: &str, dim: usize) -> String {
        match self {
            Self::Whole => vector.to_string(),
            Self::Half => format!("({vector}::halfvec({dim}))"),
            Self::Leading(leading) => format!("(subvector({vector}, 1, {leading})::vector({leading}))"),
            Self::Signs => format!("(binary_quantize({vector})::bit({dim}))"),
        }
    }

    fn operator_class(self, metric: DistanceMetric) -> &'static str {
        match (self, metric) {
            (Self::Signs, _) => "bit_hamming_ops",
            (Self::Half, DistanceMetric::Cosine) => "halfvec_cosine_ops",
            (Self::Half, DistanceMetric::Euclidean) => "halfvec_l2_ops",
            (Self::Half, DistanceMetric::InnerProduct) => "halfvec_ip_ops",
            (Self::Half, DistanceMetric::Manhattan) => "halfvec_l1_ops",
            (Self::Whole | Self::Leading(_), DistanceMetric::Cosine) => "vector_cosine_ops",
            (Self::Whole | Self::Leading(_), DistanceMetric::Euclidean) => "vector_l2_ops",
            (Self::Whole | Self::Leading(_), DistanceMetric::InnerProduct) => "vector_ip_ops",
            (Self::Whole | Self::Leading(_), DistanceMetric::Manhattan) => "vector_l1_ops",
        }
    }
}

/// The operator of a metric for vectors.
pub(crate) fn operator(metric: DistanceMetric) -> &'static str {
    match metric {
        DistanceMetric::Cosine => "<=>",
        DistanceMetric::Euclidean => "<->",
        DistanceMetric::InnerProduct => "<#>",
        DistanceMetric::Manhattan => "<+>",
    }
}

/// The distance of a stored vector from `query`: as the index orders it, or exactly, in a form that no index can serve.
pub(crate) fn ordering(index: Option<IndexKind>, query: &str, dim: usize, metric: DistanceMetric) -> String {
    match index {
        None => format!("(v {} {query}) + 0", operator(metric)),
        Some(kind) => {
            let operator = if kind == IndexKind::Signs {
                "<~>"
            } else {
                operator(metric)
            };
            format!(
                "{} {operator} {}",
                kind.expression("v", dim),
                kind.expression(query, dim)
            )
        }
    }
}

/// `raw` is the metadata as it was given, where `fields` cannot give it back; `metadata_bytes` its length as compact JSON.
pub(crate) fn create_space(names: &Names, number: i32, dim: usize) -> String {
    let table = names.space(number);
    let short = format!("{}space_{number}", names.prefix);
    format!(
        "CREATE TABLE {table} (\n    \
             scope bytea NOT NULL,\n    \
             id bytea NOT NULL,\n    \
             v vector({dim}) NOT NULL,\n    \
             fields jsonb NOT NULL,\n    \
             raw bytea,\n    \
             metadata_bytes integer NOT NULL,\n    \
             created_at bigint NOT NULL,\n    \
             updated_at bigint NOT NULL,\n    \
             event_time bigint,\n    \
             expires_at bigint,\n    \
             PRIMARY KEY (scope, id)\n\
         );\n\
         ALTER TABLE {table} ALTER COLUMN v SET STORAGE EXTERNAL;\n\
         CREATE INDEX \"{short}_expire\" ON {table} (expires_at) WHERE expires_at IS NOT NULL;\n\
         {}{}",
        names.security(&table),
        names.grant("SELECT, INSERT, UPDATE, DELETE", &table),
    )
}

/// The name of a scope's index: a digest of the scope, because names have 63 bytes.
pub(crate) fn index_name(names: &Names, number: i32, scope: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(scope);
    format!("{}s{number}_{}", names.prefix, hex(&digest[..12]))
}

/// The index of one scope: partial, so that a search walks a graph of that scope alone.
pub(crate) fn create_index(
    names: &Names,
    number: i32,
    scope: &[u8],
    kind: IndexKind,
    (dim, metric): (usize, DistanceMetric),
    (m, ef_construction): (usize, usize),
) -> String {
    format!(
        "CREATE INDEX CONCURRENTLY \"{}\" ON {} USING hnsw ({} {}) WITH (m = {m}, ef_construction = {ef_construction}) \
         WHERE scope = '\\x{}'",
        index_name(names, number, scope),
        names.space(number),
        kind.expression("v", dim),
        kind.operator_class(metric),
        hex(scope),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_index_follows_from_the_dimension() {
        let kinds = [1, 2_000, 2_001, 4_000, 4_001, 4_096, 16_000].map(|dim| IndexKind::of(dim, None));
        use IndexKind::{Half, Leading, Signs, Whole};
        assert_eq!(kinds, [Whole, Whole, Half, Half, Signs, Signs, Signs]);
        assert_eq!(IndexKind::of(4_096, Some(512)), Leading(512));
        assert_eq!(IndexKind::of(512, Some(512)), Whole);
        for kind in [Whole, Half, Signs, Leading(7)] {
            assert_eq!(IndexKind::named(&kind.name()), Some(kind));
        }
    }
}
