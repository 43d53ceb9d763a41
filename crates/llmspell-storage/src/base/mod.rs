//! What every room uses: numbers, errors, options, and the bytes of single values.
//!
//! | file                | holds                                                       |
//! |---------------------|-------------------------------------------------------------|
//! | `error.rs`          | errors of the system and of redb, turned into ours          |
//! | `failures.rs`       | what failed in the background, and has not succeeded since  |
//! | `observe.rs`        | what a subscriber of `tracing` is told                      |
//! | `floor.rs`          | whether slots must keep their bytes, because a backup reads them |
//! | `gate.rs`           | a gate that holds writes up for a moment                    |
//! | `ids.rs`            | the numbers that name things inside                         |
//! | `options.rs`        | what can be set when a database is opened                   |
//! | `report.rs`         | the findings of a check                                     |
//! | `memory_budget.rs`  | the RAM of loaded namespaces, and which give way            |
//! | `record.rs`         | an entry as it is stored, without its vector                |
//! | `stored_text.rs`    | the text of an entry as it is stored, or its terms          |
//! | `stored_value.rs`   | a value of a key as it is stored, with its end              |
//! | `op.rs`             | a mutation of a namespace, as a value and as bytes          |

pub(crate) mod error;
pub(crate) mod failures;
pub(crate) mod floor;
pub(crate) mod gate;
pub(crate) mod ids;
pub(crate) mod memory_budget;
pub(crate) mod observe;
pub(crate) mod op;
pub(crate) mod options;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod stored_text;
pub(crate) mod stored_value;
