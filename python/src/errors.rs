//! Which exception is an error of the engine? A class for each kind, in `llmspell_storage/_errors.py`.

use llmspell_storage::{ErrorKind, StorageError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// The exception of an error.
#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
pub(crate) fn raised(error: StorageError) -> PyErr {
    Python::attach(|py| exception(py, &error).unwrap_or_else(|other| other))
}

/// The exception of a call that is wrong in a way that only Python knows.
pub(crate) fn invalid(code: &str, message: &str) -> PyErr {
    Python::attach(|py| {
        let made = class(py, ErrorKind::Invalid).and_then(|class| class.call1((message, code)));
        made.map_or_else(|other| other, PyErr::from_value)
    })
}

fn class<'py>(py: Python<'py>, kind: ErrorKind) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("llmspell_storage._errors").map(Bound::unbind))?;
    module.bind(py).getattr(match kind {
        ErrorKind::Invalid => "InvalidError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::Conflict => "ConflictError",
        ErrorKind::Busy => "BusyError",
        ErrorKind::Data => "DataError",
        ErrorKind::Io => "IoError",
        ErrorKind::Closed => "ClosedError",
        _ => "StorageError",
    })
}

fn exception(py: Python<'_>, error: &StorageError) -> PyResult<PyErr> {
    let details = PyDict::new(py);
    let code = describe(error, &details)?;
    let mut message = error.to_string();
    // What the system or a decoder said is in the chain of causes, which Python's users do not see.
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        let text = source.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = source.source();
    }
    let made = class(py, error.kind())?.call1((message, code, details))?;
    Ok(PyErr::from_value(made))
}

/// Sets what is known about an error. Returns its name.
fn describe(error: &StorageError, details: &Bound<'_, PyDict>) -> PyResult<&'static str> {
    macro_rules! set {
        ($($name:literal: $value:expr),* $(,)?) => {{ $(details.set_item($name, $value)?;)* }};
    }
    Ok(match error {
        StorageError::Dimension { id, expected, got } => {
            set!("id": id, "expected": expected, "got": got);
            "Dimension"
        }
        StorageError::NonFinite { id, index, value } => {
            set!("id": id, "index": index, "got": value);
            "NonFinite"
        }
        StorageError::ZeroVector { id } => {
            set!("id": id);
            "ZeroVector"
        }
        StorageError::OutOfRange { what, got, min, max } => {
            set!("what": what, "got": got, "min": min, "max": max);
            "OutOfRange"
        }
        StorageError::LimitExceeded {
            what,
            name,
            got,
            limit,
            unit,
        } => {
            set!("what": what, "name": name, "got": got, "limit": limit, "unit": unit);
            "LimitExceeded"
        }
        StorageError::EmptyKey => "EmptyKey",
        StorageError::Scope(_) => "Scope",
        StorageError::OutsideScope { scope, named } => {
            set!("expected": scope.to_string(), "got": named.to_string());
            "OutsideScope"
        }
        StorageError::DuplicateId { id, first, second } => {
            set!("id": id, "first": first, "second": second);
            "DuplicateId"
        }
        StorageError::MetadataNotObject { id, got } => {
            set!("id": id, "got": got);
            "MetadataNotObject"
        }
        StorageError::Filter(problem) => {
            set!("place": problem.place().to_string(), "problem": problem.problem().to_string());
            "Filter"
        }
        StorageError::ReversedTimes { what, from, to } => {
            set!("what": what, "from": from.to_string(), "to": to.to_string());
            "ReversedTimes"
        }
        StorageError::BadCursor { reason } => {
            set!("reason": reason);
            "BadCursor"
        }
        StorageError::CursorOrder { cursor, asked } => {
            set!("got": cursor, "expected": asked);
            "CursorOrder"
        }
        StorageError::InvalidName { what, name, reason } => {
            set!("what": what, "got": name, "reason": reason);
            "InvalidName"
        }
        StorageError::CutPoint { model, got, min, dim } => {
            set!("model": model, "got": got, "min": min, "max": dim - 1);
            "CutPoint"
        }
        StorageError::ModelDimension {
            id,
            model,
            dim,
            cut_points,
            got,
        } => {
            set!("id": id, "model": model, "expected": dim, "cut_points": cut_points, "got": got);
            "ModelDimension"
        }
        StorageError::NotMatryoshka { model, got, cut_points } => {
            set!("model": model, "got": got, "cut_points": cut_points);
            "NotMatryoshka"
        }
        StorageError::UnknownDimension { dim, known } => {
            set!("got": dim, "known": known);
            "UnknownDimension"
        }
        StorageError::AmbiguousDimension { dim, models } => {
            set!("got": dim, "models": models);
            "AmbiguousDimension"
        }
        StorageError::Json(_) => "Json",
        StorageError::Unsupported { feature, .. } => {
            set!("feature": feature);
            "Unsupported"
        }
        StorageError::UnknownModel { model, known } => {
            set!("got": model, "known": known);
            "UnknownModel"
        }
        StorageError::NotFound { id } => {
            set!("id": id, "got": id);
            "NotFound"
        }
        StorageError::UnknownSpace { name, known } => {
            set!("got": name, "known": known);
            "UnknownSpace"
        }
        StorageError::IdExists { id } => {
            set!("id": id, "got": id);
            "IdExists"
        }
        StorageError::QuotaExceeded {
            scope,
            what,
            limit,
            used,
            asked,
        } => {
            set!("scope": scope.to_string(), "what": what, "limit": limit, "used": used, "got": asked);
            "QuotaExceeded"
        }
        StorageError::SpaceMismatch {
            space,
            what,
            stored,
            requested,
        } => {
            set!("space": space, "what": what, "expected": stored, "got": requested);
            "SpaceMismatch"
        }
        StorageError::NotEmpty { key } => {
            set!("key": key);
            "NotEmpty"
        }
        StorageError::AlreadyOpen { path, holder } => {
            set!("path": path, "holder": holder);
            "AlreadyOpen"
        }
        StorageError::Timeout { what, timeout_ms } => {
            set!("what": what, "limit": timeout_ms);
            "Timeout"
        }
        StorageError::Corrupted { path, detail } => {
            set!("path": path, "detail": detail);
            "Corrupted"
        }
        StorageError::UnsupportedVersion { path, found, min, max } => {
            set!("path": path, "got": found, "min": min, "max": max);
            "UnsupportedVersion"
        }
        StorageError::ForeignDirectory { path, reason } => {
            set!("path": path, "reason": reason);
            "ForeignDirectory"
        }
        StorageError::Undecodable { key, .. } => {
            set!("key": key);
            "Undecodable"
        }
        StorageError::Embedding { .. } => "Embedding",
        StorageError::NoSpace {
            path,
            available_bytes,
            needed_bytes,
        } => {
            set!("path": path, "available_bytes": available_bytes, "needed_bytes": needed_bytes);
            "NoSpace"
        }
        StorageError::ReadOnly { path, .. } => {
            set!("path": path);
            "ReadOnly"
        }
        StorageError::Io { op, path, .. } => {
            set!("op": op, "path": path);
            "Io"
        }
        StorageError::Poisoned { first_error } => {
            set!("first_error": first_error);
            "Poisoned"
        }
        StorageError::Closed => "Closed",
        _ => "Other",
    })
}
