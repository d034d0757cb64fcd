//! Files that came by a chat app: fetched from there once, kept like those that a page gave.

use super::Heart;
use crate::channels::Media;
use crate::channels::app::App;
use crate::error::{Error, Result};
use crate::http::{self, Streaming, within};
use agent::Attachment;
use futures::{Stream, stream};
use std::time::Duration;
use worker::console_log;

/// How long the app may take to answer, and then to pause.
const LIMIT: Duration = Duration::from_secs(30);

impl Heart {
    /// Fetches a file that somebody sent; an error is why it could not be had, in words for the model and the person.
    pub(super) async fn fetch_media(
        &self,
        conversation: &str,
        media: &Media,
    ) -> Result<std::result::Result<Attachment, String>> {
        let Ok((app, _)) = App::of(conversation, &self.config) else {
            return Ok(Err("it cannot be fetched from there".into()));
        };
        let Some(question) = app.find_media(media) else {
            return Ok(Err("it cannot be fetched from there".into()));
        };
        let allowance = self.allowance();
        allowance.take();
        let place = http::send(question, None, LIMIT).await?;
        if place.status >= 500 {
            return Err(Error::Transfer(format!("status {}", place.status))); // tried again
        }
        if place.status != 200 {
            console_log!("a {} is nowhere: status {}", media.kind, place.status);
            return Ok(Err("the app does not hand it over".into()));
        }
        let Some(request) = app.fetch_media(&place.body) else {
            console_log!("a {} lies where nobody may look", media.kind);
            return Ok(Err("it lies where I may not fetch it".into()));
        };
        allowance.take();
        let Some(file) = within(LIMIT, http::open(request, None)).await.transpose()? else {
            return Ok(Err("the app was too slow".into()));
        };
        if file.status >= 500 {
            return Err(Error::Transfer(format!("status {}", file.status)));
        }
        if file.status != 200 {
            console_log!(
                "a {} was not handed over: status {}",
                media.kind,
                file.status
            );
            return Ok(Err("the app does not hand it over".into()));
        }
        let hash = Some(media.sha256.as_str()).filter(|hash| !hash.is_empty());
        self.take_stream(&media.name, &media.mime, hash, pieces(file))
            .await
    }
}

/// The bytes of an answer, piece by piece; a pause that is too long ends them.
fn pieces(file: Streaming) -> impl Stream<Item = worker::Result<Vec<u8>>> {
    stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let late = || Err(worker::Error::RustError("the app was too slow".into()));
        match within(LIMIT, file.next()).await {
            None => Some((late(), None)),
            Some(Ok(Some(piece))) => Some((Ok(piece), Some(file))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some((Err(worker::Error::RustError(error.to_string())), None)),
        }
    })
}
