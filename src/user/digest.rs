//! SHA-256 by the runtime itself, of bytes as they come: in wasm it would take as long as all else that is done with a file.

use crate::error::Result;
use js_sys::{Promise, Uint8Array};
use protocol::key::hex;
use std::cell::Cell;
use std::rc::Rc;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use worker::js_sys;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(extends = js_sys::Object)]
    type DigestStream;
    #[wasm_bindgen(constructor, catch, js_namespace = crypto)]
    fn new(algorithm: &str) -> std::result::Result<DigestStream, JsValue>;
    #[wasm_bindgen(method, catch, js_name = getWriter)]
    fn writer(this: &DigestStream) -> std::result::Result<Writer, JsValue>;
    #[wasm_bindgen(method, getter)]
    fn digest(this: &DigestStream) -> Promise;

    #[wasm_bindgen(extends = js_sys::Object)]
    type Writer;
    #[wasm_bindgen(method, catch)]
    fn write(this: &Writer, bytes: &Uint8Array) -> std::result::Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn close(this: &Writer) -> std::result::Result<Promise, JsValue>;
}

/// A hash that is being made.
pub(super) struct Digest {
    stream: DigestStream,
    writer: Writer,
    busy: Rc<Cell<bool>>,
}

impl Digest {
    /// Begins with nothing.
    pub(super) fn new() -> Result<Self> {
        let stream = DigestStream::new("SHA-256")?;
        let writer = stream.writer()?;
        Ok(Self {
            stream,
            writer,
            busy: Rc::default(),
        })
    }

    /// Takes these bytes in, which must stay as they are while [`Digest::is_busy`].
    pub(super) fn add(&self, bytes: &Uint8Array) -> Result<()> {
        let written = self.writer.write(bytes)?;
        self.busy.set(true);
        let busy = Rc::clone(&self.busy);
        spawn_local(async move {
            if JsFuture::from(written).await.is_ok() {
                busy.set(false);
            }
        });
        Ok(())
    }

    /// Whether bytes that were given are still to be read.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// Hands the hash over, in hexadecimal digits, a moment later: before another message is read.
    pub(super) fn end(&self, told: impl FnOnce(String) + 'static) -> Result<()> {
        let (closed, digest) = (self.writer.close()?, self.stream.digest());
        spawn_local(async move {
            if JsFuture::from(closed).await.is_ok()
                && let Ok(bytes) = JsFuture::from(digest).await
            {
                told(hex(&Uint8Array::new(&bytes).to_vec()));
            }
        });
        Ok(())
    }
}
