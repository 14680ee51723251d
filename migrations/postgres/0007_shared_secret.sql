-- One row: the secret that all daemons on this database share.
CREATE TABLE IF NOT EXISTS shared_secret (
    id BIGINT NOT NULL PRIMARY KEY,
    secret BYTEA NOT NULL
);
