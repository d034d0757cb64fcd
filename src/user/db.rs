//! The object's `SQLite`. Bindings of our own: the `worker` crate's cursor is bound without `catch`, so that an error thrown in
//! one row would reset the whole isolate, other people's objects included.

use crate::error::{Error, Result};
use js_sys::{Array, JsString, Uint8Array};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use worker::State;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(extends = js_sys::Object)]
    #[derive(Clone)]
    type RawSql;
    #[wasm_bindgen(structural, method, catch, variadic, js_name = exec)]
    fn exec(this: &RawSql, query: &str, values: Array) -> std::result::Result<RawCursor, JsValue>;

    #[wasm_bindgen(extends = js_sys::Object)]
    type RawCursor;
    #[wasm_bindgen(method, catch, js_name = toArray)]
    fn to_array(this: &RawCursor) -> std::result::Result<Array, JsValue>;

    #[wasm_bindgen(extends = js_sys::Object)]
    type RawStorage;
    #[wasm_bindgen(method, getter)]
    fn sql(this: &RawStorage) -> RawSql;
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &RawStorage,
        body: &mut dyn FnMut() -> std::result::Result<JsValue, JsValue>,
    ) -> std::result::Result<JsValue, JsValue>;
}

/// One person's rows.
pub struct Db {
    storage: RawStorage,
    sql: RawSql,
}

/// A value to bind. There is no boolean: the runtime would store it as text.
pub enum Bind<'a> {
    /// Nothing.
    Null,
    /// A whole number up to 2^53.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl From<i64> for Bind<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl<'a> From<&'a str> for Bind<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Bind<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<Option<&'a str>> for Bind<'a> {
    fn from(value: Option<&'a str>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }
}

impl From<&Bind<'_>> for JsValue {
    #[expect(
        clippy::cast_precision_loss,
        reason = "JavaScript has no other number; times, sizes and row ids stay under 2^53"
    )]
    fn from(value: &Bind<'_>) -> Self {
        match value {
            Bind::Null => Self::NULL,
            Bind::Int(number) => Self::from_f64(*number as f64),
            Bind::Text(text) => Self::from_str(text),
            Bind::Blob(bytes) => Uint8Array::from(*bytes).into(),
        }
    }
}

impl Db {
    /// The rows of the object that this state belongs to.
    pub fn new(state: &State) -> Self {
        let storage = state.storage();
        let storage: RawStorage = AsRef::<JsValue>::as_ref(storage.as_raw())
            .clone()
            .unchecked_into();
        let sql = storage.sql();
        Self { storage, sql }
    }

    /// Makes the tables that are not there yet.
    pub fn migrate(&self) -> Result<()> {
        self.sql.exec(include_str!("schema.sql"), Array::new())?;
        Ok(())
    }

    /// The rows of a query.
    pub fn all<T: DeserializeOwned>(&self, query: &str, values: &[Bind<'_>]) -> Result<Vec<T>> {
        let rows = self.cursor(query, values)?.to_array()?;
        rows.iter()
            .map(|row| {
                serde_wasm_bindgen::from_value(row).map_err(|error| Error::Platform(error.into()))
            })
            .collect()
    }

    /// The first row of a query.
    pub fn first<T: DeserializeOwned>(
        &self,
        query: &str,
        values: &[Bind<'_>],
    ) -> Result<Option<T>> {
        Ok(self.all(query, values)?.into_iter().next())
    }

    /// Runs a statement for what it changes.
    pub fn run(&self, query: &str, values: &[Bind<'_>]) -> Result<()> {
        self.cursor(query, values)?.to_array()?;
        Ok(())
    }

    /// Runs a statement with `RETURNING` and says whether it changed anything.
    pub fn changed(&self, query: &str, values: &[Bind<'_>]) -> Result<bool> {
        Ok(self.cursor(query, values)?.to_array()?.length() > 0)
    }

    /// Does several things or, at the first error, none of them.
    pub fn transaction<R>(&self, mut body: impl FnMut(&Self) -> Result<R>) -> Result<R> {
        let mut value = None;
        let mut failure = None;
        let done = self.storage.transaction_sync(&mut || match body(self) {
            Ok(result) => {
                value = Some(result);
                Ok(JsValue::UNDEFINED)
            }
            Err(error) => {
                let message = JsString::from(error.to_string());
                failure = Some(error);
                Err(message.into())
            }
        });
        match (done, value, failure) {
            (Ok(_), Some(value), _) => Ok(value),
            (_, _, Some(error)) => Err(error),
            (Err(error), ..) => Err(error.into()),
            (Ok(_), None, None) => Err(Error::Missing("the transaction's result")),
        }
    }

    fn cursor(&self, query: &str, values: &[Bind<'_>]) -> Result<RawCursor> {
        Ok(self
            .sql
            .exec(query, values.iter().map(JsValue::from).collect())?)
    }
}
