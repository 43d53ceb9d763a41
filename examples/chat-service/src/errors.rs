//! Errors of the service, as status and JSON.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use llmspell_storage::{ErrorKind, StorageError};
use serde::Serialize;

/// What a request is answered that was not served.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
}

#[derive(Serialize)]
struct Body {
    error: String,
}

impl ApiError {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        let (status, message) = (StatusCode::BAD_REQUEST, message.into());
        Self { status, message }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        let (status, message) = (StatusCode::NOT_FOUND, message.into());
        Self { status, message }
    }
}

/// The kind says what the caller can do about it.
impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Busy | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
            // What is wrong with the disk is nobody's business outside.
            _ => {
                eprintln!("error: {error}");
                return Self {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    message: "the memory is out of order".into(),
                };
            }
        };
        let message = error.to_string();
        Self { status, message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(Body { error: self.message })).into_response()
    }
}
