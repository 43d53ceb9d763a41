//! What a role can reach by raw SQL.

use std::sync::Arc;

use llmspell_core::{ErrorKind, HNSWConfig, KeyValueWrite, ScopedBackend, StateScope, VectorEntry, VectorQuery};
use llmspell_postgres::{PostgresConfig, PostgresDatabase};

use super::common::{as_role, connect, drop_role, drop_schema, new_role, new_schema, with_server};

fn user(id: &str) -> StateScope {
    StateScope::User(id.to_string())
}

struct World {
    schema: String,
    owner: PostgresDatabase,
    service: String,
    tenant: String,
}

/// Two users with a key and an entry each, a service role, and a role that is bound to the first user.
async fn world(url: &str) -> World {
    let schema = new_schema();
    let service = new_role(url, "service").await;
    let tenant = new_role(url, "tenant").await;
    let config = PostgresConfig::new(url)
        .with_schema(&schema)
        .with_service_role(&service);
    let owner = PostgresDatabase::open(config).await.unwrap();
    let vectors = owner.vectors("notes", 2, HNSWConfig::balanced()).await.unwrap();
    for id in ["ada", "bob"] {
        vectors
            .insert(vec![VectorEntry::new(id, [1.0, 0.5]).with_scope(user(id))])
            .await
            .unwrap();
        let keys = ScopedBackend::new(Arc::new(owner.key_value()), user(id)).unwrap();
        keys.set("secret", id.as_bytes().to_vec()).await.unwrap();
    }
    let client = connect(url).await;
    client
        .batch_execute(&format!("GRANT \"{service}\" TO \"{tenant}\""))
        .await
        .unwrap();
    owner.bind_role(&tenant, &user("ada")).await.unwrap();
    World {
        schema,
        owner,
        service,
        tenant,
    }
}

impl World {
    fn config(&self, url: &str, role: &str) -> PostgresConfig {
        PostgresConfig::new(as_role(url, role)).with_schema(&self.schema)
    }

    async fn end(self, url: &str) {
        drop(self.owner);
        drop_schema(url, &self.schema).await;
        drop_role(url, &self.tenant).await;
        drop_role(url, &self.service).await;
    }
}

#[test]
fn a_role_bound_to_a_scope_reaches_no_other_whatever_sql_it_sends() {
    with_server("isolation by raw SQL", async |url| {
        let world = world(&url).await;
        let schema = &world.schema;
        let client = connect(&as_role(&url, &world.tenant)).await;
        let bob = hex(&user("bob").to_bytes());
        let ada = hex(&user("ada").to_bytes());
        let attempts = [
            String::new(),
            "SET llmspell.scope = '*'".to_string(),
            format!("SET llmspell.scope = 'x{bob}'"),
            format!("SET ROLE \"{}\"; SET llmspell.scope = '*'", world.service),
            "SET row_security = on".to_string(),
        ];
        for attempt in attempts {
            client.batch_execute(&attempt).await.unwrap();
            for table in ["keys", "space_1"] {
                let sql = format!("SELECT encode(scope, 'hex') FROM \"{schema}\".{table}");
                let rows = client.query(&sql, &[]).await.unwrap();
                let scopes: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
                assert_eq!(scopes, [ada.as_str()], "{table} after `{attempt}`");
                let sql = format!("DELETE FROM \"{schema}\".{table} WHERE scope = '\\x{bob}'");
                assert_eq!(client.execute(&sql, &[]).await.unwrap(), 0, "{table} after `{attempt}`");
                // It must not move its own rows to another scope either.
                let sql = format!("UPDATE \"{schema}\".{table} SET scope = '\\x{bob}'");
                let refused = client.execute(&sql, &[]).await.unwrap_err();
                assert_eq!(
                    refused.code(),
                    Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE)
                );
            }
        }
        for refused in [
            "SET row_security = off; SELECT * FROM \"{schema}\".keys".to_string(),
            "SELECT * FROM \"{schema}\".role_scopes".to_string(),
            "DELETE FROM \"{schema}\".role_scopes".to_string(),
            "INSERT INTO \"{schema}\".role_scopes VALUES (session_user, '\\x00')".to_string(),
            "ALTER TABLE \"{schema}\".keys NO FORCE ROW LEVEL SECURITY".to_string(),
            "DROP POLICY own_scope ON \"{schema}\".keys".to_string(),
            "CREATE OR REPLACE FUNCTION \"{schema}\".current_scope() RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea'".to_string(),
            "SET SESSION AUTHORIZATION postgres".to_string(),
            "TRUNCATE \"{schema}\".keys".to_string(),
        ] {
            let sql = refused.replace("{schema}", schema);
            client.batch_execute(&sql).await.expect_err(&sql);
            client.batch_execute("SET row_security = on").await.unwrap();
        }
        world.end(&url).await;
    });
}

