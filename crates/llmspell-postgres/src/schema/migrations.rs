//! The statements that make and change the tables, by numbered migrations.
//!
//! A migration is applied in one transaction, under a lock, and never changes once it was released: what comes later is a
//! migration of its own.

use super::names::Names;

/// One step from a version to the next.
pub(crate) struct Migration {
    /// One more than that of the step before.
    pub(crate) number: i32,
    /// What it does, for people.
    pub(crate) title: &'static str,
    /// Its statements.
    pub(crate) sql: fn(&Names) -> String,
}

/// All steps, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    number: 1,
    title: "keys, spaces, indexes, requests and scopes of roles",
    sql: first,
}];

/// The version that this build needs.
pub(crate) const LATEST: i32 = MIGRATIONS.len() as i32;

/// `head` is the first 1,024 bytes of a key, `tail` the rest: an index of PostgreSQL has no room for longer ones.
/// `tail_digest` is the SHA-256 of the tail, or empty with it. Whoever is bound to a scope in `role_scopes` reaches that scope
/// alone; others reach what the setting `llmspell.scope` says: `x` and the scope in hexadecimal digits, or `*`.
///
/// `session_user` is the role that logged in, whatever `SET ROLE` says later.
const TABLES: &str = r#"
CREATE TABLE {schema}."{prefix}role_scopes" (
    role name PRIMARY KEY,
    scope bytea NOT NULL
);
CREATE FUNCTION {schema}.{prefix}current_scope() RETURNS bytea
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT coalesce(
        (SELECT scope FROM {schema}."{prefix}role_scopes" WHERE role = session_user),
        CASE WHEN setting ~ '^x([0-9a-f][0-9a-f])*$' THEN decode(substr(setting, 2), 'hex') END)
    FROM (SELECT current_setting('llmspell.scope', true)) AS named (setting)
$$;
CREATE FUNCTION {schema}.{prefix}reaches_all_scopes() RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT coalesce(current_setting('llmspell.scope', true) = '*', false)
        AND NOT EXISTS (SELECT FROM {schema}."{prefix}role_scopes" WHERE role = session_user)
$$;
CREATE TABLE {schema}."{prefix}keys" (
    head bytea NOT NULL,
    tail_digest bytea NOT NULL,
    scope bytea NOT NULL,
    tail bytea NOT NULL,
    value bytea NOT NULL,
    expires_at bigint,
    PRIMARY KEY (head, tail_digest, scope)
);
CREATE INDEX "{prefix}keys_expire" ON {schema}."{prefix}keys" (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE {schema}."{prefix}spaces" (
    name bytea PRIMARY KEY,
    number integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    dim integer NOT NULL,
    metric text NOT NULL
);
CREATE TABLE {schema}."{prefix}indexes" (
    space integer NOT NULL,
    scope bytea NOT NULL,
    kind text NOT NULL,
    is_ready boolean NOT NULL,
    PRIMARY KEY (space, scope)
);
CREATE TABLE {schema}."{prefix}requests" (
    id uuid NOT NULL,
    scope bytea NOT NULL,
    done_at bigint NOT NULL,
    answer text NOT NULL,
    PRIMARY KEY (id, scope)
);
CREATE INDEX "{prefix}requests_done" ON {schema}."{prefix}requests" (done_at);
"#;

fn first(names: &Names) -> String {
    let mut sql = names.fill(TABLES);
    for table in [&names.keys, &names.indexes, &names.requests] {
        sql.push_str(&names.security(table));
    }
    if let Some(role) = &names.service_role {
        sql.push_str(&format!("GRANT USAGE ON SCHEMA \"{}\" TO \"{role}\";\n", names.schema));
    }
    for table in [&names.keys, &names.requests] {
        sql.push_str(&names.grant("SELECT, INSERT, UPDATE, DELETE", table));
    }
    for table in [&names.spaces, &names.indexes, &names.migrations] {
        sql.push_str(&names.grant("SELECT", table));
    }
    sql
}
