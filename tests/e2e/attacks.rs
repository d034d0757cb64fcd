//! Attacks on what works once: pairing links, a machine's tokens, sign-in links, sessions.

use crate::kit::World;
use crate::kit::person::Person;
use futures::future::join_all;
use protocol::key::{PublicKey, SigningKey, encode, random_text};
use protocol::pairing::{Answer, Link, MAX_TRIES, Request};
use protocol::session::HelloClaims;
use protocol::token::{self, Binding, Kind};
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request as Upgrade;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::test]
async fn five_wrong_tries_end_a_pairing_link_and_two_right_ones_at_once_make_one_machine() {
    let world = World::start("offline").await;
    let ada = world.owner().await;

    for garbage in ["", "{}", "[]", "{\"pairing\":7}"] {
        assert_eq!(posts(&world, garbage.into()).await.status(), 401);
    }
    let link = pairing_link(&ada).await;
    let guess = Link {
        secret: random_text().unwrap(),
        ..link.clone()
    };
    for _ in 0..MAX_TRIES {
        assert_eq!(asks(&world, &guess).await.status(), 401);
    }
    assert_eq!(
        asks(&world, &link).await.status(),
        401,
        "the link outlived its tries"
    );

    let link = pairing_link(&ada).await;
    let both = join_all([asks(&world, &link), asks(&world, &link)]).await;
    let mut statuses: Vec<u16> = both.iter().map(|answer| answer.status().as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    let machines = world.runtime.sql("SELECT state FROM bridges", &[]).await;
    assert_eq!(machines, [json!({"state": "pending"})]);
    world.ends_well();
}

#[tokio::test]
async fn a_machines_token_opens_one_socket_and_nothing_that_only_looks_like_it_opens_any() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let key = SigningKey::generate().unwrap();
    let command_key = joined(&world, &ada, &key).await;
    let path = |token: &str| (format!("Bearer {token}"), "/bridge".to_owned());
    let fresh = || hello(Kind::Hello, &key, &command_key);

    let token = fresh();
    let (_, rest) = token.split_once('.').unwrap();
    let (claims, _) = rest.split_once('.').unwrap();
    let header = |algorithm: &str| {
        let id = key.public().id().0;
        encode(
            json!({"alg": algorithm, "typ": "hello+jwt", "kid": id})
                .to_string()
                .as_bytes(),
        )
    };
    for (authorization, path) in [
        path(&format!("{}.{}.", header("none"), claims)),
        path(&format!("{}.{rest}", header("HS256"))),
        path(&hello(Kind::Receipt, &key, &command_key)),
        path(&hello(
            Kind::Hello,
            &SigningKey::generate().unwrap(),
            &command_key,
        )),
        path(&hello(
            Kind::Hello,
            &key,
            &SigningKey::generate().unwrap().public(),
        )),
        path(&format!("{},{}", fresh(), fresh())),
        (fresh(), "/bridge".to_owned()),
        (String::new(), format!("/bridge?token={}", fresh())),
    ] {
        assert_eq!(
            dials(&world, &authorization, &path).await,
            401,
            "{authorization} at {path}"
        );
    }

    let (authorization, path) = path(&fresh());
    assert_eq!(dials(&world, &authorization, &path).await, 101);
    assert_eq!(
        dials(&world, &authorization, &path).await,
        401,
        "the token works twice"
    );
    world.ends_well();
}

