//! What each route does, once its proof is there. The front looks up and passes on; the person's object does the work.

use crate::channels::app::{self, App};
use crate::channels::{Channel, Deed as Done, Fate, Inbound};
use crate::config::Config;
use crate::console::{Asset, SESSION_MILLIS, hardened};
use crate::directory::{Directory, Knock, Stranger};
use crate::door::console::{Visitor, cookie_name, is_from_own_page};
use crate::door::webhook::{self, Turned};
use crate::door::{self, Verified};
use crate::error::{Error, Result};
use crate::http;
use crate::routes::{self, Deed, Proof, Route};
use crate::user::{ERRAND_HEADER, Errand, REFUSED_PAIRING, now, people};
use ::http::HeaderMap;
use futures::StreamExt;
use protocol::call::CallId;
use protocol::key::{encode, random_bytes, sha256_hex};
use std::time::Duration;
use worker::{
    Context, Env, Headers, Method, Request, RequestInit, Response, console_error, console_log,
};

/// The most that a pairing request may hold, in bytes.
const PAIR_LIMIT: usize = 8 * 1024;

/// The header in which a page says what a file is called, percent-encoded.
const FILE_NAME: &str = "x-file-name";

/// The longest name that is passed on, in bytes: every character of a name may take nine.
const FILE_NAME_LIMIT: usize = 4 * 1024;

/// How long the front waits for an app when it tells a stranger.
const NOTICE_LIMIT: Duration = Duration::from_secs(10);

/// One request and all that is needed to judge it.
struct Visit {
    request: Request,
    headers: HeaderMap,
    /// Scheme, host and port, as the asker wrote them.
    origin: String,
    env: Env,
    config: Config,
    context: Context,
}

/// Answers a request: the table says who must prove themselves, and without proof nothing is told.
pub(crate) async fn answer(request: Request, env: Env, context: Context) -> Result<Response> {
    let method = request.inner().method(); // the crate's own `Method` takes what it does not know for GET
    let Some((route, part)) = routes::find(&method, &request.path()) else {
        return refuse(404);
    };
    let config = Config::read(|name| env.var(name).ok().map(|value| value.to_string()));
    let origin = request.url()?.origin().ascii_serialization();
    let headers = http::incoming_headers(&request);
    let mut visit = Visit {
        request,
        headers,
        origin,
        env,
        config,
        context,
    };
    match route.proof {
        Proof::Nothing => Ok(Response::ok("ok")?),
        Proof::Webhook(app) if route.deed == Deed::Handshake => visit.handshake(app),
        Proof::Webhook(app) => visit.webhook(app).await,
        Proof::BridgeToken => visit.bridge(route.deed).await,
        Proof::PairingLink => visit.pair().await,
        Proof::SignInLink => hardened(visit.sign_in(route, &part).await?),
        Proof::Session => hardened(visit.console(route, part).await?),
    }
}

/// Brings an errand to somebody's object; answered with JSON, a file or nothing.
pub(crate) async fn bring(env: &Env, user: &str, errand: &Errand) -> Result<Response> {
    let mut init = RequestInit::new();
    init.with_method(Method::Post)
        .with_body(Some(errand.encode()?.into()));
    let request = Request::new_with_init("https://user/", &init)?;
    let stub = env.durable_object("USER")?.get_by_name(user)?;
    Ok(stub.fetch_with_request(request).await?)
}

/// The same few words for every refusal of a kind: whoever has no proof learns nothing from the answer.
fn refuse(status: u16) -> Result<Response> {
    let words = match status {
        401 => "unauthorized",
        403 => "forbidden",
        413 => "too large",
        503 => "unavailable",
        _ => "not found",
    };
    Ok(Response::error(words, status)?)
}

impl Visit {
    async fn webhook(&mut self, app: Channel) -> Result<Response> {
        let pass = match webhook::check(app, &self.headers, &self.config) {
            Ok(pass) => pass,
            Err(turned) => return turn_back(app, &turned, 401),
        };
        let Some(body) = self.body(pass.body_limit()).await? else {
            return refuse(413);
        };
        let proven = match pass.seal(body) {
            Ok(proven) => proven,
            Err(turned) => return turn_back(app, &turned, 401),
        };
        match app::receive(&proven) {
            Ok(heard) => {
                for why in heard.dropped {
                    console_log!("{} update: {why} was left out", app.name());
                }
                for inbound in heard.inbound {
                    self.hear(inbound).await?;
                }
                for fate in heard.fates {
                    self.pass_on(fate).await?;
                }
            }
            // What is not understood would be delivered again for a day and block its chat: it is dropped, and said so here.
            Err(garbage) => console_error!("{} update dropped: {garbage}", app.name()),
        }
        Ok(Response::empty()?.with_status(200)) // a body could be executed as an API call
    }

