//! What the tests of several crates share: random filters with the entries that they meet, and numbers from a seed.
//!
//! | file         | question                                                        |
//! |--------------|-----------------------------------------------------------------|
//! | `filters.rs` | which filters, entries and broken texts does a property test try? |
//! | `random.rs`  | where does chance come from, so that a run can be repeated? [`Random`] |

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a helper of tests panics where a test is wrong"
)]

pub mod filters;
mod random;

pub use random::Random;
