//! Bernard's Worker: hears and speaks. Requests come in by [`routes`], prove themselves at a [`door`], and are answered by the
//! `front`; each person's own Durable Object ([`user`]) does the rest.

pub mod channels;
pub mod config;
pub mod console;
pub mod directory;
pub mod door;
pub mod error;
mod front;
pub mod http;
pub mod models;
pub mod routes;
pub mod secret;
pub mod time;
pub mod tools;
pub mod user;

use worker::{Context, Env, Request, Response, console_error, event};

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    match front::answer(request, env, context).await {
        Ok(response) => Ok(response),
        // 503 and not 500: a provider that delivered something tries again.
        Err(error) => {
            console_error!("{error}");
            Response::error("unavailable", 503)
        }
    }
}