    /// Answers an app that asks whether its webhook is ours.
    fn handshake(&self, app: Channel) -> Result<Response> {
        let url = self.request.url()?;
        match webhook::handshake(app, url.query().unwrap_or_default(), &self.config) {
            Ok(challenge) => {
                let headers = Headers::new();
                headers.set("content-type", "text/plain")?;
                headers.set("x-content-type-options", "nosniff")?;
                let body = challenge.into_inner().into_bytes();
                Ok(Response::from_bytes(body)?.with_headers(headers))
            }
            Err(turned) => turn_back(app, &turned, 403),
        }
    }

    /// Passes on what a known person did; a stranger is told once that this is not for them.
    async fn hear(&self, mut inbound: Inbound) -> Result<()> {
        let directory = Directory::new(&self.env)?;
        let known = directory
            .person(inbound.channel.name(), &inbound.sender)
            .await?;
        let claimed = known.is_none();
        let person = if claimed {
            self.read_as_claim(&mut inbound);
            self.claim(&directory, &inbound).await?
        } else {
            known
        };
        let Some(person) = person else {
            if self.join(&directory, &inbound).await? {
                return Ok(());
            }
            return self.turn_away(&directory, &inbound).await;
        };
        let origin = self.origin.clone();
        let mut answer = self
            .send(
                &person,
                &Errand::Inbound {
                    inbound,
                    origin,
                    claimed,
                },
            )
            .await?;
        if answer.status_code() >= 300 {
            return Err(Error::Violation(answer.text().await?)); // not stored: the app shall try again
        }
        Ok(())
    }

    /// Passes on what became of a message; of one to nobody who is known, there is nothing to note.
    async fn pass_on(&self, fate: Fate) -> Result<()> {
        let directory = Directory::new(&self.env)?;
        let person = directory.person(fate.channel.name(), &fate.person).await?;
        if let Some(person) = person {
            let mut answer = self.send(&person, &Errand::Fate { fate }).await?;
            if answer.status_code() >= 300 {
                return Err(Error::Violation(answer.text().await?));
            }
        }
        Ok(())
    }

    /// The bare claim is as good as the command that an app's link would make of it.
    fn read_as_claim(&self, inbound: &mut Inbound) {
        if let (Some(claim), Done::Wrote { text, .. }) = (&self.config.owner_claim, &inbound.deed)
            && door::is_claim(text.trim(), claim)
        {
            inbound.deed = Done::Commanded {
                name: "start".to_owned(),
                argument: text.trim().to_owned(),
            };
        }
    }

    async fn claim(&self, directory: &Directory, inbound: &Inbound) -> Result<Option<String>> {
        let (Some(claim), Done::Commanded { name, argument }) =
            (&self.config.owner_claim, &inbound.deed)
        else {
            return Ok(None);
        };
        if name != "start" || !door::is_claim(argument, claim) {
            return Ok(None);
        }
        directory
            .claim(
                claim.expose(),
                inbound.channel.name(),
                &inbound.sender,
                now(),
            )
            .await
    }

    /// A stranger is told once for each code that this is not for them, and the owner that they are there. No object and no model of
    /// their own.
    async fn turn_away(&self, directory: &Directory, inbound: &Inbound) -> Result<()> {
        let code = people::code()?;
        let knock = Knock {
            channel: inbound.channel.name(),
            address: &inbound.sender,
            name: &inbound.sender_name,
            chat: &inbound.chat,
            code: &code,
        };
        if !directory.knock(&knock, now()).await? {
            return Ok(());
        }
        let owner = directory.owner().await?;
        let shown = owner.as_ref().map(|_| code.as_str());
        let notice = App::turn_away(inbound, shown, &self.config);
        if let Some(owner) = owner {
            let stranger = Stranger {
                channel: knock.channel.to_owned(),
                address: inbound.sender.clone(),
                name: inbound.sender_name.clone(),
                chat: inbound.chat.clone(),
            };
            let code = code.clone();
            let heard = self.send(&owner, &Errand::Knock { stranger, code }).await;
            if !heard
                .as_ref()
                .is_ok_and(|answer| answer.status_code() < 300)
            {
                directory.unknock(knock.channel, knock.address).await?; // the app delivers it again
                let why = "the owner could not be told of a stranger";
                return Err(Error::Violation(why.into()));
            }
        }
        if let Ok(notice) = notice {
            self.context.wait_until(async move {
                if let Err(error) = http::send(notice, None, NOTICE_LIMIT).await {
                    console_log!("a stranger could not be told: {error}");
                }
            });
        }
        Ok(())
    }

