//! The check of one row by itself: whether its value is what was written for its key.

use llmspell_core::StateScope;
use redb::{TableHandle, Value};

use super::tables::{self, ClockRow, Head, SurveyRow};
use super::{SpaceRecord, Staged, quota};
use crate::base::ids::{Lsn, PointId, ScopeId};
use crate::base::op::Op;
use crate::base::record::Record;
use crate::base::stored_text::StoredText;
use crate::base::stored_value::StoredValue;
use crate::namespace::decode_checkpoint;
use llmspell_codec::{Malformed, unseal};

/// The damage of a row, given as redb stores it; none if the value fits its checksum. Rows without a checksum, and those
/// that name derived files, are not looked at.
pub(crate) fn row_damage(table: &str, key: &[u8], value: &[u8]) -> Option<String> {
    let is = |name: &dyn TableHandle| name.name() == table;
    if is(&tables::META) {
        let name = <&str>::from_bytes(key);
        return failed(meta(name, value), || format!("row `{name}` of table `meta`"));
    }
    if is(&tables::SPACES) {
        let id = u32::from_bytes(key);
        let json = unseal(&id.to_le_bytes(), value);
        let record = json.and_then(|json| {
            let record = serde_json::from_slice::<SpaceRecord>(json);
            record.map_err(|_| Malformed("it describes no space"))
        });
        return failed(record, || format!("space {id}"));
    }
    if is(&tables::SCOPE_NAMES) {
        let scope = u64::from_bytes(key);
        let name = tables::decode_scope_name(ScopeId(scope), value);
        return failed(name, || format!("name of scope {scope}"));
    }
    if is(&tables::ENTRIES) {
        let (scope, point) = <(u64, u32)>::from_bytes(key);
        let record = Record::decode(ScopeId(scope), PointId(point), value);
        return failed(record, || format!("entry {point} of scope {scope}"));
    }
    if is(&tables::TEXTS) {
        let (scope, point) = <(u64, u32)>::from_bytes(key);
        let text = StoredText::decode(ScopeId(scope), PointId(point), value);
        return failed(text, || format!("text of entry {point} of scope {scope}"));
    }
    if is(&tables::LOG) {
        let (scope, lsn) = <(u64, u64)>::from_bytes(key);
        let op = Op::decode(ScopeId(scope), Lsn(lsn), value);
        return failed(op, || format!("log of scope {scope}, mutation {lsn}"));
    }
    if is(&tables::CHECKPOINTS) {
        let scope = u64::from_bytes(key);
        let state = decode_checkpoint(ScopeId(scope), value);
        return failed(state, || format!("checkpoint of scope {scope}"));
    }
    if is(&tables::KV) {
        let (scope, key) = <(u64, &[u8])>::from_bytes(key);
        let stored = StoredValue::decode(&tables::kv_place(scope, key), value);
        return failed(stored, || format!("value of key `{}`", String::from_utf8_lossy(key)));
    }
    if is(&tables::QUOTAS) {
        let scope = StateScope::from_bytes(key).map_err(|_| Malformed("its key is no scope"));
        let stored = scope.and_then(|scope| quota::decode(&scope, value).map(drop));
        return failed(stored, || "a quota".to_string());
    }
    if is(&tables::STAGED) {
        let key = <(u64, u32)>::from_bytes(key);
        return failed(Staged::decode(key, value), || {
            format!("staged entries of scope {}", key.0)
        });
    }
    None
}

fn meta(name: &str, value: &[u8]) -> Result<(), Malformed> {
    match name {
        tables::HEAD => Head::decode(value).map(drop),
        tables::CLOCK => ClockRow::decode(name.as_bytes(), value).map(drop),
        tables::SURVEY => SurveyRow::decode(value).map(drop),
        tables::ID => tables::decode_id(value).map(drop),
        _ => Ok(()),
    }
}

fn failed<T>(decoded: Result<T, Malformed>, place: impl FnOnce() -> String) -> Option<String> {
    let malformed = decoded.err()?;
    Some(format!("{}: {}", place(), malformed.0))
}
