//! How Python's values become JSON, and the reverse.
//!
//! | Python                                   | JSON                                                  |
//! |------------------------------------------|-------------------------------------------------------|
//! | `None`, `bool`, `str`                    | the same                                              |
//! | `int`                                    | a number, within -2⁶³ to 2⁶⁴ - 1                      |
//! | `float`                                  | a number; NaN and infinities are refused              |
//! | `list`, `tuple`                          | an array                                              |
//! | `dict` with keys that are `str`          | an object                                             |
//! | `datetime` with a zone                   | a string, RFC 3339 in UTC                             |
//! | numpy's scalars                          | as what their `item()` gives                          |

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::errors::invalid;
use crate::times::{is_datetime, moment};

/// Deeper values are refused here, before they fill the stack; the engine's own limit for metadata is lower.
const DEPTH_MAX: usize = 128;

/// A value as JSON.
pub(crate) fn to_json(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    json_at(value, 0)
}

/// A dict as a JSON object; none as an empty one.
pub(crate) fn to_object(value: Option<&Bound<'_, PyAny>>) -> PyResult<Map<String, Value>> {
    let Some(value) = value.filter(|value| !value.is_none()) else {
        return Ok(Map::new());
    };
    match value.cast::<PyDict>() {
        Ok(dict) => object(dict, 0),
        Err(_) => Err(PyTypeError::new_err(format!(
            "metadata must be a dict, not {}",
            type_of(value)
        ))),
    }
}

fn json_at(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if depth > DEPTH_MAX {
        return Err(invalid(
            "Json",
            &format!("a value is nested more than {DEPTH_MAX} deep"),
        ));
    }
    // Subclasses too, such as enums of strings. A bool is an int as well, so it comes first.
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Value::String(text.to_cow()?.into_owned()));
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(Value::Bool(flag.is_true()));
    }
    if value.is_instance_of::<PyInt>() {
        if let Ok(number) = value.extract::<i64>() {
            return Ok(number.into());
        }
        let number = value.extract::<u64>();
        return number
            .map(Value::from)
            .map_err(|_| invalid("Json", &format!("{value} is an int beyond 64 bits; store it as a str")));
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        let float = float.value();
        return Number::from_f64(float)
            .map(Value::Number)
            .ok_or_else(|| invalid("Json", &format!("{float} is not a number that JSON has")));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        return object(dict, depth).map(Value::Object);
    }
    if let Ok(list) = value.cast::<PyList>() {
        return list.iter().map(|item| json_at(&item, depth + 1)).collect();
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return tuple.iter().map(|item| json_at(&item, depth + 1)).collect();
    }
    if is_datetime(value)? {
        return Ok(Value::String(moment(value)?.to_string()));
    }
    let is_numpy_scalar =
        value.hasattr("item")? && value.hasattr("dtype")? && value.getattr("ndim")?.extract::<usize>()? == 0;
    if is_numpy_scalar {
        let item = value.call_method0("item")?;
        if !item.get_type().is(value.get_type()) {
            return json_at(&item, depth + 1);
        }
    }
    Err(PyTypeError::new_err(format!(
        "{} is not a value that JSON has",
        type_of(value)
    )))
}

fn object(dict: &Bound<'_, PyDict>, depth: usize) -> PyResult<Map<String, Value>> {
    let mut object = Map::new();
    for (key, value) in dict.iter() {
        let Ok(key) = key.cast::<PyString>() else {
            return Err(PyTypeError::new_err(format!("a key is {}, not a str", type_of(&key))));
        };
        object.insert(key.to_cow()?.into_owned(), json_at(&value, depth + 1)?);
    }
    Ok(object)
}

/// The name of the type of a value, for error texts.
pub(crate) fn type_of(value: &Bound<'_, PyAny>) -> String {
    let name = value.get_type().fully_qualified_name();
    name.map_or_else(|_| "an unknown type".to_string(), |name| name.to_string())
}

/// JSON as a value of Python.
pub(crate) fn of_json(py: Python<'_>, value: &Value) -> PyResult<Py<PyAny>> {
    Ok(match value {
        Value::Null => py.None(),
        Value::Bool(flag) => PyBool::new(py, *flag).to_owned().into_any().unbind(),
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                number.into_pyobject(py)?.into_any().unbind()
            } else if let Some(number) = number.as_u64() {
                number.into_pyobject(py)?.into_any().unbind()
            } else {
                let number = number.as_f64().unwrap_or(f64::NAN);
                PyFloat::new(py, number).into_any().unbind()
            }
        }
        Value::String(text) => PyString::new(py, text).into_any().unbind(),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(of_json(py, item)?)?;
            }
            list.into_any().unbind()
        }
        Value::Object(object) => of_object(py, object)?.into_any(),
    })
}

/// A JSON object as a dict.
pub(crate) fn of_object(py: Python<'_>, object: &Map<String, Value>) -> PyResult<Py<PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in object {
        dict.set_item(key, of_json(py, value)?)?;
    }
    Ok(dict.unbind())
}

/// A report of the engine as dicts and lists, with the names of its JSON form.
pub(crate) fn of_report<T: Serialize>(py: Python<'_>, report: &T) -> PyResult<Py<PyAny>> {
    let value = serde_json::to_value(report).map_err(|error| invalid("Json", &error.to_string()))?;
    of_json(py, &value)
}