    /// Somebody who is known elsewhere shows the code that they were given there.
    async fn join(&self, directory: &Directory, inbound: &Inbound) -> Result<bool> {
        let mut code = None;
        if let Done::Wrote { text, .. } = &inbound.deed {
            code = people::as_code(text);
        } else if let Done::Commanded { name, argument } = &inbound.deed
            && name == "start"
        {
            code = people::as_code(argument);
        }
        let Some(code) = code else {
            return Ok(false);
        };
        let (channel, sender) = (inbound.channel.name(), &inbound.sender);
        let Some(person) = directory.join(&code, channel, sender, now()).await? else {
            return Ok(false);
        };
        let errand = Errand::Joined {
            conversation: inbound.conversation(),
            cause: inbound.delivery.clone(),
        };
        self.send(&person, &errand).await?;
        Ok(true)
    }

    async fn bridge(&self, deed: Deed) -> Result<Response> {
        let Some(token) = door::bridge::bearer(&self.headers) else {
            return refuse(401);
        };
        let Some(id) = door::bridge::claimed(token) else {
            return refuse(401);
        };
        let row = Directory::new(&self.env)?.bridge(&id).await?;
        let Some(caller) = row.and_then(|row| door::bridge::check(token, &row, now())) else {
            return refuse(401);
        };
        let door::bridge::Caller { id, user, token } = caller.into_inner();
        if deed == Deed::Thaw {
            return self.send(&user, &Errand::Thaw { id, token }).await;
        }
        self.connect(&user, &Errand::AcceptBridge { id, token })
            .await
    }

    async fn pair(&mut self) -> Result<Response> {
        let Some(body) = self.body(PAIR_LIMIT).await? else {
            return refuse(413);
        };
        if let Ok(request) = serde_json::from_slice::<protocol::pairing::Request>(&body)
            && let Some(user) = Directory::new(&self.env)?
                .pairing(&request.pairing, now())
                .await?
        {
            return self.send(&user, &Errand::Pair { request }).await;
        }
        Ok(Response::from_json(&serde_json::json!({ "error": REFUSED_PAIRING }))?.with_status(401))
    }

    async fn sign_in(&self, route: Route, secret: &str) -> Result<Response> {
        let directory = Directory::new(&self.env)?;
        if route.deed == Deed::SignInPage {
            let known = door::console::link(&directory, secret, now()).await?;
            return known.map_or_else(
                || Asset::SignInRefused.response(403),
                |_| Asset::SignIn.response(200),
            );
        }
        if self.headers.contains_key(::http::header::ORIGIN)
            && !is_from_own_page(&self.headers, &self.origin)
        {
            return Asset::SignInRefused.response(403);
        }
        let Some(visitor) = door::console::use_link(&directory, secret, now()).await? else {
            return Asset::SignInRefused.response(403);
        };
        let session = encode(&random_bytes::<32>()?);
        directory
            .open_session(
                &sha256_hex(session.as_bytes()),
                &visitor.get().user,
                now() + SESSION_MILLIS,
                now(),
            )
            .await?;
        self.see_other(
            "/console/",
            &self.set_cookie(&session, SESSION_MILLIS / 1000),
        )
    }

    async fn console(&mut self, route: Route, part: String) -> Result<Response> {
        let directory = Directory::new(&self.env)?;
        let Some(visitor) =
            door::console::session(&directory, &self.headers, &self.origin, now()).await?
        else {
            return if route.deed == Deed::ConsolePage {
                Asset::SignInRefused.response(401)
            } else {
                refuse(401)
            };
        };
        let changes = route.method != "GET" || route.deed == Deed::ConsoleLive;
        if changes && !is_from_own_page(&self.headers, &self.origin) {
            return refuse(403);
        }
        self.serve(&directory, route.deed, part, visitor).await
    }

