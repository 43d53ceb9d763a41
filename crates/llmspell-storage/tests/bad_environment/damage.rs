//! What of files that are missing, cut, altered, or links? They are reported, or harmless.

use std::fs;
use std::path::Path;
use std::time::Duration;

use llmspell_storage::{
    Database, DatabaseOptions, ErrorKind, HNSWConfig, RedbBackend, Result, StateScope, StorageError, VectorEntry,
    VectorQuery,
};

use super::{DIM, entries, files, look, make, open, restore, tenant};

#[tokio::test]
async fn a_missing_file_is_damage() {
    for name in ["FORMAT", "truth.redb", "spaces/00000001/slots-0"] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).await;
        fs::remove_file(dir.path().join(name)).unwrap();
        let error = look(dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_missing_file_of_a_database_with_keys_only_is_damage_and_no_new_database() {
    for name in ["FORMAT", "truth.redb"] {
        let dir = tempfile::tempdir().unwrap();
        let backend = RedbBackend::open(dir.path()).await.unwrap();
        backend.set("key", vec![1]).await.unwrap();
        backend.close().await.unwrap();
        fs::remove_file(dir.path().join(name)).unwrap();
        let error = RedbBackend::open(dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_file_cut_at_any_length_is_reported_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let whole = look(dir.path()).await.unwrap();
    let intact = files(dir.path());
    for name in ["truth.redb", "spaces/00000001/slots-0", "FORMAT"] {
        let path = dir.path().join(name);
        let len = intact[&path].len();
        let step = (len / 40).max(1);
        for cut in (0..len).step_by(step).chain([len - 1]) {
            restore(&intact);
            fs::write(&path, &intact[&path][..cut]).unwrap();
            match look(dir.path()).await {
                Ok(found) => assert_eq!(found, whole, "{name} cut at {cut}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Data, "{name} cut at {cut}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_is_reported_or_harmless() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let whole = look(dir.path()).await.unwrap();
    let intact = files(dir.path());
    let flips: u64 = std::env::var("LLMSPELL_BIT_FLIPS").map_or(150, |number| number.parse().expect("a number"));
    for name in ["truth.redb", "spaces/00000001/slots-0"] {
        let path = dir.path().join(name);
        let bits = 8 * intact[&path].len() as u64;
        let mut reported = 0;
        for flip in 0..flips {
            // Spread over the whole file, and different bits of the bytes.
            let bit = (flip.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) % bits;
            restore(&intact);
            let mut bytes = intact[&path].clone();
            bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            match look(dir.path()).await {
                Ok(found) => assert_eq!(found, whole, "{name}: bit {bit}"),
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        matches!(kind, ErrorKind::Data | ErrorKind::Closed),
                        "{name}: bit {bit}: {error}"
                    );
                    reported += 1;
                }
            }
        }
        assert!(
            reported > flips / 20,
            "{name}: flips that hit something are noticed, not only {reported} of {flips}"
        );
    }
}

/// A key that leads to rows may be damaged where nothing else is: then rows whose checksums are right are not found.
#[tokio::test]
async fn given_a_truth_too_large_to_be_verified_when_a_key_in_it_is_damaged_then_it_is_found_while_it_is_open() {
    const COUNT: usize = 2_000;
    // Pages of redb, and the type of those that hold keys and no values.
    const PAGE_BYTES: usize = 4096;
    const BRANCH: u8 = 2;
    let dir = tempfile::tempdir().unwrap();
    let (database, vectors) = open(dir.path()).await.unwrap();
    vectors.insert(entries(COUNT)).await.unwrap();
    drop(vectors);
    database.close().await.unwrap();
    let path = dir.path().join("truth.redb");
    let intact = fs::read(&path).unwrap();
    let starts = (0..intact.len()).step_by(PAGE_BYTES);
    let branches = starts.filter(|start| intact[*start] == BRANCH);
    let places = branches.flat_map(|start| (start + 8..start + 1_500).step_by(127));
    let (mut noticed, mut harmless) = (0, 0);
    for place in places.filter(|place| intact[*place] != 0) {
        let mut bytes = intact.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&path, bytes).unwrap();
        match look_while_verified(dir.path(), COUNT).await {
            Ok(()) => harmless += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Data, "byte {place}: {error}");
                noticed += 1;
            }
        }
    }
    assert!(
        noticed > 0 && harmless > 0,
        "{noticed} flips were noticed, {harmless} did no harm"
    );
}

/// Opens a truth that is verified in the background only. Once that is done, either everything is there or every call
/// says what is damaged.
async fn look_while_verified(path: &Path, count: usize) -> Result<()> {
    let database = DatabaseOptions::new().verify_bytes_max(0).open(path).await?;
    let vectors = database.vectors("v", DIM, HNSWConfig::fast()).await?;
    // Whole or refused, even before it is verified.
    if let Ok(found) = vectors.list(&tenant(), None, 10_000).await {
        assert_eq!(found.len(), count);
    }
    let begun = std::time::Instant::now();
    while !database.stats().await?.is_truth_verified {
        assert!(begun.elapsed().as_secs() < 60, "it is not verified");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for number in (0..count).step_by(97) {
        let found = vectors.get(&tenant(), &format!("e{number}")).await?;
        assert!(found.is_some(), "entry {number} is hidden");
    }
    assert_eq!(vectors.list(&tenant(), None, 10_000).await?.len(), count);
    Ok(())
}

#[tokio::test]
async fn damage_to_one_space_leaves_the_rest_readable() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).await;
    let path = dir.path().join("spaces/00000001/slots-0");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (database, vectors) = open(dir.path()).await.unwrap();
    let query = VectorQuery::new(vec![1.0; DIM], 5).with_scope(tenant());
    let error = vectors.search(&query).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::Corrupted { path: at, .. } if *at == path.canonicalize().unwrap()),
        "{error}"
    );
    assert_eq!(database.kv().get("key 3").await.unwrap(), Some(vec![3; 100]));
    let other = vec![VectorEntry::new("x", vec![1.0; DIM])];
    vectors.insert(other).await.unwrap();
    assert_eq!(
        vectors
            .search(&query.with_scope(StateScope::Global))
            .await
            .unwrap()
            .len(),
        1
    );
    let report = database.check().await.unwrap();
    assert_eq!(
        report
            .sections
            .iter()
            .map(|section| section.problems.len())
            .sum::<usize>(),
        1,
        "{report:#?}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_data_file_that_is_a_link_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    make(&dir.path().join("a")).await;
    fs::create_dir(dir.path().join("b")).unwrap();
    for name in ["FORMAT", "truth.redb"] {
        std::os::unix::fs::symlink(dir.path().join("a").join(name), dir.path().join("b").join(name)).unwrap();
    }
    let error = Database::open(dir.path().join("b")).await.unwrap_err();
    assert!(error.to_string().contains("cannot open"), "{error}");
}
