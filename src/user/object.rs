//! What the runtime calls: each of its calls is passed on to the heart. None may be left to its default, which would panic.
#![expect(
    missing_docs,
    reason = "the macro makes public items that carry no documentation"
)]

use super::Heart;
use std::rc::Rc;
use worker::{
    DurableObject, Env, Request, Response, State, WebSocket, WebSocketIncomingMessage,
    console_error, durable_object,
};

/// One person's Durable Object.
#[durable_object]
pub struct UserObject {
    heart: Rc<Heart>,
}

impl DurableObject for UserObject {
    fn new(state: State, env: Env) -> Self {
        Self {
            heart: Rc::new(Heart::new(state, env)),
        }
    }

    async fn fetch(&self, request: Request) -> worker::Result<Response> {
        let heart = &self.heart;
        heart.wake().await?;
        Ok(heart.answer(request).await?)
    }

    async fn alarm(&self) -> worker::Result<Response> {
        if let Err(error) = self.heart.ring().await {
            console_error!("alarm: {error}");
            self.heart.look_again(); // an alarm that gives up would leave a turn behind for good
        }
        Response::empty()
    }

    async fn websocket_message(
        &self,
        socket: WebSocket,
        message: WebSocketIncomingMessage,
    ) -> worker::Result<()> {
        if let Err(error) = self.heart.heard(&socket, message).await {
            console_error!("socket: {error}");
        }
        Ok(())
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        _code: usize,
        _reason: String,
        _clean: bool,
    ) -> worker::Result<()> {
        self.heart.gone(&socket).await;
        Ok(())
    }

    async fn websocket_error(
        &self,
        socket: WebSocket,
        _error: worker::Error,
    ) -> worker::Result<()> {
        self.heart.gone(&socket).await;
        Ok(())
    }
}
