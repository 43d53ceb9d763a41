//! Batches: which statements the changes of a batch become.

use std::collections::BTreeMap;

use llmspell_core::{Expiry, KeyValueWrite};
use tokio_postgres::types::ToSql;

use super::place::{Place, Range};
use crate::session::Reach;
use crate::sql::{LIVE, NOW};

/// Longer runs become several statements.
const RUN_BYTES_MAX: usize = 8 << 20;
const RUN_KEYS_MAX: usize = 10_000;

/// Some changes in a row that are one statement.
#[derive(Debug)]
pub(super) enum Run {
    /// Values to store, each key once.
    Set(BTreeMap<Place, Stored>),
    /// Keys to remove, each once.
    Delete(BTreeMap<Place, ()>),
    /// A range to remove.
    DeleteRange(Range),
}

/// A value, and when it expires.
#[derive(Debug)]
pub(super) struct Stored {
    value: Vec<u8>,
    ttl_ms: Option<i64>,
    expires_at: Option<i64>,
}

impl Stored {
    pub(super) fn new(value: Vec<u8>, expiry: Expiry) -> Self {
        let (ttl_ms, expires_at) = columns(expiry);
        Self {
            value,
            ttl_ms,
            expires_at,
        }
    }
}

/// A lifetime, which the server adds to its clock, or a moment. The expiry was validated.
pub(super) fn columns(expiry: Expiry) -> (Option<i64>, Option<i64>) {
    match expiry {
        Expiry::Never => (None, None),
        Expiry::After(ttl) => (Some(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX / 2)), None),
        Expiry::At(moment) => (None, Some(moment.as_millis())),
    }
}

/// The changes in order, as few statements.
pub(super) fn runs(batch: Vec<KeyValueWrite>) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut bytes = 0;
    for write in batch {
        let len = write.len_bytes();
        bytes += len;
        match write {
            KeyValueWrite::Set { key, value } => {
                set(&mut runs, &mut bytes, len, &key, Stored::new(value, Expiry::Never));
            }
            KeyValueWrite::SetExpiring { key, value, expiry } => {
                set(&mut runs, &mut bytes, len, &key, Stored::new(value, expiry));
            }
            KeyValueWrite::Delete { key } => match runs.last_mut() {
                Some(Run::Delete(places)) if places.len() < RUN_KEYS_MAX => {
                    places.insert(Place::of(&key), ());
                }
                _ => runs.push(Run::Delete(BTreeMap::from([(Place::of(&key), ())]))),
            },
            KeyValueWrite::DeletePrefix { prefix } => runs.push(Run::DeleteRange(Range::of(&prefix))),
        }
    }
    runs
}

fn set(runs: &mut Vec<Run>, bytes: &mut usize, len: usize, key: &str, stored: Stored) {
    let place = Place::of(key);
    match runs.last_mut() {
        Some(Run::Set(values)) if *bytes <= RUN_BYTES_MAX && values.len() < RUN_KEYS_MAX => {
            values.insert(place, stored);
        }
        _ => {
            *bytes = len;
            runs.push(Run::Set(BTreeMap::from([(place, stored)])));
        }
    }
}

/// The rows that a batch may touch.
pub(super) fn reach(runs: &[Run]) -> Reach {
    let mut scopes: Vec<&[u8]> = Vec::new();
    for run in runs {
        match run {
            Run::Set(values) => scopes.extend(values.keys().map(|place| place.scope.as_slice())),
            Run::Delete(places) => scopes.extend(places.keys().map(|place| place.scope.as_slice())),
            Run::DeleteRange(Range { reach, .. }) => match reach {
                Reach::Scope(scope) => scopes.push(scope),
                Reach::All => return Reach::All,
            },
        }
    }
    Reach::of_all(scopes.into_iter())
}

/// A statement that returns the number of live keys that it removed, and its parameters.
pub(super) struct Prepared<'a> {
    pub(super) sql: String,
    pub(super) params: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

