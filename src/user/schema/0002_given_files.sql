-- What the person gave. `id` is made of the bytes' hash; `file` names them in `files`. It is kept for longer than what only passes through.
CREATE TABLE given (
  id     TEXT PRIMARY KEY,
  file   TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
