-- Without a rowid the bytes lay in the index itself, and each look into it read whole pieces to compare their names.
ALTER TABLE file_pieces RENAME TO file_pieces_before;
CREATE TABLE file_pieces (
  call   TEXT NOT NULL,
  offset INTEGER NOT NULL,
  bytes  BLOB NOT NULL,
  PRIMARY KEY (call, offset)
) STRICT;
INSERT INTO file_pieces (call, offset, bytes) SELECT call, offset, bytes FROM file_pieces_before;
DROP TABLE file_pieces_before;