impl Prepared<'_> {
    pub(super) fn refs(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params
            .iter()
            .map(|param| &**param as &(dyn ToSql + Sync))
            .collect()
    }
}

impl Run {
    pub(super) fn prepare(&self, table: &str) -> Prepared<'_> {
        match self {
            Self::Set(values) => Prepared {
                sql: format!(
                    "WITH done AS (INSERT INTO {table} (head, tail_digest, scope, tail, value, expires_at) \
                     SELECT head, digest, scope, tail, value, coalesce({NOW} + ttl, moment) \
                     FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bigint[], $7::bigint[]) \
                     AS new (head, digest, scope, tail, value, ttl, moment) \
                     ON CONFLICT (head, tail_digest, scope) DO UPDATE \
                     SET value = excluded.value, expires_at = excluded.expires_at) \
                     SELECT 0::bigint"
                ),
                params: {
                    let mut params = place_params(values.keys());
                    params.push(Box::new(
                        values.keys().map(|place| place.tail.as_slice()).collect::<Vec<_>>(),
                    ));
                    params.push(Box::new(
                        values
                            .values()
                            .map(|stored| stored.value.as_slice())
                            .collect::<Vec<_>>(),
                    ));
                    params.push(Box::new(
                        values.values().map(|stored| stored.ttl_ms).collect::<Vec<_>>(),
                    ));
                    params.push(Box::new(
                        values.values().map(|stored| stored.expires_at).collect::<Vec<_>>(),
                    ));
                    params
                },
            },
            Self::Delete(places) => Prepared {
                sql: format!(
                    "WITH gone AS (DELETE FROM {table} AS k USING unnest($1::bytea[], $2::bytea[], $3::bytea[]) \
                     AS old (head, digest, scope) \
                     WHERE k.head = old.head AND k.tail_digest = old.digest AND k.scope = old.scope \
                     RETURNING k.expires_at) \
                     SELECT count(*) FROM gone WHERE {LIVE}"
                ),
                params: place_params(places.keys()),
            },
            Self::DeleteRange(range) => {
                let (condition, params) = range.condition();
                Prepared {
                    sql: format!(
                        "WITH gone AS (DELETE FROM {table} WHERE {condition} RETURNING expires_at) \
                         SELECT count(*) FROM gone WHERE {LIVE}"
                    ),
                    params,
                }
            }
        }
    }
}

fn place_params<'a>(places: impl Iterator<Item = &'a Place> + Clone) -> Vec<Box<dyn ToSql + Sync + Send + 'a>> {
    vec![
        Box::new(places.clone().map(|place| place.head.as_slice()).collect::<Vec<_>>()),
        Box::new(places.clone().map(|place| place.digest.as_slice()).collect::<Vec<_>>()),
        Box::new(places.map(|place| place.scope.as_slice()).collect::<Vec<_>>()),
    ]
}

impl Range {
    /// A condition with its parameters, which are `$1` to `$5`.
    pub(super) fn condition(&self) -> (String, Vec<Box<dyn ToSql + Sync + Send + '_>>) {
        let scope = match &self.reach {
            Reach::Scope(scope) => Some(scope.as_slice()),
            Reach::All => None,
        };
        let mut condition = String::from("head >= $1");
        let mut params: Vec<Box<dyn ToSql + Sync + Send + '_>> = vec![Box::new(self.head_from.as_slice())];
        let mut and = |text: &str, param: &[u8]| {
            params.push(Box::new(param.to_vec()));
            condition.push_str(&format!(" AND {text} ${}", params.len()));
        };
        if let Some(head_to) = &self.head_to {
            and("head <", head_to);
        }
        if !self.tail_from.is_empty() {
            and("tail >=", &self.tail_from);
        }
        if let Some(tail_to) = &self.tail_to {
            and("tail <", tail_to);
        }
        if let Some(scope) = scope {
            and("scope =", scope);
        }
        (condition, params)
    }
}
