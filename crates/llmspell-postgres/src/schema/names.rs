//! Names of schema, tables and functions, quoted.

use crate::config::PostgresConfig;

/// Names as they stand in SQL.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) schema: String,
    pub(crate) prefix: String,
    pub(crate) service_role: Option<String>,
    pub(crate) migrations: String,
    pub(crate) keys: String,
    pub(crate) spaces: String,
    pub(crate) indexes: String,
    pub(crate) requests: String,
    pub(crate) role_scopes: String,
}

impl Names {
    /// The configuration was validated: no name needs escaping.
    pub(crate) fn of(config: &PostgresConfig) -> Self {
        let table = |name: &str| format!("\"{}\".\"{}{name}\"", config.schema, config.prefix);
        Self {
            schema: config.schema.clone(),
            prefix: config.prefix.clone(),
            service_role: config.service_role.clone(),
            migrations: table("migrations"),
            keys: table("keys"),
            spaces: table("spaces"),
            indexes: table("indexes"),
            requests: table("requests"),
            role_scopes: table("role_scopes"),
        }
    }

    /// The table of a vector space.
    pub(crate) fn space(&self, number: i32) -> String {
        format!("\"{}\".\"{}space_{number}\"", self.schema, self.prefix)
    }

    /// A text with `{schema}` and `{prefix}` filled in.
    pub(crate) fn fill(&self, sql: &str) -> String {
        sql.replace("{schema}", &format!("\"{}\"", self.schema))
            .replace("{prefix}", &self.prefix)
    }

    /// Row-level security of a table with a column `scope`.
    pub(crate) fn security(&self, table: &str) -> String {
        let policy = self.fill(
            "scope = (SELECT {schema}.{prefix}current_scope()) OR (SELECT {schema}.{prefix}reaches_all_scopes())",
        );
        format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;\n\
             ALTER TABLE {table} FORCE ROW LEVEL SECURITY;\n\
             CREATE POLICY own_scope ON {table} USING ({policy}) WITH CHECK ({policy});\n"
        )
    }

    /// The rights of the service role on a table; nothing without such a role.
    pub(crate) fn grant(&self, rights: &str, table: &str) -> String {
        let to = |role: &String| format!("GRANT {rights} ON {table} TO \"{role}\";\n");
        self.service_role.as_ref().map(to).unwrap_or_default()
    }
}
