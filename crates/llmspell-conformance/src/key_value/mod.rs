//! The promises of a [`StorageBackend`] as test functions.
//!
//! | file            | question                                              |
//! |-----------------|-------------------------------------------------------|
//! | `values.rs`     | does a key hold the value that was stored?            |
//! | `keys.rs`       | do all valid keys work, and are bad ones refused?     |
//! | `scans.rs`      | are ranges complete, in order and paged?              |
//! | `batches.rs`    | do batches keep their order, and are they atomic?     |
//! | `swaps.rs`      | does compare-and-swap compare and swap?               |
//! | `expiry.rs`     | are expired keys gone?                                |
//! | `concurrent.rs` | … also with several threads, and with dropped futures? |
//! | `scopes.rs`     | are scoped views isolated?                            |
//! | `reopen.rs`     | is everything there after closing and opening?        |

mod batches;
mod concurrent;
mod expiry;
mod keys;
mod reopen;
mod scans;
mod scopes;
mod swaps;
mod values;

use std::sync::Arc;

use super::drive::{BlockOn, Promise, block_on};
use llmspell_core::{ErrorKind, Result, ScopedBackend, StateScope, StorageBackend};

pub use batches::*;
pub use concurrent::*;
pub use expiry::*;
pub use keys::*;
pub use reopen::*;
pub use scans::*;
pub use scopes::*;
pub use swaps::*;
pub use values::*;

/// Runs every promise, each on a backend of its own, and all of them again on scoped views.
///
/// `fresh` makes an empty backend with each call.
///
/// # Panics
///
/// If a promise is broken.
pub async fn check_all(fresh: impl AsyncFn() -> Arc<dyn StorageBackend>) {
    check_all_with(&fresh, &|future| block_on(future)).await;
}

/// [`check_all`] for a backend that needs its own runtime on every thread.
///
/// # Panics
///
/// If a promise is broken.
pub async fn check_all_with(fresh: &impl AsyncFn() -> Arc<dyn StorageBackend>, block_on: BlockOn<'_>) {
    check_each(fresh, block_on).await;
    check_each(&async || scoped_among_others(fresh().await).await, block_on).await;

    macro_rules! check {
        ($($promise:ident),* $(,)?) => {
            $({
                let _name = Promise(stringify!($promise));
                $promise(fresh().await).await;
            })*
        };
    }
    check!(
        scopes_share_no_key,
        no_write_crosses_the_wall_of_a_scope,
        a_scope_that_is_not_valid_has_no_view,
    );
    let _name = Promise("keys up to the limit are kept and longer ones are refused");
    keys_up_to_the_limit_are_kept_and_longer_ones_are_refused(&*fresh().await).await;
}

/// The promises that hold for scoped views as well.
async fn check_each(fresh: &impl AsyncFn() -> Arc<dyn StorageBackend>, block_on: BlockOn<'_>) {
    macro_rules! check {
        ($($promise:ident),* $(,)?) => {
            $({
                let _name = Promise(stringify!($promise));
                $promise(&*fresh().await).await;
            })*
        };
        (on_threads: $($promise:ident),* $(,)?) => {
            $({
                let _name = Promise(stringify!($promise));
                $promise(&*fresh().await, block_on).await;
            })*
        };
    }
    check!(
        a_key_holds_what_was_set_last,
        a_key_that_is_not_there_has_no_value,
        a_deleted_key_is_gone_until_it_is_set_again,
        an_empty_value_is_a_value,
        a_value_may_hold_every_byte,
        a_large_value_comes_back_whole,
        a_value_beyond_the_limit_is_refused,
        any_text_is_a_key_of_its_own,
        the_empty_key_is_refused_everywhere,
        a_prefix_scan_is_complete_and_in_byte_order,
        pages_join_without_gap_or_repetition,
        a_page_starts_after_a_key_whether_it_is_there_or_not,
        a_prefix_ends_where_the_bytes_end,
        a_page_of_nothing_or_too_much_is_refused,
        count_and_list_agree_with_scan,
        get_batch_returns_what_is_there,
        a_batch_is_done_in_order,
        a_batch_counts_what_it_deletes,
        deleting_a_prefix_leaves_its_neighbors,
        batches_of_pairs_and_keys_work_like_single_calls,
        an_empty_batch_does_nothing,
        clear_leaves_nothing,
        a_batch_with_anything_bad_changes_nothing,
        a_batch_beyond_the_limits_is_refused,
        compare_and_swap_follows_its_truth_table,
        compare_and_swap_refuses_what_set_refuses,
        an_expired_key_is_not_there,
        a_key_lives_as_long_as_it_was_told,
        the_last_write_of_a_key_says_when_it_expires,
        an_expired_key_is_absent_for_compare_and_swap,
        a_lifetime_out_of_range_is_refused,
        a_dropped_write_is_done_or_not,
    );
    check!(on_threads:
        no_increment_by_compare_and_swap_is_lost,
        readers_see_a_batch_whole_or_not_at_all,
        writers_of_different_keys_do_not_disturb_each_other,
    );
}

/// A view among other scopes and plain keys, none of which it may see.
async fn scoped_among_others(backend: Arc<dyn StorageBackend>) -> Arc<dyn StorageBackend> {
    let user = |id: &str| StateScope::User(id.to_string());
    for scope in [
        user("a"),
        user("abc"),
        StateScope::Global,
        StateScope::Custom("user:ab".into()),
    ] {
        let other = ScopedBackend::new(Arc::clone(&backend), scope).unwrap();
        for key in ["a", "b/1", "z"] {
            other.set(key, b"theirs".to_vec()).await.unwrap();
        }
    }
    backend.set("a", b"plain".to_vec()).await.unwrap();
    Arc::new(ScopedBackend::new(backend, user("ab")).unwrap())
}

async fn set_all(backend: &dyn StorageBackend, keys: &[&str]) {
    for key in keys {
        backend.set(key, key.as_bytes().to_vec()).await.unwrap();
    }
}

async fn keys(backend: &dyn StorageBackend, prefix: &str) -> Vec<String> {
    backend.list_keys(prefix).await.unwrap()
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(result: Result<T>, what: &str) {
    match result {
        Ok(value) => panic!("{what} must be refused, and was answered by {value:?}"),
        Err(error) => assert_eq!(
            error.kind(),
            ErrorKind::Invalid,
            "{what} must be refused as invalid: {error}"
        ),
    }
}