#[tokio::test]
async fn of_three_browsers_with_one_link_one_is_signed_in_and_out_again_for_good() {
    let world = World::start("offline").await;
    let ada = world.owner().await;
    let link = world.sign_in_link(&ada).await;
    let browser = Client::builder()
        .redirect(Policy::none())
        .build()
        .expect("a client that stays where it is can be made");
    let post = |address: &str, cookie: &str, origin: &str| {
        browser
            .post(address)
            .header(COOKIE, cookie)
            .header(ORIGIN, origin)
            .send()
    };

    let own = &world.runtime.url;
    let elsewhere = post(&link, "", "https://evil.example").await.unwrap();
    assert_eq!(elsewhere.status(), 403);
    let answers = join_all([(); 3].map(|()| post(&link, "", own))).await;
    let answers: Vec<Response> = answers.into_iter().map(Result::unwrap).collect();
    let mut statuses: Vec<u16> = answers
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 403, 403]);
    let session = answers
        .iter()
        .find(|answer| answer.headers().contains_key(LOCATION))
        .and_then(|answer| answer.headers().get(SET_COOKIE)?.to_str().ok())
        .and_then(|cookie| cookie.split(';').next())
        .expect("the one that was let in has a cookie");

    let page = world.url("/console/");
    let get = || browser.get(&page).header(COOKIE, session).send();
    assert_eq!(get().await.unwrap().status(), 200);
    let out = world.url("/console/api/sign-out");
    let forged = post(&out, session, "https://evil.example").await.unwrap();
    assert_eq!(forged.status(), 403);
    assert_eq!(post(&out, session, own).await.unwrap().status(), 303);
    assert_eq!(get().await.unwrap().status(), 401);
    world.ends_well();
}

/// A pairing link, asked for in the chat.
async fn pairing_link(person: &Person<'_>) -> Link {
    person.says("/pair").await;
    let offer = person.hears("bernard://pair?").await;
    let link = offer.text.split('\'').nth(1).expect("a quoted link");
    Link::parse(link).expect("a pairing link")
}

/// A fresh machine asks to be paired.
async fn asks(world: &World, link: &Link) -> Response {
    asks_with(
        world,
        link,
        &SigningKey::generate().expect("the system has randomness"),
    )
    .await
}

async fn asks_with(world: &World, link: &Link, key: &SigningKey) -> Response {
    let nonce = random_text().expect("the system has randomness");
    let request =
        Request::new(link, key, "mac-mini", &nonce).expect("a machine may have this name");
    posts(
        world,
        serde_json::to_string(&request).expect("a request is JSON"),
    )
    .await
}

async fn posts(world: &World, body: String) -> Response {
    let request = world.client.post(world.url("/bridge/pair")).body(body);
    request.send().await.expect("the Worker answers")
}

/// Pairs a machine of this key and confirms it; gives the key that will sign orders.
pub(crate) async fn joined(world: &World, person: &Person<'_>, key: &SigningKey) -> PublicKey {
    let link = pairing_link(person).await;
    let answer = asks_with(world, &link, key).await;
    let answer: Answer = answer.json().await.expect("the Worker's proofs");
    let question = person.hears("six words").await;
    person.presses(&question, "match").await;
    PublicKey::from_text(&answer.command_key).expect("a public key")
}

/// A token of this kind by a machine's key, as young as can be.
pub(crate) fn hello(kind: Kind, key: &SigningKey, command_key: &PublicKey) -> String {
    let (issuer, audience) = (key.public().id(), command_key.id());
    let binding = Binding {
        issuer: &issuer,
        audience: &audience,
        nonce: None,
    };
    token::issue(kind, key, binding, &HelloClaims {}, now()).expect("a key can sign")
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970");
    i64::try_from(now.as_millis()).expect("not that much later")
}

/// The status with which a dial ends; 101 where a socket opens and challenges.
async fn dials(world: &World, authorization: &str, path: &str) -> u16 {
    match connect_async(upgrade(world, authorization, path)).await {
        Ok((mut socket, answer)) => {
            let first = futures::StreamExt::next(&mut socket).await;
            assert!(
                matches!(&first, Some(Ok(Message::Text(text))) if text.contains("challenge")),
                "{first:?}"
            );
            answer.status().as_u16()
        }
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(error) => panic!("the dial broke: {error}"),
    }
}

/// What asks for a socket at a path, with this `Authorization` if it is not empty.
pub(crate) fn upgrade(world: &World, authorization: &str, path: &str) -> Upgrade {
    let address = world.url(path).replacen("http", "ws", 1);
    let mut request = address.into_client_request().expect("an address");
    if !authorization.is_empty() {
        let value = HeaderValue::from_str(authorization).expect("a token is a header");
        request.headers_mut().insert("authorization", value);
    }
    request
}
