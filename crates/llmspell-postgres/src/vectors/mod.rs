//! Vectors on PostgreSQL: [`PostgresVectors`].
//!
//! | file          | question                                                       |
//! |---------------|----------------------------------------------------------------|
//! | `fields.rs`   | how is metadata stored, so that SQL compares it as filters do? |
//! | `filter.rs`   | which SQL is a filter, and what can SQL not decide?             |
//! | `rows.rs`     | which columns are read, and what entry are they?               |
//! | `space.rs`    | how is the table of a space found or made?                      |
//! | `write.rs`    | how are entries stored, changed and removed?                    |
//! | `read.rs`     | how are entries read, listed and counted?                       |
//! | `shortlist.rs` | is an answer complete, though the server rounds differently?   |
//! | `search.rs`   | which entries are nearest?                                      |
//! | `index.rs`    | which scopes have an index, and how is one built?               |
//! | `calls.rs`    | how is each call of the trait answered?                         |

mod calls;
mod fields;
mod filter;
mod index;
mod read;
mod rows;
mod search;
mod shortlist;
mod space;
mod write;

pub use space::PostgresVectors;
pub(crate) use space::check_space;