    async fn serve(
        &self,
        directory: &Directory,
        deed: Deed,
        part: String,
        visitor: Verified<Visitor>,
    ) -> Result<Response> {
        let Visitor { user, hash } = visitor.into_inner();
        let origin = self.origin.clone();
        match deed {
            Deed::ConsolePage => Asset::Page.response(200),
            Deed::ConsoleScript => Asset::Script.response(200),
            Deed::ConsoleStyle => Asset::Style.response(200),
            Deed::ConsoleLive => {
                self.connect(
                    &user,
                    &Errand::AcceptPage {
                        origin,
                        session: hash,
                    },
                )
                .await
            }
            Deed::ConsoleFile => self.send(&user, &Errand::File { call: CallId(part) }).await,
            Deed::GiveFile => self.give(&user).await,
            Deed::Bridges => self.send(&user, &Errand::Bridges).await,
            Deed::PairLink => self.send(&user, &Errand::OfferPairing { origin }).await,
            Deed::ConfirmBridge => self.send(&user, &Errand::ConfirmBridge { id: part }).await,
            Deed::RevokeBridge => self.send(&user, &Errand::RevokeBridge { id: part }).await,
            Deed::SignOut => {
                directory.close_session(&hash).await?;
                self.send(&user, &Errand::EndSession { session: hash })
                    .await?;
                self.see_other("/console/", &self.set_cookie("", 0))
            }
            Deed::Health
            | Deed::Update
            | Deed::Handshake
            | Deed::Bridge
            | Deed::Thaw
            | Deed::Pair
            | Deed::SignInPage
            | Deed::SignIn => refuse(404),
        }
    }

    fn set_cookie(&self, secret: &str, seconds: i64) -> String {
        let secure = if self.origin.starts_with("https://") {
            "; Secure"
        } else {
            ""
        };
        format!(
            "{}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
            cookie_name(&self.origin)
        )
    }

    fn see_other(&self, place: &str, cookie: &str) -> Result<Response> {
        let headers = Headers::new();
        headers.set("location", &format!("{}{place}", self.origin))?;
        headers.set("set-cookie", cookie)?;
        headers.set("cache-control", "no-store")?;
        Ok(Response::empty()?.with_status(303).with_headers(headers))
    }

    /// An errand that is answered with JSON, a file or nothing.
    async fn send(&self, user: &str, errand: &Errand) -> Result<Response> {
        bring(&self.env, user, errand).await
    }

    /// An errand with a file, which passes through as it comes.
    async fn give(&self, user: &str) -> Result<Response> {
        let header = |name| {
            let value: Option<&::http::HeaderValue> = self.headers.get(name);
            value.and_then(|value| value.to_str().ok()).unwrap_or("")
        };
        let errand = Errand::GiveFile {
            name: header(FILE_NAME).chars().take(FILE_NAME_LIMIT).collect(),
            mime: header("content-type")
                .chars()
                .take(FILE_NAME_LIMIT)
                .collect(),
            length: header("content-length").parse().ok(),
        };
        let headers = Headers::new();
        headers.set(ERRAND_HEADER, &errand.encode()?)?;
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_headers(headers);
        init.with_body(self.request.inner().body().map(Into::into));
        self.object(user, Request::new_with_init("https://user/", &init)?)
            .await
    }

    /// An errand that opens a WebSocket.
    async fn connect(&self, user: &str, errand: &Errand) -> Result<Response> {
        if self
            .headers
            .get("upgrade")
            .is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        {
            return refuse(404);
        }
        let headers = Headers::new();
        headers.set("upgrade", "websocket")?;
        headers.set(ERRAND_HEADER, &errand.encode()?)?;
        let mut init = RequestInit::new();
        init.with_headers(headers);
        self.object(user, Request::new_with_init("https://user/", &init)?)
            .await
    }

    async fn object(&self, user: &str, request: Request) -> Result<Response> {
        let stub = self.env.durable_object("USER")?.get_by_name(user)?;
        Ok(stub.fetch_with_request(request).await?)
    }

    /// The body, or `None` if it is longer than the limit: by its own word, or as it comes.
    async fn body(&mut self, limit: usize) -> Result<Option<Vec<u8>>> {
        let announced = self
            .headers
            .get(::http::header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: usize| length > limit) {
            return Ok(None);
        }
        let mut body = Vec::new();
        let Ok(mut stream) = self.request.stream() else {
            return Ok(Some(body));
        };
        while let Some(piece) = stream.next().await {
            body.extend_from_slice(&piece?);
            if body.len() > limit {
                return Ok(None);
            }
        }
        Ok(Some(body))
    }
}

/// Nobody who comes no further learns why; the operator does. A route whose secret is not configured is closed.
fn turn_back(app: Channel, turned: &Turned, status: u16) -> Result<Response> {
    match turned {
        Turned::Closed(secret) => {
            console_error!("{secret} is not set: the route that needs it is closed");
            refuse(503)
        }
        Turned::Refused(why) => {
            console_log!("{} webhook: {why}", app.name());
            refuse(status)
        }
    }
}
