//! Copying of key-value state from one backend to another.

use llmspell_core::{KeyValueEntry, KeyValueWrite, Result, StorageBackend, StorageError};

/// Bytes that a page should have.
const PAGE_BYTES: usize = 8 << 20;
/// Keys of the first page, before it is known how large values are.
const FIRST_PAGE_KEYS: usize = 16;
/// Most keys of a page.
const PAGE_KEYS_MAX: usize = 1000;
/// Longest beginning of a key in an error, in characters.
const KEY_CHARACTERS_MAX: usize = 64;

/// Copies every key from one backend to another, which must be empty. Returns the number of keys.
///
/// For example from [`SledBackend`](crate::SledBackend) to [`RedbBackend`](crate::RedbBackend). Keys written to `from`
/// meanwhile may be copied or not. Expiring keys keep their expiry. Holds a page of about 8 MiB in RAM, more if large
/// values follow small ones.
///
/// ```
/// # use llmspell_storage::{MemoryBackend, StorageBackend, export};
/// # async fn example() -> llmspell_storage::Result<()> {
/// let (old, new) = (MemoryBackend::new(), MemoryBackend::new());
/// old.set("theme", b"dark".to_vec()).await?;
/// assert_eq!(export(&old, &new).await?, 1);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
///
/// # Errors
///
/// [`StorageError::NotEmpty`] if `to` holds a key, or as [`StorageBackend::scan`] and [`StorageBackend::write`]. After
/// an error `to` holds a part: clear it before the next attempt.
pub async fn export(from: &dyn StorageBackend, to: &dyn StorageBackend) -> Result<u64> {
    export_with(from, to, |_| {}).await
}

/// [`export`] that tells after each page how many keys were copied so far.
///
/// # Errors
///
/// As [`export`].
pub async fn export_with(
    from: &dyn StorageBackend,
    to: &dyn StorageBackend,
    mut on_progress: impl FnMut(u64) + Send,
) -> Result<u64> {
    if let Some((key, _)) = to.scan("", None, 1).await?.pop() {
        let key = key.chars().take(KEY_CHARACTERS_MAX).collect();
        return Err(StorageError::NotEmpty { key });
    }
    let mut copied = 0;
    let mut after: Option<String> = None;
    let mut limit = FIRST_PAGE_KEYS;
    loop {
        let page = from.scan_entries("", after.as_deref(), limit).await?;
        let is_last = page.len() < limit;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        copied += page.len() as u64;
        limit = next_limit(
            page.len(),
            page.iter().map(|entry| entry.key.len() + entry.value.len()).sum(),
        );
        for batch in batches(page) {
            to.write(batch).await?;
        }
        on_progress(copied);
        if is_last {
            break;
        }
    }
    Ok(copied)
}

/// Keys of the next page, if its values are as large as those of the last one.
fn next_limit(keys: usize, bytes: usize) -> usize {
    let fitting = keys * PAGE_BYTES / bytes.max(1);
    fitting.clamp(1, PAGE_KEYS_MAX).min(4 * keys.max(1))
}

/// Cuts a page where it has enough bytes, so that no batch exceeds its limit: one value fits always.
fn batches(page: Vec<KeyValueEntry>) -> Vec<Vec<KeyValueWrite>> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for entry in page {
        let write = KeyValueWrite::set_expiring(entry.key, entry.value, entry.expires_at);
        if bytes >= PAGE_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += write.len_bytes();
        batches.last_mut().expect("there is always a batch").push(write);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_grow_to_the_bytes_of_a_page_and_no_further() {
        assert_eq!(next_limit(16, 160), 64, "not too fast: what follows may be larger");
        assert_eq!(next_limit(1000, 10_000), PAGE_KEYS_MAX);
        assert_eq!(next_limit(100, 100 << 20), 8);
        assert_eq!(next_limit(1, 256 << 20), 1);
        assert_eq!(next_limit(3, 0), 12);
    }

    #[test]
    fn batches_are_cut_after_the_bytes_of_a_page() {
        let entry = |size: &usize| KeyValueEntry::new("k".to_string(), vec![0; *size], None);
        let page = |sizes: &[usize]| sizes.iter().map(entry).collect();
        let cut = |sizes: &[usize]| batches(page(sizes)).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(cut(&[1, 2, 3]), [3]);
        assert_eq!(cut(&[PAGE_BYTES, PAGE_BYTES, 1, 1]), [1, 1, 2]);
        assert_eq!(cut(&[1, 40 * PAGE_BYTES, 1]), [2, 1]);
    }
}
