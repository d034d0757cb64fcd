-- Strangers may knock: each gets a code, and the owner is asked about them. People have names, and may join a second chat app by a code.

ALTER TABLE users ADD COLUMN name TEXT NOT NULL DEFAULT '';

ALTER TABLE strangers ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE strangers ADD COLUMN chat TEXT NOT NULL DEFAULT '';
ALTER TABLE strangers ADD COLUMN code_hash TEXT NOT NULL DEFAULT ''; -- empty once the owner has said no
ALTER TABLE strangers ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0; -- until then, what they write is not answered
ALTER TABLE strangers ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0;

-- Codes by which somebody who is known here becomes known in another chat app.
CREATE TABLE join_codes (
  hash       TEXT PRIMARY KEY,
  user_id    TEXT NOT NULL REFERENCES users (id),
  expires_at INTEGER NOT NULL
) STRICT;
