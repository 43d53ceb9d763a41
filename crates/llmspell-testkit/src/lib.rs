//! Helpers for the tests of several crates: random filters with entries that they often match, clocks, and seeded
//! random numbers.
//!
//! | file         | question                                                        |
//! |--------------|-----------------------------------------------------------------|
//! | `filters.rs` | which filters, entries and broken texts does a property test try? |
//! | `machine.rs` | how does a test set the clocks of a machine? [`Machine`]       |
//! | `random.rs`  | where do repeatable random numbers come from? [`Random`]       |

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
