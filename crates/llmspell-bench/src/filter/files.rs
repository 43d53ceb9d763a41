//! Files with the rows, queries, filters and truth, for measuring other stores on them.
//!
//! | file             | what                                                                            |
//! |------------------|---------------------------------------------------------------------------------|
//! | `metadata.jsonl` | one object per row of the base                                                  |
//! | `by_pivot.npy`   | the queries of the filters that are seen from a pivot, f32                       |
//! | `truth-N.npy`    | of filter N: rows nearest to each query, int32, -1 where fewer pass             |
//! | `filters.jsonl`  | of each filter: `number`, `name`, `share`, `queries` (which), and `filters`: one for all queries, or one per pivot; query q has pivot q modulo their number |

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::json;

use super::Case;
use super::truth::Nearest;
use crate::generate::NpyFile;
use llmspell_cli_base::errors::CliError;

pub(super) fn write(
    directory: &Path,
    metadata: impl Iterator<Item = serde_json::Value>,
    by_pivot: &[(Vec<f32>, usize)],
    cases: &[(&Case, Vec<&Nearest>)],
    k: usize,
) -> Result<(), CliError> {
    std::fs::create_dir_all(directory).map_err(|source| CliError::file("create", directory, source))?;
    lines(&directory.join("metadata.jsonl"), metadata)?;
    let columns = by_pivot.first().map_or(1, |(vector, _)| vector.len());
    let mut file = NpyFile::create(directory.join("by_pivot.npy"), "<f4", by_pivot.len() as u64, columns)?;
    for component in by_pivot.iter().flat_map(|(vector, _)| vector) {
        file.write(&component.to_le_bytes())?;
    }
    file.finish()?;
    for (number, (_, truth)) in cases.iter().enumerate() {
        let path = directory.join(format!("truth-{number}.npy"));
        let mut file = NpyFile::create(path, "<i4", truth.len() as u64, k)?;
        for nearest in truth {
            let rows = nearest.rows.iter().map(|row| *row as i32);
            for row in rows.chain(std::iter::repeat(-1)).take(k) {
                file.write(&row.to_le_bytes())?;
            }
        }
        file.finish()?;
    }
    let described = cases.iter().enumerate().map(|(number, (case, _))| {
        let queries = if case.is_by_pivot { "by_pivot" } else { "queries" };
        json!({"number": number, "name": case.name, "share": case.share, "queries": queries, "filters": case.filters})
    });
    lines(&directory.join("filters.jsonl"), described)
}

fn lines(path: &Path, values: impl Iterator<Item = serde_json::Value>) -> Result<(), CliError> {
    let failed = |source| CliError::file("write", path, source);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    for value in values {
        writeln!(file, "{value}").map_err(failed)?;
    }
    file.flush().map_err(failed)
}