#[test]
fn a_forgotten_scope_finds_nothing_even_for_the_service_role() {
    with_server("forgotten scopes", async |url| {
        let world = world(&url).await;
        let client = connect(&as_role(&url, &world.service)).await;
        for setting in [
            "",
            "SET llmspell.scope = ''",
            "SET llmspell.scope = 'nonsense'",
            "SET llmspell.scope = 'x0'",
        ] {
            client.batch_execute(setting).await.unwrap();
            for table in ["keys", "space_1"] {
                let sql = format!("SELECT FROM \"{}\".{table}", world.schema);
                assert_eq!(
                    client.query(&sql, &[]).await.unwrap().len(),
                    0,
                    "{table} after `{setting}`"
                );
            }
        }
        world.end(&url).await;
    });
}

#[test]
fn tables_are_forced_and_the_service_role_owns_nothing() {
    with_server("ownership", async |url| {
        let world = world(&url).await;
        let client = connect(&url).await;
        let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind = 'r' \
                   AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY 1";
        let rows = client.query(sql, &[&world.schema]).await.unwrap();
        let open: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        // They hold no data of scopes; the last one is for nobody but its owner.
        assert_eq!(open, ["migrations", "role_scopes", "spaces"]);
        let sql = "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = $1";
        let owned: i64 = client.query_one(sql, &[&world.service]).await.unwrap().get(0);
        assert_eq!(owned, 0);
        world.end(&url).await;
    });
}

#[test]
fn stores_work_for_a_service_role_and_for_a_role_of_one_scope() {
    with_server("stores of roles", async |url| {
        let world = world(&url).await;
        let service = PostgresDatabase::open(world.config(&url, &world.service))
            .await
            .unwrap();
        let vectors = service.vectors("notes", 2, HNSWConfig::balanced()).await.unwrap();
        let query = VectorQuery::new([1.0, 0.5], 10);
        let all = vectors
            .search(&query.clone().with_scopes([user("ada"), user("bob")]))
            .await
            .unwrap();
        assert_eq!(all.len(), 2, "the application reaches the scopes that it names");
        assert_eq!(vectors.scopes().await.unwrap().len(), 2);
        vectors
            .insert(vec![VectorEntry::new("more", [0.0, 1.0]).with_scope(user("bob"))])
            .await
            .unwrap();

        let tenant = PostgresDatabase::open(world.config(&url, &world.tenant)).await.unwrap();
        let own = tenant.vectors("notes", 2, HNSWConfig::balanced()).await.unwrap();
        let found = own
            .search(&query.with_scopes([user("ada"), user("bob")]))
            .await
            .unwrap();
        assert_eq!(
            found.iter().map(|result| result.id.as_str()).collect::<Vec<_>>(),
            ["ada"]
        );
        assert_eq!(own.scopes().await.unwrap(), [user("ada")]);
        assert_eq!(own.stats().await.unwrap().vectors, 1);
        assert_eq!(own.delete_scopes(&[user("bob")]).await.unwrap(), 0);
        let refused = own
            .insert(vec![VectorEntry::new("x", [0.0, 1.0]).with_scope(user("bob"))])
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("row-level security"), "{refused}");
        let keys = tenant.key_value();
        assert_eq!(keys.count("").await.unwrap(), 1);
        let plain = KeyValueWrite::Set {
            key: "plain".to_string(),
            value: vec![1],
        };
        assert!(
            keys.write(vec![plain]).await.is_err(),
            "a key of no scope is none of its own"
        );

        // What it may not create is named, with what to do.
        let refused = tenant.vectors("another", 2, HNSWConfig::balanced()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Io);
        assert!(
            refused
                .to_string()
                .contains("`PostgresDatabase::schema_sql` gives the statements"),
            "{refused}"
        );
        drop((service, tenant));
        world.end(&url).await;
    });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
