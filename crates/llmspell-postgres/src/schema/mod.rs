//! The schema: which tables are there, which roles may use them, and how versions change them.
//!
//! | file            | question                                                  |
//! |-----------------|-----------------------------------------------------------|
//! | `names.rs`      | what are the tables called?                               |
//! | `migrations.rs` | which statements make them, version by version?           |
//! | `spaces.rs`     | … and the table of one vector space, and its indexes?      |

mod migrations;
mod names;
mod spaces;

pub(crate) use migrations::{LATEST, MIGRATIONS};
pub(crate) use names::Names;
pub(crate) use spaces::{IndexKind, create_index, create_space, index_name, ordering};
