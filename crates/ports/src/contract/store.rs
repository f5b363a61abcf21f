//! Contract of the store port.

mod commits;
mod reads;
mod watches;

use std::sync::Arc;

use crate::contract::report::{promise_eq, run_all};
use crate::contract::{Kept, Unkept};
use crate::{Change, Expected, Generation, Store, StoreError};

type Subject = Arc<dyn Store>;

/// Checks every promise of [`Store`]; `make` gives a new, empty store each time.
///
/// # Panics
///
/// With the names of the promises that were not kept. That is what it is for.
pub async fn run(make: impl AsyncFn() -> Arc<dyn Store>) {
    run_all!("store", make;
        commits::what_was_committed_is_read,
        commits::absent_holds_only_without_the_key,
        commits::at_holds_only_for_the_last_generation,
        commits::any_always_holds,
        commits::a_commit_does_all_or_nothing,
        commits::a_conflict_names_the_first_key_whose_condition_fails,
        commits::generations_strictly_grow,
        commits::a_deleted_key_is_gone_and_may_come_again,
        commits::limits_are_refused_and_nothing_is_done,
        commits::concurrent_increments_are_never_lost,
        reads::a_list_is_in_byte_order_and_knows_its_prefix,
        reads::wildcards_in_keys_mean_nothing,
        reads::the_last_of_a_list_come_last_first,
        reads::a_list_is_one_picture,
        watches::every_commit_is_seen_in_order_and_no_conflict,
        watches::every_receiver_sees_changes_from_its_start_on,
        watches::what_was_seen_can_be_read,
    );
}

/// Commits one value.
async fn put(
    store: &Subject,
    key: &str,
    expected: Expected,
    value: &[u8],
) -> Result<Generation, StoreError> {
    store.commit(vec![Change::put(key, expected, value.to_vec())]).await
}

/// What a key holds.
async fn value(store: &Subject, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(store.get(key).await?.map(|found| found.value.to_vec()))
}

/// The commit must have failed because of `key`.
fn conflicts(result: Result<Generation, StoreError>, key: &str, when: &str) -> Kept {
    match result {
        Err(StoreError::Conflict { key: found }) => {
            promise_eq!(found, key, format!("the key of the conflict, {when}"));
            Ok(())
        }
        other => Err(Unkept(format!("{when}: {other:?} instead of a conflict"))),
    }
}
