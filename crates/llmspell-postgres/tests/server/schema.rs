//! Who may create tables, and what if they are there.

use llmspell_core::{DistanceMetric, ErrorKind, HNSWConfig, StorageError};
use llmspell_postgres::{PostgresConfig, PostgresDatabase};

use super::common::{as_role, connect, drop_role, drop_schema, new_role, new_schema, open, with_server};

#[test]
fn an_administrator_can_create_what_a_role_may_not() {
    with_server("schemas of administrators", async |url| {
        let schema = new_schema();
        let service = new_role(&url, "service").await;
        let config = PostgresConfig::new(as_role(&url, &service))
            .with_schema(&schema)
            .with_service_role(&service);
        let refused = PostgresDatabase::open(config.clone()).await.unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("`PostgresDatabase::schema_sql` gives the statements"),
            "{refused}"
        );

        let spaces = [("notes", 3, DistanceMetric::Cosine)];
        let sql = PostgresDatabase::schema_sql(&config, &spaces).unwrap();
        connect(&url).await.batch_execute(&sql).await.unwrap();

        let database = PostgresDatabase::open(config).await.unwrap();
        database.key_value().set("a", vec![1]).await.unwrap();
        let notes = database.vectors("notes", 3, HNSWConfig::balanced()).await.unwrap();
        assert_eq!(notes.stats().await.unwrap().vectors, 0);
        drop_schema(&url, &schema).await;
        drop_role(&url, &service).await;
    });
}

#[test]
fn servers_that_open_at_once_make_one_schema_and_one_space() {
    with_server("openings at once", async |url| {
        let schema = new_schema();
        let config = PostgresConfig::new(&url)
            .with_schema(&schema)
            .with_prefix("p_")
            .with_pool_size(2);
        let openings: Vec<_> = (0..6)
            .map(|_| {
                let config = config.clone();
                tokio::spawn(async move {
                    let database = PostgresDatabase::open(config).await.unwrap();
                    database.vectors("one", 4, HNSWConfig::balanced()).await.unwrap();
                })
            })
            .collect();
        for opening in openings {
            opening.await.unwrap();
        }
        let client = connect(&url).await;
        let sql = format!(
            "SELECT (SELECT count(*) FROM \"{schema}\".p_spaces), (SELECT count(*) FROM \"{schema}\".p_migrations)"
        );
        let row = client.query_one(&sql, &[]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 1));
        drop_schema(&url, &schema).await;
    });
}

#[test]
fn a_later_schema_is_refused_and_not_touched() {
    with_server("later schemas", async |url| {
        let (database, schema) = open(&url).await;
        drop(database);
        let client = connect(&url).await;
        client
            .batch_execute(&format!("INSERT INTO \"{schema}\".migrations (number) VALUES (99)"))
            .await
            .unwrap();
        let error = PostgresDatabase::open(PostgresConfig::new(&url).with_schema(&schema))
            .await
            .unwrap_err();
        assert!(
            matches!(error, StorageError::UnsupportedVersion { found: 99, .. }),
            "{error}"
        );
        drop_schema(&url, &schema).await;
    });
}

#[test]
fn a_space_keeps_its_dimension_and_metric_and_has_a_largest_one() {
    with_server("spaces", async |url| {
        let (database, schema) = open(&url).await;
        let config = HNSWConfig::balanced;
        database.vectors("s", 3, config()).await.unwrap();
        let error = database.vectors("s", 4, config()).await.unwrap_err();
        assert!(
            matches!(error, StorageError::SpaceMismatch { what: "dimension", .. }),
            "{error}"
        );
        let other = config().with_metric(DistanceMetric::Manhattan);
        let error = database.vectors("s", 3, other).await.unwrap_err();
        assert!(
            matches!(error, StorageError::SpaceMismatch { what: "metric", .. }),
            "{error}"
        );
        let error = database.vectors("large", 16_001, config()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "dimension of a space on PostgreSQL is 16001; it must be within 1..=16000"
        );
        for bad in ["", &"x".repeat(257)] {
            assert_eq!(
                database.vectors(bad, 3, config()).await.unwrap_err().kind(),
                ErrorKind::Invalid
            );
        }
        drop_schema(&url, &schema).await;
    });
}
