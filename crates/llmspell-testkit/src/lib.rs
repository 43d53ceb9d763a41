//! What the tests of several crates share: random filters with the entries that they meet, clocks, and numbers from a seed.
//!
//! | file         | question                                                        |
//! |--------------|-----------------------------------------------------------------|
//! | `filters.rs` | which filters, entries and broken texts does a property test try? |
//! | `machine.rs` | how does a test set the clocks of a machine? [`Machine`]       |
//! | `random.rs`  | where does chance come from, so that a run can be repeated? [`Random`] |

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a helper of tests panics where a test is wrong"
)]

pub mod filters;
mod machine;
mod random;

pub use machine::Machine;
pub use random::Random;
