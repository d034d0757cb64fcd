-- One person's object. Times are milliseconds since 1970, UTC; truth values are 0 and 1 (the runtime stores a bound boolean as text).

-- What belongs to the object itself: its command key, the address it is reached under.
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- Deliveries that were taken. A repeat changes nothing. Kept longer than any provider retries.
CREATE TABLE IF NOT EXISTS inbox (delivery TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT;

-- Where each conversation stands: the agent's machine as JSON. `open` is 1 while anything is awaited.
CREATE TABLE IF NOT EXISTS conversations (
  id      TEXT PRIMARY KEY,
  machine TEXT NOT NULL,
  open    INTEGER NOT NULL
) STRICT;

-- What was said and done, append-only.
CREATE TABLE IF NOT EXISTS transcript (
  seq          INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation TEXT NOT NULL,
  at           INTEGER NOT NULL,
  entry        TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS transcript_by_conversation ON transcript (conversation, seq);
CREATE VIRTUAL TABLE IF NOT EXISTS transcript_words USING fts5 (words, content = '', tokenize = 'unicode61 remove_diacritics 2');

-- What is remembered. Forgetting keeps the row, so that it can be told that it was forgotten.
CREATE TABLE IF NOT EXISTS facts (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  text         TEXT NOT NULL,
  trust        TEXT NOT NULL,
  conversation TEXT NOT NULL,
  at           INTEGER NOT NULL,
  forgotten_at INTEGER
) STRICT;
CREATE VIRTUAL TABLE IF NOT EXISTS facts_words USING fts5 (words, content = '', tokenize = 'unicode61 remove_diacritics 2');

-- What the person wants to be reminded of, and where.
CREATE TABLE IF NOT EXISTS reminders (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation TEXT NOT NULL,
  text         TEXT NOT NULL,
  at           INTEGER NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('waiting', 'told', 'cancelled'))
) STRICT;
CREATE INDEX IF NOT EXISTS reminders_by_time ON reminders (state, at);

-- What was or is being sent. 'sending' is written before the request leaves, so that a crash is seen as not knowing, never as not sent.
CREATE TABLE IF NOT EXISTS sendings (
  id       TEXT PRIMARY KEY,
  state    TEXT NOT NULL CHECK (state IN ('sending', 'held', 'sent', 'unknown', 'refused')),
  provider TEXT,
  attempts INTEGER NOT NULL,
  next_at  INTEGER NOT NULL,
  at       INTEGER NOT NULL
) STRICT;

-- Calls for the home machine. `session` is the one over which it was last ordered.
CREATE TABLE IF NOT EXISTS calls (
  id           TEXT PRIMARY KEY,
  conversation TEXT NOT NULL,
  tool         TEXT NOT NULL,
  arguments    TEXT NOT NULL,
  bridge       TEXT,
  session      TEXT,
  receipt      TEXT,
  at           INTEGER NOT NULL,
  ended_at     INTEGER
) STRICT;

-- Files on their way from a machine to the person.
CREATE TABLE IF NOT EXISTS files (
  call   TEXT PRIMARY KEY,
  name   TEXT NOT NULL,
  mime   TEXT NOT NULL,
  size   INTEGER NOT NULL,
  stored INTEGER NOT NULL,
  at     INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS file_pieces (
  call   TEXT NOT NULL,
  offset INTEGER NOT NULL,
  bytes  BLOB NOT NULL,
  PRIMARY KEY (call, offset)
) STRICT, WITHOUT ROWID;

-- Paired machines; this table judges, D1's copy routes.
CREATE TABLE IF NOT EXISTS bridges (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  public_key TEXT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('pending', 'active', 'revoked')),
  hello      TEXT,
  at         INTEGER NOT NULL,
  seen_at    INTEGER
) STRICT;

-- Open pairing links.
CREATE TABLE IF NOT EXISTS pairings (
  id           TEXT PRIMARY KEY,
  secret       TEXT NOT NULL,
  conversation TEXT NOT NULL,
  expires_at   INTEGER NOT NULL,
  tries        INTEGER NOT NULL,
  used         INTEGER NOT NULL
) STRICT;

-- Tokens that were used to connect; each works once.
CREATE TABLE IF NOT EXISTS tokens (id TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT;

-- What the console shows.
CREATE TABLE IF NOT EXISTS items (
  seq  INTEGER PRIMARY KEY AUTOINCREMENT,
  id   TEXT NOT NULL UNIQUE,
  item TEXT NOT NULL
) STRICT;
