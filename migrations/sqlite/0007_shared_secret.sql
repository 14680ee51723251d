-- One row: the secret that all daemons on this database share.
CREATE TABLE IF NOT EXISTS shared_secret (
    id INTEGER NOT NULL PRIMARY KEY,
    secret BLOB NOT NULL
) STRICT, WITHOUT ROWID;
