//! Who gets in: nobody without proof, Telegram with its secret, people whom the owner knows.

use crate::kit::person::acknowledged;
use crate::kit::{OWNER_CLAIM, SECRET_HEADER, WEBHOOK_SECRET, World};
use bernard::routes::TABLE;
use futures::stream;
use reqwest::{Body, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;

/// More than any update can have.
const OVERSIZE: usize = 300 * 1024;

#[tokio::test]
async fn the_webhook_opens_to_telegrams_secret_alone() {
    let world = World::start("anthropic/claude-test").await;
    let update = world.stranger(5).text_update("let me in").to_string();

    for headers in [
        vec![],
        vec![""],
        vec!["wrong"],
        vec![&WEBHOOK_SECRET[1..]],
        vec![&WEBHOOK_SECRET.to_uppercase()],
        vec![WEBHOOK_SECRET, WEBHOOK_SECRET],
        vec![WEBHOOK_SECRET, "wrong"],
    ] {
        let answer = knock(&world, &headers, update.clone()).await;
        assert_eq!(answer.status(), 401, "with {headers:?}");
    }
    let answer = knock(&world, &[], vec![b' '; OVERSIZE]).await;
    assert_eq!(
        answer.status(),
        401,
        "the secret is looked at before the body"
    );
    assert_eq!(
        world.runtime.objects().await,
        Vec::<Value>::new(),
        "a stranger's request woke an object"
    );

    let with_length = knock(&world, &[WEBHOOK_SECRET], vec![b' '; OVERSIZE]).await;
    assert_eq!(with_length.status(), 413);
    let chunked = knock(&world, &[WEBHOOK_SECRET], endless_spaces()).await;
    assert_eq!(chunked.status(), 413, "without a length");

    for garbage in [
        "",
        "{",
        "[]",
        "\u{0}",
        "{\"update_id\":1}",
        "{\"update_id\":\"x\",\"message\":7}",
        "null",
    ] {
        acknowledged(world.webhook(garbage).await).await;
    }
    assert_eq!(world.telegram.deeds().len(), 0, "garbage moved something");
    world.ends_well();
}

#[tokio::test]
async fn an_unset_webhook_secret_closes_the_webhook_and_nothing_else_opens() {
    let world = World::start_without("offline", &["TELEGRAM_WEBHOOK_SECRET"]).await;
    for headers in [vec![], vec![""], vec![WEBHOOK_SECRET]] {
        assert_eq!(
            knock(&world, &headers, "{}").await.status(),
            503,
            "with {headers:?}"
        );
    }
    let log = world.runtime.log();
    assert!(
        log.contains("TELEGRAM_WEBHOOK_SECRET"),
        "the log does not say which secret is missing:\n{log}"
    );
    census(&world).await;
    world.ends_well();
}

#[tokio::test]
async fn without_credentials_only_the_health_check_answers() {
    let world = World::start("offline").await;
    census(&world).await;
    for path in ["/bridge", "/console/live"] {
        let opened = connect_async(world.url(path).replacen("http", "ws", 1)).await;
        assert!(opened.is_err(), "{path} opened a socket for nobody");
    }
    assert_eq!(
        world.runtime.objects().await,
        Vec::<Value>::new(),
        "a stranger's request woke an object"
    );
    world.ends_well();
}

#[tokio::test]
async fn the_claim_makes_one_owner_and_strangers_get_one_notice() {
    let world = World::start("anthropic/claude-test").await;
    let stranger = world.stranger(666);
    for text in ["hello", "/start wrong-claim", "/pair", "run rm -rf /"] {
        stranger.says(text).await;
    }
    let owner = world.owner().await;

    let thief = world.stranger(777);
    thief.says(&format!("/start {OWNER_CLAIM}")).await;
    thief.says("what do you know?").await;

    world.anthropic.then_says("Hello, owner.");
    owner.says("hello").await;
    owner.hears("Hello, owner.").await;
    let users = world.runtime.sql("SELECT role FROM users", &[]).await;
    assert_eq!(users, [json!({"role": "owner"})]);
    assert!(
        stranger.messages().len() <= 1,
        "a stranger was told more than once: {:#?}",
        stranger.messages()
    );
    assert!(
        thief.messages().len() <= 1,
        "a thief was told more than once: {:#?}",
        thief.messages()
    );
    assert_eq!(
        world.anthropic.requests().len(),
        1,
        "a stranger cost a model call"
    );
    assert_eq!(
        world.runtime.objects().await.len(),
        1,
        "a stranger has an object"
    );
    world.ends_well();
}

async fn knock(world: &World, secrets: &[&str], body: impl Into<Body>) -> Response {
    let request = world.client.post(world.url("/telegram/webhook"));
    let with_secret =
        |request: RequestBuilder, secret: &&str| request.header(SECRET_HEADER, *secret);
    let request = secrets.iter().fold(request, with_secret);
    request.body(body).send().await.expect("the Worker answers")
}

/// More than fits, and its length is not told.
fn endless_spaces() -> Body {
    let chunks = (0..10).map(|_| Ok::<_, std::io::Error>(vec![b' '; OVERSIZE / 10]));
    Body::wrap_stream(stream::iter(chunks))
}

/// Asks for every route and 200 made-up paths by every method, without credentials.
async fn census(world: &World) {
    let known = TABLE.iter().map(|route| {
        let parts = route
            .path
            .split('/')
            .map(|part| if part.starts_with(':') { "x" } else { part });
        parts.collect::<Vec<_>>().join("/")
    });
    for path in known {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            nobody_gets_in(world, method, &path).await;
        }
    }
    let mut dice = Dice(0x5EED);
    for _ in 0..200 {
        let method = dice.one_of(&["GET", "HEAD", "POST", "PUT", "DELETE"]);
        nobody_gets_in(world, method, &made_up(&mut dice)).await;
    }
}

