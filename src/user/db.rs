//! The object's `SQLite`. Bindings of our own: the `worker` crate's cursor is bound without `catch`, so that an error thrown in
//! one row would reset the whole isolate, other people's objects included.

use crate::channels::console::Item;
use crate::error::{Error, Result};
use js_sys::{Array, JsString, Promise, Uint8Array};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::{State, console_error};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(extends = js_sys::Object)]
    #[derive(Clone)]
    type RawSql;
    #[wasm_bindgen(structural, method, catch, variadic, js_name = exec)]
    fn exec(this: &RawSql, query: &str, values: Array) -> std::result::Result<RawCursor, JsValue>;

    #[wasm_bindgen(extends = js_sys::Object)]
    type RawCursor;
    #[wasm_bindgen(method, getter, js_name = rowsWritten)]
    fn rows_written(this: &RawCursor) -> f64;
    #[wasm_bindgen(method, catch, js_name = toArray)]
    fn to_array(this: &RawCursor) -> std::result::Result<Array, JsValue>;

    #[wasm_bindgen(extends = js_sys::Object)]
    type RawStorage;
    #[wasm_bindgen(method, getter)]
    fn sql(this: &RawStorage) -> RawSql;
    #[wasm_bindgen(method, catch, js_name = getAlarm)]
    fn get_alarm(this: &RawStorage) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = setAlarm)]
    fn set_alarm(this: &RawStorage, at: f64) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &RawStorage,
        body: &mut dyn FnMut() -> std::result::Result<JsValue, JsValue>,
    ) -> std::result::Result<JsValue, JsValue>;
}

/// The steps by which the tables come to be what the code expects. A step that has shipped is never edited.
const STEPS: [&str; 4] = [
    include_str!("schema/0001_tables.sql"),
    include_str!("schema/0002_given_files.sql"),
    include_str!("schema/0003_pieces_by_rowid.sql"),
    include_str!("schema/0004_fates.sql"),
];

/// One person's rows, and the object's alarm, which is set with them.
pub struct Db {
    storage: RawStorage,
    sql: RawSql,
    /// When the alarm rings, in milliseconds since 1970; 0 while it is not set.
    alarm: Cell<i64>,
    /// Whether that is known.
    prepared: Cell<bool>,
    /// Until when at the latest the transaction under way wants it to ring.
    wanted: Cell<Option<i64>>,
    in_transaction: Cell<bool>,
    /// What pages have not been shown yet of what was saved.
    shown: RefCell<Vec<Item>>,
    /// How many rows were written and not added to the day's yet, those of indexes and alarms included.
    written: Cell<u64>,
}

#[derive(Deserialize)]
struct Count {
    count: usize,
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
    /// Bytes that the runtime holds already.
    Held(&'a Uint8Array),
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
            Bind::Held(bytes) => (*bytes).into(),
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
        Self {
            storage,
            sql,
            alarm: Cell::new(0),
            prepared: Cell::new(false),
            wanted: Cell::new(None),
            in_transaction: Cell::new(false),
            shown: RefCell::default(),
            written: Cell::new(0),
        }
    }

    /// Brings the tables up to date, and learns when the alarm rings. Before this nothing else may be asked.
    pub async fn prepare(&self) -> Result<()> {
        self.migrate()?;
        let alarm = JsFuture::from(self.storage.get_alarm()?).await?;
        if self.prepared.replace(true) {
            return Ok(()); // another request was here meanwhile, and may have set the alarm since
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a time's milliseconds are whole and under 2^53"
        )]
        self.alarm.set(alarm.as_f64().map_or(0, |at| at as i64));
        Ok(())
    }

    fn migrate(&self) -> Result<()> {
        self.run(
            "CREATE TABLE IF NOT EXISTS schema_steps (step INTEGER PRIMARY KEY) STRICT",
            &[],
        )?;
        let row: Option<Count> = self.first("SELECT count(*) AS count FROM schema_steps", &[])?;
        let done = row.map_or(0, |row| row.count);
        if done > STEPS.len() {
            return Err(Error::Missing(
                "a version of Bernard that knows these tables: they were made by a newer one, which",
            ));
        }
        for step in &STEPS[done..] {
            self.transaction(|db| {
                db.sql.exec(step, Array::new())?;
                db.run("INSERT INTO schema_steps DEFAULT VALUES", &[])
            })?;
        }
        Ok(())
    }

    /// Has the alarm ring at this time or before: one that rings sooner stays, for setting it writes a row. Inside a transaction it is set
    /// when the transaction is done; the runtime commits both together, since nothing is awaited in between.
    pub fn set_alarm_by(&self, at: i64) -> Result<()> {
        if self.in_transaction.get() {
            let wanted = self.wanted.get().map_or(at, |wanted| wanted.min(at));
            self.wanted.set(Some(wanted));
            return Ok(());
        }
        let set = self.alarm.get();
        if set != 0 && set <= at {
            return Ok(());
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a time's milliseconds are under 2^53"
        )]
        let promise = self.storage.set_alarm(at as f64)?;
        self.alarm.set(at);
        self.written.set(self.written.get() + 1);
        spawn_local(async move {
            if let Err(error) = JsFuture::from(promise).await {
                console_error!("setting the alarm: {error:?}");
            }
        });
        Ok(())
    }

    /// The alarm has rung: none is set now.
    pub fn alarm_rang(&self) {
        self.alarm.set(0);
    }

    /// Something that pages show was saved.
    pub fn shows(&self, item: Item) {
        self.shown.borrow_mut().push(item);
    }

    /// What was saved for pages since this was last asked.
    pub fn take_shown(&self) -> Vec<Item> {
        self.shown.take()
    }

    /// How many rows were written since this was last taken.
    pub fn rows_written(&self) -> u64 {
        self.written.get()
    }

    /// The same; from now on it is counted anew.
    pub fn take_rows_written(&self) -> u64 {
        self.written.take()
    }

    /// The rows of a query.
    pub fn all<T: DeserializeOwned>(&self, query: &str, values: &[Bind<'_>]) -> Result<Vec<T>> {
        let rows = self.rows(query, values)?;
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
        self.rows(query, values)?;
        Ok(())
    }

    /// Runs a statement with `RETURNING` and says whether it changed anything.
    pub fn changed(&self, query: &str, values: &[Bind<'_>]) -> Result<bool> {
        Ok(self.rows(query, values)?.length() > 0)
    }

    /// Does several things or, at the first error, none of them.
    pub fn transaction<R>(&self, body: impl FnMut(&Self) -> Result<R>) -> Result<R> {
        let shown = self.shown.borrow().len();
        self.in_transaction.set(true);
        let done = self.all_or_nothing(body);
        self.in_transaction.set(false);
        let wanted = self.wanted.take();
        if done.is_err() {
            self.shown.borrow_mut().truncate(shown);
        } else if let Some(at) = wanted {
            self.set_alarm_by(at)?;
        }
        done
    }

    fn all_or_nothing<R>(&self, mut body: impl FnMut(&Self) -> Result<R>) -> Result<R> {
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

    fn rows(&self, query: &str, values: &[Bind<'_>]) -> Result<Array> {
        let cursor = self
            .sql
            .exec(query, values.iter().map(JsValue::from).collect())?;
        let rows = cursor.to_array()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of rows"
        )]
        self.written
            .set(self.written.get() + cursor.rows_written() as u64);
        Ok(rows)
    }
}
