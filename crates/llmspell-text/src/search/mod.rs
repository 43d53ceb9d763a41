//! The best texts of a query.
//!
//! | file           | question                                                              |
//! |----------------|-----------------------------------------------------------------------|
//! | `score.rs`     | how much does a term add to a score, and how much at most?            |
//! | `top.rs`       | which texts are the best so far, and which can still come before one? |
//! | `lists.rs`     | where are the postings that a query asks for in an index?             |
//! | `max_score.rs` | which texts are best where nothing must be there?                     |
//! | `judge.rs`     | does a text have what must be there, and what is its score?           |
//! | `rows.rs`      | the same of a row                                                     |

mod judge;
mod lists;
mod max_score;
mod rows;
mod score;
mod top;

use roaring::RoaringBitmap;

pub(crate) use judge::Judge;
pub(crate) use lists::{expansions, removed_among};
pub(crate) use rows::score_of_row;
pub(crate) use score::Weights;
pub use score::{Bm25, Bm25Error, DEFAULT_B, DEFAULT_K1, Statistics};
pub use top::Hit;
pub(crate) use top::Top;

use crate::index::Index;
use crate::query::Query;

/// Adds to `top` the best points of an index that `accepts` lets through.
///
/// `among`, if it is there, holds all points that may pass.
pub(crate) fn search_index(
    index: &Index,
    query: &Query,
    weights: &Weights,
    among: Option<&RoaringBitmap>,
    accepts: &mut dyn FnMut(u32) -> bool,
    top: &mut Top,
) {
    let Some(mut judge) = Judge::new(index, query, weights) else {
        return;
    };
    /// Looking at each point that may pass costs as much as reading this many postings.
    const POSTINGS_PER_POINT: u64 = 16;
    match among {
        Some(points) if points.len() * POSTINGS_PER_POINT < judge.posting_count() => {
            for point in points {
                if let Some(score) = judge.score(point)
                    && top.competes(f64::from(score), point)
                    && accepts(point)
                {
                    top.push(score, point);
                }
            }
        }
        _ if judge.has_required() => judge.each_candidate(|judge, point| {
            if let Some(score) = judge.score(point)
                && top.competes(f64::from(score), point)
                && accepts(point)
            {
                top.push(score, point);
            }
        }),
        _ => {
            let (lists, excluded) = judge.parts();
            max_score::search(lists, top, |point| {
                accepts(point) && !excluded.iter_mut().any(|excluded| excluded.has(point))
            });
        }
    }
}
