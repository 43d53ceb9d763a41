//! The vectors of each scope.

use std::fs::File;
use std::io::{BufRead, BufReader};

use llmspell_storage::{Metadata, StateScope, VectorEntry, VectorQuery, VectorResult};

use super::{Step, TenantsArgs};
use llmspell_cli_base::errors::{CliError, Place};
use llmspell_cli_base::input::npy::NpyReader;
use llmspell_cli_base::random::Random;

/// Random vectors that scopes share, but for the component that tells them apart.
const POOL: u64 = 4_096;
/// The scope whose vectors are those of the large one.
pub(super) const LARGE: u64 = u64::MAX;
/// Neighbors that are asked for.
pub(super) const K: usize = 10;

/// What all scopes hold, by their numbers.
pub(super) struct Tenants {
    rows: Vec<Vec<f32>>,
    metadata: Vec<Metadata>,
    vectors: u64,
    is_random: bool,
}

impl Tenants {
    pub(super) fn new(args: &TenantsArgs) -> Result<Self, CliError> {
        let rows = match &args.base {
            Some(path) => {
                let mut reader = NpyReader::open(path)?;
                let mut rows = Vec::new();
                while let Some(row) = reader.next_row()? {
                    rows.push(row);
                }
                rows
            }
            None => (0..POOL).map(|row| random_vector(args.dim, row)).collect(),
        };
        let is_large_needed = args.base.is_some() && args.steps.contains(&Step::Large);
        let needed = args.vectors.max(if is_large_needed { args.large } else { 0 });
        if (rows.len() as u64) < needed {
            return Err(CliError::usage(
                format!("there are {} vectors for a scope of {needed}", rows.len()),
                "ask for fewer vectors, or name a larger --base",
            ));
        }
        Ok(Self {
            rows,
            metadata: read_metadata(args)?,
            vectors: args.vectors,
            is_random: args.base.is_none(),
        })
    }

    pub(super) fn dim(&self) -> usize {
        self.rows[0].len()
    }

    /// The name of a scope.
    pub(super) fn scope(&self, scope: u64) -> StateScope {
        match scope {
            LARGE => StateScope::Global,
            number => StateScope::User(format!("tenant-{number:07}")),
        }
    }

    /// The id of a vector: no other scope has it.
    pub(super) fn id(&self, scope: u64, vector: u64) -> String {
        match scope {
            LARGE => format!("large-{vector:07}"),
            number => format!("{number:07}-{vector:02}"),
        }
    }

    /// A vector that no other of its scope is like.
    pub(super) fn vector(&self, scope: u64, vector: u64) -> Vec<f32> {
        if scope == LARGE {
            return match self.rows.get(usize::try_from(vector).unwrap_or(usize::MAX)) {
                Some(row) if !self.is_random => row.clone(),
                _ => random_vector(self.dim(), POOL + vector),
            };
        }
        let row = (scope.wrapping_mul(self.vectors).wrapping_add(vector)) % self.rows.len() as u64;
        let mut row = self.rows[usize::try_from(row).expect("rows are in memory")].clone();
        if self.is_random {
            row[0] += Random::new(&[scope, vector]).normal();
        }
        row
    }

    /// The entry of a vector.
    pub(super) fn entry(&self, scope: u64, vector: u64) -> VectorEntry {
        let entry = VectorEntry::new(self.id(scope, vector), self.vector(scope, vector)).with_scope(self.scope(scope));
        if self.metadata.is_empty() {
            return entry;
        }
        let line = (scope.wrapping_mul(self.vectors).wrapping_add(vector)) % self.metadata.len() as u64;
        entry.with_metadata(self.metadata[usize::try_from(line).expect("lines are in memory")].clone())
    }

    /// Asks for a vector that is there, as agents do: ids and scores.
    pub(super) fn query(&self, scope: u64, vector: u64) -> VectorQuery {
        VectorQuery::new(self.vector(scope, vector), K)
            .with_scope(self.scope(scope))
            .with_metadata(false)
    }

    /// Whether an answer to [`query`](Self::query) is right, as far as that needs no further search.
    pub(super) fn is_right(&self, scope: u64, vector: u64, hits: &[VectorResult]) -> bool {
        let prefix = self.id(scope, 0);
        let prefix = prefix.rsplit_once('-').map_or("", |(prefix, _)| prefix);
        let count = if scope == LARGE {
            K
        } else {
            K.min(usize::try_from(self.vectors).unwrap_or(K))
        };
        let is_first = hits.first().is_some_and(|hit| hit.id == self.id(scope, vector));
        // Rows of a base may be equal; then the nearest is as near.
        let is_equal = !self.is_random && hits.first().is_some_and(|hit| hit.distance.abs() < 1e-5);
        let is_own = |hit: &VectorResult| hit.id.rsplit_once('-').is_some_and(|(own, _)| own == prefix);
        hits.len() == count && (is_first || is_equal) && hits.iter().all(is_own)
    }
}

fn random_vector(dim: usize, number: u64) -> Vec<f32> {
    let mut random = Random::new(&[number]);
    (0..dim).map(|_| random.normal()).collect()
}

fn read_metadata(args: &TenantsArgs) -> Result<Vec<Metadata>, CliError> {
    let Some(path) = &args.metadata else {
        return Ok(Vec::new());
    };
    let failed = |source| CliError::file("read", path, source);
    let lines = BufReader::new(File::open(path).map_err(failed)?).lines();
    lines
        .enumerate()
        .map(|(number, line)| {
            serde_json::from_str(&line.map_err(failed)?).map_err(|error| CliError::Input {
                source_name: path.display().to_string(),
                place: Some(Place::Line(number as u64 + 1)),
                reason: error.to_string(),
                hint: "each line must be a JSON object".to_string(),
            })
        })
        .collect()
}
