//! What can go wrong in the Worker, for its operator; people and models are told in their own words elsewhere.

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Cloudflare's runtime or a binding said no.
    #[error("the runtime refused: {0}")]
    Platform(#[from] worker::Error),
    /// A stored or received value is not what it should be.
    #[error("value not understood: {0}")]
    Value(#[from] serde_json::Error),
    /// Key material is broken, or there is no randomness.
    #[error(transparent)]
    Key(#[from] protocol::key::BadKey),
    /// A token could not be made or was refused.
    #[error(transparent)]
    Token(#[from] protocol::token::Refused),
    /// A row that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The peer broke the rules of a session.
    #[error("the bridge broke the protocol: {0}")]
    Violation(String),
    /// A stream broke off.
    #[error("transfer broke off: {0}")]
    Transfer(String),
}

/// The Worker's result.
pub type Result<T> = std::result::Result<T, Error>;

impl From<wasm_bindgen::JsValue> for Error {
    fn from(value: wasm_bindgen::JsValue) -> Self {
        Self::Platform(value.into())
    }
}

impl From<Error> for worker::Error {
    fn from(error: Error) -> Self {
        Self::RustError(error.to_string())
    }
}
