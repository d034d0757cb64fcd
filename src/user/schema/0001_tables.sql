-- One person's object. Times are milliseconds since 1970, UTC; truth values are 0 and 1 (the runtime stores a bound boolean as text).
-- Rows written are what runs out first on Cloudflare's Free plan, and an index's rows count: hence few indexes and many tables WITHOUT ROWID.

-- What belongs to the object itself: its command key, the address it is reached under.
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Deliveries that were taken. A repeat changes nothing. Kept longer than any provider retries.
CREATE TABLE inbox (delivery TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Of these, the ones that are not handled yet, in their order.
CREATE TABLE waiting (
  seq          INTEGER PRIMARY KEY,
  delivery     TEXT NOT NULL,
  conversation TEXT NOT NULL,
  payload      TEXT NOT NULL,
  tries        INTEGER NOT NULL
) STRICT;

-- What was given up: deliveries that could not be handled, states that could not be read. For the owner and whoever helps them.
CREATE TABLE aside (
  seq          INTEGER PRIMARY KEY,
  what         TEXT NOT NULL,
  conversation TEXT NOT NULL,
  payload      TEXT NOT NULL,
  error        TEXT NOT NULL,
  at           INTEGER NOT NULL
) STRICT;

-- Acts that failed, and how often.
CREATE TABLE failures (act TEXT PRIMARY KEY, count INTEGER NOT NULL, error TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Where each conversation stands: the agent's machine as JSON, empty after one that could not be read. `open` is 1 while anything is
-- awaited. `reserved`, `input`, `output`: tokens of the turn under way. `indexed`: the last line whose words can be searched for.
CREATE TABLE conversations (
  no       INTEGER PRIMARY KEY,
  id       TEXT NOT NULL UNIQUE,
  machine  TEXT NOT NULL,
  open     INTEGER NOT NULL,
  reserved INTEGER NOT NULL,
  input    INTEGER NOT NULL,
  output   INTEGER NOT NULL,
  indexed  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What was said and done, append-only. `seq` is the conversation's `no`, times 2^32, plus the line's number in it: one tree, no index.
CREATE TABLE transcript (seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, entry TEXT NOT NULL) STRICT;

-- Their words, brought up to date by the search that needs them.
CREATE VIRTUAL TABLE transcript_words USING fts5 (words, content = '', tokenize = 'unicode61 remove_diacritics 2');

-- Tokens and rows written, by day since 1970. `lost`: tokens set aside for answers that a restart swallowed.
CREATE TABLE usage (
  day    INTEGER PRIMARY KEY,
  input  INTEGER NOT NULL,
  output INTEGER NOT NULL,
  lost   INTEGER NOT NULL,
  rows   INTEGER NOT NULL
) STRICT;

-- What is remembered. Forgetting keeps the row, so that it can be told that it was forgotten.
CREATE TABLE facts (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  text         TEXT NOT NULL,
  trust        TEXT NOT NULL,
  conversation TEXT NOT NULL,
  at           INTEGER NOT NULL,
  forgotten_at INTEGER
) STRICT;
CREATE VIRTUAL TABLE facts_words USING fts5 (words, content = '', tokenize = 'unicode61 remove_diacritics 2');

-- What the person wants to be reminded of, and where.
CREATE TABLE reminders (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation TEXT NOT NULL,
  text         TEXT NOT NULL,
  at           INTEGER NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('waiting', 'told', 'cancelled'))
) STRICT;
CREATE INDEX reminders_by_time ON reminders (at) WHERE state = 'waiting';

-- What was or is being sent. 'sending' is written before the request leaves, so that a crash is seen as not knowing, never as not sent.
-- `provider` is the provider's name for the message, or its reason to refuse it.
CREATE TABLE sendings (
  id       TEXT PRIMARY KEY,
  state    TEXT NOT NULL CHECK (state IN ('sending', 'held', 'sent', 'unknown', 'refused')),
  provider TEXT,
  attempts INTEGER NOT NULL,
  next_at  INTEGER NOT NULL,
  since    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sendings_held ON sendings (next_at) WHERE state = 'held';

-- Calls for the home machines. `meant` is the one that the person was asked about; `session` the one over which it was last ordered.
CREATE TABLE calls (
  id           TEXT PRIMARY KEY,
  conversation TEXT NOT NULL,
  tool         TEXT NOT NULL,
  arguments    TEXT NOT NULL,
  meant        TEXT,
  bridge       TEXT,
  session      TEXT,
  receipt      TEXT,
  done         INTEGER NOT NULL,
  at           INTEGER NOT NULL,
  ended_at     INTEGER
) STRICT, WITHOUT ROWID;

-- Files on their way from a machine to the person.
CREATE TABLE files (
  call   TEXT PRIMARY KEY,
  name   TEXT NOT NULL,
  mime   TEXT NOT NULL,
  size   INTEGER NOT NULL,
  stored INTEGER NOT NULL,
  at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE file_pieces (
  call   TEXT NOT NULL,
  offset INTEGER NOT NULL,
  bytes  BLOB NOT NULL,
  PRIMARY KEY (call, offset)
) STRICT, WITHOUT ROWID;

-- Paired machines; this table judges, D1's copy routes.
CREATE TABLE bridges (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  public_key TEXT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('pending', 'active', 'revoked')),
  hello      TEXT,
  at         INTEGER NOT NULL,
  seen_at    INTEGER
) STRICT, WITHOUT ROWID;

-- Open pairing links.
CREATE TABLE pairings (
  id           TEXT PRIMARY KEY,
  secret       TEXT NOT NULL,
  conversation TEXT NOT NULL,
  expires_at   INTEGER NOT NULL,
  tries        INTEGER NOT NULL,
  used         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Tokens that were used to connect; each works once.
CREATE TABLE tokens (id TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- What the console shows, in its order. An item that changes is looked for from the newest backwards.
CREATE TABLE items (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, item TEXT NOT NULL) STRICT;
