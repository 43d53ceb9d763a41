//! Prints the SQL that creates all tables, for an administrator to run: `cargo run -p llmspell-postgres --example schema -- SCHEMA
//! SERVICE_ROLE [SPACE:DIM:METRIC]…`, for example `llmspell app notes:384:cosine > schema.sql`.

use llmspell_core::DistanceMetric;
use llmspell_postgres::{PostgresConfig, PostgresDatabase};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: schema SCHEMA SERVICE_ROLE [SPACE:DIM:METRIC]…";
    let mut arguments = std::env::args().skip(1);
    let (schema, role) = arguments.next().zip(arguments.next()).ok_or(usage)?;
    let spaces: Vec<String> = arguments.collect();
    let mut parsed: Vec<(&str, usize, DistanceMetric)> = Vec::new();
    for space in &spaces {
        let (rest, metric) = space.rsplit_once(':').ok_or(usage)?;
        let (name, dim) = rest.rsplit_once(':').ok_or(usage)?;
        parsed.push((name, dim.parse()?, metric.parse()?));
    }
    // Nothing is connected to.
    let config = PostgresConfig::new("postgres://localhost")
        .with_schema(schema)
        .with_service_role(role);
    print!("{}", PostgresDatabase::schema_sql(&config, &parsed)?);
    Ok(())
}
