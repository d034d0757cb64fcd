//! D1: the tables of the local one, the owner, and the links that sign a browser in.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::{
    screen::Screen,
    tools::Tools,
    workspace::{Workspace, fingerprint, hex, stamped, write},
};

const LINK_LIFETIME_MS: u128 = 10 * 60 * 1000; // what the console promises

/// A secret that signs a browser in once.
pub(crate) struct SignIn(String);

impl SignIn {
    /// The path of the console that the secret opens.
    pub(crate) fn path(&self) -> String {
        format!("/console/sign-in/{}", self.0)
    }

    fn random() -> Result<Self> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).context("asking the system for random bytes")?;
        Ok(Self(hex(&secret)))
    }

    fn hash(&self) -> String {
        hex(&hmac_sha256::Hash::hash(self.0.as_bytes()))
    }
}

/// Applies the migrations, unless those of this folder are applied already.
pub(crate) fn migrate(workspace: &Workspace, screen: &Screen, tools: &Tools) -> Result<()> {
    let wanted = fingerprint(&workspace.root, &["migrations"])?;
    let stamp = workspace.state().join("state/migrations.stamp"); // goes when the database goes
    if stamped(&stamp, &wanted) {
        return Ok(());
    }
    let mut wrangler = tools.wrangler(workspace, ["d1", "migrations", "apply", "DB", "--local"])?;
    wrangler
        .arg("--persist-to")
        .arg(workspace.state().join("state"));
    let step = ("the database's tables made", "");
    screen.run(workspace, step, "d1-migrations", wrangler)?;
    write(&stamp, wanted)
}

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// The one of `cargo xtask dev`.
    Here,
    /// The deployed one: whoever may write there owns the deployment.
    Deployed,
}

/// Makes the owner, if there is none, and as many sign-in links as asked for.
pub(crate) fn sign_in_links<const N: usize>(
    workspace: &Workspace,
    screen: &Screen,
    tools: &Tools,
    place: Where,
) -> Result<[SignIn; N]> {
    let mut links = Vec::new();
    for _ in 0..N {
        links.push(SignIn::random()?);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("reading the clock")?;
    let sql = sql(&links, now.as_millis());
    let mut wrangler = tools.wrangler(workspace, ["d1", "execute", "DB", "--yes"])?;
    match place {
        Where::Here => {
            let state = workspace.state().join("state");
            wrangler.arg("--local").arg("--persist-to").arg(state);
        }
        Where::Deployed => {
            wrangler.arg("--remote");
        }
    }
    wrangler.args(["--command", &sql]);
    let step = ("a one-time sign-in link made", "");
    screen.run(workspace, step, "d1-links", wrangler)?;
    links.try_into().ok().context("as many links as asked for")
}

fn sql(links: &[SignIn], now: u128) -> String {
    let owner = format!(
        "INSERT INTO users (id, role, created_at) SELECT lower(hex(randomblob(16))), 'owner', {now} \
         WHERE NOT EXISTS (SELECT 1 FROM users WHERE role = 'owner');"
    );
    let expires = now + LINK_LIFETIME_MS;
    links.iter().fold(owner, |sql, link| {
        let hash = link.hash();
        sql + &format!(
            " INSERT INTO sign_in_links (hash, user_id, expires_at) SELECT '{hash}', id, {expires} \
             FROM users WHERE role = 'owner' ORDER BY created_at LIMIT 1;"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_given_the_hash_of_a_link_and_never_the_link() {
        let link = SignIn("abc".to_owned());
        assert_eq!(link.path(), "/console/sign-in/abc");
        let sql = sql(&[link], 1_000);
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-4's example
        assert!(sql.ends_with(&format!(
            " INSERT INTO sign_in_links (hash, user_id, expires_at) SELECT '{hash}', id, 601000 \
             FROM users WHERE role = 'owner' ORDER BY created_at LIMIT 1;"
        )));
        assert!(!sql.contains("abc"));
    }

    #[test]
    fn links_are_never_alike() {
        let [one, other] = [SignIn::random().unwrap(), SignIn::random().unwrap()];
        assert_ne!(one.path(), other.path());
        assert_eq!(one.path().len(), "/console/sign-in/".len() + 32);
    }
}
