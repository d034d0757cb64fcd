//! The table of routes: what is asked for, and who must prove themselves to get it. What is not in the table is not there.

use crate::channels::Channel;

/// Who must prove themselves, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nobody: the answer tells nothing.
    Nothing,
    /// A chat app, by what its webhook carries.
    Webhook(Channel),
    /// A paired machine, by a token of its own key.
    BridgeToken,
    /// A machine that is being paired, by the secret of a pairing link.
    PairingLink,
    /// A person, by a one-time sign-in link.
    SignInLink,
    /// A person's browser, by its session.
    Session,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each is named by the route that it stands beside in the table"
)]
pub enum Deed {
    Health,
    Update,
    Handshake,
    Bridge,
    Thaw,
    Pair,
    SignInPage,
    SignIn,
    ConsolePage,
    ConsoleScript,
    ConsoleStyle,
    ConsoleLive,
    ConsoleFile,
    GiveFile,
    Bridges,
    PairLink,
    ConfirmBridge,
    RevokeBridge,
    SignOut,
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The HTTP method.
    pub method: &'static str,
    /// The path; `:x` stands for one part, which is handed to the deed.
    pub path: &'static str,
    /// Who must prove themselves.
    pub proof: Proof,
    /// What it does.
    pub deed: Deed,
}

const fn route(method: &'static str, path: &'static str, proof: Proof, deed: Deed) -> Route {
    Route {
        method,
        path,
        proof,
        deed,
    }
}

/// Every route there is.
pub const TABLE: &[Route] = &[
    route("GET", "/healthz", Proof::Nothing, Deed::Health),
    route("HEAD", "/healthz", Proof::Nothing, Deed::Health),
    route(
        "POST",
        "/telegram/webhook",
        Proof::Webhook(Channel::Telegram),
        Deed::Update,
    ),
    route(
        "POST",
        "/whatsapp/webhook",
        Proof::Webhook(Channel::WhatsApp),
        Deed::Update,
    ),
    route(
        "GET",
        "/whatsapp/webhook",
        Proof::Webhook(Channel::WhatsApp),
        Deed::Handshake,
    ),
    route("GET", "/bridge", Proof::BridgeToken, Deed::Bridge),
    route("POST", "/bridge/resume", Proof::BridgeToken, Deed::Thaw),
    route("POST", "/bridge/pair", Proof::PairingLink, Deed::Pair),
    route(
        "GET",
        "/console/sign-in/:secret",
        Proof::SignInLink,
        Deed::SignInPage,
    ),
    route(
        "POST",
        "/console/sign-in/:secret",
        Proof::SignInLink,
        Deed::SignIn,
    ),
    route("GET", "/console/", Proof::Session, Deed::ConsolePage),
    route(
        "GET",
        "/console/app.js",
        Proof::Session,
        Deed::ConsoleScript,
    ),
    route(
        "GET",
        "/console/app.css",
        Proof::Session,
        Deed::ConsoleStyle,
    ),
    route("GET", "/console/live", Proof::Session, Deed::ConsoleLive),
    route(
        "GET",
        "/console/files/:call",
        Proof::Session,
        Deed::ConsoleFile,
    ),
    route("POST", "/console/files", Proof::Session, Deed::GiveFile),
    route("GET", "/console/api/bridges", Proof::Session, Deed::Bridges),
    route("POST", "/console/api/pair", Proof::Session, Deed::PairLink),
    route(
        "POST",
        "/console/api/bridges/:id/confirm",
        Proof::Session,
        Deed::ConfirmBridge,
    ),
    route(
        "POST",
        "/console/api/bridges/:id/revoke",
        Proof::Session,
        Deed::RevokeBridge,
    ),
    route(
        "POST",
        "/console/api/sign-out",
        Proof::Session,
        Deed::SignOut,
    ),
];

/// Finds the route for a request, with the part of the path that stands for `:x` (empty where there is none).
pub fn find(method: &str, path: &str) -> Option<(Route, String)> {
    TABLE
        .iter()
        .filter(|route| route.method == method)
        .find_map(|route| Some((*route, matches(route.path, path)?)))
}

fn matches(pattern: &str, path: &str) -> Option<String> {
    let (wanted, given): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), path.split('/').collect());
    if wanted.len() != given.len() {
        return None;
    }
    let mut part = String::new();
    for (want, have) in wanted.into_iter().zip(given) {
        if want.starts_with(':') && !have.is_empty() && have.len() <= 128 {
            have.clone_into(&mut part);
        } else if want != have {
            return None;
        }
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_route_and_its_part() {
        let found = |method, path| find(method, path).map(|(route, part)| (route.deed, part));
        assert_eq!(
            found("GET", "/healthz"),
            Some((Deed::Health, String::new()))
        );
        assert_eq!(
            found("POST", "/console/api/bridges/abc/revoke"),
            Some((Deed::RevokeBridge, "abc".into()))
        );
        for path in [
            "/",
            "/healthz/",
            "/console",
            "/console/files/",
            "/console/files/a/b",
            "/console/api/bridges//revoke",
        ] {
            assert_eq!(found("GET", path), None, "{path}");
        }
        assert_eq!(found("DELETE", "/healthz"), None);
    }

    #[test]
    fn only_the_health_check_asks_for_no_proof() {
        let open: Vec<&str> = TABLE
            .iter()
            .filter(|route| route.proof == Proof::Nothing)
            .map(|route| route.path)
            .collect();
        assert_eq!(open, ["/healthz", "/healthz"]);
    }
}
