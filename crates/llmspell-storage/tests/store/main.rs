//! Do the stores and backends keep their promises, through the public API?
//!
//! One binary: each links the engine again. Tests that change the process (its descriptors, limits, forks), or that measure its
//! memory or time, are binaries of their own beside this folder.
//!
//! | file | question |
//! |---|---|
//! | `vectors_hnsw.rs`, `vectors_router.rs` | do the vector stores keep the contract? |
//! | `key_value_memory.rs`, `key_value_redb.rs`, `key_value_sled.rs`, `key_value_model/` | do the backends? |
//! | `key_value_export.rs` | does a backend have what was copied to it? |
//! | `atomic_batch.rs`, `patches.rs`, `listing.rs` | writes of several kinds at once, patches, orders of listing |
//! | `filtered.rs`, `times.rs`, `dates.rs`, `graphs.rs`, `duplicates.rs`, `recall_floors.rs` | are searches right, whatever answers them? |
//! | `router/`, `router_model.rs`, `migration.rs`, `matryoshka.rs` | several models |
//! | `quotas/`, `clock_ahead.rs`, `background_failures.rs` | limits, clocks, what fails unseen |
//! | `format_fixtures.rs` | can older directories be read? |

mod atomic_batch;
mod background_failures;
mod clock_ahead;
mod dates;
mod duplicates;
mod filtered;
mod format_fixtures;
mod graphs;
#[cfg(feature = "sled")]
mod key_value_export;
mod key_value_memory;
mod key_value_model;
mod key_value_redb;
#[cfg(feature = "sled")]
mod key_value_sled;
mod listing;
mod matryoshka;
mod migration;
mod patches;
mod quotas;
mod recall_floors;
mod router;
mod router_model;
mod times;
mod vectors_hnsw;
mod vectors_router;
