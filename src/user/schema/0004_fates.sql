-- What became of messages, where their app tells it afterwards. `text` is kept so that it can be said again, and so that it is known
-- what a person answers; it stands with the first part. `heard` is the person's last message when it was sent.
CREATE TABLE fates (
  message      TEXT PRIMARY KEY,
  conversation TEXT NOT NULL,
  say          TEXT NOT NULL,
  part         INTEGER NOT NULL,
  text         TEXT NOT NULL,
  heard        TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('taken', 'sent', 'delivered', 'read', 'failed')),
  code         INTEGER,
  at           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
