-- Who exists: people, their addresses in the chat apps, their bridges, and the secrets that join them.
-- What was said lies in each person's own object, never here. Secrets are kept as SHA-256, lower-case hex.
-- Times are milliseconds since 1970, UTC.

CREATE TABLE users (
  id         TEXT PRIMARY KEY,             -- 128 random bits, hex; names the person's Durable Object
  role       TEXT NOT NULL CHECK (role IN ('owner', 'member', 'guest')),
  created_at INTEGER NOT NULL
) STRICT;

-- A person's address in a chat app. Numeric ids only: names change hands.
CREATE TABLE identities (
  channel    TEXT NOT NULL,                -- 'telegram'
  address    TEXT NOT NULL,                -- the app's own numeric id
  user_id    TEXT NOT NULL REFERENCES users (id),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (channel, address)
) STRICT;

-- Owner claims that have been used; a claim works once.
CREATE TABLE claims (
  hash    TEXT PRIMARY KEY,
  used_by TEXT NOT NULL REFERENCES users (id),
  used_at INTEGER NOT NULL
) STRICT;

-- Strangers who have had their one notice.
CREATE TABLE strangers (
  channel     TEXT NOT NULL,
  address     TEXT NOT NULL,
  notified_at INTEGER NOT NULL,
  PRIMARY KEY (channel, address)
) STRICT;

-- One-time links that sign a browser in to the console.
CREATE TABLE sign_in_links (
  hash       TEXT PRIMARY KEY,
  user_id    TEXT NOT NULL REFERENCES users (id),
  expires_at INTEGER NOT NULL,
  used_at    INTEGER
) STRICT;

-- Browsers that are signed in.
CREATE TABLE sessions (
  hash       TEXT PRIMARY KEY,
  user_id    TEXT NOT NULL REFERENCES users (id),
  expires_at INTEGER NOT NULL
) STRICT;

-- Open pairing links: which person's object judges the secret. The secret itself lies there.
CREATE TABLE pairings (
  id         TEXT PRIMARY KEY,
  user_id    TEXT NOT NULL REFERENCES users (id),
  expires_at INTEGER NOT NULL
) STRICT;

-- Paired machines. `id` is the RFC 7638 thumbprint of the machine's public key.
CREATE TABLE bridges (
  id         TEXT PRIMARY KEY,
  user_id    TEXT NOT NULL REFERENCES users (id),
  name       TEXT NOT NULL,
  public_key TEXT NOT NULL,                -- Ed25519, base64url without padding
  command_key TEXT NOT NULL,               -- the thumbprint of the person's command key: the audience of the machine's tokens
  state      TEXT NOT NULL CHECK (state IN ('pending', 'active', 'revoked')),
  created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX bridges_by_user ON bridges (user_id);

-- What changed who may do what. Append-only.
CREATE TABLE audit (
  id      INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  user_id TEXT,
  deed    TEXT NOT NULL,                   -- such as 'owner_claimed', 'bridge_confirmed'
  subject TEXT NOT NULL
) STRICT;
