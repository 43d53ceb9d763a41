//! How `datetime` and `timedelta` become moments and lengths of time, and the reverse.

use std::time::Duration;

use llmspell_storage::{Expiry, Timestamp};
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use crate::errors::{invalid, raised};
use crate::json::type_of;

static DATETIME: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static TIMEDELTA: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn timedelta<'py>(py: Python<'py>, unit: &str, count: i64) -> PyResult<Bound<'py, PyAny>> {
    let units = PyDict::new(py);
    units.set_item(unit, count)?;
    TIMEDELTA.import(py, "datetime", "timedelta")?.call((), Some(&units))
}

fn epoch(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static EPOCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let epoch = EPOCH.get_or_try_init(py, || {
        let utc = py.import("datetime")?.getattr("timezone")?.getattr("utc")?;
        let zero = DATETIME
            .import(py, "datetime", "datetime")?
            .call1((1970, 1, 1, 0, 0, 0, 0, utc))?;
        PyResult::Ok(zero.unbind())
    })?;
    Ok(epoch.bind(py))
}

pub(crate) fn is_datetime(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.is_instance(DATETIME.import(value.py(), "datetime", "datetime")?)
}

fn is_timedelta(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.is_instance(TIMEDELTA.import(value.py(), "datetime", "timedelta")?)
}

/// A moment: a `datetime` with a zone, cut to the millisecond, or a text in RFC 3339.
pub(crate) fn moment(value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    let py = value.py();
    if let Ok(text) = value.cast::<PyString>() {
        return text
            .to_cow()?
            .parse()
            .map_err(|error: llmspell_storage::TimestampError| raised(error.into()));
    }
    if !is_datetime(value)? {
        let message = format!(
            "a moment must be a datetime or a text in RFC 3339, not {}",
            type_of(value)
        );
        return Err(PyTypeError::new_err(message));
    }
    if value.call_method0("utcoffset")?.is_none() {
        let message =
            format!("{value} has no time zone, so it is not one moment; use datetime.now(timezone.utc), for example");
        return Err(invalid("NaiveDatetime", &message));
    }
    let since = value.sub(epoch(py)?)?;
    let millis = since.floor_div(timedelta(py, "milliseconds", 1)?)?;
    Ok(Timestamp::from_millis(millis.extract()?))
}

pub(crate) fn optional_moment(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Timestamp>> {
    value.map(moment).transpose()
}

/// A moment as a `datetime` in UTC.
pub(crate) fn datetime(py: Python<'_>, moment: Timestamp) -> PyResult<Py<PyAny>> {
    let at = timedelta(py, "milliseconds", moment.as_millis()).and_then(|since| epoch(py)?.add(since));
    at.map(Bound::unbind)
        .map_err(|_| PyOverflowError::new_err(format!("{moment} is outside of the years of datetime")))
}

pub(crate) fn optional_datetime(py: Python<'_>, moment: Option<Timestamp>) -> PyResult<Option<Py<PyAny>>> {
    moment.map(|moment| datetime(py, moment)).transpose()
}

/// A length of time: a `timedelta` that is not negative.
pub(crate) fn duration(value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    if !is_timedelta(value)? {
        return Err(PyTypeError::new_err(format!(
            "a length of time must be a timedelta, not {}",
            type_of(value)
        )));
    }
    let part = |name: &str| value.getattr(name)?.extract::<i64>();
    // Python keeps the seconds and the microseconds of a negative one positive, and its days negative.
    let Ok(days) = u64::try_from(part("days")?) else {
        return Err(invalid(
            "NegativeDuration",
            &format!("{value} is negative; a length of time is at least 0"),
        ));
    };
    let seconds = days * 86_400 + part("seconds")?.unsigned_abs();
    Ok(Duration::from_secs(seconds) + Duration::from_micros(part("microseconds")?.unsigned_abs()))
}

pub(crate) fn optional_duration(value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    value.map(duration).transpose()
}

/// A length of time as a `timedelta`.
pub(crate) fn delta(py: Python<'_>, length: Duration) -> PyResult<Py<PyAny>> {
    let micros =
        i64::try_from(length.as_micros()).map_err(|_| PyOverflowError::new_err(format!("{length:?} is too long")))?;
    timedelta(py, "microseconds", micros).map(Bound::unbind)
}

/// When something expires: never by `None`, after a `timedelta`, at a `datetime`.
pub(crate) fn expiry(value: Option<&Bound<'_, PyAny>>) -> PyResult<Expiry> {
    Ok(match value {
        None => Expiry::Never,
        Some(value) if is_timedelta(value)? => Expiry::After(duration(value)?),
        Some(value) => Expiry::At(moment(value)?),
    })
}

/// When something expires, by two arguments of which at most one is given.
pub(crate) fn expiry_of(ttl: Option<&Bound<'_, PyAny>>, expires_at: Option<&Bound<'_, PyAny>>) -> PyResult<Expiry> {
    match (ttl, expires_at) {
        (Some(_), Some(_)) => Err(invalid("BothExpiries", "give `ttl` or `expires_at`, not both")),
        (Some(ttl), None) => duration(ttl).map(Expiry::After),
        (None, at) => Ok(optional_moment(at)?.into()),
    }
}