async fn nobody_gets_in(world: &World, method: &str, path: &str) {
    let name = Method::from_bytes(method.as_bytes()).expect("a method");
    let request = world
        .client
        .request(name, world.url(path))
        .build()
        .expect("a request");
    // The client resolves `..` itself.
    let asked = request.url().path().to_owned();
    let answer = world
        .client
        .execute(request)
        .await
        .expect("the Worker answers");
    let status = answer.status();
    let cookies = answer.headers().get("set-cookie").cloned();
    let body = answer.text().await.expect("a body");
    if asked == "/healthz" && matches!(method, "GET" | "HEAD") {
        assert_eq!(
            (status.as_u16(), body.as_str()),
            (200, if method == "GET" { "ok" } else { "" })
        );
        return;
    }
    let closed = status.is_client_error() || (status == 503 && asked.ends_with("/webhook"));
    assert!(closed, "{method} {asked} answered {status}: {body}");
    assert_eq!(cookies, None, "{method} {asked} gave a cookie to nobody");
}

fn made_up(dice: &mut Dice) -> String {
    const PARTS: &[&str] = &[
        "healthz",
        "telegram",
        "webhook",
        "bridge",
        "pair",
        "console",
        "api",
        "live",
        "files",
        "sign-in",
        "bridges",
        "app.js",
        "admin",
        "debug",
        ".env",
        ".git",
        "..",
        "%2e%2e",
        "%00",
        "whatsapp",
        "graphql",
        "v1",
        "x",
        "0",
        "é",
        "index.html",
        "cgi",
        "ws",
        "config",
        "state",
    ];
    let depth = 1 + dice.roll(4);
    let parts: Vec<&str> = (0..depth).map(|_| dice.one_of(PARTS)).collect();
    let query = dice.one_of(&["", "", "", "?token=x", "?debug=1", "?secret="]);
    let slash = dice.one_of(&["", "", "/", "//"]);
    format!("/{}{slash}{query}", parts.join("/"))
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits fit") % sides
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.roll(choices.len())]
    }
}
