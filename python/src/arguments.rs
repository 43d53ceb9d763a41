//! How scopes, filters, orders and ids are given.

use llmspell_storage::{DateFields, Filter, ListOrder, OwnTime, ScopeKind, StateScope, StorageError};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyString, PyTuple};

use crate::errors::{invalid, raised};
use crate::json::{to_json, type_of};
use crate::times::moment;

/// A scope from its text, such as `user:ada`.
pub(crate) fn scope(text: &str) -> PyResult<StateScope> {
    text.parse().map_err(|error| raised(StorageError::Scope(error)))
}

/// A scope, or the one of the handle.
pub(crate) fn scope_or(text: Option<&str>, default: &StateScope) -> PyResult<StateScope> {
    text.map_or_else(|| Ok(default.clone()), scope)
}

/// Several scopes.
pub(crate) fn scopes(texts: &[String]) -> PyResult<Vec<StateScope>> {
    texts.iter().map(|text| scope(text)).collect()
}

pub(crate) fn scope_kind(name: &str) -> PyResult<ScopeKind> {
    Ok(match name {
        "global" => ScopeKind::Global,
        "user" => ScopeKind::User,
        "session" => ScopeKind::Session,
        "agent" => ScopeKind::Agent,
        "tool" => ScopeKind::Tool,
        "workflow" => ScopeKind::Workflow,
        "hook" => ScopeKind::Hook,
        "custom" => ScopeKind::Custom,
        _ => {
            let known = "global, user, session, agent, tool, workflow, hook or custom";
            return Err(invalid(
                "ScopeKind",
                &format!("`{name}` is not a kind of scope; write {known}"),
            ));
        }
    })
}

/// The text of a scope of a kind, with what must be escaped in its id.
#[pyfunction]
#[pyo3(signature = (kind, id, /))]
pub(crate) fn scope_text(kind: &str, id: String) -> PyResult<String> {
    let scope = match scope_kind(kind)? {
        ScopeKind::Global => StateScope::Global,
        ScopeKind::User => StateScope::User(id),
        ScopeKind::Session => StateScope::Session(id),
        ScopeKind::Agent => StateScope::Agent(id),
        ScopeKind::Tool => StateScope::Tool(id),
        ScopeKind::Workflow => StateScope::Workflow(id),
        ScopeKind::Hook => StateScope::Hook(id),
        ScopeKind::Custom => StateScope::Custom(id),
    };
    scope.validate().map_err(|error| raised(StorageError::Scope(error)))?;
    Ok(scope.to_string())
}

/// A filter: a text, a dict in the JSON form, or what `F(…)` builds.
pub(crate) fn filter(value: &Bound<'_, PyAny>) -> PyResult<Filter> {
    let problem = |error| raised(StorageError::Filter(error));
    if let Ok(text) = value.cast::<PyString>() {
        return Filter::parse(&text.to_cow()?, &DateFields::none()).map_err(problem);
    }
    let json = match value.cast::<PyDict>() {
        Ok(dict) => to_json(dict)?,
        Err(_) if value.hasattr("to_dict")? => to_json(&value.call_method0("to_dict")?)?,
        Err(_) => {
            let message = format!(
                "a filter must be a str, a dict or made with F(…), not {}",
                type_of(value)
            );
            return Err(PyTypeError::new_err(message));
        }
    };
    Filter::from_json(&json).map_err(problem)
}

pub(crate) fn optional_filter(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Filter>> {
    value.map(filter).transpose()
}

/// A filter, or one that matches everything.
pub(crate) fn filter_or_all(value: Option<&Bound<'_, PyAny>>) -> PyResult<Filter> {
    Ok(optional_filter(value)?.unwrap_or_else(Filter::all))
}

pub(crate) fn order(name: &str) -> PyResult<ListOrder> {
    let found = ListOrder::ALL.into_iter().find(|order| order.name() == name);
    found.ok_or_else(|| {
        let known = "id, id_descending, oldest_first or newest_first";
        invalid("ListOrder", &format!("`{name}` is not an order; write {known}"))
    })
}

/// A time of an entry, with or without the `@` that it has in filters.
pub(crate) fn own_time(name: &str) -> PyResult<OwnTime> {
    let found = OwnTime::ALL
        .into_iter()
        .find(|time| time.name().trim_start_matches('@') == name.trim_start_matches('@'));
    found.ok_or_else(|| {
        let known = "created_at, updated_at or event_time";
        invalid("OwnTime", &format!("`{name}` is not a time of an entry; write {known}"))
    })
}

/// A range of times: a tuple of two moments, each of which may be none.
pub(crate) fn time_range(value: &Bound<'_, PyAny>) -> PyResult<llmspell_storage::TimeRange> {
    let pair = value.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
    let Some(pair) = pair else {
        return Err(PyTypeError::new_err(
            "a range of times must be a tuple (from, to); either may be None",
        ));
    };
    let end = |index: usize| -> PyResult<_> {
        let value = pair.get_item(index)?;
        (!value.is_none()).then(|| moment(&value)).transpose()
    };
    Ok(match (end(0)?, end(1)?) {
        (Some(from), Some(to)) => (from..to).into(),
        (Some(from), None) => (from..).into(),
        (None, Some(to)) => (..to).into(),
        (None, None) => (..).into(),
    })
}

/// Ids: of an iterable of texts, or one text, which would otherwise be read as its characters.
pub(crate) fn ids(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if let Ok(one) = value.cast::<PyString>() {
        return Ok(vec![one.to_cow()?.into_owned()]);
    }
    value.try_iter()?.map(|id| id?.extract()).collect()
}

/// The bytes of a value.
pub(crate) fn bytes(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(bytes.to_vec());
    }
    let message = format!(
        "a value must be bytes, not {}; set_json takes values that JSON has",
        type_of(value)
    );
    Err(PyTypeError::new_err(message))
}
