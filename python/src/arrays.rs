//! How vectors are read from numpy arrays and from sequences, and given back as arrays.
//!
//! numpy is loaded only by a caller that has an array already, or asks for one. An array of float32 whose rows lie one
//! after the other is read where it lies; other arrays of floats are converted by numpy first.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyList, PyString, PyTuple};

use crate::errors::invalid;
use crate::json::type_of;

/// One vector.
pub(crate) fn vector(value: &Bound<'_, PyAny>) -> PyResult<Vec<f32>> {
    if let Ok(list) = value.cast::<PyList>() {
        return components(list.iter(), list.len());
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return components(tuple.iter(), tuple.len());
    }
    let Some(array) = as_array(value)? else {
        return Err(not_a_vector(value));
    };
    let array = floats(array, 1, "a vector")?;
    let array: PyReadonlyArray1<'_, f32> = array.extract()?;
    Ok(array
        .as_slice()
        .map_err(|_| PyTypeError::new_err("numpy gave an array that is not contiguous"))?
        .to_vec())
}

/// Many vectors of one length.
pub(crate) fn matrix(value: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<f32>>> {
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return value.try_iter()?.map(|row| vector(&row?)).collect();
    }
    let Some(array) = as_array(value)? else {
        return Err(PyTypeError::new_err(format!(
            "vectors must be an array of n × dim float32, or a list of vectors, not {}",
            type_of(value)
        )));
    };
    let array = floats(array, 2, "an array of vectors")?;
    let array: PyReadonlyArray2<'_, f32> = array.extract()?;
    let (rows, dim) = (array.shape()[0], array.shape()[1]);
    let all = array
        .as_slice()
        .map_err(|_| PyTypeError::new_err("numpy gave an array that is not contiguous"))?;
    Ok((0..rows).map(|row| all[row * dim..(row + 1) * dim].to_vec()).collect())
}

fn components<'py>(items: impl Iterator<Item = Bound<'py, PyAny>>, count: usize) -> PyResult<Vec<f32>> {
    let mut vector = Vec::with_capacity(count);
    for item in items {
        let component = match item.cast::<PyFloat>() {
            Ok(float) => float.value(),
            Err(_) if item.is_instance_of::<PyString>() => return Err(not_a_component(&item)),
            Err(_) => item.extract::<f64>().map_err(|_| not_a_component(&item))?,
        };
        vector.push(component as f32);
    }
    Ok(vector)
}

fn not_a_component(item: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!(
        "a component of a vector must be a float, not {}",
        type_of(item)
    ))
}

fn not_a_vector(value: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!(
        "a vector must be a list of floats or an array of float32, not {}",
        type_of(value)
    ))
}

/// The value as an array of numpy, if it is one or can be seen as one (a tensor, for example).
fn as_array<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if !value.hasattr("__array__")? {
        return Ok(None);
    }
    let py = value.py();
    if value.is_instance(numpy_member(py, "ndarray")?)? {
        return Ok(Some(value.clone()));
    }
    numpy_member(py, "asarray")?.call1((value,)).map(Some)
}

fn numpy_member<'py>(py: Python<'py>, name: &'static str) -> PyResult<&'py Bound<'py, PyAny>> {
    static NDARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static ASARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static REQUIRE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    match name {
        "ndarray" => NDARRAY.import(py, "numpy", "ndarray"),
        "asarray" => ASARRAY.import(py, "numpy", "asarray"),
        _ => REQUIRE.import(py, "numpy", "require"),
    }
}

/// An array of `dimensions` whose float32 lie one after the other: itself, or a converted one.
fn floats<'py>(array: Bound<'py, PyAny>, dimensions: usize, what: &str) -> PyResult<Bound<'py, PyAny>> {
    let is_ready = match dimensions {
        1 => array.cast::<PyArray1<f32>>().is_ok_and(|array| is_in_order(array)),
        _ => array.cast::<PyArray2<f32>>().is_ok_and(|array| is_in_order(array)),
    };
    if is_ready {
        return Ok(array);
    }
    let got = array.getattr("ndim")?.extract::<usize>()?;
    if got != dimensions {
        let shape = array.getattr("shape")?;
        let message = format!("{what} must have {dimensions} axes; this one has the shape {shape}");
        return Err(invalid("Shape", &message));
    }
    let dtype = array.getattr("dtype")?;
    if dtype.getattr("kind")?.extract::<char>()? != 'f' {
        let message = format!(
            "{what} must be float32 (float16 and float64 are converted), not {dtype}; use astype(numpy.float32)"
        );
        return Err(PyTypeError::new_err(message));
    }
    let py = array.py();
    let how = PyDict::new(py);
    how.set_item("dtype", "float32")?;
    how.set_item("requirements", ("C", "A"))?;
    numpy_member(py, "require")?.call((array,), Some(&how))
}

/// Whether the components lie one after the other, where an `f32` may lie.
fn is_in_order<'py, D: numpy::ndarray::Dimension>(array: &Bound<'py, numpy::PyArray<f32, D>>) -> bool {
    array.is_c_contiguous() && array.data().is_aligned()
}

/// A vector as an array of float32.
pub(crate) fn to_numpy(py: Python<'_>, vector: &[f32]) -> Py<PyAny> {
    PyArray1::from_slice(py, vector).into_any().unbind()
}
